"""The LSTM over windows step by step: in each step PyTorch's matrix product for all windows, and a kernel for the rest.

It is used for weights that do not fit on the chip, and for float32 products, in which Triton is slower than cuBLAS.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from convrnn.ops.operands import LSTMOperands
from convrnn.ops.triton import launcher
from convrnn.ops.triton.call import Call
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


def _product(a: Tensor, b: Tensor) -> Tensor:
    """``a @ b`` in float32."""
    if a.dtype == torch.float32:
        return a.mm(b)
    # On the CPU, where the interpreter runs, PyTorch's products do not support another output dtype.
    return torch.mm(a, b, out_dtype=torch.float32) if a.is_cuda else a.float().mm(b.float())


def _grid(call: Call, tile: Tile) -> tuple[int, int]:
    return call.programs(tile), -(-call.hidden // tile.units)


def _of_all_steps(tensors: Inputs | LSTMOperands, call: Call, tile: Tile, hidden: Tensor) -> dict[str, Any]:
    """The arguments of both kernels that are the same in every step."""
    return {
        **call.sizes(),
        **call.constants(tile, hidden.dtype),
        "weight_peephole": tensors.weight_peephole,
        "lengths": tensors.lengths,
        "PITCH": hidden.size(2),
    }


def _of_one_step(
    tensors: Inputs | LSTMOperands, call: Call, step: int, hidden: Sequence[Tensor], cell: Sequence[Tensor]
) -> dict[str, Any]:
    """The arguments of both kernels for one step; the states are those before and after each step."""
    with_hidden = step < call.hidden_steps
    return {
        "initial_cell": tensors.initial_cell if step == 0 else None,
        "hidden": hidden[step + 1] if with_hidden else None,
        "cell_before": cell[step - 1] if step else None,
        "cell": cell[step],
        "position": call.first + step * call.direction,
        "WITH_HIDDEN": with_hidden,
        "LAST": step == call.kernel_size - 1,
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
    """Fill ``y``, float32 if a reduction accumulates in it, or the other tensors with what :func:`backward` needs.

    The other tensors are as in ``kernels.resident.forward``; frames are already projected.
    """
    from convrnn.ops.triton.kernels import stepwise

    wx, weight_hh = inputs.wx, inputs.weight_hh
    assert wx is not None
    if hidden is None or cell is None:
        # Shared by all steps: when a step overwrites the state, the product with the old state is complete.
        hidden = wx.new_empty(call.rows, call.hidden).expand(call.hidden_steps + 1, -1, -1)
        cell = wx.new_empty(call.rows, call.hidden, dtype=torch.float32).expand(call.kernel_size, -1, -1)
    grid = _grid(call, tile)
    common = {"wx": wx, **_of_all_steps(inputs, call, tile, hidden), "y": y, "largest": largest}
    # Outside the loop, because with few windows the Python code dominates the time of a step.
    factors, hiddens, cells = hidden[..., : call.hidden].unbind(), hidden.unbind(), cell.unbind()
    for step in range(call.kernel_size):
        product = None
        if step:
            # If the hidden state is not needed, neither is the output gate.
            weights = weight_hh if step < call.hidden_steps else weight_hh[: 3 * call.hidden]
            product = _product(factors[step], weights.mT)
        arguments = {
            **common,
            **_of_one_step(inputs, call, step, hiddens, cells),
            "product": product,
            "first": None if step else inputs.first,
            "gates": None if gates is None else gates[step],
            "frame_offset": call.frame_first + step * call.frame_step,
            "PRODUCT_PITCH": 1 if product is None else product.size(1),
        }
        launcher.launch(stepwise.forward, grid, arguments, tile.warps, tile.stages)


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
    """Overwrite the gates with the gradients of their pre-activations, and fill the sums of each tile of windows."""
    from convrnn.ops.triton.kernels import stepwise

    weight_hh = operands.weight_hh
    grad_hidden, grad_cell = None, torch.empty_like(cell[0])
    grid = _grid(call, tile)
    common = {
        "grad": grad,
        **_of_all_steps(operands, call, tile, hidden),
        "largest": largest,
        "sums": sums,
        "grad_cell": grad_cell,
    }
    hiddens, cells = hidden.unbind(), cell.unbind()
    for step in reversed(range(call.kernel_size)):
        arguments = {
            **common,
            **_of_one_step(operands, call, step, hiddens, cells),
            "gates": gates[step],
            "grad_hidden": grad_hidden,
        }
        launcher.launch(stepwise.backward, grid, arguments, tile.warps, tile.stages)
        if step:
            # The gradient of an unused output gate is zero.
            known = (4 if step < call.hidden_steps else 3) * call.hidden
            grad_hidden = _product(gates[step][:, :known], weight_hh[:known])
