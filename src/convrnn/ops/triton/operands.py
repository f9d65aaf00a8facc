"""What the operations do with their tensors, whatever the kernel."""

import functools
from collections.abc import Callable, Sequence
from typing import ParamSpec, TypeVar

import torch
from torch import Tensor

from convrnn.ops.triton import tiles

DIFFERENTIABLE = (
    *("x", "weight_ih", "weight_hh"),
    *("bias", "weight_peephole", "initial_hidden", "initial_cell"),
)
"""Names of an LSTM's tensors that have gradients, in the order of its arguments."""

Tensors = dict[str, Tensor | None]

_P = ParamSpec("_P")
_R = TypeVar("_R")


def without_autocast(operation: Callable[_P, _R]) -> Callable[_P, _R]:
    """The operation in the dtypes that it is given: autocast acts before it, and not on what it does within."""

    @functools.wraps(operation)
    def wrapper(*args: _P.args, **kwargs: _P.kwargs) -> _R:
        with torch.autocast("cuda", enabled=False), torch.autocast("cpu", enabled=False):
            return operation(*args, **kwargs)

    return wrapper


def checked(*given: Tensor | None, positions: int | None = None) -> Tensors:
    """An LSTM's tensors by name, with ``lengths`` the last of them, contiguous.

    Args:
        given: The tensors, in the order of the operations' arguments.
        positions: How many input matrices there must be, where there is more than one.

    Raises:
        ValueError: for a tensor of another shape or dtype, which the kernels would misread.
    """
    tensors = dict(zip((*DIFFERENTIABLE, "lengths"), given, strict=True))
    x, weight_ih, weight_hh = there(tensors, "x", "weight_ih", "weight_hh")
    hidden = weight_hh.size(-1)
    shapes = {
        "x": (*x.shape[:2], x.size(-1)),
        "weight_ih": (*((positions,) if weight_ih.dim() == 3 else ()), 4 * hidden, x.size(-1)),
        "weight_hh": (4 * hidden, hidden),
        "bias": (4 * hidden,),
        "weight_peephole": (3, hidden),
        "initial_hidden": (hidden,),
        "initial_cell": (hidden,),
        "lengths": (x.size(0),),
    }
    for name, tensor in tensors.items():
        if tensor is not None and tuple(tensor.shape) != shapes[name]:
            raise ValueError(f"{name} must have shape {list(shapes[name])}, but has shape {list(tensor.shape)}")
    for name, dtype in (("weight_ih", x.dtype), ("weight_hh", x.dtype), ("lengths", torch.int64)):
        tensor = tensors[name]
        if tensor is not None and tensor.dtype != dtype:
            raise ValueError(f"{name} is {tensor.dtype}; it must be {dtype}")
    if x.dtype not in tiles.DTYPES:
        raise ValueError(f"x is {x.dtype}; the Triton kernels are for {', '.join(map(str, tiles.DTYPES))}")
    return {name: None if tensor is None else tensor.contiguous() for name, tensor in tensors.items()}


def there(tensors: Tensors, *names: str) -> list[Tensor]:
    """The tensors of these names, none of which is None."""
    return [tensor for name in names if (tensor := tensors[name]) is not None]


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


def fake(tensors: Sequence[Tensor | None], with_x: bool) -> list[Tensor]:
    """As :func:`listed`, for a compiler that asks for shapes and dtypes alone."""
    x, *parameters = tensors
    assert x is not None
    grad_x = x.new_empty(x.shape if with_x else 0)
    return [grad_x, *(parameter.new_empty(parameter.shape) for parameter in parameters if parameter is not None)]


def handed_out(gradients: Sequence[Tensor], tensors: Sequence[Tensor | None], with_x: bool) -> list[Tensor | None]:
    """The list of :func:`listed` in the order of all seven, None for what is not there."""
    grad_x, *rest = gradients
    left = iter(rest)
    return [grad_x if with_x else None, *(None if tensor is None else next(left) for tensor in tensors[1:])]


def refuse_second_derivative(*_: object) -> None:
    """The backward pass of the backward passes.

    Raises:
        RuntimeError: always.
    """
    raise RuntimeError(
        "the Triton LSTM kernels can be differentiated once; for second derivatives run the forward pass within "
        'convrnn.ops.use_backend("reference")'
    )
