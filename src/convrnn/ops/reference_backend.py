"""The reference as a backend: the equations in plain PyTorch, for whatever no other backend runs."""

import torch
from torch import Tensor

from convrnn.ops import reference
from convrnn.ops.backend import Backend, Implementation, first_of, gpu_architecture
from convrnn.ops.operands import CellOperands, LSTMOperands, Windows
from convrnn.ops.registration import register_composite

for _function in (reference.windowed_rnn, reference.windowed_gru, reference.windowed_lstm):
    register_composite(_function.__name__, _function)


def _lstm(operands: LSTMOperands, reverse: bool) -> tuple[Tensor, Tensor]:
    if torch.compiler.is_compiling():
        # Opaque, because a graph with every frame of a recording unrolled would be useless.
        states: tuple[Tensor, Tensor] = torch.ops.convrnn.lstm(*operands.tensors, reverse)
        return states
    return reference.lstm(*operands.differentiable, lengths=operands.lengths, reverse=reverse)  # type: ignore[arg-type]


def _windowed_lstm(operands: LSTMOperands, windows: Windows) -> Tensor:
    y: Tensor = torch.ops.convrnn.windowed_lstm(
        *operands.differentiable,
        kernel_size=windows.kernel_size,
        stride=windows.stride,
        sequence=windows.sequence,
        reduce=windows.reduce,
        lengths=operands.lengths,
        reverse=windows.reverse,
    )
    return y


def _nothing(*_: CellOperands) -> None:
    """No reason against it."""


def _describe(device: torch.device) -> Implementation:
    known = gpu_architecture(device) if device.type == "cuda" else torch.backends.cpu.get_cpu_capability().lower()
    return Implementation("reference", f"torch {torch.__version__}", known)


BACKEND = Backend(
    name="reference",
    title="reference",
    operations={
        "windowed_rnn": torch.ops.convrnn.windowed_rnn,
        "windowed_gru": torch.ops.convrnn.windowed_gru,
        "windowed_lstm": _windowed_lstm,
        "lstm": _lstm,
        "lstm_hidden": first_of(_lstm),
    },
    cannot_run=_nothing,
    missing=_nothing,
    describe=_describe,
)
