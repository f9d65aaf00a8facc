"""What the kernels of the forward pass over windows read."""

from dataclasses import dataclass

from torch import Tensor

from convrnn.ops.operands import LSTMOperands
from convrnn.ops.triton.call import Call
from convrnn.ops.triton.operands import first_product, times
from convrnn.ops.triton.tiles import Tile


@dataclass(frozen=True)
class Inputs:
    """The inputs of the forward kernels, by parameter name; all but x and the lengths may have an axis of directions.

    Attributes:
        wx: Projected frames, ``W_x x_t``; None if the kernel projects them.
        x: Frames for the kernel to project.
        weight_ih: Input weights for the projection.
        bias: Bias.
        weight_hh: Recurrent weights.
        weight_peephole: Peepholes.
        initial_cell: Cell state before the first step.
        lengths: Valid frames of each sequence.
        first: The recurrent product of the first step; None is zeros.
    """

    wx: Tensor | None
    x: Tensor | None
    weight_ih: Tensor | None
    bias: Tensor | None
    weight_hh: Tensor
    weight_peephole: Tensor | None
    initial_cell: Tensor | None
    lengths: Tensor | None
    first: Tensor | None

    @classmethod
    def of(cls, operands: LSTMOperands, call: Call, tile: Tile) -> "Inputs":
        """The inputs of the forward kernels; each frame is projected once here, unless the kernel projects them."""
        x, weight_ih, wx = operands.x, operands.weight_ih, None
        if not tile.inputs and call.positions:
            wx = call.apart(x).bmm(call.by_step(weight_ih).mT)
        elif not tile.inputs:
            wx = times(x.flatten(0, 1), weight_ih.mT)
        return cls(
            wx=wx,
            x=x if tile.inputs else None,
            weight_ih=weight_ih if tile.inputs else None,
            bias=operands.bias,
            weight_hh=operands.weight_hh,
            weight_peephole=operands.weight_peephole,
            initial_cell=operands.initial_cell,
            lengths=operands.lengths,
            first=first_product(operands),
        )
