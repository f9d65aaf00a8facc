"""What is computed from audio, as a typed and serialisable config."""

import math
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

FEATURES = ("logmel", "egemaps", "egemaps-25ms")
"""Names for :func:`feature_config_of`: log mel, eGeMAPS as openSMILE has them, eGeMAPS with the paper's frames."""

SAMPLE_RATES = (1000, 768_000)
"""Lowest and highest sample rate in Hz of a file, and of what it is resampled to. Converters end at 768 kHz."""

MOST_BANDS = 1024
"""Mel bands at most; 23 to 256 are usual."""

SAMPLE_SCALE = 32768
"""What log mel energies take full scale for."""

DESCRIPTORS = (
    "Loudness",
    "alphaRatio",
    "hammarbergIndex",
    "slope0-500",
    "slope500-1500",
    "spectralFlux",
    "mfcc1",
    "mfcc2",
    "mfcc3",
    "mfcc4",
    "F0semitoneFrom27.5Hz",
    "jitterLocal",
    "shimmerLocaldB",
    "HNRdBACF",
    "logRelF0-H1-H2",
    "logRelF0-H1-A3",
    "F1frequency",
    "F1bandwidth",
    "F1amplitudeLogRelF0",
    "F2frequency",
    "F2bandwidth",
    "F2amplitudeLogRelF0",
    "F3frequency",
    "F3bandwidth",
    "F3amplitudeLogRelF0",
)
"""The low-level descriptors of eGeMAPSv02 in openSMILE's order, without the suffix that names their smoothing."""


class LogMelConfig(BaseModel):
    """Log mel filter-bank energies, the paper's input (section IV-A).

    Frames of ``frame_ms`` every ``shift_ms``, whole frames only; DC removed, pre-emphasis, Hamming window, power
    spectrum over the next power of two of samples, triangular filters linear in mel, natural logarithm.

    Attributes:
        kind: Tells this feature type from others in a serialised config.
        sample_rate: Hz, within :data:`SAMPLE_RATES`; audio of another rate is resampled to it.
        num_bands: Number of mel filters, 3 to :data:`MOST_BANDS`.
        low_hz: Lower edge of the lowest filter.
        high_hz: Upper edge of the highest filter; ``None`` is half the sample rate.
        frame_ms: Length of a frame in milliseconds, 1 to 1000.
        shift_ms: Distance between the starts of neighbouring frames in milliseconds, 1 to 1000.
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
    sample_rate: int = Field(ge=SAMPLE_RATES[0], le=SAMPLE_RATES[1])
    num_bands: int = Field(default=26, ge=3, le=MOST_BANDS)
    low_hz: float = Field(default=20.0, ge=0.0, le=SAMPLE_RATES[1] / 2)
    high_hz: float | None = Field(default=None, gt=0.0, le=SAMPLE_RATES[1] / 2)
    frame_ms: float = Field(default=25.0, ge=1.0, le=1000.0)
    shift_ms: float = Field(default=10.0, ge=1.0, le=1000.0)
    preemphasis: float = Field(default=0.97, ge=0.0, le=1.0)

    @property
    def name(self) -> str:
        """The name among :data:`FEATURES`."""
        return "logmel"

    @property
    def description(self) -> str:
        """What the features are, for captions."""
        return f"{self.num_bands} log mel filter-bank energies at {self.sample_rate} Hz"

    @property
    def num_features(self) -> int:
        """Number of values per frame."""
        return self.num_bands

    @property
    def upper_hz(self) -> float:
        """``high_hz``, or half the sample rate where that is ``None``."""
        return self.sample_rate / 2 if self.high_hz is None else self.high_hz

    @property
    def fbank_options(self) -> dict[str, str | float | bool]:
        """Every option of kaldi-native-fbank's ``FbankOptions`` that matters, with its path: defaults have changed.

        Samples go in at 16-bit scale, full scale :data:`SAMPLE_SCALE`.

        Example:
            >>> LogMelConfig(sample_rate=16000).fbank_options["frame_opts.window_type"]
            'hamming'
        """
        return {
            "frame_opts.samp_freq": self.sample_rate,
            "frame_opts.frame_length_ms": self.frame_ms,
            "frame_opts.frame_shift_ms": self.shift_ms,
            "frame_opts.dither": 0.0,
            "frame_opts.preemph_coeff": self.preemphasis,
            "frame_opts.remove_dc_offset": True,
            "frame_opts.window_type": "hamming",
            "frame_opts.round_to_power_of_two": True,
            "frame_opts.snip_edges": True,
            "mel_opts.num_bins": self.num_bands,
            "mel_opts.low_freq": self.low_hz,
            "mel_opts.high_freq": self.upper_hz,
            "use_energy": False,
            "use_log_fbank": True,
            "use_power": True,
        }

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


class EgemapsConfig(BaseModel):
    """The 25 low-level descriptors of eGeMAPSv02, as openSMILE computes them.

    One frame every 10 ms. Loudness, spectral shape, MFCCs and formants come from frames of 20 ms in the library's own
    configuration and of 25 ms in the paper's text; F0, jitter, shimmer, HNR and harmonics from frames of 60 ms in both.

    Attributes:
        kind: Tells this feature type from others in a serialised config.
        sample_rate: Hz, 8000 to 768000: F3 and the spectral ratios lie up to 4 kHz and beyond; audio of another rate
            is resampled to it.
        frame_ms: Length of the short frames in milliseconds: 20 (openSMILE's configuration) or 25 (the paper's text).

    Raises:
        pydantic.ValidationError: A field is unknown or not allowed.

    Example:
        >>> config = EgemapsConfig(sample_rate=16000)
        >>> config.name, config.num_features
        ('egemaps', 25)
        >>> EgemapsConfig(sample_rate=16000, frame_ms=25).name
        'egemaps-25ms'
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["egemaps"] = "egemaps"
    sample_rate: int = Field(ge=8000, le=SAMPLE_RATES[1])
    frame_ms: Literal[20, 25] = 20

    @property
    def name(self) -> str:
        """The name among :data:`FEATURES`."""
        return "egemaps" if self.frame_ms == 20 else "egemaps-25ms"

    @property
    def description(self) -> str:
        """What the features are, for captions."""
        return (
            f"eGeMAPS ({len(DESCRIPTORS)} low-level descriptors by openSMILE, frames of {self.frame_ms} and 60 ms) at "
            f"{self.sample_rate} Hz"
        )

    @property
    def num_features(self) -> int:
        """Number of values per frame."""
        return len(DESCRIPTORS)

    @property
    def shift_ms(self) -> float:
        """Distance between the starts of neighbouring frames in milliseconds."""
        return 10.0


FeatureConfig = Annotated[LogMelConfig | EgemapsConfig, Field(discriminator="kind")]
"""Every feature config there is; ``kind`` tells them apart when one is read."""


def feature_config_of(name: str, sample_rate: int) -> FeatureConfig:
    """The config that a name stands for.

    Args:
        name: One of :data:`FEATURES`.
        sample_rate: Hz.

    Raises:
        ValueError: The name is unknown, or the features do not exist at that rate (``pydantic.ValidationError``).

    Example:
        >>> feature_config_of("egemaps-25ms", 16000).frame_ms
        25
    """
    if name == "logmel":
        return LogMelConfig(sample_rate=sample_rate)
    if name == "egemaps":
        return EgemapsConfig(sample_rate=sample_rate)
    if name == "egemaps-25ms":
        return EgemapsConfig(sample_rate=sample_rate, frame_ms=25)
    raise ValueError(f"unknown features {name!r}; allowed: {', '.join(FEATURES)}")
