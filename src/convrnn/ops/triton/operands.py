"""What the GPU's operations do with their tensors, whatever the kernel."""

import functools
from collections.abc import Callable, Mapping
from typing import ParamSpec, TypeVar

import torch
from torch import Tensor

from convrnn.ops.checks import check_cell, check_memory, check_tensor
from convrnn.ops.operands import DIFFERENTIABLE, Tensors, contiguous, named, there
from convrnn.ops.triton import tiles

_P = ParamSpec("_P")
_R = TypeVar("_R")


def without_autocast(operation: Callable[_P, _R]) -> Callable[_P, _R]:
    """The operation in the dtypes that it is given: autocast acts before it, and not on what it does within."""

    @functools.wraps(operation)
    def wrapper(*args: _P.args, **kwargs: _P.kwargs) -> _R:
        with torch.autocast("cuda", enabled=False), torch.autocast("cpu", enabled=False):
            return operation(*args, **kwargs)

    return wrapper


def checked(*given: Tensor | None, kernel_size: int | None = None) -> Tensors:
    """An LSTM's tensors by name, with ``lengths`` the last of them, contiguous.

    Args:
        given: The tensors, in the order of the operations' arguments.
        kernel_size: Frames of a window; None for whole sequences.

    Raises:
        ValueError: for a tensor of another shape, dtype or device, which the kernels would misread.
    """
    tensors = named(*given)
    check_cell(4, tensors, kernel_size)
    (x,) = there(tensors, "x")
    for name, tensor in zip(("weight_ih", "weight_hh"), there(tensors, "weight_ih", "weight_hh"), strict=True):
        if tensor.dtype != x.dtype:
            raise ValueError(f"{name} is {tensor.dtype}, but x is {x.dtype}; they must be the same")
    if x.dtype not in tiles.DTYPES:
        raise ValueError(f"x is {x.dtype}; the Triton kernels are for {', '.join(map(str, tiles.DTYPES))}")
    for name in DIFFERENTIABLE:
        parameter = tensors[name]
        if parameter is not None and not parameter.is_floating_point():
            raise ValueError(f"{name} must be of a floating dtype, but is {parameter.dtype}")
    for name, given_tensor in tensors.items():
        if given_tensor is not None:
            check_memory(name, given_tensor)
    return contiguous(tensors)


def check_beside(
    tensors: Tensors, shape: tuple[int, ...], x: Tensor, dtypes: Mapping[str, torch.dtype] | None = None
) -> None:
    """Refuse tensors of a backward pass, beside its operation's inputs, that the kernels would misread.

    Args:
        tensors: All of one shape.
        shape: That.
        x: The input, whose device is theirs too.
        dtypes: Of some of them; the others may have any floating dtype.

    Raises:
        ValueError: naming a tensor of another shape, dtype or device.
    """
    for name, tensor in tensors.items():
        if tensor is None:
            continue
        check_tensor(name, tensor, shape, x.device)
        check_memory(name, tensor)
        dtype = (dtypes or {}).get(name)
        if not tensor.is_floating_point() or dtype not in (None, tensor.dtype):
            raise ValueError(f"{name} must be of {dtype or 'a floating dtype'}, but is {tensor.dtype}")


def room(tensors: Tensors, shape: tuple[int, ...], dtype: torch.dtype | None = None) -> Tensor:
    """A tensor on x's device, in its dtype unless given; zeros where there are lengths.

    The kernels write nothing for frames and windows beyond them.
    """
    (x,) = there(tensors, "x")
    return x.new_empty(shape, dtype=dtype) if tensors["lengths"] is None else x.new_zeros(shape, dtype=dtype)


def first_product(tensors: Tensors) -> Tensor | None:
    """The recurrent product of the first step ``[4H]``, which all rows share; None where the state before is zeros."""
    initial_hidden = tensors["initial_hidden"]
    if initial_hidden is None:
        return None
    (weight_hh,) = there(tensors, "weight_hh")
    return weight_hh.mv(initial_hidden.to(weight_hh.dtype))


def first_gradients(tensors: Tensors, gates: Tensor, grad_weight_hh: Tensor) -> Tensor | None:
    """Gradient of ``initial_hidden`` from those of the first step's gates ``[rows, 4H]``.

    What the first step adds to the gradient of the recurrent weights is added to ``grad_weight_hh``.
    """
    initial_hidden = tensors["initial_hidden"]
    if initial_hidden is None:
        return None
    (weight_hh,) = there(tensors, "weight_hh")
    total = gates.sum(0)
    grad_weight_hh.addr_(total, initial_hidden.to(weight_hh.dtype))
    return weight_hh.mT.mv(total)


def listed(gradients: Tensors, tensors: Tensors) -> list[Tensor]:
    """Gradients of those of the seven that are there, in their order and dtypes; of x empty where it has none."""
    given = []
    for name in DIFFERENTIABLE:
        tensor, gradient = tensors[name], gradients[name]
        if tensor is not None:
            given.append(tensor.new_empty(0) if gradient is None else gradient.to(tensor.dtype))
    return given
