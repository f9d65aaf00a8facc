"""The base classes of all input features."""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field
from typing_extensions import override

from convrnn.errors import InputError
from convrnn.features.registry import FEATURES

if TYPE_CHECKING:
    from convrnn.features.extract import Segment
    from convrnn.features.frames import FrameArray
    from convrnn.features.signal import Signal
    from convrnn.features.torch_module import FeatureModule

SAMPLE_RATES = (1000, 768_000)
"""Lowest and highest sample rate in Hz, of files and after resampling. Audio converters reach 768 kHz at most."""

MOST_FEATURES = 2**16
"""Maximum number of features per frame."""


class Features(BaseModel, ABC):
    """Input features: a typed, serialisable config that gets them from a file.

    A subclass adds ``kind``, a ``Literal`` that names it in a serialised config, and fields for its options. Almost all
    are :class:`AudioFeatures`.

    Attributes:
        kind: Distinguishes the kinds of features in a serialised config.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    kind: str

    licence: ClassVar[str] = ""
    """A sentence about licence terms that users must see; empty if there is none."""

    is_slow: ClassVar[bool] = False
    """Whether computing the features is slow enough to be worth a process per core."""

    is_waveform: ClassVar[bool] = False
    """Whether frames are samples, so that models have one more front-end layer on them (section V)."""

    is_stored: ClassVar[bool] = True
    """Whether :class:`~convrnn.features.store.FeatureStore` keeps the features on disk."""

    @property
    @abstractmethod
    def name(self) -> str:
        """A short name for tables and messages."""

    @property
    @abstractmethod
    def description(self) -> str:
        """A description of the features for captions."""

    @property
    @abstractmethod
    def num_features(self) -> int:
        """Number of values per frame, at most :data:`MOST_FEATURES`."""

    @property
    def recipe(self) -> Mapping[str, object]:
        """What another program needs to compute the features, for :func:`json.dumps`; by default only the config.

        It is stored in exported models.
        """
        return {}

    def to_torch(self) -> "FeatureModule | None":
        """A module that computes the features in an exported model; None if another program has to compute them."""
        return None

    def load(self) -> None:
        """Imports the libraries that compute the features, so that a missing one is reported before any work is done.

        Raises:
            InputError: A library is not installed or cannot be used here.
        """

    def versions(self) -> dict[str, str]:
        """Installed versions of the packages that the features depend on; part of the key of stored features.

        Raises:
            InputError: A package is not installed.
        """
        return {}

    @abstractmethod
    def extract(self, segment: "Segment | Signal | FrameArray") -> NDArray[np.float32]:
        """Gets the features of a file, of a part of it, or of a recording or an array in memory.

        Returns:
            float32 ``[frames, features]``, at least one frame.

        Raises:
            InputError: It cannot be used, and the message names it; or as :meth:`load`.
        """


class AudioFeatures(Features):
    """Features that are computed from audio.

    A subclass also has ``frame_ms``, the minimum length of audio for one frame, and ``shift_ms``, the distance between
    the starts of neighbouring frames, both in milliseconds and each as a field or a property. Heavy libraries are
    imported in :meth:`compute`, since models read configs without computing anything.

    Attributes:
        sample_rate: Hz, within :data:`SAMPLE_RATES`; audio with another rate is resampled to it.
    """

    sample_rate: int = Field(ge=SAMPLE_RATES[0], le=SAMPLE_RATES[1])

    if TYPE_CHECKING:
        # Fields of one subclass are properties of another, which pydantic cannot inherit.

        @property
        def frame_ms(self) -> float:
            """Minimum length of audio for one frame in milliseconds."""

        @property
        def shift_ms(self) -> float:
            """Distance between the starts of neighbouring frames in milliseconds."""

    @property
    @override
    def name(self) -> str:
        """The name in :data:`~convrnn.features.registry.FEATURES`."""
        return next(
            name
            for name, entry in FEATURES.items()
            if entry.class_name == type(self).__name__
            and all(getattr(self, option) == value for option, value in entry.options.items())
        )

    @property
    def highest_hz(self) -> float:
        """The highest frequency that the features depend on, in Hz; by default half the sample rate."""
        return self.sample_rate / 2

    @override
    def extract(self, segment: "Segment | Signal | FrameArray") -> NDArray[np.float32]:
        """Reads the audio at :attr:`sample_rate` and computes its features at the same time.

        Memory grows only with the number of frames.
        """
        if not hasattr(segment, "blocks"):
            raise InputError(f"{segment}: is an array of frames, but the features are {self.description}")
        try:
            return self.compute(segment.blocks(sample_rate=self.sample_rate))
        except InputError:
            raise
        except ValueError as error:
            raise InputError(f"{segment}: {error}") from error

    @abstractmethod
    def compute(self, blocks: Iterable[NDArray[np.float32]]) -> NDArray[np.float32]:
        """Computes the features of samples given in blocks; the result does not depend on the size of the blocks.

        Args:
            blocks: Each float32 ``[samples]``, mono, full scale 1, at :attr:`sample_rate`, as from
                :func:`~convrnn.features.audio.audio_blocks`.

        Returns:
            float32 ``[frames, features]``, at least one frame.

        Raises:
            InputError: As :meth:`~Features.load`, or as raised by ``blocks``.
            ValueError: There are too few samples for one frame, a block has another shape or dtype, or a feature is not
                finite.
        """
