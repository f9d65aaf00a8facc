"""Types and checks of the arguments that the layers share."""

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

from convrnn.ops.checks import is_autocast_enabled

Reduce = Literal["last", "mean", "max"]
Padding = Literal["valid", "same"]
Device = torch.device | str


def require_one_of(argument: str, value: object, allowed: Sequence[object]) -> None:
    """Raise a ValueError with the argument's name, its value and the allowed values, unless the value is allowed.

    Example:
        >>> require_one_of("reduce", "sum", ("last", "mean", "max"))
        Traceback (most recent call last):
        ...
        ValueError: reduce is 'sum'; it must be one of 'last', 'mean', 'max'
    """
    if value not in allowed:
        raise ValueError(f"{argument} is {value!r}; it must be one of {', '.join(map(repr, allowed))}")


def require_positive(**arguments: int | None) -> None:
    """Raise a ValueError for an argument that is not a whole number of at least 1; None passes.

    Example:
        >>> require_positive(kernel_size=5, stride=0)
        Traceback (most recent call last):
        ...
        ValueError: stride is 0; it must be a whole number of at least 1
    """
    for argument, value in arguments.items():
        if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < 1):
            raise ValueError(f"{argument} is {value!r}; it must be a whole number of at least 1")


def flatten_frames(x: Tensor, features: int, dtype: torch.dtype) -> Tensor:
    """``x`` ``[batch, frames, *feature_shape]`` as ``[batch, frames, features]`` (section III-A: video is flattened).

    Raises:
        ValueError: if the frames do not have ``features`` values, or the dtype is not the layer's.

    Example:
        >>> flatten_frames(torch.zeros(2, 9, 4, 4), 16, torch.float32).shape
        torch.Size([2, 9, 16])
    """
    if not isinstance(x, Tensor):
        raise ValueError(f"x must be a torch.Tensor, but is a {type(x).__name__}")
    if x.dim() < 3 or x.shape[2:].numel() != features:
        raise ValueError(
            f"x must be [batch, frames, *feature_shape] with {features} features in a frame, "
            f"but has shape {list(x.shape)}"
        )
    if x.dtype != dtype and not is_autocast_enabled(x.device):
        raise ValueError(f"x is {x.dtype}, but the layer's parameters are {dtype}; convert one of them with .to()")
    return x.flatten(2)
