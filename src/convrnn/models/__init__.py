"""Whole classifiers from a typed config, the paper's presets, and the bundle that a trained model is shipped as."""

from convrnn.models.bundle import Bundle, BundleConfig
from convrnn.models.classifier import SequenceClassifier
from convrnn.models.config import SequenceClassifierConfig
from convrnn.models.presets import FRONT_ENDS, SETTINGS, preset

__all__ = [
    "FRONT_ENDS",
    "SETTINGS",
    "Bundle",
    "BundleConfig",
    "SequenceClassifier",
    "SequenceClassifierConfig",
    "preset",
]
