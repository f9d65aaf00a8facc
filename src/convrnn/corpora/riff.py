"""What the header of a WAV file promises, beyond what libsndfile tells: it cuts a wrong length down silently."""

import struct
from pathlib import Path

UNKNOWN_SIZE = 0x7FFFF000
"""From this size of a data chunk on it means "until the end": what writers put that could not go back to the header."""


def missing_bytes(path: Path | str) -> int:
    """How many bytes of samples a WAV file lacks of those that its header promises, as a copy does that broke off.

    Args:
        path: A file that exists.

    Returns:
        0 for a whole file, for one whose length was not known when its header was written (size 0 or one of
        :data:`UNKNOWN_SIZE` at least), and for any file that is no RIFF/WAVE.

    Raises:
        OSError: The file cannot be read.
    """
    announced, there = _data_chunk(Path(path)) or (0, 0)
    return 0 if announced >= UNKNOWN_SIZE else max(0, announced - there)


def data_bytes(path: Path | str) -> int | None:
    """How many bytes of samples a WAV file announces; None for any file that is no RIFF/WAVE.

    Args:
        path: A file that exists.

    Raises:
        OSError: The file cannot be read.
    """
    chunk = _data_chunk(Path(path))
    return None if chunk is None else chunk[0]


def _data_chunk(path: Path) -> tuple[int, int] | None:
    """The size of the data chunk as its header gives it, and the bytes that follow; None where there is none."""
    with path.open("rb") as file:
        head = file.read(12)
        if head[:4] != b"RIFF" or head[8:] != b"WAVE":
            return None
        while len(head := file.read(8)) == 8:
            name, size = struct.unpack("<4sI", head)
            if name == b"data":
                return size, path.stat().st_size - file.tell()
            # Chunks begin at even places.
            file.seek(size + size % 2, 1)
    return None
