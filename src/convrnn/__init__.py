"""Convolutional recurrent layers of Keren & Schuller, and the paper's whole experiment around them.

``convrnn.nn`` has the layers, ``convrnn.ops`` the functions they stand on; both need torch and numpy alone.
``convrnn.corpora`` opens labelled speech, and ``convrnn.experiments`` compares models on it. ``convrnn.sklearn`` has
them as scikit-learn estimators. All of them load when they are first used.
"""

import importlib
from importlib.metadata import version as _version
from types import ModuleType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from convrnn import nn, ops

__version__ = _version("convrnn")

__all__ = ["__version__", "corpora", "experiments", "nn", "ops", "sklearn"]


def __getattr__(name: str) -> ModuleType:
    # Commands and worker processes that need no layer should not wait for torch.
    if name in ("corpora", "experiments", "nn", "ops", "sklearn"):
        return importlib.import_module(f"convrnn.{name}")
    raise AttributeError(f"module 'convrnn' has no attribute {name!r}")
