"""Convolutional recurrent layers of Keren & Schuller, and the paper's whole experiment around them.

``convrnn.load`` opens a trained model. ``convrnn.nn`` has the layers, ``convrnn.ops`` the functions they stand on; both
need torch and numpy alone. ``convrnn.corpora`` opens labelled speech, ``convrnn.experiments`` compares models on it.
All of them load when they are first used.
"""

import importlib
from collections.abc import Callable
from importlib.metadata import version as _version
from types import ModuleType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from convrnn import nn, ops
    from convrnn.training.saved_model import SavedModel, load

__version__ = _version("convrnn")

__all__ = ["SavedModel", "__version__", "corpora", "experiments", "load", "nn", "ops"]


def __getattr__(name: str) -> ModuleType | type | Callable[..., object]:
    # Commands and worker processes that need no layer should not wait for torch.
    if name in ("corpora", "experiments", "nn", "ops"):
        return importlib.import_module(f"convrnn.{name}")
    if name in ("SavedModel", "load"):
        found: type | Callable[..., object]
        found = getattr(importlib.import_module("convrnn.training.saved_model"), name)
        return found
    raise AttributeError(f"module 'convrnn' has no attribute {name!r}")
