"""Common parts of all calls of the CPU kernel: preparing operands and assembling gradients."""

import torch
from torch import Tensor

from convrnn.ops.checks import check_memory, check_tensor
from convrnn.ops.native import library
from convrnn.ops.operands import LSTMGradients, LSTMOperands, contiguous


def prepare(operands: LSTMOperands) -> LSTMOperands:
    """Make the operands contiguous in memory.

    Raises:
        ValueError: if a tensor has another dtype, so that the kernel would read out of bounds.
    """
    if operands.lengths is not None:
        # PyTorch counts windows from the lengths before the kernel runs, without checking that they have memory.
        check_memory("lengths", operands.lengths)
    for name, tensor in operands.named.items():
        if tensor is not None and tensor.dtype != torch.float32 and name != "lengths":
            _refuse_dtype(name, tensor)
    return operands.contiguous()


def prepare_other(name: str, tensor: Tensor, shape: tuple[int, ...], operands: LSTMOperands) -> Tensor:
    """Make an additional tensor of a backward pass contiguous in memory.

    Raises:
        ValueError: if the dtype, shape or device is wrong.
    """
    if tensor.dtype != torch.float32:
        _refuse_dtype(name, tensor)
    check_tensor(name, tensor, shape, operands.x.device)
    return contiguous(name, tensor)


def _refuse_dtype(name: str, tensor: Tensor) -> None:
    if name == "x":
        raise ValueError(f"x is {tensor.dtype}; the native kernel is for torch.float32")
    raise ValueError(f"{name} is {tensor.dtype}, but x is torch.float32; they must be the same")


def sizes(operands: LSTMOperands, rows: int, reverse: bool) -> dict[str, int]:
    """The sizes of a call that windows and whole sequences have in common.

    Args:
        operands: Operands of the call.
        rows: Number of whole sequences, or of windows within their sequence's length.
        reverse: Whether rows are processed from their last frame to their first.
    """
    batch, frames, features = operands.x.shape
    return {
        "batch": batch,
        "frames": frames,
        "features": features,
        "hidden": operands.hidden,
        "per_position": int(operands.weight_ih.dim() == 3),
        "rows": rows,
        "reverse": int(reverse),
    }


def run_backward(sizes: dict[str, int], operands: LSTMOperands, with_x: bool, **arrays: Tensor | None) -> list[Tensor]:
    """Gradients of x (empty unless ``with_x``) and of the parameters that are not None, in order.

    Args:
        sizes: Sizes of the call.
        operands: Contiguous operands.
        with_x: Whether x has a gradient.
        arrays: Other tensors that the kernel reads, named as in ``struct lstm_call``.
    """
    x, weight_ih, weight_hh = operands.x, operands.weight_ih, operands.weight_hh
    grad_x = torch.zeros_like(x) if with_x else None
    grad_ih, grad_hh = torch.zeros_like(weight_ih), torch.zeros_like(weight_hh)
    vectors = x.new_zeros(13, operands.hidden)
    if sizes["rows"]:
        gradients = {"grad_x": grad_x, "grad_weight_ih": grad_ih, "grad_weight_hh": grad_hh, "grad_vectors": vectors}
        library.run(library.BACKWARD, sizes, operands, **arrays, **gradients)
    # Gates of all steps but the first, then gates of the first step, where every row has the same initial state.
    later, first, peepholes, cell, hidden = vectors.split_with_sizes([4, 4, 3, 1, 1])
    if operands.initial_hidden is not None:
        grad_hh += first.flatten().outer(operands.initial_hidden)
    return operands.list_gradients(
        LSTMGradients(
            grad_x,
            grad_ih,
            grad_hh,
            bias=None if operands.bias is None else (later + first).flatten(),
            weight_peephole=None if operands.weight_peephole is None else peepholes.clone(),
            initial_hidden=None if operands.initial_hidden is None else hidden.flatten().clone(),
            initial_cell=None if operands.initial_cell is None else cell.flatten().clone(),
        )
    )
