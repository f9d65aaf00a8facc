"""Window arithmetic: how frames, windows and lengths relate.

With a kernel of ``r1 = 5`` frames and a stride of ``r2 = 2``, nine frames give three windows::

    frames    0 1 2 3 4 5 6 7 8
    window 0  * * * * *
    window 1      * * * * *
    window 2          * * * * *

A window exists only where all its frames do. Under "same" padding, zeros are added at both ends of each sequence until
one window starts at every ``r2``-th frame. Every function takes plain integers or int64 tensors.
"""

from collections.abc import Iterable
from typing import TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor

Count = TypeVar("Count", int, Tensor)


def _at_least_zero(count: Count) -> Count:
    if isinstance(count, Tensor):
        return count.clamp(min=0)
    if type(count) is int:
        # torch.compile of PyTorch 2.11 cannot trace sym_max for plain integers.
        return max(count, 0)
    # Keeps a symbolic length symbolic during tracing.
    at_least_zero: int = torch.sym_max(count, 0)
    return at_least_zero


def num_windows(length: Count, kernel_size: int, stride: int) -> Count:
    """Number of whole windows in ``length`` frames: ``floor((L - r1) / r2) + 1``, 0 where ``L < r1`` (section III-A).

    Example:
        >>> num_windows(9, kernel_size=5, stride=2)
        3
        >>> num_windows(torch.tensor([9, 5, 4]), kernel_size=5, stride=2)
        tensor([3, 1, 0])
    """
    return _at_least_zero((length - kernel_size) // stride + 1)


def num_windows_same(length: Count, stride: int) -> Count:
    """Number of windows under "same" padding: ``ceil(L / r2)``.

    Example:
        >>> num_windows_same(9, stride=2)
        5
    """
    return (length + stride - 1) // stride


def same_padding(length: Count, kernel_size: int, stride: int) -> Count:
    """Total number of zero frames that "same" padding adds; the smaller half goes in front.

    Example:
        >>> same_padding(9, kernel_size=4, stride=2)
        3
    """
    return _at_least_zero((num_windows_same(length, stride) - 1) * stride + kernel_size - length)


def frame_mask(lengths: Tensor, frames: int) -> Tensor:
    """True where a frame lies within its sequence: bool ``[batch, frames]``.

    Example:
        >>> frame_mask(torch.tensor([2, 0]), 3)
        tensor([[ True,  True, False],
                [False, False, False]])
    """
    return torch.arange(frames, device=lengths.device) < lengths.unsqueeze(1)


def mask_frames(x: Tensor, lengths: Tensor | None) -> Tensor:
    """``x`` ``[batch, frames, ...]`` with zeros past each sequence's length; ``x`` itself if ``lengths`` is None.

    The zeros replace any values, including NaN and infinity, and no gradient flows through them.

    Example:
        >>> mask_frames(torch.tensor([[[1.0], [float("nan")]]]), torch.tensor([1])).tolist()
        [[[1.0], [0.0]]]
    """
    if lengths is None:
        return x
    mask = frame_mask(lengths, x.size(1))
    return torch.where(mask.view(*mask.shape, *(1 for _ in x.shape[2:])), x, x.new_zeros(()))


def _take_frames(x: Tensor, source: Tensor) -> Tensor:
    # take_along_dim would make the batch size and the number of frames constants of an exported or compiled graph.
    return x.gather(1, source.unsqueeze(-1).expand(-1, -1, x.size(2)))


def pad_same(x: Tensor, lengths: Tensor | None, kernel_size: int, stride: int) -> tuple[Tensor, Tensor | None]:
    """Pad ``x`` ``[batch, frames, features]`` so that :func:`num_windows` of the result is :func:`num_windows_same`.

    The padding of a sequence depends only on its own length, not on the batch it is in.

    Returns:
        The padded frames and the padded lengths (None if ``lengths`` is None).

    Raises:
        ValueError: if ``x`` has no frames.

    Example:
        >>> pad_same(torch.ones(1, 2, 1), None, kernel_size=3, stride=1)[0].flatten().tolist()
        [0.0, 1.0, 1.0, 0.0]
    """
    frames = x.size(1)
    if frames == 0:
        raise ValueError("x must have at least one frame, but has none")
    if lengths is None:
        total = same_padding(frames, kernel_size, stride)
        return F.pad(x, (0, 0, total // 2, total - total // 2)), None
    front = same_padding(lengths, kernel_size, stride) // 2
    padded_frames = (num_windows_same(frames, stride) - 1) * stride + kernel_size
    source = torch.arange(padded_frames, device=x.device) - front.unsqueeze(1)
    inside = (source >= 0) & (source < lengths.unsqueeze(1))
    moved = _take_frames(x, source.clamp(0, frames - 1))
    padded_lengths = ((num_windows_same(lengths, stride) - 1) * stride + kernel_size).clamp(min=0)
    return torch.where(inside.unsqueeze(-1), moved, x.new_zeros(())), torch.where(lengths > 0, padded_lengths, 0)


def reverse_frames(x: Tensor, lengths: Tensor | None) -> Tensor:
    """``x`` ``[batch, frames, features]`` with each sequence's frames reversed and its padding still at the end.

    Example:
        >>> reverse_frames(torch.tensor([[[1.0], [2.0], [0.0]]]), torch.tensor([2])).flatten().tolist()
        [2.0, 1.0, 0.0]
    """
    if lengths is None:
        return x.flip(1)
    frame = torch.arange(x.size(1), device=x.device)
    source = lengths.unsqueeze(1) - 1 - frame
    return _take_frames(x, torch.where(source >= 0, source, frame))


def last_frames(x: Tensor, lengths: Tensor | None, count: int) -> tuple[Tensor, Tensor | None]:
    """The last ``count`` frames of each sequence in ``x`` ``[batch, frames, features]``, or all if it has fewer.

    Returns:
        The frames in order, followed by padding, and the number of valid frames (None if ``lengths`` is None).

    Example:
        >>> x = torch.arange(1.0, 9.0).view(2, 4, 1)
        >>> frames, lengths = last_frames(x, torch.tensor([3, 1]), 2)
        >>> frames[0].flatten().tolist(), frames[1, : lengths[1]].flatten().tolist()
        ([2.0, 3.0], [5.0])
    """
    if lengths is None:
        return x[:, -count:], None
    source = (lengths - count).clamp(min=0).unsqueeze(1) + torch.arange(count, device=x.device)
    return _take_frames(x, source.clamp(max=x.size(1) - 1)), lengths.clamp(max=count)


def receptive_field(layers: Iterable[tuple[int, int]]) -> tuple[int, int]:
    """Receptive field, and distance between outputs, of stacked ``(kernel_size, stride)`` layers, in frames.

    Example:
        The front end of section IV-A: two layers of windows 5 by 2, each with pooling 2 by 2.

        >>> receptive_field([(5, 2), (2, 2), (5, 2), (2, 2)])
        (31, 16)
    """
    field, step = 1, 1
    for kernel_size, stride in layers:
        field += (kernel_size - 1) * step
        step *= stride
    return field, step
