"""The LSTM over few windows in one launch, for weights that do not fit on the chip."""

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from convrnn.ops.operands import LSTMOperands
from convrnn.ops.triton import launcher, tiles
from convrnn.ops.triton.call import Call
from convrnn.ops.triton.inputs import Inputs, of_reverse
from convrnn.ops.triton.states import States
from convrnn.ops.triton.tiles import Tile


def _arguments(operands: Sequence[LSTMOperands], call: Call, tile: Tile, pitch: int) -> dict[str, Any]:
    """The arguments of both kernels other than tensors."""
    return {
        **call.sizes(),
        **call.constants(tile, operands[0].x.dtype),
        "y_first": call.first,
        "y_step": call.direction,
        "HIDDEN_STEPS": call.hidden_steps,
        "PITCH": pitch,
        "DIRECTIONS": call.directions,
        "INNER": tile.inner,
    }


def forward(
    operands: Sequence[LSTMOperands],
    call: Call,
    tile: Tile,
    *,
    y: Tensor | None,
    states: States | None,
    with_frames: bool,
) -> None:
    """Fill ``y``, the states, with frames if they are wanted, or both."""
    from convrnn.ops.triton.kernels import streamed

    inputs, x = Inputs.of(operands, call, tile), operands[0].x
    # Without states to keep, all steps share one hidden state.
    hidden = x.new_empty(*call.axis, call.rows, call.hidden) if states is None else states.hidden
    pitch = hidden.size(-1)
    arguments = {
        "wx": inputs.wx,
        "bias": inputs.bias,
        "x": x if with_frames else None,
        "weight_hh": inputs.weight_hh.mT.contiguous(),
        "weight_hh_reverse": None if len(operands) == 1 else operands[1].weight_hh.mT.contiguous(),
        **of_reverse(operands, "bias", "weight_peephole", "initial_cell", "first"),
        "first": inputs.first,
        "weight_peephole": inputs.weight_peephole,
        "initial_cell": inputs.initial_cell,
        "lengths": inputs.lengths,
        "y": y,
        "gates": None if states is None else states.gates,
        "hidden": hidden,
        "cell": None if states is None else states.cell,
        "largest": None if states is None else states.largest,
        **_arguments(operands, call, tile, pitch),
        "frame_first": call.frame_first,
        "frame_step": call.frame_step,
        "hidden_step": 0 if states is None else call.rows * pitch,
        "FEATURES": call.features,
        "BESIDE": tiles.power_of_2(pitch - call.hidden) if with_frames else 0,
    }
    launcher.launch(streamed.forward, call.grid(tile), arguments, tile.warps, tile.stages)


def backward(
    grad: Tensor, operands: Sequence[LSTMOperands], call: Call, tile: Tile, *, states: States, sums: Tensor | None
) -> None:
    """As ``resident.backward``."""
    from convrnn.ops.triton.kernels import streamed

    arguments = {
        "grad": grad,
        "weight_hh": operands[0].weight_hh,
        "weight_peephole": operands[0].weight_peephole,
        "initial_cell": operands[0].initial_cell,
        "lengths": operands[0].lengths,
        **of_reverse(operands, "weight_hh", "weight_peephole", "initial_cell"),
        **vars(states),
        "sums": sums,
        **_arguments(operands, call, tile, states.hidden.size(-1)),
    }
    launcher.launch(streamed.backward, call.grid(tile), arguments, tile.warps, tile.stages)
