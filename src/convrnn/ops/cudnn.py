"""The hidden states of an LSTM without peepholes over whole sequences, by PyTorch's own LSTM: on the GPU, cuDNN's."""

import torch
from torch import Tensor

from convrnn.ops.backend import Backend, Implementation, gpu_architecture, in_turn, why_no_kernel
from convrnn.ops.checks import check_floating
from convrnn.ops.geometry import mask_frames, reverse_frames
from convrnn.ops.operands import CellOperands, LSTMOperands


def lstm_hidden(operands: LSTMOperands, reverse: bool) -> Tensor:
    """Hidden states of :func:`convrnn.ops.lstm`, ``[batch, frames, H]``.

    On the GPU, ``torch.backends.cudnn.allow_tf32`` sets the precision of products.

    Args:
        operands: Without peepholes.
        reverse: Whether each sequence is processed from its own last frame to its first.

    Raises:
        ValueError: naming a tensor that does not fit.

    Example:
        >>> operands = LSTMOperands(torch.randn(2, 9, 26), torch.randn(32, 26), torch.randn(32, 8), None)
        >>> lstm_hidden(operands, reverse=False).shape
        torch.Size([2, 9, 8])
    """
    operands.check()
    check_floating(operands.named)
    x, lengths = mask_frames(operands.x, operands.lengths), operands.lengths
    if not reverse:
        return mask_frames(_states(x, operands), lengths)
    return mask_frames(reverse_frames(_states(reverse_frames(x, lengths), operands), lengths), lengths)


def bilstm_hidden(operands: LSTMOperands, backward: LSTMOperands) -> Tensor:
    """Hidden states of both directions, :func:`convrnn.ops.bilstm_hidden`.

    cuDNN computes them at the same time. With lengths it would have to know them on the host; the directions then take
    turns.

    Args:
        operands: Of the forward direction, without peepholes.
        backward: Of the backward direction.

    Raises:
        ValueError: naming a tensor that does not fit.

    Example:
        >>> operands = LSTMOperands(torch.randn(2, 9, 26), torch.randn(32, 26), torch.randn(32, 8), None)
        >>> bilstm_hidden(operands, operands).shape
        torch.Size([2, 9, 16])
    """
    if operands.lengths is not None:
        return in_turn(lstm_hidden)(operands, backward)
    for each in (operands, backward):
        each.check()
        check_floating(each.named)
    return _states(operands.x, operands, backward)


def _states(x: Tensor, *directions: LSTMOperands) -> Tensor:
    """The hidden states of one direction, or of both side by side, without lengths."""
    matrices = [matrix for each in directions for matrix in (each.weight_ih, each.weight_hh)]
    # PyTorch adds a second bias, zero here.
    zeros = x.new_zeros(matrices[0].size(0))
    biases = [bias for each in directions for bias in (zeros if each.bias is None else each.bias, zeros)]
    # cuDNN needs its parameters in one block of memory.
    block = torch.cat([tensor.flatten() for tensor in (*matrices, *biases)])
    sizes = [tensor.numel() for tensor in (*matrices, *biases)]
    parts = [part.view_as(tensor) for part, tensor in zip(block.split(sizes), (*matrices, *biases), strict=True)]
    first_bias = len(matrices)
    weights = [
        part
        for number in range(0, first_bias, 2)
        for part in (*parts[number : number + 2], *parts[first_bias + number : first_bias + number + 2])
    ]
    hidden = directions[0].hidden
    state = [
        torch.stack([x.new_zeros(hidden) if h is None else h for h in initial])
        .unsqueeze(1)
        .expand(-1, x.size(0), -1)
        .contiguous()
        for initial in ([d.initial_hidden for d in directions], [d.initial_cell for d in directions])
    ]
    states: Tensor = torch.lstm(x, state, weights, True, 1, 0.0, torch.is_grad_enabled(), len(directions) == 2, True)[0]
    return states


def _cannot_run(operands: CellOperands) -> str | None:
    if isinstance(operands, LSTMOperands) and operands.weight_peephole is not None:
        return "cuDNN's LSTM has no peepholes"
    if not _on_gpu(operands.x):
        return f"x is {operands.x.dtype} on {operands.x.device}, which cuDNN does not take"
    if torch.compiler.is_compiling():
        return "PyTorch's LSTM is not for compiled functions"
    return why_no_kernel()


def _on_gpu(x: Tensor) -> bool:
    return x.device.type == "cuda" and torch.backends.cudnn.is_acceptable(x)


def _missing() -> None:
    """None: it is available wherever PyTorch has a GPU."""


def _describe(device: torch.device) -> Implementation:
    return Implementation("cudnn", f"cuDNN {torch.backends.cudnn.version()}", gpu_architecture(device))


BACKEND = Backend(
    name="cudnn",
    title="cuDNN",
    operations={"lstm_hidden": lstm_hidden, "bilstm_hidden": bilstm_hidden},
    cannot_run=_cannot_run,
    missing=_missing,
    describe=_describe,
)
