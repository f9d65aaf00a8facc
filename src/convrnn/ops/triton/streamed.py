"""The LSTM over few windows in one launch, for weights that do not fit on the chip."""

from typing import Any

from torch import Tensor

from convrnn.ops.operands import LSTMOperands
from convrnn.ops.triton import launcher
from convrnn.ops.triton.call import Call
from convrnn.ops.triton.stepwise import Inputs
from convrnn.ops.triton.tiles import Tile


def _arguments(call: Call, tile: Tile, hidden: Tensor) -> dict[str, Any]:
    """The arguments of both kernels other than tensors."""
    return {
        **call.sizes(),
        **call.constants(tile, hidden.dtype),
        "y_first": call.first,
        "y_step": call.direction,
        "HIDDEN_STEPS": call.hidden_steps,
        "PITCH": hidden.size(-1),
        "INNER": tile.inner,
    }


def forward(
    inputs: Inputs,
    call: Call,
    tile: Tile,
    *,
    y: Tensor | None,
    gates: Tensor | None,
    hidden: Tensor | None,
    cell: Tensor | None,
    largest: Tensor | None,
) -> None:
    """As :func:`stepwise.forward`, but reductions accumulate on the chip."""
    from convrnn.ops.triton.kernels import streamed

    wx = inputs.wx
    assert wx is not None
    hidden_step = 0 if hidden is None else hidden.stride(0)
    if hidden is None:
        hidden = wx.new_empty(call.rows, call.hidden)
    arguments = {
        "wx": wx,
        "weight_hh": inputs.weight_hh.mT.contiguous(),
        "first": inputs.first,
        "weight_peephole": inputs.weight_peephole,
        "initial_cell": inputs.initial_cell,
        "lengths": inputs.lengths,
        "y": y,
        "gates": gates,
        "hidden": hidden,
        "cell": cell,
        "largest": largest,
        **_arguments(call, tile, hidden),
        "frame_first": call.frame_first,
        "frame_step": call.frame_step,
        "hidden_step": hidden_step,
    }
    launcher.launch(streamed.forward, (call.programs(tile),), arguments, tile.warps, tile.stages)


def backward(
    grad: Tensor,
    operands: LSTMOperands,
    call: Call,
    tile: Tile,
    *,
    gates: Tensor,
    hidden: Tensor,
    cell: Tensor,
    largest: Tensor | None,
    sums: Tensor | None,
) -> None:
    """As :func:`stepwise.backward`."""
    from convrnn.ops.triton.kernels import streamed

    arguments = {
        "grad": grad,
        "weight_hh": operands.weight_hh,
        "weight_peephole": operands.weight_peephole,
        "initial_cell": operands.initial_cell,
        "lengths": operands.lengths,
        "gates": gates,
        "hidden": hidden,
        "cell": cell,
        "largest": largest,
        "sums": sums,
        **_arguments(call, tile, hidden),
    }
    launcher.launch(streamed.backward, (call.programs(tile),), arguments, tile.warps, tile.stages)
