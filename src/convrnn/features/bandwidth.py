"""Detection of audio that was resampled from a lower rate and therefore lacks its upper frequencies."""

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

RATES = (8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100)
"""Common sample rates of recordings in Hz."""

DROP_DB = 40.0
"""Drop of the mean spectrum at half of the lower rate, in dB; speech that was not resampled drops by at most 25."""

_FRAME = 1024
_BELOW = (0.6, 0.85)
_ABOVE = (1.08, 0.98)


def resampled_from(blocks: Iterable[NDArray[np.float32]], rate: int) -> int | None:
    """The lower sample rate that audio was resampled from, if its spectrum leaves no doubt.

    A recording resampled from a lower rate has next to nothing above half of that rate: averaged over its whole length,
    every frequency above lies :data:`DROP_DB` below those just under it. This misses quiet 16-bit recordings, whose
    rounding noise fills the band, and cutoffs at other frequencies.

    Args:
        blocks: The samples in blocks, each float32 ``[samples]``.
        rate: Their sample rate in Hz.

    Returns:
        One of :data:`RATES` below ``rate``, or ``None``.

    Example:
        >>> noise = np.random.default_rng(0).standard_normal(16000).astype(np.float32)
        >>> import soxr
        >>> resampled_from([soxr.resample(noise, 8000, 16000)], 16000), resampled_from([noise], 16000)
        (8000, None)
    """
    detector = ResamplingDetector(rate)
    for block in blocks:
        detector.add(block)
    return detector.finish()


class ResamplingDetector:
    """:func:`resampled_from`, block by block.

    Args:
        rate: Sample rate in Hz.
    """

    def __init__(self, rate: int) -> None:
        self._rate = rate
        self._window = np.hanning(_FRAME)
        self._total = np.zeros(_FRAME // 2 + 1)
        self._rest = np.zeros(0, np.float32)
        self._frames = 0

    def add(self, block: NDArray[np.float32]) -> None:
        """Adds the next samples, float32 ``[samples]``."""
        samples = np.concatenate([self._rest, block])
        whole = len(samples) // _FRAME
        self._rest = samples[whole * _FRAME :]
        self._total += _power(samples[: whole * _FRAME], self._window)
        self._frames += whole

    def finish(self) -> int | None:
        """One of :data:`RATES` below ``rate``, or ``None``."""
        power = self._mean_power()
        hertz = np.arange(len(power)) * self._rate / _FRAME
        for lower in RATES:
            if lower > 0.85 * self._rate:
                break
            half = lower / 2
            below = power[(hertz >= _BELOW[0] * half) & (hertz <= _BELOW[1] * half)].mean()
            above = power[(hertz >= _ABOVE[0] * half) & (hertz <= _ABOVE[1] * self._rate / 2)].max()
            if below > above * 10 ** (DROP_DB / 10):
                return lower
        return None

    def _mean_power(self) -> NDArray[np.float64]:
        """The mean power spectrum of consecutive whole frames; audio shorter than a frame is padded with zeros."""
        if self._frames == 0:
            return _power(np.pad(self._rest, (0, _FRAME - len(self._rest))), self._window)
        return self._total / self._frames


def _power(samples: NDArray[np.float32], window: NDArray[np.float64]) -> NDArray[np.float64]:
    power: NDArray[np.float64] = np.square(np.abs(np.fft.rfft(samples.reshape(-1, _FRAME) * window))).sum(axis=0)
    return power
