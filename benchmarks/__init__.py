"""Measurements of convrnn's CPU kernel against its peers: ``python -m benchmarks.cpu --help``."""
