"""Gets the features of a file, a part of it, or samples in memory."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from convrnn.features.audio import BLOCK_SECONDS, AudioInfo, audio_blocks, audio_info, read_audio
from convrnn.features.base import AudioFeatures, Features
from convrnn.features.frames import FrameArray
from convrnn.features.samples import full_scale_one
from convrnn.features.signal import Signal


@dataclass(frozen=True)
class Segment:
    """A file, or the part of it between two times.

    Attributes:
        file: Path of the audio file.
        start: Seconds, or ``None`` for the file's beginning.
        end: Seconds, or ``None`` for the file's end.
        headerless_rate: Hz at which the file is read as 16-bit PCM if it has no header; ``None`` if it must have one.

    Example:
        >>> str(Segment("a.wav", 0.5, 2.0)), str(Segment("a.wav"))
        ('a.wav (0.5 s to 2 s)', 'a.wav')
    """

    file: str
    start: float | None = None
    end: float | None = None
    headerless_rate: int | None = None

    def __str__(self) -> str:
        """The file and, if given, the times; for messages."""
        if self.start is None and self.end is None:
            return self.file
        start = "start" if self.start is None else f"{self.start:g} s"
        end = "end" if self.end is None else f"{self.end:g} s"
        return f"{self.file} ({start} to {end})"

    def info(self) -> AudioInfo:
        """The properties in the header of the whole file.

        Raises:
            InputError: As :func:`~convrnn.features.audio.audio_info`.
        """
        return audio_info(self.file, headerless_rate=self.headerless_rate)

    def read(self, *, sample_rate: int | None = None) -> tuple[NDArray[np.float32], int]:
        """The segment's samples, float32 ``[samples]``, and their rate in Hz.

        Args:
            sample_rate: Hz to resample to; ``None`` keeps the file's own rate.

        Raises:
            InputError: As :func:`~convrnn.features.audio.read_audio`.
        """
        return read_audio(
            self.file,
            sample_rate=sample_rate,
            start=self.start,
            end=self.end,
            headerless_rate=self.headerless_rate,
        )

    def blocks(self, *, sample_rate: int | None = None) -> Iterator[NDArray[np.float32]]:
        """The samples of :meth:`read`, a few seconds at a time, so that a long file takes little memory.

        Args:
            sample_rate: Hz to resample to; ``None`` keeps the file's own rate.

        Raises:
            InputError: As :func:`~convrnn.features.audio.audio_blocks`.
        """
        return audio_blocks(
            self.file,
            sample_rate=sample_rate,
            start=self.start,
            end=self.end,
            headerless_rate=self.headerless_rate,
        )


def features_of(samples: NDArray[np.float32], config: AudioFeatures) -> NDArray[np.float32]:
    """Computes the features of samples in memory.

    Args:
        samples: ``[samples]``, mono, at ``config.sample_rate``. Floating-point samples have full scale 1; int16, int32
            and uint8 have that of their type (:func:`~convrnn.features.samples.full_scale_one`).
        config: The features to compute.

    Returns:
        float32 ``[frames, features]``, at least one frame.

    Raises:
        InputError: A library that computes the features cannot be used.
        ValueError: There is less than one frame of samples; they are not a vector, have another dtype, are not finite
            or far exceed full scale; or a feature is not finite.

    Example:
        >>> from convrnn.features.logmel import LogMelConfig
        >>> features_of(np.zeros(8000, np.float32), LogMelConfig(sample_rate=8000)).shape
        (98, 26)
    """
    # On the whole array, so that an error gives a bad sample's position in it.
    samples = full_scale_one(samples)
    size = round(BLOCK_SECONDS * config.sample_rate)
    return config.compute(samples[start : start + size] for start in range(0, len(samples), size))


def extract_features(segment: Segment | Signal | FrameArray, config: Features) -> NDArray[np.float32]:
    """The features of a segment, or of a recording or an array of frames in memory.

    Args:
        segment: The part of a file, or what is in memory.
        config: The features to get from it.

    Returns:
        float32 ``[frames, features]``, at least one frame.

    Raises:
        InputError: The file cannot be read (see :func:`~convrnn.features.audio.read_audio` and
            :func:`~convrnn.features.frames.read_frames`) or is shorter than one frame, and the message names it; or a
            library that computes the features cannot be used.
    """
    return config.extract(segment)
