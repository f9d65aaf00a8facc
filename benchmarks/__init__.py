"""Measurements of convrnn's CPU kernel beside its peers: ``python -m benchmarks.cpu --help``."""
