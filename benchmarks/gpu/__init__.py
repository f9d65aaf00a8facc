"""Measurements of convrnn's GPU kernels beside their peers: ``python -m benchmarks.gpu --help``."""
