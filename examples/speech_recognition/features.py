"""Input features of recordings, and what training does to them: changes of speed, and masks over time and bands."""

import numpy as np
import soxr
from numpy.typing import NDArray

from convrnn.errors import InputError
from convrnn.features.base import AudioFeatures
from convrnn.features.config import feature_config_of
from convrnn.features.extract import Segment, features_of
from convrnn.features.normalise import Normaliser

Array = NDArray[np.float32]

SPEEDS = (0.9, 1.0, 1.1)
"""Each utterance is heard at these speeds in training, with the pitch and the formants of a longer or shorter voice."""

NUM_MASKS = 2
"""Masks over frames, and as many over features, that each training utterance gets in each epoch (SpecAugment)."""

LONGEST_MASK = 0.1
"""The most frames of a mask as a share of the utterance."""

WIDEST_MASK = 0.2
"""The most features of a mask as a share of all."""


def feature_config(name: str, sample_rate: int) -> AudioFeatures:
    """The features that a name stands for; of log mel filter-banks 40, since words need more than the paper's 26.

    Raises:
        InputError: The name is unknown, or the features do not exist at that rate.
    """
    try:
        config = feature_config_of(name, sample_rate)
        if name == "logmel":
            config = type(config).model_validate(config.model_dump() | {"num_bands": 40})
    except ValueError as error:
        raise InputError(f"features {name!r} at {sample_rate} Hz: {error}") from None
    return config


def load_features(segment: Segment, config: AudioFeatures, *, speed: float = 1.0) -> Array:
    """The features of a recording, each standardised over its frames, so that one recording is enough.

    Args:
        segment: The recording.
        config: The features.
        speed: How much faster it is played; 0.9 makes it longer and lower.

    Returns:
        float32 ``[frames, features]``.

    Raises:
        InputError: The audio cannot be read, or is shorter than one frame.
    """
    samples, rate = segment.read(sample_rate=config.sample_rate)
    if speed != 1.0:
        samples = soxr.resample(samples, rate * speed, rate)
    try:
        (features,) = Normaliser("utterance").transform([features_of(samples, config)])
    except InputError:
        raise
    except ValueError as error:
        raise InputError(f"{segment}: {error}") from None
    return features


def mask(features: Array, rng: np.random.Generator) -> Array:
    """A copy with random stretches of time and random bands set to zero, the mean (SpecAugment).

    Args:
        features: Normalised, ``[frames, features]``.
        rng: Where the masks come from.

    Example:
        >>> masked = mask(np.ones((100, 40), np.float32), np.random.default_rng(0))
        >>> bool(0.5 < masked.mean() < 1)
        True
    """
    features = features.copy()
    for axis, share in ((0, LONGEST_MASK), (1, WIDEST_MASK)):
        size = features.shape[axis]
        for _ in range(NUM_MASKS):
            width = rng.integers(int(share * size) + 1)
            start = rng.integers(size - width + 1)
            features.swapaxes(0, axis)[start : start + width] = 0
    return features
