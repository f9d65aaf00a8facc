"""Convolutional recurrent layers of Keren & Schuller, and the paper's whole experiment around them.

``convrnn.nn`` has the layers, ``convrnn.ops`` the functions they stand on; both need torch and numpy alone.
"""

from importlib.metadata import version as _version

from convrnn import nn, ops

__version__ = _version("convrnn")

__all__ = ["__version__", "nn", "ops"]
