"""The input features that a user can choose: their names, the classes that compute them, and descriptions of them.

To add features, write a module with a subclass of :class:`~convrnn.features.base.AudioFeatures` and add a line to
:data:`FEATURES`. Nothing heavy is imported here, so that a command can list the names at once.
"""

import importlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from convrnn.features.base import AudioFeatures


@dataclass(frozen=True, slots=True)
class Entry:
    """Input features with a name.

    Attributes:
        module: Module of this package that computes the features.
        class_name: The subclass of :class:`~convrnn.features.base.AudioFeatures` in the module.
        title: Column heading in tables.
        about: A short description for ``--help``.
        options: Values of the fields that the name stands for.
    """

    module: str
    class_name: str
    title: str
    about: str
    options: Mapping[str, object] = field(default_factory=dict)

    def load(self) -> "type[AudioFeatures]":
        """Imports the class."""
        module = importlib.import_module(f"convrnn.features.{self.module}")
        found: type[AudioFeatures] = getattr(module, self.class_name)
        return found


FEATURES: Mapping[str, Entry] = MappingProxyType(
    {
        "logmel": Entry("logmel", "LogMelConfig", "log mel filter-banks", "26 log mel filter-bank energies"),
        "egemaps": Entry(
            "egemaps",
            "EgemapsConfig",
            "eGeMAPS",
            "25 low-level descriptors by openSMILE, which has its own licence",
            {"frame_ms": 20},
        ),
        "egemaps-25ms": Entry(
            "egemaps",
            "EgemapsConfig",
            "eGeMAPS, 25 ms",
            "the same with the paper's 25 ms frames instead of openSMILE's 20 ms",
            {"frame_ms": 25},
        ),
        "waveform": Entry(
            "waveform",
            "WaveformConfig",
            "raw waveform",
            "samples one by one, for one more front-end layer with windows of --window-ms",
            {"frame": "sample"},
        ),
        "waveform-1ms": Entry(
            "waveform",
            "WaveformConfig",
            "raw waveform, 1 ms",
            "the same in frames of 1 ms, so with far fewer steps",
            {"frame": "millisecond"},
        ),
    }
)
"""All input features by name."""

DEFAULT_FEATURES = "logmel"
"""The input of the paper's models, unless another is chosen."""
