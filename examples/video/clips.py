"""Grey frames of video clips: decoding, and a file on disk that holds those of a whole corpus."""

import hashlib
import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from convrnn.errors import InputError, one_sentence
from convrnn.files import make_folder, remove, remove_leftovers, temporary_path, write_atomically, writing
from convrnn.json_files import read_json

FRAME_RATE = 25
"""Frames per second of every clip."""

Frames = NDArray[np.uint8]
"""Brightness of the pixels, 0 to 255, ``[frames, height, width]``."""


def frame_at(seconds: float) -> int:
    """The frame that is seen at a time.

    Example:
        >>> frame_at(1.16), frame_at(1.1999)
        (29, 29)
    """
    # Rounded first: 25 · 1.16 is a little less than 29 in binary.
    return math.floor(round(FRAME_RATE * seconds, 6))


def read_clip(path: Path | str) -> Frames:
    """Decodes a video file to grey frames.

    Args:
        path: Any format that FFmpeg reads.

    Raises:
        InputError: PyAV is not installed, the file is missing or damaged, it has no video or no frame, or its frame
            rate is not :data:`FRAME_RATE`.

    Example:
        >>> read_clip("nowhere.mp4")
        Traceback (most recent call last):
        ...
        convrnn.errors.InputError: nowhere.mp4: file does not exist
    """
    try:
        import av
    except ImportError:
        raise InputError("reading video needs PyAV; pip install -r examples/video/requirements.txt") from None
    if not Path(path).is_file():
        raise InputError(f"{path}: file does not exist")
    try:
        with av.open(str(path)) as container:
            if not container.streams.video:
                raise InputError(f"{path}: has no video")
            rate = container.streams.video[0].average_rate
            frames = [frame.to_ndarray(format="gray") for frame in container.decode(video=0)]
    except (av.FFmpegError, OSError) as error:
        raise InputError(f"{path}: cannot be read as video ({one_sentence(str(error), 120)})") from None
    if not frames:
        raise InputError(f"{path}: has no frame")
    if rate != FRAME_RATE:
        raise InputError(f"{path}: has {float(rate or 0):g} frames a second, but must have {FRAME_RATE}")
    if len({frame.shape for frame in frames}) > 1:
        raise InputError(f"{path}: its frames differ in size")
    return np.stack(frames)


@dataclass(frozen=True)
class Clips:
    """The frames of many clips of one size, one after the other in a file that is mapped into memory.

    Attributes:
        pixels: uint8 ``[frames of all clips, height, width]``.
        ends: For each clip the frame after its last.
    """

    pixels: Frames
    ends: tuple[int, ...]

    def __getitem__(self, clip: int) -> Frames:
        """The frames of one clip, not yet read from disk."""
        return self.pixels[self.ends[clip - 1] if clip else 0 : self.ends[clip]]

    def __len__(self) -> int:
        return len(self.ends)

    @property
    def size(self) -> tuple[int, int]:
        """Height and width in pixels."""
        return self.pixels.shape[1], self.pixels.shape[2]


def load_clips(
    paths: Sequence[Path], cache: Path, on_progress: Callable[[int, int], object] = lambda _done, _total: None
) -> Clips:
    """Decodes clips, or finds them decoded in the cache.

    Args:
        paths: The video files.
        cache: Folder for the frames: the bytes of one grey frame after the other, and an index. Decoded again when a
            clip has another size or time.
        on_progress: Called with the numbers of clips decoded and in all.

    Raises:
        InputError: A clip cannot be read (see :func:`read_clip`), or differs in size from the first.
    """
    states = [(str(path.resolve()), path.stat().st_size, path.stat().st_mtime_ns) for path in paths]
    name = hashlib.sha256(json.dumps(states).encode()).hexdigest()[:16]
    pixels, index = cache / f"{name}.frames", cache / f"{name}.json"
    if not index.exists() or not pixels.exists():
        with writing(cache):
            make_folder(cache)
            remove_leftovers(cache)
            _decode(paths, pixels, index, on_progress)
    found = read_json(index)
    shape = (found["ends"][-1], found["height"], found["width"])
    if pixels.stat().st_size != np.prod(shape):
        raise InputError(f"{pixels}: is damaged; delete it to decode the clips again")
    return Clips(np.memmap(pixels, np.uint8, "r", shape=shape), tuple(found["ends"]))


def _decode(paths: Sequence[Path], pixels: Path, index: Path, on_progress: Callable[[int, int], object]) -> None:
    temporary = temporary_path(pixels)
    ends: list[int] = []
    try:
        with temporary.open("wb") as file:
            for done, path in enumerate(paths, start=1):
                frames = read_clip(path)
                height, width = frames.shape[1:]
                if not ends:
                    expected = height, width
                elif (height, width) != expected:
                    raise InputError(
                        f"{path}: is {width} × {height} pixels, but {paths[0].name} is {expected[1]} × {expected[0]}"
                    )
                frames.tofile(file)
                ends.append((ends[-1] if ends else 0) + len(frames))
                on_progress(done, len(paths))
        temporary.rename(pixels)
    finally:
        remove(temporary)
    write_atomically(index, json.dumps({"height": expected[0], "width": expected[1], "ends": ends}))
