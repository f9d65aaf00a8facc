"""Measurements of convrnn's GPU kernels against their peers: ``python -m benchmarks.gpu --help``."""
