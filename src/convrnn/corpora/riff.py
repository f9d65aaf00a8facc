"""The length of audio files according to their headers; libsndfile silently shortens one that is too large.

WAV and related formats hold chunks: a name, a length, that many bytes. Ogg holds pages with their lengths.
"""

import re
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

UNKNOWN_SIZE = 0x7FFFF000
"""A data chunk of this size or more extends to the end of the file: programs that write to a pipe announce it."""

_MOST_CHUNKS = 10_000
"""Maximum number of chunks searched for the samples; a file of empty chunks has one every eight bytes."""

_LONGEST_PAGE = 27 + 255 + 255 * 255
"""Largest size of an Ogg page in bytes."""

_WAVE64 = b"riff.\x91\xcf\x11\xa5\xd6\x28\xdb\x04\xc1\x00\x00"
_WAVE64_DATA = b"data\xf3\xac\xd3\x11\x8c\xd1\x00\xc0\x4f\x8e\xdb\x8a"


@dataclass(frozen=True)
class _Chunks:
    """How a file format stores chunks.

    Attributes:
        first: Where the first chunk begins.
        head: Layout of name and length.
        samples: Name of the chunk with the samples.
        align: Chunks begin at multiples of this many bytes.
        own: Bytes of the head that the length includes.
        unknown: A length of this or more is unknown.
    """

    first: int
    head: str
    samples: bytes
    align: int = 2
    own: int = 0
    unknown: int = UNKNOWN_SIZE


_KINDS = {
    b"RIFF": _Chunks(12, "<4sI", b"data"),
    b"RIFX": _Chunks(12, ">4sI", b"data"),
    b"FORM": _Chunks(12, ">4sI", b"SSND"),
    b"RF64": _Chunks(12, "<4sI", b"data"),
    b"riff": _Chunks(40, "<16sQ", _WAVE64_DATA, align=8, own=24, unknown=2**63 - 1),
    b"caff": _Chunks(8, ">4sQ", b"data", align=1, unknown=2**63 - 1),
}
_SECOND_NAMES = {b"RIFF": (b"WAVE",), b"RIFX": (b"WAVE",), b"RF64": (b"WAVE",), b"FORM": (b"AIFF", b"AIFC")}


def missing_bytes(path: Path | str) -> int:
    """The number of bytes of samples that a file's header announces and that are missing, as in an interrupted copy.

    Args:
        path: A file that exists.

    Returns:
        0 for a whole file, for one whose length was not known when its header was written (size 0 or one of
        :data:`UNKNOWN_SIZE` at least), and for any file that is not WAV (RIFF, RIFX, RF64, Wave64), AIFF, AU, CAF,
        NIST SPHERE or Ogg. In Ogg, only the last page is checked.

    Raises:
        OSError: The file cannot be read.
    """
    announced, there = _samples(Path(path)) or (0, 0)
    return max(0, announced - there)


def data_bytes(path: Path | str) -> int | None:
    """Bytes of samples that a header announces; None for formats that :func:`missing_bytes` does not know.

    Args:
        path: A file that exists.

    Raises:
        OSError: The file cannot be read.
    """
    samples = _samples(Path(path))
    return None if samples is None else samples[0]


def _samples(path: Path) -> tuple[int, int] | None:
    """Bytes of samples according to the header, 0 if it does not say, and the bytes that follow.

    None if there is no such header.
    """
    with path.open("rb") as file:
        size = path.stat().st_size
        head = file.read(1024)
        if head[:4] == b".snd" and len(head) >= 12:
            begin, announced = struct.unpack(">II", head[4:12])
            return (0 if announced == 0xFFFFFFFF else announced), max(0, size - begin)
        if head[:8] == b"NIST_1A\n":
            return _nist(head, size)
        if head[:4] == b"OggS":
            return _last_page(file, size)
        kind = _KINDS.get(head[:4])
        if kind is None or head[8:12] not in _SECOND_NAMES.get(head[:4], (head[8:12],)):
            return None
        if head[:4] == b"riff" and head[:16] != _WAVE64:
            return None
        return _chunk(file, kind, size)


def _chunk(file: BinaryIO, kind: _Chunks, size: int) -> tuple[int, int] | None:
    """Length of the chunk with the samples, and the number of bytes after its head."""
    head = struct.Struct(kind.head)
    long: int | None = None
    place = kind.first
    for _ in range(_MOST_CHUNKS):
        file.seek(place)
        content = file.read(head.size)
        if len(content) < head.size:
            return None
        name, length = head.unpack(content)
        length = max(0, length - kind.own)
        if name == b"ds64" and len(sizes := file.read(16)) == 16:
            # RF64 keeps lengths of more than 32 bits here.
            long = struct.unpack("<8xQ", sizes)[0]
        if name == kind.samples:
            if long is not None and length == 0xFFFFFFFF:
                length = long
            elif length >= kind.unknown:
                length = 0
            return length, size - place - head.size
        place += head.size + length
        place += -place % kind.align
        if place >= size:
            return None
    return None


def _last_page(file: BinaryIO, size: int) -> tuple[int, int] | None:
    """Bytes of an Ogg file up to the end of its last page, and those that exist."""
    begin = file.seek(max(0, size - _LONGEST_PAGE))
    tail = file.read()
    place = tail.rfind(b"OggS\0")
    segments = tail[place + 26] if place >= 0 and len(tail) > place + 26 else None
    if segments is None:
        return None
    page = 27 + segments + sum(tail[place + 27 : place + 27 + segments])
    return begin + place + page, size


def _nist(head: bytes, size: int) -> tuple[int, int] | None:
    """Bytes of samples that a NIST header counts, and those that follow it."""
    fields = dict(re.findall(rb"^(\w+) -i (\d{1,18})$", head, re.MULTILINE))
    begin = head[8:16].strip()
    counts = [fields.get(name) for name in (b"sample_count", b"sample_n_bytes", b"channel_count")]
    if not begin.isdigit() or None in counts or b"shorten" in head:
        return None
    samples, each, channels = (int(count or 0) for count in counts)
    return samples * each * channels, max(0, size - int(begin))
