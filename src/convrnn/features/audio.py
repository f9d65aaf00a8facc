"""Audio files in any format that libsndfile reads, as mono float32 samples."""

import math
import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
from numpy.typing import NDArray

from convrnn.errors import InputError
from convrnn.features.base import SAMPLE_RATES as SAMPLE_RATES
from convrnn.features.resample import resampled
from convrnn.features.samples import LOUDEST, mean_of_channels
from convrnn.files import check_file

END_TOLERANCE = 0.01
"""Seconds by which a given end may exceed the file's length, because tables round times to hundredths."""

SIGNATURES = frozenset({b"RIFF", b"RIFX", b"RF64", b"FORM", b".snd", b"fLaC", b"OggS", b"NIST"})
"""First four bytes of files with a header. File names are unreliable: some files with a header are named ``.raw``, and
some raw PCM is named ``.wav``."""

MOST_SAMPLES_PER_BYTE = 8192
"""Maximum number of samples per channel and byte; the densest encoding, silence in FLAC, has 65,535 in 12 bytes."""

MOST_SAMPLES = 2**30
"""Maximum number of samples that :func:`read_audio` returns, 4 GiB: 18 hours at 16 kHz."""

LONGEST_SECONDS = 24 * 3600.0
"""Maximum length in seconds of the audio read from a file; the file itself may be longer."""

BLOCK_SECONDS = 10.0
"""Length in seconds of the blocks in which a recording is processed."""

VALUES_PER_BLOCK = 2**22
"""Maximum number of values (samples times channels) decoded at once."""

_SAMPLE_DUMP = b"\xf0\x7e"
"""First bytes of a MIDI sample dump; libsndfile writes to stdout when it opens one."""

_UNKNOWN_LENGTH = 2**63 - 1
"""The length that libsndfile reports for a FLAC file that was written to a pipe."""


@dataclass(frozen=True, slots=True)
class AudioInfo:
    """The properties of an audio file in its header.

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
    """Returns the path of a regular file that is not empty.

    Raises:
        InputError: The file does not exist, is a folder, a pipe or a device, or is empty.

    Example:
        >>> check_audio_file("nowhere/a.wav")
        Traceback (most recent call last):
        ...
        convrnn.errors.InputError: nowhere/a.wav: audio file does not exist
    """
    return check_file(path, "audio file")


def audio_info(path: Path | str, *, headerless_rate: int | None = None) -> AudioInfo:
    """Reads a file's header.

    Args:
        path: Any file that libsndfile reads.
        headerless_rate: As for :func:`read_audio`.

    Raises:
        InputError: The file is missing, a folder, empty, or not audio that libsndfile reads; its sample rate is not
            within :data:`SAMPLE_RATES`; or its header claims more samples than a file of its size can hold.
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
        start: Start in seconds; ``None`` is the file's beginning. Only the requested part is read.
        end: End in seconds; ``None`` is the file's end, which may be exceeded by :data:`END_TOLERANCE`.
        headerless_rate: Sample rate in Hz of files without a header (see :data:`SIGNATURES`), which are read as 16-bit
            little-endian PCM with one channel. ``None``: every file must have a header.

    Returns:
        Samples, float32 ``[samples]``, from -1 to 1 unless a float file exceeds this range, and their rate in Hz.

    Raises:
        InputError: The file is missing, empty, unreadable or truncated, has no header or an incomplete sample;
            ``start`` or ``end`` lies outside it; there is no sample between them, or more than :data:`MOST_SAMPLES`;
            samples are not finite or exceed :data:`~convrnn.features.samples.LOUDEST`; or a sample rate is not within
            :data:`SAMPLE_RATES`.
    """
    with _opened(path, headerless_rate) as sound:
        first, last = _sample_range(path, sound, start, end)
        rate = sample_rate or sound.samplerate
        if (last - first) * rate / sound.samplerate > MOST_SAMPLES:
            raise InputError(
                f"{path}: {(last - first) / sound.samplerate:.0f} s at {rate} Hz are more than the {MOST_SAMPLES} "
                "samples that are read at once; give a start and an end"
            )
        return np.concatenate(list(_blocks(path, sound, first, last, sample_rate, BLOCK_SECONDS))), rate


def audio_blocks(
    path: Path | str,
    *,
    sample_rate: int | None = None,
    start: float | None = None,
    end: float | None = None,
    headerless_rate: int | None = None,
    block_seconds: float = BLOCK_SECONDS,
) -> Iterator[NDArray[np.float32]]:
    """Reads a file or a part of it block by block, mixed down to mono; only one block is held in memory.

    Args:
        path: As for :func:`read_audio`.
        sample_rate: Hz to resample to; ``None`` keeps the file's own rate.
        start: Start in seconds; ``None`` is the file's beginning.
        end: End in seconds; ``None`` is the file's end.
        headerless_rate: As for :func:`read_audio`.
        block_seconds: Approximate length of a block in seconds; blocks of many channels are shorter, and resampling
            moves samples from one block to the next.

    Yields:
        Non-empty blocks, float32 ``[samples]``. Concatenated, they are bitwise equal to the result of
        :func:`read_audio`.

    Raises:
        InputError: As :func:`read_audio`, on reaching the block with the error; or the requested part is longer than
            :data:`LONGEST_SECONDS`.
    """
    with _opened(path, headerless_rate) as sound:
        first, last = _sample_range(path, sound, start, end)
        yield from _blocks(path, sound, first, last, sample_rate, block_seconds)


def check_sample_rate(rate: int, told: str) -> int:
    """Returns the rate if it is within :data:`SAMPLE_RATES`.

    Args:
        rate: Sample rate in Hz.
        told: Name of what has this rate, for the message.

    Raises:
        InputError: The rate is out of range.

    Example:
        >>> check_sample_rate(1, "a.wav: audio")
        Traceback (most recent call last):
        ...
        convrnn.errors.InputError: a.wav: audio has a sample rate of 1 Hz; rates of 1000 to 768000 Hz can be used
    """
    lowest, highest = SAMPLE_RATES
    if not lowest <= rate <= highest:
        raise InputError(f"{told} has a sample rate of {rate} Hz; rates of {lowest} to {highest} Hz can be used")
    return rate


class _Decoder(soundfile.SoundFile):  # type: ignore[misc, unused-ignore]
    """A file that is read sequentially.

    soundfile itself seeks after every read, which restarts the decoder of MP3 and Opus and changes the samples.
    """

    def begin(self, frame: int) -> None:
        if frame or super().seekable():
            self.seek(frame)

    def seekable(self) -> bool:
        return False


def _blocks(
    path: Path | str, sound: _Decoder, first: int, last: int, sample_rate: int | None, block_seconds: float
) -> Iterator[NDArray[np.float32]]:
    """The samples from ``first`` up to ``last``, mono and resampled."""
    rate = sound.samplerate
    new_rate = rate if sample_rate is None else check_sample_rate(sample_rate, "Resampled audio")
    size = max(1, min(round(block_seconds * rate), VALUES_PER_BLOCK // sound.channels))
    heard = False
    for block in resampled(_mono_blocks(path, sound, first, last, size), rate, new_rate):
        heard = True
        yield block
    if not heard:
        raise InputError(f"{path}: {last - first} samples at {rate} Hz leave none at {new_rate} Hz")


def _mono_blocks(path: Path | str, sound: _Decoder, first: int, last: int, size: int) -> Iterator[NDArray[np.float32]]:
    sound.begin(first)
    for position in range(first, last, size):
        count = min(size, last - position)
        channels = sound.read(count, dtype="float32", always_2d=True)
        _check_samples(path, channels, position, sound.samplerate)
        if len(channels) < count:
            raise InputError(
                f"{path}: audio breaks off; its header announces {last} samples, "
                f"only {position + len(channels)} could be read"
            )
        yield np.ascontiguousarray(mean_of_channels(channels), dtype=np.float32)


def _check_samples(path: Path | str, channels: NDArray[np.float32], position: int, rate: int) -> None:
    """Rejects samples that no recording can hold; ``position`` is the position in the file of the first one."""
    good = (np.abs(channels) <= LOUDEST).all(axis=1)
    if good.all():
        return
    row = int(np.argmin(good))
    where = f"{path}: sample {position + row} ({(position + row) / rate:.3f} s)"
    if not np.isfinite(channels[row]).all():
        raise InputError(f"{where} is NaN or infinite")
    raise InputError(
        f"{where} is {np.abs(channels[row]).max():.3g}; full scale is 1, samples of up to {LOUDEST:g} are read"
    )


@contextmanager
def _opened(path: Path | str, headerless_rate: int | None) -> Iterator[_Decoder]:
    """Opens a file; errors of libsndfile, on opening or within the ``with`` block, become an InputError."""
    file = check_audio_file(path)
    # As bytes: soundfile would encode the name, and not every file name is UTF-8.
    source: bytes | int = os.fsencode(file)
    layout: dict[str, Any] = {}
    try:
        with ExitStack() as stack:
            stream = stack.enter_context(file.open("rb", buffering=0))
            signature = stream.read(4)
            if headerless_rate is not None or file.suffix.lower() == ".raw":
                if signature not in SIGNATURES:
                    layout = _headerless_layout(path, file.stat().st_size, headerless_rate)
                stream.seek(0)
                # Opened by descriptor, because soundfile ignores the header of a file whose name ends in .raw.
                source = stream.fileno()
            if not layout and signature.startswith(_SAMPLE_DUMP):
                raise InputError(f"{path}: is a MIDI sample dump, which is not read; convert it to WAV")
            sound = stack.enter_context(_Decoder(source, closefd=False, **layout))
            check_sample_rate(sound.samplerate, f"{path}: audio")
            _check_length(path, file.stat().st_size, sound.frames)
            yield sound
    except soundfile.LibsndfileError as error:
        # libsndfile has no message for damaged or truncated FLAC data.
        reason = error.error_string.rstrip(".") or "its data are damaged or incomplete"
        raise InputError(f"{path}: cannot be read as audio ({reason})") from error
    except OSError as error:
        raise InputError(f"{path}: audio file cannot be read ({error.strerror or error})") from error


def _check_length(path: Path | str, size: int, frames: int) -> None:
    """Rejects a number of samples that a file of ``size`` bytes cannot hold."""
    if frames == _UNKNOWN_LENGTH:
        raise InputError(f"{path}: its header does not say how long the audio is, as in a stream; convert it to WAV")
    if frames > size * MOST_SAMPLES_PER_BYTE:
        raise InputError(f"{path}: its header announces {frames} samples, more than a file of {size} bytes can hold")


def _headerless_layout(path: Path | str, size: int, rate: int | None) -> dict[str, Any]:
    """The arguments that libsndfile needs for a file without a header."""
    if rate is None:
        raise InputError(f"{path}: headerless audio has no sample rate of its own; convert it to WAV")
    if size % 2:
        raise InputError(
            f"{path}: headerless 16-bit audio has two bytes per sample, but the file has {size} bytes, an odd number; "
            "copy it again"
        )
    return {"format": "RAW", "subtype": "PCM_16", "endian": "LITTLE", "channels": 1, "samplerate": rate}


def _sample_range(path: Path | str, sound: _Decoder, start: float | None, end: float | None) -> tuple[int, int]:
    """The range of samples for times in seconds, its end exclusive."""
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
    if (last - first) / rate > LONGEST_SECONDS:
        raise InputError(
            f"{path}: {(last - first) / 3600 / rate:.1f} h of audio are more than the {LONGEST_SECONDS / 3600:.0f} h "
            "that are read in one piece; give a start and an end"
        )
    return first, last
