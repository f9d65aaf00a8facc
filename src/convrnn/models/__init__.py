"""Whole models from a typed config, the paper's presets, and saved models."""

from convrnn.models.bundle import Bundle, BundleConfig
from convrnn.models.classifier import SequenceClassifier
from convrnn.models.config import FrameModelConfig, SequenceClassifierConfig
from convrnn.models.export import Export, export_audonnx, export_onnx
from convrnn.models.frames import FrameModel
from convrnn.models.presets import FRONT_ENDS, SETTINGS, preset

__all__ = [
    "FRONT_ENDS",
    "SETTINGS",
    "Bundle",
    "BundleConfig",
    "Export",
    "FrameModel",
    "FrameModelConfig",
    "SequenceClassifier",
    "SequenceClassifierConfig",
    "export_audonnx",
    "export_onnx",
    "preset",
]
