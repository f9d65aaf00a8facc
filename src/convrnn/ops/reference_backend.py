"""The reference as a backend: the equations in plain PyTorch, for everything that no other backend runs."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from convrnn.ops import reference
from convrnn.ops.backend import Backend, Implementation, first_of, gpu_architecture
from convrnn.ops.operands import CellOperands, LSTMOperands, Windows
from convrnn.ops.registration import register_composite

for _function in (reference.windowed_rnn, reference.windowed_gru, reference.windowed_lstm):
    register_composite(_function.__name__, _function)


def _operation(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
    operation: Callable[..., Tensor] = getattr(torch.ops.convrnn, function.__name__)

    def run(*args: Tensor | None, kernel_size: int, **options: Any) -> Tensor:  # noqa: ANN401
        # A loop has to be part of the exported program from the start: the operation is taken apart too late for it.
        chosen = function if reference.exported_as_loop(kernel_size) else operation
        return chosen(*args, kernel_size=kernel_size, **options)

    return run


_windowed_lstm_operation = _operation(reference.windowed_lstm)


def _lstm(operands: LSTMOperands, reverse: bool) -> tuple[Tensor, Tensor]:
    if torch.compiler.is_compiling():
        # Opaque, because a graph with every frame of a recording unrolled would be useless.
        states: tuple[Tensor, Tensor] = torch.ops.convrnn.lstm(*operands.tensors, reverse)
        return states
    return reference.lstm(*operands.differentiable, lengths=operands.lengths, reverse=reverse)  # type: ignore[arg-type]


def _windowed_lstm(operands: LSTMOperands, windows: Windows) -> Tensor:
    return _windowed_lstm_operation(
        *operands.differentiable,
        kernel_size=windows.kernel_size,
        stride=windows.stride,
        sequence=windows.sequence,
        reduce=windows.reduce,
        lengths=operands.lengths,
        reverse=windows.reverse,
    )


def _nothing(*_: CellOperands) -> None:
    """Why it cannot run: never."""


def _describe(device: torch.device) -> Implementation:
    known = gpu_architecture(device) if device.type == "cuda" else torch.backends.cpu.get_cpu_capability().lower()
    return Implementation("reference", f"torch {torch.__version__}", known)


BACKEND = Backend(
    name="reference",
    title="reference",
    operations={
        "windowed_rnn": _operation(reference.windowed_rnn),
        "windowed_gru": _operation(reference.windowed_gru),
        "windowed_lstm": _windowed_lstm,
        "lstm": _lstm,
        "lstm_hidden": first_of(_lstm),
    },
    cannot_run=_nothing,
    missing=_nothing,
    describe=_describe,
)
