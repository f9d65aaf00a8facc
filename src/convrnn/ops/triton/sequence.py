"""The LSTM over whole sequences on the GPU, as registered PyTorch operations.

If a batch needs no more programs than there are multiprocessors, all steps take a single launch; otherwise every step
is a separate launch.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from convrnn.ops import geometry
from convrnn.ops.operands import LSTMGradients, LSTMOperands, hand_out, refuse_second_derivative
from convrnn.ops.registration import LSTM, Operation, without_autocast
from convrnn.ops.triton import tiles
from convrnn.ops.triton.operands import check_other, first_product, new_result, prepare
from convrnn.ops.triton.tiles import Tile


def _tile(operands: LSTMOperands) -> Tile:
    return tiles.choose_step(operands.x.size(0), operands.hidden, operands.x.dtype, operands.x.device)


def _arguments(operands: LSTMOperands, tile: Tile, reverse: bool) -> dict[str, Any]:
    """The arguments that both kernels take."""
    return {
        "weight_hh": operands.weight_hh,
        "weight_peephole": operands.weight_peephole,
        "initial_cell": operands.initial_cell,
        "lengths": operands.lengths,
        "batch": operands.x.size(0),
        "frames": operands.x.size(1),
        "H": operands.hidden,
        "REVERSE": reverse,
        "PRECISION": tiles.precision(operands.x.dtype),
        "ROWS": tile.rows,
        "UNITS": tile.units,
        "INNER": tile.inner,
    }


def _programs(operands: LSTMOperands, tile: Tile) -> tuple[int, int]:
    return -(-operands.x.size(0) // tile.rows), -(-operands.hidden // tile.units)


def _spans(x: Tensor, programs: tuple[int, int]) -> list[dict[str, Any]]:
    """The steps of each launch: all steps in one launch if all programs can run at the same time."""
    frames, arrived = x.size(1), x.new_zeros(programs[0], dtype=torch.int32)
    length = frames if tiles.run_together(programs[0] * programs[1], x.device) else 1
    return [
        {"begin": begin, "end": min(begin + length, frames), "arrived": arrived} for begin in range(0, frames, length)
    ]


def _project(x: Tensor, operands: LSTMOperands) -> Tensor:
    return F.linear(x, operands.weight_ih, None if operands.bias is None else operands.bias.to(x.dtype))


@without_autocast
def _forward(operands: LSTMOperands, reverse: bool) -> tuple[Tensor, Tensor, Tensor]:
    """:func:`convrnn.ops.lstm` by the kernels, and the cell states in float32, empty if they are float32 already.

    ``x``, ``weight_ih`` and ``weight_hh`` have the dtype of the products; the other parameters may have any.
    """
    operands = prepare(operands)
    x = operands.x
    hidden = new_result(operands, operands.states_shape)
    cell = new_result(operands, operands.states_shape, torch.float32)
    if x.size(0):
        from convrnn.ops.triton.kernels import sequence

        tile = _tile(operands)
        arguments = _arguments(operands, tile, reverse) | {
            "wx": _project(x, operands),
            "first": first_product(operands),
            "hidden": hidden,
            "cell": cell,
        }
        programs = _programs(operands, tile)
        for span in _spans(x, programs):
            tiles.launch(sequence.forward, programs, arguments | span, tile.warps, tile.stages)
    return (hidden, cell, cell.new_empty(0)) if x.dtype == torch.float32 else (hidden, cell.to(x.dtype), cell)


def _fake_forward(operands: LSTMOperands, reverse: bool) -> tuple[Tensor, Tensor, Tensor]:  # noqa: ARG001
    x, shape = operands.x, operands.states_shape
    exact = x.new_empty(0 if x.dtype == torch.float32 else shape, dtype=torch.float32)
    return x.new_empty(shape), x.new_empty(shape), exact


def _starts(operands: LSTMOperands, reverse: bool) -> Tensor:
    """True at the frame of each sequence's first step: ``[batch, frames, 1]``."""
    x, lengths = operands.x, operands.lengths
    frame = torch.arange(x.size(1), device=x.device)
    last = x.size(1) - 1 if lengths is None else lengths.unsqueeze(1).clamp(max=x.size(1)) - 1
    first = last if reverse else 0
    return (frame == first).expand(x.size(0), -1).unsqueeze(2)


def _states_before(hidden: Tensor, starts: Tensor, operands: LSTMOperands, reverse: bool) -> Tensor:
    """The hidden state before the step of every frame; before the first step, the initial state."""
    before = F.pad(hidden[:, 1:], (0, 0, 0, 1)) if reverse else F.pad(hidden[:, :-1], (0, 0, 1, 0))
    initial_hidden = operands.initial_hidden
    return before if initial_hidden is None else torch.where(starts, initial_hidden.to(hidden.dtype), before)


@without_autocast
def _backward(
    grad_hidden: Tensor | None,
    grad_cell: Tensor | None,
    hidden: Tensor,
    cell: Tensor,
    operands: LSTMOperands,
    reverse: bool,
    with_x: bool,
) -> list[Tensor]:
    """Gradients of x (empty unless ``with_x``) and of the parameters that are not None, in order."""
    operands = prepare(operands)
    weight_ih, weight_hh = operands.weight_ih, operands.weight_hh
    check_other("hidden", hidden, operands.states_shape, operands, operands.x.dtype)
    check_other("cell", cell, operands.states_shape, operands, torch.float32)
    check_other("grad_hidden", grad_hidden, operands.states_shape, operands)
    check_other("grad_cell", grad_cell, operands.states_shape, operands)
    x = geometry.mask_frames(operands.x, operands.lengths)
    starts = _starts(operands, reverse)
    before = _states_before(hidden, starts, operands, reverse).flatten(0, 1)
    sums_of_gates = torch.addmm(_project(x, operands).flatten(0, 1), before, weight_hh.mT)
    gates = geometry.mask_frames(sums_of_gates.unflatten(0, x.shape[:2]), operands.lengths)
    tile = _tile(operands)
    programs = _programs(operands, tile)
    sums = None
    if operands.weight_peephole is not None or operands.initial_cell is not None:
        sums = x.new_zeros(programs[0], 4, operands.hidden, dtype=torch.float32)
    if x.size(0):
        from convrnn.ops.triton.kernels import sequence

        arguments = _arguments(operands, tile, reverse) | {
            "grad_hidden": None if grad_hidden is None else grad_hidden.contiguous(),
            "grad_cell": None if grad_cell is None else grad_cell.contiguous(),
            "cell": cell,
            "gates": gates,
            "carried": cell.new_empty(x.size(0), operands.hidden),
            "sums": sums,
        }
        for span in reversed(_spans(x, programs)):
            tiles.launch(sequence.backward, programs, arguments | span, tile.warps, tile.stages)
    rows = gates.flatten(0, 1)
    return operands.list_gradients(
        LSTMGradients(
            rows.mm(weight_ih).view(x.shape) if with_x else None,
            rows.mT.mm(x.flatten(0, 1)),
            rows.mT.mm(before),
            bias=rows.sum(0, dtype=torch.float32),
            weight_peephole=None if sums is None else sums[:, :3].sum(0),
            initial_hidden=weight_hh.mT.mv(torch.where(starts, gates, gates.new_zeros(())).sum((0, 1))),
            initial_cell=None if sums is None else sums[:, 3].sum(0),
        )
    )


def _fake_backward(
    grad_hidden: Tensor | None,  # noqa: ARG001
    grad_cell: Tensor | None,  # noqa: ARG001
    hidden: Tensor,  # noqa: ARG001
    cell: Tensor,  # noqa: ARG001
    operands: LSTMOperands,
    reverse: bool,  # noqa: ARG001
    with_x: bool,
) -> list[Tensor]:
    return operands.fake_gradients(with_x)


_operation = Operation(f"triton_lstm({LSTM}, bool reverse) -> (Tensor, Tensor, Tensor)", _forward, _fake_forward)
_operation_backward = Operation(
    "triton_lstm_backward(Tensor? grad_hidden, Tensor? grad_cell, Tensor hidden, Tensor cell, "
    f"{LSTM}, bool reverse, bool with_x) -> Tensor[]",
    _backward,
    _fake_backward,
)


def _setup(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor, Tensor]) -> None:  # noqa: ANN401
    *tensors, ctx.reverse = inputs
    hidden, cell, exact = output
    ctx.mark_non_differentiable(exact)
    ctx.set_materialize_grads(False)
    ctx.save_for_backward(hidden, cell if cell.dtype == torch.float32 else exact, *tensors)


def _differentiate(ctx: Any, grad_hidden: Tensor | None, grad_cell: Tensor | None, _: None) -> tuple[Any, ...]:  # noqa: ANN401
    if grad_hidden is None and grad_cell is None:
        return (None,) * 9
    hidden, cell, *tensors = ctx.saved_tensors
    with_x = ctx.needs_input_grad[0]
    gradients = _operation_backward(grad_hidden, grad_cell, hidden, cell, *tensors, ctx.reverse, with_x)
    return (*hand_out(gradients, tensors, with_x), None, None)


_operation.register_autograd(_differentiate, setup_context=_setup)
_operation_backward.register_autograd(refuse_second_derivative("Triton LSTM kernels can"))


def lstm(operands: LSTMOperands, reverse: bool) -> tuple[Tensor, Tensor]:
    """:func:`convrnn.ops.lstm` by the kernels."""
    hidden, cell, _ = torch.ops.convrnn.triton_lstm(*operands.tensors, reverse)
    return hidden, cell
