"""Conversion of samples of any common dtype to the scale that features are computed from."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

LOUDEST = 256.0
"""Largest magnitude of floating-point samples, 48 dB above full scale. Larger values indicate unscaled samples."""


def mean_of_channels(channels: NDArray[np.float32]) -> NDArray[np.float32]:
    """The mean of channels, ``[samples, channels]`` to ``[samples]``."""
    mono: NDArray[np.float32]
    mono = channels[:, 0] if channels.shape[1] == 1 else channels.mean(axis=1, dtype=np.float64).astype(np.float32)
    return mono


def full_scale_one(samples: NDArray[Any]) -> NDArray[np.float32]:
    """Converts mono samples to full scale 1.

    ========================== =========================================================================
    dtype                      conversion
    ========================== =========================================================================
    float16, float32, float64  unchanged, full scale 1; at most :data:`LOUDEST`
    int16, int32               divided by 32,768 or 2³¹
    uint8                      minus 128, divided by 128, as in 8-bit WAV files
    any other                  an error
    ========================== =========================================================================

    Args:
        samples: ``[samples]``.

    Returns:
        float32 ``[samples]``; the array itself if it needs no conversion.

    Raises:
        ValueError: The samples are not a vector of one of these dtypes, or one is NaN, infinite or far beyond full
            scale.

    Example:
        >>> full_scale_one(np.array([0, 16384, -32768], dtype=np.int16)).tolist()
        [0.0, 0.5, -1.0]
        >>> full_scale_one(np.array([16384.0, -32768.0]))
        Traceback (most recent call last):
        ...
        ValueError: sample 0 is 16384; floating-point samples have full scale 1, so divide 16-bit ones by 32768
    """
    if not isinstance(samples, np.ndarray):
        raise ValueError(f"expected a numpy array of samples; got {type(samples).__name__}")
    if samples.ndim != 1:
        raise ValueError(f"expected mono samples [samples]; got shape {samples.shape}")
    if samples.dtype == np.uint8:
        return (samples.astype(np.float32) - 128) / np.float32(128)
    if samples.dtype.newbyteorder("=") in (np.int16, np.int32):
        return (samples / -float(np.iinfo(samples.dtype).min)).astype(np.float32)
    if samples.dtype.newbyteorder("=") not in (np.float16, np.float32, np.float64):
        raise ValueError(f"samples are {samples.dtype}; expected float16, float32, float64, int16, int32 or uint8")
    # Also false for NaN.
    fine = np.abs(samples) <= LOUDEST
    if not fine.all():
        first = int(fine.argmin())
        if not np.isfinite(samples[first]):
            raise ValueError(f"sample {first} is NaN or infinite")
        raise ValueError(
            f"sample {first} is {samples[first]:g}; floating-point samples have full scale 1, so divide 16-bit ones "
            "by 32768"
        )
    return samples.astype(np.float32, copy=False)
