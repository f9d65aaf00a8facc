"""The CPU kernel: recurrent cells in C (sources in ``csrc``), for float32, bfloat16 and float16.

The library is loaded with ctypes and does not depend on PyTorch, so that one build serves every version of PyTorch. It
is built if there is a C compiler at installation. The operations registered here are differentiable once. For
windows, only the gates of the last steps are stored for the backward pass or, where a window has more than 8 frames,
the states after at most 7 steps; the backward pass recomputes the other steps. For whole sequences, the gates of all
steps are stored along with the states. All of this is in float32: other dtypes are converted before, and results and
gradients are rounded to them once.
"""

import torch

from convrnn.ops.backend import Backend, Implementation, first_of, in_turn, why_no_kernel, windows_in_turn
from convrnn.ops.native import library, sequence, windowed
from convrnn.ops.native.calls import DTYPES
from convrnn.ops.native.library import MISSING, available, instruction_sets, use_instruction_set
from convrnn.ops.operands import CellOperands

__all__ = ["BACKEND", "MISSING", "available", "instruction_sets", "use_instruction_set"]


def _cannot_run(operands: CellOperands) -> str | None:
    x = operands.x
    if x.device.type != "cpu":
        return f"x is on {x.device}, and the kernel is for the CPU"
    if x.dtype not in DTYPES:
        return f"x is {x.dtype}, and the kernel is for {', '.join(map(str, DTYPES))}"
    if torch.is_autocast_enabled("cpu"):
        for name, tensor in zip(operands.tensor_names, operands.differentiable, strict=True):
            if tensor is not None and tensor.dtype not in DTYPES:
                return f"{name} is {tensor.dtype}, and the kernel is for {', '.join(map(str, DTYPES))}"
    return why_no_kernel()


def _missing() -> str | None:
    return MISSING


def _describe(_: torch.device) -> Implementation:
    sources, compiler = library.built_from()
    return Implementation("native", sources, library.instruction_set(), compiler)


_windowed_lstm = windowed.OPERATIONS["windowed_lstm"]
_lstm_hidden = first_of(sequence.OPERATIONS["lstm"])

BACKEND = Backend(
    name="native",
    title="native",
    operations=windowed.OPERATIONS
    | sequence.OPERATIONS
    | {
        "windowed_bilstm": windows_in_turn(_windowed_lstm),
        "lstm_hidden": _lstm_hidden,
        "bilstm_hidden": in_turn(_lstm_hidden),
    },
    cannot_run=_cannot_run,
    missing=_missing,
    describe=_describe,
)
