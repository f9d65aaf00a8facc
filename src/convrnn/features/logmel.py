"""Log mel filter-bank energies (section IV-A), computed by kaldi-native-fbank."""

import functools
import math
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator
from typing_extensions import override

from convrnn.features.base import SAMPLE_RATES, AudioFeatures

if TYPE_CHECKING:
    from kaldi_native_fbank import FbankOptions, OnlineFbank

    from convrnn.features.logmel_torch import LogMelFrames

SAMPLE_SCALE = 32768
"""Full scale of the samples from which log mel energies are computed."""


class LogMelConfig(AudioFeatures):
    """Log mel filter-bank energies, the paper's input (section IV-A).

    Frames of ``frame_ms`` every ``shift_ms``, whole frames only: ``floor((samples - frame) / shift) + 1``. The mean of
    each frame is subtracted; the frame is pre-emphasised, multiplied by a Hamming window and zero-padded to a power of
    two. The power spectrum is summed under filters that are triangular in mel = 1127 ln(1 + f / 700), and the natural
    logarithm is taken with float32's epsilon as floor. There is no dither: the same samples give the same bits.

    Attributes:
        num_bands: Number of mel filters, 3 to 1024; typically 23 to 256.
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
        >>> config.num_features, config.highest_hz
        (26, 8000.0)
        >>> LogMelConfig.model_validate_json(config.model_dump_json()) == config
        True
    """

    kind: Literal["logmel"] = "logmel"
    num_bands: int = Field(default=26, ge=3, le=1024)
    low_hz: float = Field(default=20.0, ge=0.0, le=SAMPLE_RATES[1] / 2)
    high_hz: float | None = Field(default=None, gt=0.0, le=SAMPLE_RATES[1] / 2)
    frame_ms: float = Field(default=25.0, ge=1.0, le=1000.0)
    shift_ms: float = Field(default=10.0, ge=1.0, le=1000.0)
    preemphasis: float = Field(default=0.97, ge=0.0, le=1.0)

    @property
    @override
    def description(self) -> str:
        return f"{self.num_bands} log mel filter-bank energies at {self.sample_rate} Hz"

    @property
    @override
    def num_features(self) -> int:
        return self.num_bands

    @property
    @override
    def highest_hz(self) -> float:
        """``high_hz``, or half the sample rate if that is ``None``."""
        return self.sample_rate / 2 if self.high_hz is None else self.high_hz

    @property
    def fbank_options(self) -> dict[str, str | float | bool]:
        """Every relevant option of kaldi-native-fbank's ``FbankOptions`` by its path, since defaults have changed.

        Samples are passed at 16-bit scale, with full scale :data:`SAMPLE_SCALE`.

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
            "mel_opts.high_freq": self.highest_hz,
            "use_energy": False,
            "use_log_fbank": True,
            "use_power": True,
        }

    @property
    @override
    def recipe(self) -> Mapping[str, object]:
        return {"fbank": self.fbank_options}

    @override
    def to_torch(self) -> "LogMelFrames":
        from convrnn.features.logmel_torch import LogMelFrames

        return LogMelFrames(self, SAMPLE_SCALE)

    @override
    def compute(self, blocks: Iterable[NDArray[np.float32]]) -> NDArray[np.float32]:
        """Computes the log mel energies of every whole frame; only one block of samples is held in memory.

        Example:
            >>> LogMelConfig(sample_rate=16000).compute(np.split(np.zeros(16000, np.float32), [10000])).shape
            (98, 26)
        """
        import kaldi_native_fbank

        fbank = kaldi_native_fbank.OnlineFbank(_options(self))
        ready: list[NDArray[np.float32]] = []
        count = heard = 0
        for block in blocks:
            if block.ndim != 1 or block.dtype != np.float32:
                raise ValueError(f"expected blocks of float32 [samples]; got {block.dtype} of shape {block.shape}")
            heard += len(block)
            fbank.accept_waveform(self.sample_rate, (block * np.float32(SAMPLE_SCALE)).tolist())
            frames = np.array(list(_take_frames(fbank, count)), np.float32)
            if len(frames):
                ready.append(frames)
                count += len(frames)
        if not ready:
            raise ValueError(
                f"{heard} samples at {self.sample_rate} Hz are less than one frame of {self.frame_ms:g} ms"
            )
        return np.concatenate(ready)

    @model_validator(mode="after")
    def _check_bands(self) -> Self:
        if not self.low_hz < self.highest_hz <= self.sample_rate / 2:
            raise ValueError(
                f"bands from low_hz={self.low_hz:g} to high_hz={self.highest_hz:g} must rise and end at or below half "
                f"the sample rate, {self.sample_rate / 2:g} Hz"
            )
        frame_samples = int(self.sample_rate * self.frame_ms / 1000)
        bin_hz = self.sample_rate / 2 ** math.ceil(math.log2(frame_samples))
        low, high = (1127 * math.log1p(hz / 700) for hz in (self.low_hz, self.highest_hz))
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


def _take_frames(fbank: "OnlineFbank", first: int) -> Iterator[NDArray[np.float32]]:
    """The frames that are ready, starting at ``first``; the extractor then discards them."""
    ready = fbank.num_frames_ready
    for frame in range(first, ready):
        # Copied, because the extractor owns the memory.
        yield fbank.get_frame(frame).copy()
    fbank.pop(ready - first)


def _options(config: LogMelConfig) -> "FbankOptions":
    import kaldi_native_fbank

    options = kaldi_native_fbank.FbankOptions()
    for path, value in config.fbank_options.items():
        *group, name = path.split(".")
        setattr(functools.reduce(getattr, group, options), name, value)
    return options
