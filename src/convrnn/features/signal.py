"""A recording in memory, as an alternative to a file."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from convrnn.errors import InputError
from convrnn.features.audio import BLOCK_SECONDS, AudioInfo, check_sample_rate
from convrnn.features.resample import resampled
from convrnn.features.samples import full_scale_one, mean_of_channels


@dataclass(frozen=True, eq=False)
class Signal:
    """A recording in memory.

    Attributes:
        samples: float32 ``[samples]``, mono, full scale 1.
        sample_rate: Hz.
        name: Its name in messages.
    """

    samples: NDArray[np.float32]
    sample_rate: int
    name: str = "the signal"

    def __str__(self) -> str:
        """The name."""
        return self.name

    @classmethod
    def of(cls, signal: NDArray[Any], sampling_rate: float, name: str = "the signal") -> "Signal":
        """A recording as users hold it.

        Args:
            signal: ``[samples]`` or ``[channels, samples]``, whose mean is used, of any dtype that
                :func:`~convrnn.features.samples.full_scale_one` takes.
            sampling_rate: Hz.
            name: Its name in messages.

        Raises:
            InputError: The signal has another shape or dtype, no samples, or values that no recording has; or the rate
                is out of range.

        Example:
            >>> stereo = Signal.of(np.array([[0, 16384], [0, -32768]], dtype=np.int16), 16000)
            >>> stereo.samples.tolist()
            [0.0, -0.25]
        """
        if isinstance(sampling_rate, float) and sampling_rate.is_integer():
            sampling_rate = int(sampling_rate)
        if isinstance(sampling_rate, bool) or not isinstance(sampling_rate, int | np.integer):
            raise InputError(f"{name}: a whole number of Hz is expected as its sampling rate, not {sampling_rate!r}")
        check_sample_rate(int(sampling_rate), name)
        array = np.asarray(signal)
        if array.ndim in (1, 2) and array.size == 0:
            raise InputError(f"{name}: holds no samples")
        if array.ndim not in (1, 2):
            raise InputError(
                f"{name}: samples [samples] or [channels, samples] are expected, not an array of shape "
                f"{list(array.shape)}"
            )
        if array.ndim == 2 and array.shape[0] > array.shape[1]:
            raise InputError(
                f"{name}: has {array.shape[0]} channels of {array.shape[1]} samples; the channels come first, so "
                "transpose it"
            )
        try:
            channels = [full_scale_one(channel) for channel in np.atleast_2d(array)]
        except ValueError as error:
            raise InputError(f"{name}: {error}") from None
        return cls(mean_of_channels(np.stack(channels, axis=1)), int(sampling_rate), name)

    def info(self) -> AudioInfo:
        """Rate, channels and length, as in the header of a file with these samples."""
        return AudioInfo(self.sample_rate, 1, len(self.samples))

    def blocks(self, *, sample_rate: int | None = None) -> Iterator[NDArray[np.float32]]:
        """The samples in blocks, bitwise as those of a file with the same samples.

        Args:
            sample_rate: Hz to resample to; ``None`` keeps the signal's own rate.

        Raises:
            InputError: The rate is out of range.
        """
        rate = self.sample_rate
        new_rate = rate if sample_rate is None else check_sample_rate(sample_rate, "Resampled audio")
        size = round(BLOCK_SECONDS * rate)
        blocks = (self.samples[start : start + size] for start in range(0, len(self.samples), size))
        return resampled(blocks, rate, new_rate)
