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
    path = Path(path)
    with path.open("rb") as file:
        head = file.read(12)
        if head[:4] != b"RIFF" or head[8:] != b"WAVE":
            return 0
        while len(head := file.read(8)) == 8:
            name, size = struct.unpack("<4sI", head)
            if name == b"data":
                return 0 if size >= UNKNOWN_SIZE else max(0, size - (path.stat().st_size - file.tell()))
            # Chunks begin at even places.
            file.seek(size + size % 2, 1)
    return 0
