"""The LSTM over whole sequences on the GPU, as operations that PyTorch knows.

A batch that keeps no more programs busy than there are multiprocessors takes one launch; otherwise every step is a
launch of its own.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from convrnn.ops import geometry
from convrnn.ops.checks import check_devices
from convrnn.ops.operands import Tensors, fake_gradients, hand_out, refuse_second_derivative, there
from convrnn.ops.triton import operands, tiles
from convrnn.ops.triton.tiles import Tile


def _tile(tensors: Tensors) -> Tile:
    x, weight_hh = there(tensors, "x", "weight_hh")
    return tiles.choose_step(x.size(0), weight_hh.size(1), x.dtype, x.device)


def _arguments(tensors: Tensors, tile: Tile, reverse: bool) -> dict[str, Any]:
    """What both kernels take."""
    x, weight_hh = there(tensors, "x", "weight_hh")
    return {
        **{name: tensors[name] for name in ("weight_hh", "weight_peephole", "initial_cell", "lengths")},
        "batch": x.size(0),
        "frames": x.size(1),
        "H": weight_hh.size(1),
        "REVERSE": reverse,
        "PRECISION": tiles.precision(x.dtype),
        "ROWS": tile.rows,
        "UNITS": tile.units,
        "INNER": tile.inner,
    }


def _programs(tensors: Tensors, tile: Tile) -> tuple[int, int]:
    x, weight_hh = there(tensors, "x", "weight_hh")
    return -(-x.size(0) // tile.rows), -(-weight_hh.size(1) // tile.units)


def _spans(x: Tensor, programs: tuple[int, int]) -> list[dict[str, Any]]:
    """The steps of each launch: all of them in one where all programs run at the same time."""
    frames, arrived = x.size(1), x.new_zeros(programs[0], dtype=torch.int32)
    length = frames if tiles.run_together(programs[0] * programs[1], x.device) else 1
    return [
        {"begin": begin, "end": min(begin + length, frames), "arrived": arrived} for begin in range(0, frames, length)
    ]


def _project(x: Tensor, tensors: Tensors) -> Tensor:
    (weight_ih,), bias = there(tensors, "weight_ih"), tensors["bias"]
    return F.linear(x, weight_ih, None if bias is None else bias.to(x.dtype))


@torch.library.custom_op("convrnn::triton_lstm", mutates_args=())
@operands.without_autocast
def triton_lstm(
    x: Tensor,
    weight_ih: Tensor,
    weight_hh: Tensor,
    bias: Tensor | None,
    weight_peephole: Tensor | None,
    initial_hidden: Tensor | None,
    initial_cell: Tensor | None,
    lengths: Tensor | None,
    reverse: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    """:func:`convrnn.ops.lstm` by the kernels, and the cell states in float32, empty where they are already.

    ``x``, ``weight_ih`` and ``weight_hh`` have the dtype of the products; the other parameters may have any.
    """
    tensors = operands.checked(x, weight_ih, weight_hh, bias, weight_peephole, initial_hidden, initial_cell, lengths)
    shape = (x.size(0), x.size(1), weight_hh.size(1))
    hidden = operands.room(tensors, shape)
    cell = operands.room(tensors, shape, torch.float32)
    if x.size(0):
        from convrnn.ops.triton.kernels import sequence

        tile = _tile(tensors)
        arguments = _arguments(tensors, tile, reverse) | {
            "wx": _project(x, tensors),
            "first": operands.first_product(tensors),
            "hidden": hidden,
            "cell": cell,
        }
        programs = _programs(tensors, tile)
        for span in _spans(x, programs):
            tiles.launch(sequence.forward, programs, arguments | span, tile.warps, tile.stages)
    return (hidden, cell, cell.new_empty(0)) if x.dtype == torch.float32 else (hidden, cell.to(x.dtype), cell)


@triton_lstm.register_fake
def _(x: Tensor, weight_ih: Tensor, weight_hh: Tensor, *others: Any) -> tuple[Tensor, Tensor, Tensor]:  # noqa: ANN401
    check_devices(x, weight_ih, weight_hh, *others)
    shape = (x.size(0), x.size(1), weight_hh.size(1))
    exact = x.new_empty(0 if x.dtype == torch.float32 else shape, dtype=torch.float32)
    return x.new_empty(shape), x.new_empty(shape), exact


def _starts(tensors: Tensors, reverse: bool) -> Tensor:
    """True at the frame where a sequence's first step is: ``[batch, frames, 1]``."""
    x, lengths = tensors["x"], tensors["lengths"]
    assert x is not None
    frame = torch.arange(x.size(1), device=x.device)
    last = x.size(1) - 1 if lengths is None else lengths.unsqueeze(1).clamp(max=x.size(1)) - 1
    first = last if reverse else 0
    return (frame == first).expand(x.size(0), -1).unsqueeze(2)


def _states_before(hidden: Tensor, starts: Tensor, tensors: Tensors, reverse: bool) -> Tensor:
    """The hidden state before every frame's step, the initial one before the first."""
    before = F.pad(hidden[:, 1:], (0, 0, 0, 1)) if reverse else F.pad(hidden[:, :-1], (0, 0, 1, 0))
    initial_hidden = tensors["initial_hidden"]
    return before if initial_hidden is None else torch.where(starts, initial_hidden.to(hidden.dtype), before)


@torch.library.custom_op("convrnn::triton_lstm_backward", mutates_args=())
@operands.without_autocast
def triton_lstm_backward(
    grad_hidden: Tensor | None,
    grad_cell: Tensor | None,
    hidden: Tensor,
    cell: Tensor,
    x: Tensor,
    weight_ih: Tensor,
    weight_hh: Tensor,
    bias: Tensor | None,
    weight_peephole: Tensor | None,
    initial_hidden: Tensor | None,
    initial_cell: Tensor | None,
    lengths: Tensor | None,
    reverse: bool,
    with_x: bool,
) -> list[Tensor]:
    """Gradients of x (empty unless ``with_x``) and of those of the parameters that are there, in their order."""
    tensors = operands.checked(x, weight_ih, weight_hh, bias, weight_peephole, initial_hidden, initial_cell, lengths)
    x, weight_ih, weight_hh = there(tensors, "x", "weight_ih", "weight_hh")
    states = {"hidden": hidden, "cell": cell, "grad_hidden": grad_hidden, "grad_cell": grad_cell}
    operands.check_beside(states, (*x.shape[:2], weight_hh.size(1)), x, {"hidden": x.dtype, "cell": torch.float32})
    x = geometry.mask_frames(x, tensors["lengths"])
    starts = _starts(tensors, reverse)
    before = _states_before(hidden, starts, tensors, reverse).flatten(0, 1)
    sums_of_gates = torch.addmm(_project(x, tensors).flatten(0, 1), before, weight_hh.mT)
    gates = geometry.mask_frames(sums_of_gates.unflatten(0, x.shape[:2]), tensors["lengths"])
    tile = _tile(tensors)
    programs = _programs(tensors, tile)
    sums = None
    if weight_peephole is not None or initial_cell is not None:
        sums = x.new_zeros(programs[0], 4, weight_hh.size(1), dtype=torch.float32)
    if x.size(0):
        from convrnn.ops.triton.kernels import sequence

        arguments = _arguments(tensors, tile, reverse) | {
            "grad_hidden": None if grad_hidden is None else grad_hidden.contiguous(),
            "grad_cell": None if grad_cell is None else grad_cell.contiguous(),
            "cell": cell,
            "gates": gates,
            "carried": cell.new_empty(x.size(0), weight_hh.size(1)),
            "sums": sums,
        }
        for span in reversed(_spans(x, programs)):
            tiles.launch(sequence.backward, programs, arguments | span, tile.warps, tile.stages)
    rows = gates.flatten(0, 1)
    gradients: Tensors = {
        "x": rows.mm(weight_ih).view(x.shape) if with_x else None,
        "weight_ih": rows.mT.mm(x.flatten(0, 1)),
        "weight_hh": rows.mT.mm(before),
        "bias": rows.sum(0, dtype=torch.float32),
        "weight_peephole": None if sums is None else sums[:, :3].sum(0),
        "initial_hidden": weight_hh.mT.mv(torch.where(starts, gates, gates.new_zeros(())).sum((0, 1))),
        "initial_cell": None if sums is None else sums[:, 3].sum(0),
    }
    return operands.listed(gradients, tensors)


@triton_lstm_backward.register_fake
def _(grad_hidden: Tensor | None, grad_cell: Tensor | None, *inputs: Any) -> list[Tensor]:  # noqa: ANN401
    check_devices(grad_hidden, grad_cell, *inputs)
    return fake_gradients(inputs[2:9], with_x=inputs[-1])


def _setup(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor, Tensor]) -> None:  # noqa: ANN401
    *tensors, ctx.reverse = inputs
    hidden, cell, exact = output
    ctx.mark_non_differentiable(exact)
    ctx.set_materialize_grads(False)
    ctx.save_for_backward(hidden, cell if cell.dtype == torch.float32 else exact, *tensors)


def _backward(ctx: Any, grad_hidden: Tensor | None, grad_cell: Tensor | None, _: None) -> tuple[Any, ...]:  # noqa: ANN401
    if grad_hidden is None and grad_cell is None:
        return (None,) * 9
    hidden, cell, *tensors = ctx.saved_tensors
    with_x = ctx.needs_input_grad[0]
    gradients = triton_lstm_backward(grad_hidden, grad_cell, hidden, cell, *tensors, ctx.reverse, with_x)
    return (*hand_out(gradients, tensors[:7], with_x), None, None)


triton_lstm.register_autograd(_backward, setup_context=_setup)
triton_lstm_backward.register_autograd(refuse_second_derivative("Triton LSTM kernels can"))
