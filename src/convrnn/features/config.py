"""The union of all feature configs, typed and serialisable."""

import functools
import operator
from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from convrnn.features.base import AudioFeatures, Features
from convrnn.features.frames import FramesConfig
from convrnn.features.registry import FEATURES

if TYPE_CHECKING:
    AudioFeatureConfig = AudioFeatures
    FeatureConfig = Features
else:
    _of_audio = functools.reduce(operator.or_, dict.fromkeys(entry.load() for entry in FEATURES.values()))
    AudioFeatureConfig = Annotated[_of_audio, Field(discriminator="kind")]
    FeatureConfig = Annotated[_of_audio | FramesConfig, Field(discriminator="kind")]
"""The types of a pydantic field for features of audio, and for any input features; ``kind`` selects the class when it
is parsed."""


def feature_config_of(name: str, sample_rate: int) -> AudioFeatures:
    """The config that a name stands for.

    Args:
        name: One of :data:`~convrnn.features.registry.FEATURES`.
        sample_rate: Hz.

    Raises:
        ValueError: The name is unknown, or the features do not exist at that rate (``pydantic.ValidationError``).

    Example:
        >>> feature_config_of("egemaps-25ms", 16000)
        EgemapsConfig(kind='egemaps', sample_rate=16000, frame_ms=25)
    """
    if name not in FEATURES:
        raise ValueError(f"unknown features {name!r}; allowed: {', '.join(FEATURES)}")
    entry = FEATURES[name]
    return entry.load().model_validate({"sample_rate": sample_rate, **entry.options})
