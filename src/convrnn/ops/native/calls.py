"""Common parts of all calls of the CPU kernel: preparing operands and collecting gradients."""

import torch
from torch import Tensor

from convrnn.ops.checks import NONLINEARITIES, check_memory, check_tensor
from convrnn.ops.native import library
from convrnn.ops.operands import CellOperands, contiguous, may_need_gradient
from convrnn.ops.registration import is_traced

DTYPES = (torch.float32, torch.bfloat16, torch.float16)
"""Dtypes of operands; the kernel computes in float32, and narrower ones are converted."""


def is_observed(operands: CellOperands) -> bool:
    """Whether PyTorch has to see a call as an operation, to differentiate, compile or profile it."""
    return may_need_gradient(operands.tensors) or is_traced(operands)


def prepare(operands: CellOperands) -> CellOperands:
    """Make the operands contiguous in memory and of float32.

    Raises:
        ValueError: if tensors have a dtype that the kernel does not take, or different ones.
    """
    if operands.lengths is not None:
        # PyTorch counts windows from the lengths before the kernel runs, without checking that they have memory.
        check_memory("lengths", operands.lengths)
    dtype = operands.x.dtype
    if dtype not in DTYPES:
        raise ValueError(f"x is {dtype}; the native kernel is for {', '.join(map(str, DTYPES))}")
    for name, tensor in operands.named.items():
        if tensor is not None and tensor.dtype != dtype and name != "lengths":
            raise ValueError(f"{name} is {tensor.dtype}, but x is {dtype}; they must be the same")
    operands = operands.contiguous()
    return operands if dtype == torch.float32 else operands.map(_widen)


def _widen(name: str, tensor: Tensor) -> Tensor:
    check_memory(name, tensor)
    return tensor if name == "lengths" else tensor.float()


def prepare_other(name: str, tensor: Tensor, shape: tuple[int, ...], operands: CellOperands) -> Tensor:
    """Make an additional tensor of a backward pass, which is always of float32, contiguous in memory.

    Raises:
        ValueError: if the dtype, shape or device is wrong.
    """
    if tensor.dtype != torch.float32:
        raise ValueError(f"{name} must be torch.float32, but is {tensor.dtype}")
    check_tensor(name, tensor, shape, operands.x.device)
    return contiguous(name, tensor)


def sizes(operands: CellOperands, rows: int, reverse: bool) -> dict[str, int]:
    """The sizes and options of a call that windows and whole sequences have in common.

    Args:
        operands: Operands of the call.
        rows: Number of whole sequences, or of windows within their sequence's length.
        reverse: Whether rows are processed from their last frame to their first.
    """
    batch, frames, features = operands.x.shape
    options = operands.options
    if "nonlinearity" in options:
        options["nonlinearity"] = NONLINEARITIES.index(options["nonlinearity"])
    return {
        "cell": library.CELLS.index(operands.cell),
        "batch": batch,
        "frames": frames,
        "features": features,
        "hidden": operands.hidden,
        "per_position": int(operands.weight_ih.dim() == 3),
        "rows": rows,
        "reverse": int(reverse),
        **options,
    }


def run_backward(
    sizes: dict[str, int], operands: CellOperands, dtype: torch.dtype, with_x: bool, **arrays: Tensor | None
) -> list[Tensor]:
    """Gradients of x (empty unless ``with_x``) and of the parameters that are not None, in order.

    Args:
        sizes: Sizes of the call.
        operands: Prepared operands.
        dtype: Dtype of the gradients.
        with_x: Whether x has a gradient.
        arrays: Other tensors that the kernel reads, named as in ``struct recurrent_call``.
    """
    # The kernel writes every value, unless there is nothing to do.
    new = torch.empty_like if sizes["rows"] else torch.zeros_like
    gradients = {
        f"grad_{name}": new(tensor)
        for name, tensor in zip(operands.tensor_names, operands.differentiable, strict=True)
        if tensor is not None and (with_x or name != "x")
    }
    if sizes["rows"]:
        library.run(library.BACKWARD, sizes, operands, **arrays, **gradients)
    found = [gradient.to(dtype) for gradient in gradients.values()]
    return found if with_x else [operands.x.new_empty(0, dtype=dtype), *found]


def result_dtype(operands: CellOperands) -> torch.dtype:
    """The dtype of features: that of the operands or, under autocast, the one that the reference gives."""
    if not torch.is_autocast_enabled("cpu"):
        return operands.x.dtype
    # Products have autocast's dtype; to that the cells with gates add their states, in the dtype of the parameters.
    product = torch.get_autocast_dtype("cpu")
    return product if operands.cell == "rnn" else torch.promote_types(product, operands.weight_hh.dtype)


def unify(operands: CellOperands) -> CellOperands:
    """The operands in one dtype: under autocast they may have several."""
    if torch.is_autocast_enabled("cpu"):
        dtypes = {tensor.dtype for tensor in operands.differentiable if tensor is not None}
        if len(dtypes) > 1:
            return operands.map(lambda name, tensor: tensor if name == "lengths" else tensor.float())
    return operands
