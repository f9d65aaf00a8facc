"""Grids of runs and what is read off them: :mod:`compare`, :mod:`table`, :mod:`figures`, :mod:`yardstick`."""
