"""The hidden states of an LSTM without peepholes over whole sequences, by PyTorch's own LSTM: on the GPU, cuDNN's."""

import torch
from torch import Tensor

from convrnn.ops.backend import Backend, Implementation, gpu_architecture, why_no_kernel
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
    x, weight_ih, weight_hh, bias, _, initial_hidden, initial_cell, lengths = operands.tensors
    assert x is not None
    assert weight_ih is not None
    assert weight_hh is not None
    rows, hidden = weight_hh.shape
    # PyTorch adds a second bias, zero here; and cuDNN needs its parameters in one block of memory.
    biases = (x.new_zeros(rows) if bias is None else bias, x.new_zeros(rows))
    pieces = torch.cat([weight_ih.flatten(), weight_hh.flatten(), *biases]).split(
        [weight_ih.numel(), weight_hh.numel(), rows, rows]
    )
    weights = [pieces[0].view_as(weight_ih), pieces[1].view_as(weight_hh), *pieces[2:]]
    state = [
        (x.new_zeros(hidden) if initial is None else initial).expand(1, x.size(0), hidden).contiguous()
        for initial in (initial_hidden, initial_cell)
    ]
    x = mask_frames(x, lengths)
    if reverse:
        x = reverse_frames(x, lengths)
    states: Tensor = torch.lstm(x, state, weights, True, 1, 0.0, torch.is_grad_enabled(), False, True)[0]
    if reverse:
        states = reverse_frames(states, lengths)
    return mask_frames(states, lengths)


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
    operations={"lstm_hidden": lstm_hidden},
    cannot_run=_cannot_run,
    missing=_missing,
    describe=_describe,
)
