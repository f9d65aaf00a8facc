"""Reads audio files of any kind that libsndfile knows, as mono float32 samples."""

import math
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import soxr
from numpy.typing import NDArray

from convrnn.errors import InputError

END_TOLERANCE = 0.01
"""Seconds by which a given end may lie behind the file's: tables round times to hundredths."""

SIGNATURES = frozenset({b"RIFF", b"RIFX", b"RF64", b"FORM", b".snd", b"fLaC", b"OggS", b"NIST"})
"""First four bytes of files with a header. The name does not tell: copies keep ``.raw``, and PCM is called ``.wav``."""


@dataclass(frozen=True, slots=True)
class AudioInfo:
    """What the header of an audio file says.

    Attributes:
        sample_rate: Hz.
        channels: Number of channels.
        frames: Samples per channel.

    Example:
        >>> AudioInfo(sample_rate=16000, channels=1, frames=8000).duration
        0.5
    """

    sample_rate: int
    channels: int
    frames: int

    @property
    def duration(self) -> float:
        """Length in seconds."""
        return self.frames / self.sample_rate


def check_audio_file(path: Path | str) -> Path:
    """The path, if it is a file with at least one byte.

    Raises:
        InputError: There is no such file, it is a folder, or it is empty.

    Example:
        >>> check_audio_file("nowhere/a.wav")
        Traceback (most recent call last):
        ...
        convrnn.errors.InputError: nowhere/a.wav: audio file does not exist
    """
    file = Path(path)
    try:
        if file.is_dir():
            raise InputError(f"{path}: is a folder, expected an audio file")
        if not file.exists():
            raise InputError(f"{path}: audio file does not exist")
        if file.stat().st_size == 0:
            raise InputError(f"{path}: audio file is empty (0 bytes)")
    except OSError as error:
        raise InputError(f"{path}: audio file cannot be read ({error.strerror or error})") from error
    return file


def audio_info(path: Path | str, *, headerless_rate: int | None = None) -> AudioInfo:
    """Reads a file's header.

    Args:
        path: Any file that libsndfile reads.
        headerless_rate: As for :func:`read_audio`.

    Raises:
        InputError: The file is missing, a folder, empty, or no audio that libsndfile reads.
    """
    with _opened(path, headerless_rate) as sound:
        return AudioInfo(sound.samplerate, sound.channels, sound.frames)


def read_audio(
    path: Path | str,
    *,
    sample_rate: int | None = None,
    start: float | None = None,
    end: float | None = None,
    headerless_rate: int | None = None,
) -> tuple[NDArray[np.float32], int]:
    """Reads a file or a part of it, mixed down to mono.

    Args:
        path: Any file that libsndfile reads, with any number of channels; their mean is taken.
        sample_rate: Hz to resample to (soxr, high quality); ``None`` keeps the file's own rate.
        start: Seconds where to begin; ``None`` is the file's beginning. Only the part asked for is read.
        end: Seconds where to stop; ``None`` is the file's end. May exceed it by :data:`END_TOLERANCE`.
        headerless_rate: Hz of files whose first bytes are no header (see :data:`SIGNATURES`): they are then taken for
            16-bit little-endian PCM with one channel. ``None``: every file must have a header.

    Returns:
        Samples, float32 ``[samples]``, within -1 and 1 unless a float file itself goes beyond, and their rate in Hz.

    Raises:
        InputError: The file is missing, empty, unreadable or breaks off, has no header or half a sample, ``start`` or
            ``end`` lie outside it, no sample is left between them, or samples are not finite.
    """
    with _opened(path, headerless_rate) as sound:
        first, last = _sample_range(path, sound, start, end)
        sound.seek(first)
        channels = sound.read(last - first, dtype="float32", always_2d=True)
        rate = int(sound.samplerate)
    if len(channels) < last - first:
        raise InputError(
            f"{path}: audio breaks off; its header announces {last} samples, {first + len(channels)} could be read"
        )
    samples = channels[:, 0] if channels.shape[1] == 1 else channels.mean(axis=1, dtype=np.float64).astype(np.float32)
    if not np.isfinite(channels).all():
        position = first + int(np.argmin(np.isfinite(channels).all(axis=1)))
        raise InputError(f"{path}: sample {position} ({position / rate:.3f} s) is NaN or infinite")
    if sample_rate is not None and sample_rate != rate:
        samples = soxr.resample(samples, rate, sample_rate, quality="HQ")
        if len(samples) == 0:
            raise InputError(f"{path}: {last - first} samples at {rate} Hz leave none at {sample_rate} Hz")
        rate = sample_rate
    return np.ascontiguousarray(samples, dtype=np.float32), rate


@contextmanager
def _opened(path: Path | str, headerless_rate: int | None) -> Iterator[soundfile.SoundFile]:
    """An open file; whatever libsndfile objects to, at opening or within the block, becomes an InputError."""
    file = check_audio_file(path)
    source: Path | int = file
    layout: dict[str, Any] = {}
    try:
        with ExitStack() as stack:
            if headerless_rate is not None or file.suffix.lower() == ".raw":
                stream = stack.enter_context(file.open("rb", buffering=0))
                if stream.read(4) not in SIGNATURES:
                    layout = _headerless_layout(path, file.stat().st_size, headerless_rate)
                stream.seek(0)
                # Without the name, because one in .raw hides a header from soundfile.
                source = stream.fileno()
            yield stack.enter_context(soundfile.SoundFile(source, closefd=False, **layout))
    except soundfile.LibsndfileError as error:
        raise InputError(f"{path}: cannot be read as audio ({error.error_string.rstrip('.')})") from error
    except OSError as error:
        raise InputError(f"{path}: audio file cannot be read ({error.strerror or error})") from error


def _headerless_layout(path: Path | str, size: int, rate: int | None) -> dict[str, Any]:
    """What libsndfile has to be told of a file without a header."""
    if rate is None:
        raise InputError(f"{path}: headerless audio has no sample rate of its own; convert it to WAV")
    if size % 2:
        raise InputError(
            f"{path}: headerless 16-bit audio has two bytes per sample, but the file has {size} bytes, an odd number; "
            "copy it again"
        )
    return {"format": "RAW", "subtype": "PCM_16", "endian": "LITTLE", "channels": 1, "samplerate": rate}


def _sample_range(
    path: Path | str, sound: soundfile.SoundFile, start: float | None, end: float | None
) -> tuple[int, int]:
    """First sample and the one behind the last, for times in seconds."""
    rate, frames = sound.samplerate, sound.frames
    duration = frames / rate
    if frames == 0:
        raise InputError(f"{path}: audio file holds no samples")
    begin = 0.0 if start is None else start
    stop = duration if end is None else end
    if not 0 <= begin < duration:
        raise InputError(f"{path}: start {begin:g} s lies outside the file, which is {duration:.3f} s long")
    if not (math.isfinite(stop) and 0 < stop <= duration + END_TOLERANCE):
        raise InputError(f"{path}: end {stop:g} s lies outside the file, which is {duration:.3f} s long")
    if begin >= stop:
        raise InputError(f"{path}: start {begin:g} s is not before end {stop:g} s")
    first, last = round(begin * rate), min(round(stop * rate), frames)
    if first >= last:
        raise InputError(f"{path}: no sample lies between start {begin:g} s and end {stop:g} s")
    return first, last
