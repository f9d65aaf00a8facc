"""Kills, damaged input and want of resources in great number: ``python -m torture --help``."""
