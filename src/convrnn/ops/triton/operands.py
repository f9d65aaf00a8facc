"""Handling of tensors that the GPU operations over windows and over whole sequences share."""

import torch
from torch import Tensor

from convrnn.ops.checks import check_memory, check_tensor
from convrnn.ops.operands import LSTMOperands
from convrnn.ops.triton import tiles


def prepare(operands: LSTMOperands) -> LSTMOperands:
    """Make the operands contiguous in memory.

    Raises:
        ValueError: if a tensor has an unsupported dtype or no memory, so that the kernels would misread it.
    """
    x = operands.x
    for name, weight in (("weight_ih", operands.weight_ih), ("weight_hh", operands.weight_hh)):
        if weight.dtype != x.dtype:
            raise ValueError(f"{name} is {weight.dtype}, but x is {x.dtype}; they must be the same")
    if x.dtype not in tiles.DTYPES:
        raise ValueError(f"x is {x.dtype}; the Triton kernels are for {', '.join(map(str, tiles.DTYPES))}")
    for name, tensor in operands.named.items():
        if tensor is None:
            continue
        if name != "lengths" and not tensor.is_floating_point():
            raise ValueError(f"{name} must be of a floating dtype, but is {tensor.dtype}")
        check_memory(name, tensor)
    return operands.contiguous()


def check_other(
    name: str, tensor: Tensor | None, shape: tuple[int, ...], operands: LSTMOperands, dtype: torch.dtype | None = None
) -> None:
    """Reject an additional tensor of a backward pass that the kernels would misread.

    Args:
        name: Name of the tensor.
        tensor: The tensor; None is always accepted.
        shape: Required shape.
        operands: The operands, whose device is required.
        dtype: Required dtype; None allows any floating dtype.

    Raises:
        ValueError: if the shape, dtype or device is wrong.
    """
    if tensor is None:
        return
    check_tensor(name, tensor, shape, operands.x.device)
    check_memory(name, tensor)
    if not tensor.is_floating_point() or dtype not in (None, tensor.dtype):
        raise ValueError(f"{name} must be of {dtype or 'a floating dtype'}, but is {tensor.dtype}")


def new_result(operands: LSTMOperands, shape: tuple[int, ...], dtype: torch.dtype | None = None) -> Tensor:
    """A tensor for the kernels to fill, by default in the dtype of x.

    It is zero-initialised if there are lengths, since the kernels write nothing for frames and windows beyond them.
    """
    x = operands.x
    return x.new_empty(shape, dtype=dtype) if operands.lengths is None else x.new_zeros(shape, dtype=dtype)


def first_product(operands: LSTMOperands) -> Tensor | None:
    """The recurrent product of the first step ``[4H]``, the same for all rows; None if the initial state is zero."""
    if operands.initial_hidden is None:
        return None
    return operands.weight_hh.mv(operands.initial_hidden.to(operands.weight_hh.dtype))


def first_gradients(operands: LSTMOperands, gates: Tensor, grad_weight_hh: Tensor) -> Tensor | None:
    """Gradient of ``initial_hidden`` from the gradients of the first step's gates ``[rows, 4H]``.

    The first step's contribution to the gradient of the recurrent weights is added to ``grad_weight_hh``.
    """
    if operands.initial_hidden is None:
        return None
    total = gates.sum(0)
    grad_weight_hh.addr_(total, operands.initial_hidden.to(operands.weight_hh.dtype))
    return operands.weight_hh.mT.mv(total)
