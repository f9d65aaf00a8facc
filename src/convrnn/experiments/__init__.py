"""Grids of runs and what is read off them.

:mod:`compare` plans and does the grid, :mod:`table` makes predictions into rows, :mod:`figures` draws confusion
matrices, and :mod:`yardstick` is the linear SVM beside the networks.
"""
