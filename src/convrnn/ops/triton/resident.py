"""The LSTM over windows with all weights on the chip."""

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
        "tiles": -(-call.rows // tile.rows),
        "y_first": call.first,
        "y_step": call.direction,
        "HIDDEN_STEPS": call.hidden_steps,
        "PITCH": pitch,
        "DIRECTIONS": call.directions,
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
    """Fill ``y``, or the states, with frames if they are wanted."""
    from convrnn.ops.triton.kernels import resident

    pitch = call.hidden if states is None else states.hidden.size(-1)
    none = {"gates": None, "hidden": None, "cell": None, "largest": None}
    arguments = {
        **_arguments(operands, call, tile, pitch),
        **vars(Inputs.of(operands, call, tile)),
        **of_reverse(operands, "bias", "weight_hh", "weight_peephole", "initial_cell", "first"),
        **of_reverse(operands if tile.inputs else operands[:1], "weight_ih"),
        **({"x": operands[0].x} if with_frames else {}),
        **(none if states is None else vars(states)),
        "y": y,
        "frame_first": call.frame_first,
        "frame_step": call.frame_step,
        "FEATURES": call.features,
        "INPUTS": max(16, tile.inputs),
        "BESIDE": tiles.power_of_2(pitch - call.hidden) if with_frames else 0,
    }
    launcher.launch(resident.forward, call.grid(tile), arguments, tile.warps, tile.stages)


def backward(
    grad: Tensor, operands: Sequence[LSTMOperands], call: Call, tile: Tile, *, states: States, sums: Tensor | None
) -> None:
    """Overwrite the gates with the gradients of their pre-activations, and fill the sums of each program.

    Args:
        grad: Gradient of the result.
        operands: Operands of the operation, of each direction.
        call: Its sizes.
        tile: The tile.
        states: What the forward pass kept.
        sums: Zeros, for the gradients of the peepholes and the initial cell state, float32 ``[.., programs, 4, H]``;
            None if there is neither.
    """
    from convrnn.ops.triton.kernels import resident

    arguments = {
        **_arguments(operands, call, tile, states.hidden.size(-1)),
        **vars(states),
        "sums": sums,
        "grad": grad,
        "weight_hh": operands[0].weight_hh,
        "weight_peephole": operands[0].weight_peephole,
        "initial_cell": operands[0].initial_cell,
        "lengths": operands[0].lengths,
        **of_reverse(operands, "weight_hh", "weight_peephole", "initial_cell"),
    }
    launcher.launch(resident.backward, call.grid(tile), arguments, tile.warps, tile.stages)
