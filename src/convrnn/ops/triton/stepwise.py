"""The LSTM over windows in steps: a product of PyTorch's for all windows, and a kernel for the rest, in turns.

For weights too large for the chip, and for float32 products, which no kernel of Triton's computes at cuBLAS's rate.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from convrnn.ops.operands import Tensors, there
from convrnn.ops.triton import tiles
from convrnn.ops.triton.call import Call
from convrnn.ops.triton.tiles import Tile


def _product(a: Tensor, b: Tensor) -> Tensor:
    """``a @ b`` in float32."""
    if a.dtype == torch.float32:
        return a.mm(b)
    # On the CPU, where the interpreter runs, PyTorch has no products of one dtype in another.
    return torch.mm(a, b, out_dtype=torch.float32) if a.is_cuda else a.float().mm(b.float())


def _grid(call: Call, tile: Tile) -> tuple[int, int]:
    return call.programs(tile), -(-call.hidden // tile.units)


def _of_all_steps(tensors: Tensors, call: Call, tile: Tile, hidden: Tensor) -> dict[str, Any]:
    """What both kernels take in every step."""
    return {
        **call.sizes(),
        **call.constants(tile, hidden.dtype),
        "weight_peephole": tensors["weight_peephole"],
        "lengths": tensors["lengths"],
        "PITCH": hidden.size(2),
    }


def _of_one_step(
    tensors: Tensors, call: Call, step: int, hidden: Sequence[Tensor], cell: Sequence[Tensor]
) -> dict[str, Any]:
    """What both kernels take in one; the states are those before and after each step."""
    with_hidden = step < call.hidden_steps
    return {
        "initial_cell": tensors["initial_cell"] if step == 0 else None,
        "hidden": hidden[step + 1] if with_hidden else None,
        "cell_before": cell[step - 1] if step else None,
        "cell": cell[step],
        "position": call.first + step * call.direction,
        "WITH_HIDDEN": with_hidden,
        "LAST": step == call.kernel_size - 1,
    }


def forward(
    tensors: Tensors,
    call: Call,
    tile: Tile,
    *,
    y: Tensor | None,
    gates: Tensor | None,
    hidden: Tensor | None,
    cell: Tensor | None,
    largest: Tensor | None,
) -> None:
    """To ``y``, which is float32 where a reduction goes on in it; or to the others what :func:`backward` needs.

    These are as in ``kernels.resident.forward``, and so are ``tensors``, by name.
    """
    from convrnn.ops.triton.kernels import stepwise

    wx, weight_hh = there(tensors, "wx", "weight_hh")
    if hidden is None or cell is None:
        # One of each for all steps: when a step writes its state, the product of the one before is there.
        hidden = wx.new_empty(call.rows, call.hidden).expand(call.hidden_steps + 1, -1, -1)
        cell = wx.new_empty(call.rows, call.hidden, dtype=torch.float32).expand(call.kernel_size, -1, -1)
    grid = _grid(call, tile)
    common = {"wx": wx, **_of_all_steps(tensors, call, tile, hidden), "y": y, "largest": largest}
    # Python's part of a step is what few windows wait for.
    operands, hiddens, cells = hidden[..., : call.hidden].unbind(), hidden.unbind(), cell.unbind()
    for step in range(call.kernel_size):
        product = None
        if step:
            # Where the hidden state is of no use, neither is the output gate.
            weights = weight_hh if step < call.hidden_steps else weight_hh[: 3 * call.hidden]
            product = _product(operands[step], weights.mT)
        arguments = {
            **common,
            **_of_one_step(tensors, call, step, hiddens, cells),
            "product": product,
            "first": None if step else tensors["first"],
            "gates": None if gates is None else gates[step],
            "frame_offset": call.frame_first + step * call.frame_step,
            "PRODUCT_PITCH": 1 if product is None else product.size(1),
        }
        tiles.launch(stepwise.forward, grid, arguments, tile.warps, tile.stages)


def backward(
    grad: Tensor,
    tensors: Tensors,
    call: Call,
    tile: Tile,
    *,
    gates: Tensor,
    hidden: Tensor,
    cell: Tensor,
    largest: Tensor | None,
    sums: Tensor | None,
) -> None:
    """Gradients of the gates' sums in the place of the gates, and sums for each tile of windows."""
    from convrnn.ops.triton.kernels import stepwise

    (weight_hh,) = there(tensors, "weight_hh")
    grad_hidden, grad_cell = None, torch.empty_like(cell[0])
    grid = _grid(call, tile)
    common = {
        "grad": grad,
        **_of_all_steps(tensors, call, tile, hidden),
        "largest": largest,
        "sums": sums,
        "grad_cell": grad_cell,
    }
    hiddens, cells = hidden.unbind(), cell.unbind()
    for step in reversed(range(call.kernel_size)):
        arguments = {
            **common,
            **_of_one_step(tensors, call, step, hiddens, cells),
            "gates": gates[step],
            "grad_hidden": grad_hidden,
        }
        tiles.launch(stepwise.backward, grid, arguments, tile.warps, tile.stages)
        if step:
            # The gradient of an output gate of no use is zero.
            known = (4 if step < call.hidden_steps else 3) * call.hidden
            grad_hidden = _product(gates[step][:, :known], weight_hh[:known])
