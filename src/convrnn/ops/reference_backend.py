"""The reference as a backend: the equations in plain PyTorch, for everything that no other backend runs."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from convrnn.ops import reference
from convrnn.ops.backend import Backend, Implementation, first_of, gpu_architecture, in_turn, windows_in_turn
from convrnn.ops.operands import CellOperands, Windows
from convrnn.ops.registration import register_composite

for _function in (reference.windowed_rnn, reference.windowed_gru, reference.windowed_lstm):
    register_composite(_function.__name__, _function)


def _over_windows(function: Callable[..., Tensor]) -> Callable[[CellOperands, Windows], Tensor]:
    operation: Callable[..., Tensor] = getattr(torch.ops.convrnn, function.__name__)

    def run(operands: CellOperands, windows: Windows) -> Tensor:
        options = operands.options | ({"sequence": windows.sequence} if operands.has_cell_states else {})
        # A loop has to be part of the exported program from the start: the operation is taken apart too late for it.
        chosen = function if reference.exported_as_loop(windows.kernel_size) else operation
        return chosen(
            *operands.differentiable,
            kernel_size=windows.kernel_size,
            stride=windows.stride,
            reduce=windows.reduce,
            lengths=operands.lengths,
            reverse=windows.reverse,
            **options,
        )

    return run


def _over_sequences(function: Callable[..., Any]) -> Callable[[CellOperands, bool], Any]:
    name = function.__name__

    def run(operands: CellOperands, reverse: bool) -> Any:  # noqa: ANN401
        if torch.compiler.is_compiling():
            # Opaque, because a graph with every frame of a recording unrolled would be useless.
            return getattr(torch.ops.convrnn, name)(*operands.arguments, reverse)
        return function(*operands.differentiable, **operands.options, lengths=operands.lengths, reverse=reverse)

    return run


_windowed_lstm = _over_windows(reference.windowed_lstm)
_lstm = _over_sequences(reference.lstm)


def _nothing(*_: CellOperands) -> None:
    """Why it cannot run: never."""


def _describe(device: torch.device) -> Implementation:
    known = gpu_architecture(device) if device.type == "cuda" else torch.backends.cpu.get_cpu_capability().lower()
    return Implementation("reference", f"torch {torch.__version__}", known)


BACKEND = Backend(
    name="reference",
    title="reference",
    operations={
        "windowed_rnn": _over_windows(reference.windowed_rnn),
        "windowed_gru": _over_windows(reference.windowed_gru),
        "windowed_lstm": _windowed_lstm,
        "windowed_bilstm": windows_in_turn(_windowed_lstm),
        "rnn": _over_sequences(reference.rnn),
        "gru": _over_sequences(reference.gru),
        "lstm": _lstm,
        "lstm_hidden": first_of(_lstm),
        "bilstm_hidden": in_turn(first_of(_lstm)),
    },
    cannot_run=_nothing,
    missing=_nothing,
    describe=_describe,
)
