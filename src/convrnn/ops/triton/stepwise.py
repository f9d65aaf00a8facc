"""The LSTM over windows step by step: in each step PyTorch's matrix product for all windows, and a kernel for the rest.

It is used for many windows whose weights do not fit on the chip, or whose products are in float32, in which Triton is
slower than cuBLAS; and for many units.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from convrnn.ops.operands import LSTMOperands
from convrnn.ops.triton import launcher
from convrnn.ops.triton.call import Call
from convrnn.ops.triton.inputs import Inputs
from convrnn.ops.triton.states import States
from convrnn.ops.triton.tiles import Tile


def _product(a: Tensor, b: Tensor) -> Tensor:
    """``a @ b`` in float32."""
    if a.dtype == torch.float32:
        return a.mm(b)
    # On the CPU, where the interpreter runs, PyTorch's products do not support another output dtype.
    return torch.mm(a, b, out_dtype=torch.float32) if a.is_cuda else a.float().mm(b.float())


def _grid(call: Call, tile: Tile) -> tuple[int, int]:
    return call.programs(tile), -(-call.hidden // tile.units)


def _of_all_steps(operands: LSTMOperands, call: Call, tile: Tile, hidden: Tensor) -> dict[str, Any]:
    """The arguments of both kernels that are the same in every step."""
    return {
        **call.sizes(),
        **call.constants(tile, hidden.dtype),
        "weight_peephole": operands.weight_peephole,
        "lengths": operands.lengths,
        "PITCH": hidden.size(2),
    }


def _of_one_step(
    operands: LSTMOperands, call: Call, step: int, hidden: Sequence[Tensor], cell: Sequence[Tensor]
) -> dict[str, Any]:
    """The arguments of both kernels for one step; the states are those before and after each step."""
    with_hidden = step < call.hidden_steps
    return {
        "initial_cell": operands.initial_cell if step == 0 else None,
        "hidden": hidden[step + 1] if with_hidden else None,
        "cell_before": cell[step - 1] if step else None,
        "cell": cell[step],
        "position": call.first + step * call.direction,
        "WITH_HIDDEN": with_hidden,
        "LAST": step == call.kernel_size - 1,
    }


def forward(
    directions: Sequence[LSTMOperands],
    call: Call,
    tile: Tile,
    *,
    y: Tensor | None,
    states: States | None,
    with_frames: bool,
) -> None:
    """Fill ``y``, float32 if a reduction accumulates in it, or the states, with frames if they are wanted.

    Of one direction only.
    """
    from convrnn.ops.triton.kernels import stepwise

    (operands,), inputs = directions, Inputs.of(directions, call, tile)
    x, weight_hh, gates = operands.x, operands.weight_hh, None if states is None else states.gates
    if states is None:
        # Shared by all steps: when a step overwrites the state, the product with the old state is complete.
        hidden = x.new_empty(call.rows, call.hidden).expand(call.hidden_steps + 1, -1, -1)
        cell = x.new_empty(call.rows, call.hidden, dtype=torch.float32).expand(call.kernel_size, -1, -1)
    else:
        hidden, cell = states.hidden, states.cell
    grid = _grid(call, tile)
    common = {
        "wx": inputs.wx,
        "bias": inputs.bias,
        **_of_all_steps(operands, call, tile, hidden),
        "y": y,
        "largest": None if states is None else states.largest,
    }
    # Outside the loop, to keep Python's part of a step short.
    factors, hiddens, cells = hidden[..., : call.hidden].unbind(), hidden.unbind(), cell.unbind()
    for step in range(call.kernel_size):
        product = None
        if step:
            # If the hidden state is not needed, neither is the output gate.
            weights = weight_hh if step < call.hidden_steps else weight_hh[: 3 * call.hidden]
            product = _product(factors[step], weights.mT)
        arguments = {
            **common,
            **_of_one_step(operands, call, step, hiddens, cells),
            "product": product,
            "first": None if step else inputs.first,
            "gates": None if gates is None else gates[step],
            "frame_offset": call.frame_first + step * call.frame_step,
            "PRODUCT_PITCH": 1 if product is None else product.size(1),
        }
        launcher.launch(stepwise.forward, grid, arguments, tile.warps, tile.stages)
    if states is not None and with_frames:
        states.add_frames(operands, call)


def backward(
    grad: Tensor, directions: Sequence[LSTMOperands], call: Call, tile: Tile, *, states: States, sums: Tensor | None
) -> None:
    """As ``resident.backward``, with sums of each tile of windows; of one direction only."""
    from convrnn.ops.triton.kernels import stepwise

    (operands,) = directions
    weight_hh, gates, hidden, cell = operands.weight_hh, states.gates, states.hidden, states.cell
    grad_hidden, grad_cell = None, torch.empty_like(cell[0])
    grid = _grid(call, tile)
    common = {
        "grad": grad,
        **_of_all_steps(operands, call, tile, hidden),
        "largest": states.largest,
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
