"""Frames that other programs computed, in ``.npy`` files: speech embeddings, features of video, values of sensors."""

import tokenize
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, ClassVar, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydantic import Field
from typing_extensions import override

from convrnn.errors import InputError, one_sentence
from convrnn.features.base import MOST_FEATURES, Features
from convrnn.files import check_file

if TYPE_CHECKING:
    from convrnn.features.extract import Utterance

MOST_VALUES = 2**30
"""Maximum number of values in an array, 4 GiB in float32."""

_MAGIC = b"\x93NUMPY"
_READERS = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
_DTYPES = (np.float16, np.float32, np.float64)


class FramesConfig(Features):
    """Frames from ``.npy`` files, as they are.

    A corpus whose table has a column ``frames`` in place of ``file`` has these features; there is nothing to choose.

    Attributes:
        width: Number of features per frame.

    Example:
        >>> FramesConfig(width=768).description
        '768 features per frame from .npy files'
    """

    kind: Literal["frames"] = "frames"
    width: int = Field(ge=1, le=MOST_FEATURES)

    is_stored: ClassVar[bool] = False

    @property
    @override
    def name(self) -> str:
        return "frames"

    @property
    @override
    def description(self) -> str:
        return f"{_features(self.width)} per frame from .npy files"

    @property
    @override
    def num_features(self) -> int:
        return self.width

    @override
    def extract(self, segment: "Utterance") -> NDArray[np.float32]:
        """Reads the array, or takes it from memory; ``start`` and ``end`` must not be given."""
        from convrnn.features.extract import Segment

        if isinstance(segment, Frames):
            frames = segment.values
        elif not isinstance(segment, Segment):
            raise InputError(f"{segment}: is audio, but the model takes frames of {_features(self.width)}")
        elif (segment.start, segment.end) != (None, None):
            raise InputError(f"{segment}: arrays of frames are used whole; leave out start and end")
        else:
            frames = read_frames(segment.file)
        if frames.shape[1] != self.width:
            raise InputError(f"{segment}: {self.other_width(frames.shape[1])}")
        return frames

    def other_width(self, found: int) -> str:
        """What is wrong with an array of another width.

        Example:
            >>> FramesConfig(width=768).other_width(512)
            'has 512 features per frame, but the model takes 768'
        """
        return f"has {_features(found)} per frame, but the model takes {self.width}"


def _features(number: int) -> str:
    return f"{number} feature{'' if number == 1 else 's'}"


@dataclass(frozen=True, eq=False)
class Frames:
    """Frames in memory, as an alternative to a file.

    Attributes:
        values: float32 ``[frames, features]``, finite, at least one frame.
        name: Their name in messages.
    """

    values: NDArray[np.float32]
    name: str = "the frames"

    def __str__(self) -> str:
        """The name."""
        return self.name

    @classmethod
    def of(cls, array: NDArray[Any], name: str = "the frames") -> "Frames":
        """Frames as users hold them: ``[frames, features]`` of float16, float32 or float64.

        Raises:
            InputError: The array has another shape or dtype, no frames, or a value that is not finite in float32.

        Example:
            >>> Frames.of(np.ones((50, 768))).values.shape
            (50, 768)
        """
        array = np.asarray(array)
        if array.dtype.newbyteorder("=") not in _DTYPES:
            raise InputError(f"{name}: is an array of {array.dtype}; frames are float16, float32 or float64")
        if array.ndim != 2 or array.size == 0:
            raise InputError(
                f"{name}: has the shape {array.shape}; frames have [frames, features], at least one of each"
            )
        return cls(_finite(array, name), name)


def frames_shape(path: Path | str) -> tuple[int, int]:
    """The numbers of frames and of features per frame, from an array's header; there may be no frames.

    Raises:
        InputError: As :func:`read_frames`, except for what only the values show.
    """
    with _opened(path) as (_, header):
        return header.frames, header.features


def read_frames(path: Path | str) -> NDArray[np.float32]:
    """Reads an array of frames.

    Nothing is allocated until the header matches the length of the file.

    Args:
        path: A file as ``numpy.save`` writes it, with an array ``[frames, features]`` of float16, float32 or float64.

    Returns:
        float32 ``[frames, features]``, at least one frame.

    Raises:
        InputError: The file is missing, empty or not such a file, holds an array of another type or shape, no frames,
            more than :data:`MOST_VALUES` values or :data:`~convrnn.features.base.MOST_FEATURES` features per frame, is
            cut off or too long, or a value is not finite in float32.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     np.save(f"{folder}/a.npy", np.zeros((50, 768)))
        ...     read_frames(f"{folder}/a.npy").shape
        (50, 768)
    """
    with _opened(path) as (stream, header):
        if header.frames == 0:
            raise InputError(f"{path}: holds no frames")
        # Unlike numpy.load, this never allocates more than the header check allows, and cannot unpickle.
        values = np.fromfile(stream, header.dtype, header.frames * header.features)
    if values.size != header.frames * header.features:
        raise InputError(f"{path}: array was cut off while it was read")
    return _finite(values.reshape((header.frames, header.features), order=header.order), path)


def _finite(array: NDArray[Any], path: Path | str) -> NDArray[np.float32]:
    """The array in float32; refuses values that are not finite."""
    with np.errstate(over="ignore", invalid="ignore"):
        frames: NDArray[np.float32] = np.ascontiguousarray(array, dtype=np.float32)
    finite = np.isfinite(frames).all(axis=1)
    if not finite.all():
        frame = int(finite.argmin())
        feature = int(np.isfinite(frames[frame]).argmin())
        found = array[frame, feature]
        raise InputError(f"{path}: feature {feature} of frame {frame} is {found:g}, which is not a finite float32")
    return frames


class _Header(NamedTuple):
    frames: int
    features: int
    dtype: "np.dtype[Any]"
    order: Literal["C", "F"]


@contextmanager
def _opened(path: Path | str) -> Iterator[tuple[BinaryIO, _Header]]:
    """An open file at the beginning of its values, and its header, which is right."""
    file = check_file(path, "array of frames")
    try:
        with file.open("rb") as stream:
            yield stream, _checked_header(path, stream, file.stat().st_size)
    except OSError as error:
        raise InputError(f"{path}: array of frames cannot be read ({error.strerror or error})") from error


def _checked_header(path: Path | str, stream: BinaryIO, size: int) -> _Header:
    shape, is_fortran, dtype = _parsed_header(path, stream)
    if dtype.hasobject:
        raise InputError(f"{path}: holds Python objects, which are not read; save an array of numbers")
    if dtype.newbyteorder("=") not in _DTYPES:
        raise InputError(
            f"{path}: is an array of {one_sentence(str(dtype), 40)}; frames are float16, float32 or float64"
        )
    if len(shape) != 2:
        raise InputError(f"{path}: has the shape {one_sentence(str(shape), 60)}; frames have [frames, features]")
    frames, features = shape
    if not 1 <= features <= MOST_FEATURES:
        raise InputError(f"{path}: has {features} features per frame; 1 to {MOST_FEATURES} can be used")
    if not 0 <= frames * features <= MOST_VALUES:
        raise InputError(f"{path}: has {frames} frames of {_features(features)}; at most {MOST_VALUES} values are read")
    expected = stream.tell() + frames * features * dtype.itemsize
    if size != expected:
        differs = "is cut off" if size < expected else "does not end with its array"
        raise InputError(f"{path}: {differs}; according to its header it has {expected} bytes, but there are {size}")
    return _Header(frames, features, dtype, "F" if is_fortran else "C")


def _parsed_header(path: Path | str, stream: BinaryIO) -> "tuple[tuple[int, ...], bool, np.dtype[Any]]":
    if stream.read(len(_MAGIC)) != _MAGIC:
        raise InputError(f"{path}: is not a .npy file, as numpy.save writes it")
    version = tuple(stream.read(2))
    if version not in _READERS:
        found = ".".join(map(str, version))
        raise InputError(f"{path}: is a .npy file of version {found or 'none'}; versions 1.0 and 2.0 are read")
    try:
        with warnings.catch_warnings():
            # Files that Python 2 wrote are read too.
            warnings.simplefilter("ignore")
            return _READERS[version](stream)
    except (ValueError, TypeError, SyntaxError, tokenize.TokenError, RecursionError, MemoryError) as error:
        raise InputError(f"{path}: its header is damaged ({one_sentence(str(error), 120)})") from None
