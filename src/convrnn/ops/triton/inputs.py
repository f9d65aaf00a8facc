"""What the kernels of the forward pass over windows read."""

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from convrnn.ops.operands import LSTMOperands
from convrnn.ops.triton.call import Call
from convrnn.ops.triton.operands import first_product
from convrnn.ops.triton.tiles import Tile


@dataclass(frozen=True)
class Inputs:
    """The inputs of the forward kernels, by parameter name.

    Attributes:
        wx: Projected frames, ``W_x x_t``, with a first axis for two directions; None if the kernel projects them.
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
    def of(cls, operands: Sequence[LSTMOperands], call: Call, tile: Tile) -> "Inputs":
        """The inputs of one direction, or of the first; each frame is projected once here, if the kernel does not."""
        first = operands[0]
        x, weight_ih, wx = first.x, first.weight_ih, None
        if not tile.inputs and call.positions:
            wx = call.apart(x).bmm(call.by_step(weight_ih).mT)
        elif not tile.inputs and call.directions == 1:
            wx = x.flatten(0, 1).mm(weight_ih.mT)
        elif not tile.inputs:
            wx = x.new_empty(call.directions, x.size(0) * x.size(1), weight_ih.size(0))
            for product, each in zip(wx.unbind(), operands, strict=True):
                torch.mm(x.flatten(0, 1), each.weight_ih.mT, out=product)
        return cls(
            wx=wx,
            x=x if tile.inputs else None,
            weight_ih=weight_ih if tile.inputs else None,
            bias=first.bias,
            weight_hh=first.weight_hh,
            weight_peephole=first.weight_peephole,
            initial_cell=first.initial_cell,
            lengths=first.lengths,
            first=first_product(first),
        )


@functools.cache
def _nothing(*names: str) -> Mapping[str, None]:
    return {f"{name}_reverse": None for name in names}


def of_reverse(operands: Sequence[LSTMOperands], *names: str) -> Mapping[str, Any]:
    """The kernels' arguments with the named parameters of the backward direction; None if there is none."""
    if len(operands) == 1:
        return _nothing(*names)
    other = operands[1]
    return {f"{name}_reverse": first_product(other) if name == "first" else getattr(other, name) for name in names}
