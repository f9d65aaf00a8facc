"""The gradients of the LSTM over windows: of the gates by the kernels, and from these all others by large products."""

from collections.abc import Sequence

import torch
from torch import Tensor

from convrnn.ops import geometry
from convrnn.ops.operands import LSTMGradients, LSTMOperands
from convrnn.ops.triton import launcher, resident, stepwise, streamed, tiles
from convrnn.ops.triton.call import Call
from convrnn.ops.triton.operands import first_gradients
from convrnn.ops.triton.states import States


def _sum_windows(gradients: Tensor, call: Call) -> Tensor:
    """Sum over each frame's windows: ``[kernel_size, rows, columns]``, by steps, to ``[batch, frames, columns]``."""
    from convrnn.ops.triton.kernels import windows

    columns, rows, block = gradients.size(2), 16, 128
    total = gradients.new_empty(call.batch, call.frames, columns)
    arguments = {
        "gradients": gradients,
        "total": total,
        "sequences": call.batch,
        "frames": call.frames,
        "windows": call.windows,
        "stride": call.options.stride,
        "KERNEL_SIZE": call.kernel_size,
        "MOST": -(-call.kernel_size // call.options.stride),
        "first": call.first,
        "step": call.direction,
        "COLUMNS": columns,
        "PRECISION": tiles.precision(gradients.dtype),
        "ROWS": rows,
        "BLOCK": block,
    }
    programs = (-(-call.batch * call.frames // rows), -(-columns // block))
    launcher.launch(windows.sum_windows, programs, arguments)
    return total


_KERNELS = {"resident": resident, "streamed": streamed, "stepwise": stepwise}


def forward(
    operands: Sequence[LSTMOperands],
    call: Call,
    *,
    y: Tensor | None = None,
    states: States | None = None,
    with_frames: bool = False,
) -> None:
    """Run the forward pass.

    Args:
        operands: Prepared operands, of each direction.
        call: Their sizes.
        y: Filled with the result; float32 if a reduction accumulates in it step by step.
        states: Filled for the backward pass. Only "streamed" tiles fill both at once.
        with_frames: Whether frames lie beside the hidden states.
    """
    tile = call.tile(operands[0].x)
    _KERNELS[tile.kind].forward(operands, call, tile, y=y, states=states, with_frames=with_frames)


def _gate_gradients(
    grad_y: Tensor, operands: Sequence[LSTMOperands], call: Call, states: States | None, with_frames: bool
) -> tuple[States, Tensor | None]:
    """Gradients of all gates, the hidden states, and each program's contribution to other gradients.

    Returns:
        The states, in which the gates are overwritten by their gradients; and, if there are peepholes or an initial
        cell state, each program's contribution to their gradients ``[.., programs, 4, H]``, still to be summed.
    """
    first = operands[0]
    tile = call.tile(first.x)
    grad, sums = grad_y.contiguous(), None
    if first.weight_peephole is not None or first.initial_cell is not None:
        sums = first.x.new_zeros(*call.axis, call.programs(tile), 4, call.hidden, dtype=torch.float32)
    if states is None:
        states = States.new(first, call, with_frames=with_frames)
        forward(operands, call, states=states, with_frames=with_frames)
    _KERNELS[tile.kind].backward(grad, operands, call, tile, states=states, sums=sums)
    return states, sums


def _weight_gradients(gates: Tensor, states: Tensor) -> Tensor:
    """Gradients of the gates ``[steps, rows, 4H]`` times what the weights were multiplied by, ``[steps, rows, ..]``."""
    return gates.flatten(0, 1).mT.mm(states.flatten(0, 1))


def keeps_frames(call: Call, with_x: bool) -> bool:
    """Whether the frames of every window lie beside the hidden states, with a 1 for the bias.

    Without a gradient of x, one product for all weights is cheaper than summing over windows first, because gates are
    several times wider than frames.
    """
    return not (with_x or call.positions)


def gradients(
    grad_y: Tensor, operands: Sequence[LSTMOperands], call: Call, with_x: bool, states: States | None = None
) -> list[LSTMGradients]:
    """The gradients of each direction; each has its own part of that of x.

    Args:
        grad_y: Gradient of the result.
        operands: Prepared operands, of each direction.
        call: Their sizes.
        with_x: Whether x has a gradient.
        states: What the forward pass kept; they are overwritten. None computes them again.
    """
    states, sums = _gate_gradients(grad_y, operands, call, states, keeps_frames(call, with_x))
    gates, hidden = states.gates, states.hidden
    if call.directions == 1:
        return [_of_gates(gates, hidden, sums, operands[0], call, with_x)]
    return [
        _of_gates(gates[n], hidden[n], None if sums is None else sums[n], operands[n], call.one(n), with_x)
        for n in range(call.directions)
    ]


def _of_gates(
    gates: Tensor, hidden: Tensor, sums: Tensor | None, operands: LSTMOperands, call: Call, with_x: bool
) -> LSTMGradients:
    """The gradients of one direction, by a few large products over all steps of all windows.

    Args:
        gates: Gradients of every step's gates ``[kernel_size, rows, 4H]``.
        hidden: The hidden states before every step, and possibly after the last one, as in :class:`States`.
        sums: Each program's contribution to other gradients, as above.
        operands: Its prepared operands.
        call: Their sizes.
        with_x: Whether x has a gradient.
    """
    weight_ih, grad_x, hidden = operands.weight_ih, None, hidden[: call.kernel_size]
    if keeps_frames(call, with_x):
        product = _weight_gradients(gates, hidden)
        # Copied, because the results of an operation must not share memory.
        grad_weight_hh = product[:, : call.hidden].contiguous()
        grad_weight_ih = product[:, call.hidden : call.hidden + call.features].contiguous()
        grad_bias = product[:, call.hidden + call.features].contiguous()
    else:
        # Past the end of a sequence the products need zeros; the values of x may be NaN.
        x = geometry.mask_frames(operands.x, operands.lengths)
        grad_weight_hh = _weight_gradients(gates[1:], hidden[1:])[:, : call.hidden].contiguous()
        if call.positions:
            grad_weight_ih = call.by_step(gates.mT.bmm(call.apart(x)))
            grad_bias = gates.sum((0, 1), dtype=torch.float32)
            if with_x:
                grad_x = _sum_windows(gates.bmm(call.by_step(weight_ih)), call)
        else:
            frames = _sum_windows(gates, call).flatten(0, 1)
            grad_weight_ih = frames.mT.mm(x.flatten(0, 1))
            grad_bias = frames.sum(0, dtype=torch.float32)
            grad_x = frames.mm(weight_ih).view(x.shape)
    return LSTMGradients(
        grad_x,
        grad_weight_ih,
        grad_weight_hh,
        bias=grad_bias,
        weight_peephole=None if sums is None else sums[:, :3].sum(0),
        initial_hidden=first_gradients(operands, gates[0], grad_weight_hh),
        initial_cell=None if sums is None else sums[:, 3].sum(0),
    )
