"""What the kernels of the forward pass over windows read."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from convrnn.ops.operands import LSTMOperands
from convrnn.ops.triton.call import Call
from convrnn.ops.triton.operands import first_product
from convrnn.ops.triton.tiles import Tile


@dataclass(frozen=True)
class Inputs:
    """The inputs of the forward kernels, by parameter name.

    Attributes:
        wx: Projected frames, ``W_x x_t + b``; None if the kernel projects them.
        x: Frames for the kernel to project.
        weight_ih: Input weights for the projection.
        bias: Bias for the projection.
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
        x, weight_ih, bias = operands.x, operands.weight_ih, operands.bias
        wx = None
        if not tile.inputs:
            bias = None if bias is None else bias.to(x.dtype)
            if call.positions:
                inputs, weights = call.apart(x), call.by_step(weight_ih).mT
                wx = inputs.bmm(weights) if bias is None else torch.baddbmm(bias, inputs, weights)
            else:
                wx = F.linear(x, weight_ih, bias)
        return cls(
            wx=wx,
            x=x if tile.inputs else None,
            weight_ih=weight_ih if tile.inputs else None,
            bias=bias if tile.inputs else None,
            weight_hh=operands.weight_hh,
            weight_peephole=operands.weight_peephole,
            initial_cell=operands.initial_cell,
            lengths=operands.lengths,
            first=first_product(operands),
        )
