"""What is computed from audio, as a typed and serialisable config."""

import math
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator


class LogMelConfig(BaseModel):
    """Log mel filter-bank energies, the paper's input (section IV-A).

    Frames of ``frame_ms`` every ``shift_ms``, whole frames only; DC removed, pre-emphasis, Hamming window, power
    spectrum over the next power of two of samples, triangular filters linear in mel, natural logarithm.

    Attributes:
        kind: Tells this feature type from others in a serialised config.
        sample_rate: Hz; audio of another rate is resampled to it.
        num_bands: Number of mel filters, at least 3.
        low_hz: Lower edge of the lowest filter.
        high_hz: Upper edge of the highest filter; ``None`` is half the sample rate.
        frame_ms: Length of a frame in milliseconds.
        shift_ms: Distance between the starts of neighbouring frames in milliseconds.
        preemphasis: Coefficient ``a`` of ``x[n] - a x[n - 1]``, 0 to 1.

    Raises:
        pydantic.ValidationError: A field is unknown or out of range, the band edges are not within 0 and half the
            sample rate, or there are so many bands that some would contain no frequency of the spectrum.

    Example:
        >>> config = LogMelConfig(sample_rate=16000)
        >>> config.num_features, config.upper_hz
        (26, 8000.0)
        >>> LogMelConfig.model_validate_json(config.model_dump_json()) == config
        True
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    kind: Literal["logmel"] = "logmel"
    sample_rate: int = Field(ge=1000)
    num_bands: int = Field(default=26, ge=3)
    low_hz: float = Field(default=20.0, ge=0.0)
    high_hz: float | None = None
    frame_ms: float = Field(default=25.0, ge=1.0)
    shift_ms: float = Field(default=10.0, ge=1.0)
    preemphasis: float = Field(default=0.97, ge=0.0, le=1.0)

    @property
    def num_features(self) -> int:
        """Number of values per frame."""
        return self.num_bands

    @property
    def upper_hz(self) -> float:
        """``high_hz``, or half the sample rate where that is ``None``."""
        return self.sample_rate / 2 if self.high_hz is None else self.high_hz

    @model_validator(mode="after")
    def _check_bands(self) -> Self:
        if not self.low_hz < self.upper_hz <= self.sample_rate / 2:
            raise ValueError(
                f"bands from low_hz={self.low_hz:g} to high_hz={self.upper_hz:g} must rise and end at or below half "
                f"the sample rate, {self.sample_rate / 2:g} Hz"
            )
        frame_samples = int(self.sample_rate * self.frame_ms / 1000)
        bin_hz = self.sample_rate / 2 ** math.ceil(math.log2(frame_samples))
        low, high = (1127 * math.log1p(hz / 700) for hz in (self.low_hz, self.upper_hz))
        edges = [
            700 * math.expm1((low + i * (high - low) / (self.num_bands + 1)) / 1127) for i in range(self.num_bands + 2)
        ]
        for left, right in zip(edges, edges[2:], strict=False):
            if (math.floor(left / bin_hz) + 1) * bin_hz >= right:
                raise ValueError(
                    f"num_bands={self.num_bands} is too many for {self.frame_ms:g} ms at {self.sample_rate} Hz: the "
                    f"band from {left:.1f} to {right:.1f} Hz holds no frequency of the spectrum ({bin_hz:g} Hz apart)"
                )
        return self


FeatureConfig = LogMelConfig
"""Every feature config there is; to become a union told apart by ``kind``."""
