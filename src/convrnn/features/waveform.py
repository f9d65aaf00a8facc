"""The raw waveform (section V): a frame is one sample, or a millisecond of samples side by side."""

from collections.abc import Iterable
from typing import TYPE_CHECKING, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from typing_extensions import override

from convrnn.features.base import AudioFeatures
from convrnn.features.normalise import in_float64

if TYPE_CHECKING:
    from convrnn.features.waveform_torch import WaveformFrames

WINDOW_MS = 25.0
"""Default length of the windows of the front-end layer on the waveform, in milliseconds."""

WINDOW_LIMITS_MS = (1.0, 1000.0)
"""Shortest and longest such window in milliseconds."""

WINDOW_SHIFT_MS = 10.0
"""Distance between the starts of these windows, in milliseconds: 100 windows a second."""


class WaveformConfig(AudioFeatures):
    """The samples themselves, without their mean.

    The mean over the whole recording (the direct current, DC) is subtracted. Frames do not overlap; samples that do not
    fill a last frame are dropped. Models have one more front-end layer on this input, whose windows are much longer
    than a frame (:func:`convrnn.models.preset`).

    Attributes:
        frame: ``"sample"``: one sample per frame. ``"millisecond"``: ``round(sample_rate / 1000)`` samples side by
            side, so that the layer has that many times fewer steps.

    Example:
        >>> WaveformConfig(sample_rate=16000).num_features
        1
        >>> config = WaveformConfig(sample_rate=16000, frame="millisecond")
        >>> config.num_features, config.shift_ms
        (16, 1.0)
    """

    kind: Literal["waveform"] = "waveform"
    frame: Literal["sample", "millisecond"] = "sample"

    is_waveform: ClassVar[bool] = True

    @property
    @override
    def description(self) -> str:
        unit = " in frames of one sample" if self.frame == "sample" else f" in frames of {self.num_features} samples"
        return f"raw waveform at {self.sample_rate} Hz{unit}"

    @property
    @override
    def num_features(self) -> int:
        return 1 if self.frame == "sample" else round(self.sample_rate / 1000)

    @property
    def frame_ms(self) -> float:
        """The length of a frame in milliseconds."""
        return 1000 * self.num_features / self.sample_rate

    @property
    def shift_ms(self) -> float:
        """The length of a frame in milliseconds, since frames do not overlap."""
        return self.frame_ms

    def window(self, milliseconds: float = WINDOW_MS) -> tuple[int, int]:
        """Length and shift, in frames, of the windows of the front-end layer on the waveform.

        Example:
            >>> WaveformConfig(sample_rate=16000).window(), WaveformConfig(sample_rate=8000).window(50)
            ((400, 160), (400, 80))
        """
        return max(1, round(milliseconds / self.frame_ms)), max(1, round(WINDOW_SHIFT_MS / self.shift_ms))

    @override
    def compute(self, blocks: Iterable[NDArray[np.float32]]) -> NDArray[np.float32]:
        """Cuts the samples into frames.

        Example:
            >>> WaveformConfig(sample_rate=8000, frame="millisecond").compute([np.ones(20, np.float32)]).tolist()
            [[0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0], [0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0]]
        """
        parts = []
        for block in blocks:
            if block.ndim != 1 or block.dtype != np.float32:
                raise ValueError(f"expected blocks of float32 [samples]; got {block.dtype} of shape {block.shape}")
            parts.append(block)
        samples = np.concatenate(parts) if parts else np.zeros(0, np.float32)
        frames = len(samples) // self.num_features
        if not frames:
            raise ValueError(
                f"{len(samples)} samples at {self.sample_rate} Hz are less than one frame of {self.frame_ms:g} ms"
            )
        mean = samples.mean(dtype=np.float64)
        if not np.isfinite(mean):
            raise ValueError("a sample is not finite")
        framed = samples[: frames * self.num_features].reshape(frames, self.num_features)
        # Rounded once, in float64 as in exported models.
        return np.concatenate([(part - mean).astype(np.float32) for part in in_float64(framed)])

    @override
    def to_torch(self) -> "WaveformFrames":
        from convrnn.features.waveform_torch import WaveformFrames

        return WaveformFrames(self.num_features)
