"""The LSTM over windows on the GPU, as registered PyTorch operations."""

from dataclasses import replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from convrnn.ops import checks, geometry
from convrnn.ops.operands import (
    LSTMGradients,
    LSTMOperands,
    Windows,
    hand_out,
    may_need_gradient,
    refuse_second_derivative,
)
from convrnn.ops.registration import LSTM, WINDOWS, Operation, is_traced, without_autocast
from convrnn.ops.triton import launcher, stepwise, streamed, tiles
from convrnn.ops.triton.call import Call
from convrnn.ops.triton.operands import check_other, first_gradients, first_product, new_result, prepare
from convrnn.ops.triton.stepwise import Inputs
from convrnn.ops.triton.tiles import Tile


def _by_step(positions: Tensor, call: Call) -> Tensor:
    """Reorder from positions in the window to processing order, or back."""
    return positions.flip(0) if call.options.reverse else positions


def _in_windows(x: Tensor, call: Call) -> Tensor:
    """The frames of all windows in processing order: ``[kernel_size, batch, windows, in]``."""
    return _by_step(x.unfold(1, call.kernel_size, call.options.stride).permute(3, 0, 1, 2), call)


def _apart(x: Tensor, call: Call) -> Tensor:
    """As :func:`_in_windows`, with one axis for all rows, for products: ``[kernel_size, rows, in]``."""
    return _in_windows(x, call).reshape(call.kernel_size, call.rows, x.size(2))


def _inputs(operands: LSTMOperands, call: Call, tile: Tile) -> Inputs:
    """The inputs of the forward kernels; each frame is projected once here, unless the kernel projects them."""
    x, weight_ih, bias = operands.x, operands.weight_ih, operands.bias
    wx = None
    if not tile.inputs:
        bias = None if bias is None else bias.to(x.dtype)
        if call.positions:
            inputs, weights = _apart(x, call), _by_step(weight_ih, call).mT
            wx = inputs.bmm(weights) if bias is None else torch.baddbmm(bias, inputs, weights)
        else:
            wx = F.linear(x, weight_ih, bias)
    return Inputs(
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


def _run_forward(
    operands: LSTMOperands,
    call: Call,
    tile: Tile,
    *,
    y: Tensor | None = None,
    gates: Tensor | None = None,
    hidden: Tensor | None = None,
    cell: Tensor | None = None,
    largest: Tensor | None = None,
) -> None:
    """Fill ``y``, or the other tensors with what the backward pass needs."""
    inputs = _inputs(operands, call, tile)
    if tile.streamed:
        return streamed.forward(inputs, call, tile, y=y, gates=gates, hidden=hidden, cell=cell, largest=largest)
    if not tile.resident:
        return stepwise.forward(inputs, call, tile, y=y, gates=gates, hidden=hidden, cell=cell, largest=largest)
    from convrnn.ops.triton.kernels import resident

    states = {"y": y, "gates": gates, "hidden": hidden, "cell": cell, "largest": largest}
    arguments = {**_resident_arguments(operands, call, tile, hidden), **_frame_arguments(call, tile), **vars(inputs)}
    arguments |= states | {"TRANSPOSED": tile.transposed}
    return launcher.launch(resident.forward, (call.programs(tile),), arguments, tile.warps, tile.stages)


def _resident_arguments(operands: LSTMOperands, call: Call, tile: Tile, hidden: Tensor | None) -> dict[str, Any]:
    """The arguments of all kernels for resident weights other than tensors."""
    return {
        **call.sizes(),
        **call.constants(tile, operands.x.dtype),
        "tiles": -(-call.rows // tile.rows),
        "y_first": call.first,
        "y_step": call.direction,
        "HIDDEN_STEPS": call.hidden_steps,
        "PITCH": call.hidden if hidden is None else hidden.size(2),
    }


def _frame_arguments(call: Call, tile: Tile) -> dict[str, int]:
    """The additional arguments of those that read frames."""
    return {
        "frame_first": call.frame_first,
        "frame_step": call.frame_step,
        "FEATURES": call.features,
        "INPUTS": max(16, tile.inputs),
    }


@without_autocast
def _forward(operands: LSTMOperands, windows: Windows, dtype: torch.dtype) -> Tensor:
    """:func:`convrnn.ops.windowed_lstm` by the kernels, with features in ``dtype``.

    ``x``, ``weight_ih`` and ``weight_hh`` have the dtype of the products; the other parameters may have any.
    """
    operands = prepare(operands)
    call = Call.of(operands, windows)
    if not dtype.is_floating_point:
        raise ValueError(f"dtype must be a floating one, but is {dtype}")
    tile = call.tile(operands.x)
    y = new_result(operands, call.shape, dtype)
    if not call.rows:
        return y
    # A stepwise reduction accumulates in the result, which must not be rounded after every step.
    exact = y.float() if windows.reduce in ("mean", "max") and tile.stepwise else y
    _run_forward(operands, call, tile, y=exact)
    return exact.to(dtype)


def _fake_forward(operands: LSTMOperands, windows: Windows, dtype: torch.dtype) -> Tensor:
    return operands.x.new_empty(windows.shape(operands), dtype=dtype)


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


def _run_fused(
    grad: Tensor,
    operands: LSTMOperands,
    call: Call,
    tile: Tile,
    beside: bool,
    *,
    gates: Tensor,
    hidden: Tensor,
    sums: Tensor | None,
) -> None:
    """Fill ``gates`` with their gradients, ``hidden`` and ``sums`` in one pass over the windows."""
    from convrnn.ops.triton.kernels import fused

    inputs = _inputs(operands, call, tile)
    arguments = {**_resident_arguments(operands, call, tile, hidden), **_frame_arguments(call, tile), **vars(inputs)}
    arguments |= {"grad": grad, "gates": gates, "hidden": hidden, "sums": sums}
    arguments |= {"BESIDE": tiles.power_of_2(hidden.size(2) - call.hidden) if beside else 0}
    launcher.launch(fused.backward, (call.programs(tile),), arguments, tile.warps, tile.stages)


def _fill_beside(hidden: Tensor, operands: LSTMOperands, call: Call) -> None:
    """Fill in the frames of every window beside its hidden states, and zeros before the first step."""
    # Past the end of a sequence the products need zeros; the values of x may be NaN.
    x = geometry.mask_frames(operands.x, operands.lengths)
    inputs = F.pad(x, (0, hidden.size(2) - call.hidden - call.features), value=1.0)
    hidden[..., call.hidden :].unflatten(1, (call.batch, call.windows)).copy_(_in_windows(inputs, call))
    hidden[0, :, : call.hidden] = 0


def _gate_gradients(
    grad_y: Tensor, operands: LSTMOperands, call: Call, with_frames: bool
) -> tuple[Tensor, Tensor, Tensor | None]:
    """Gradients of all gates, the hidden states, and each program's contribution to other gradients.

    Returns:
        Gradients of every step's gates ``[kernel_size, rows, 4H]``; the hidden states before every step, zeros before
        the first, and beside them the step's frames and a 1, in ``[kernel_size, rows, H + features + 1]`` or wider, so
        that rows start at multiples of 16 bytes; and, if there are peepholes or an initial cell state, each program's
        contribution to their gradients ``[programs, 4, H]``, still to be summed. Not ``with_frames``, only the hidden
        states from the second step on are filled in.
    """
    x = operands.x
    tile = call.tile(x)
    fused = tile.fused(call.kernel_size)
    pitch = -(-(call.hidden + (call.features + 1 if with_frames else 0)) // 8) * 8
    gates = new_result(operands, (call.kernel_size, call.rows, 4 * call.hidden))
    hidden = new_result(operands, (call.hidden_steps + 1, call.rows, pitch))
    sums = largest = None
    if operands.weight_peephole is not None or operands.initial_cell is not None:
        sums = x.new_zeros(call.programs(fused or tile), 4, call.hidden, dtype=torch.float32)
    if fused is not None:
        beside = with_frames and fused.inputs > 0
        _run_fused(grad_y.contiguous(), operands, call, fused, beside, gates=gates, hidden=hidden, sums=sums)
        hidden = hidden[: call.kernel_size]
        if with_frames and not beside:
            _fill_beside(hidden, operands, call)
        return gates, hidden, sums
    cell = x.new_empty(call.kernel_size, call.rows, call.hidden, dtype=torch.float32)
    if call.options.reduce == "max":
        largest = x.new_empty(2, call.rows, call.hidden, dtype=torch.float32)
    _run_forward(operands, call, tile, gates=gates, hidden=hidden, cell=cell, largest=largest)
    states: dict[str, Any] = {"gates": gates, "hidden": hidden, "cell": cell, "largest": largest, "sums": sums}
    if tile.resident:
        from convrnn.ops.triton.kernels import resident

        arguments = {
            **_resident_arguments(operands, call, tile, hidden),
            **states,
            "grad": grad_y.contiguous(),
            "weight_hh": operands.weight_hh,
            "weight_peephole": operands.weight_peephole,
            "initial_cell": operands.initial_cell,
            "lengths": operands.lengths,
            "TRANSPOSED": tile.transposed,
        }
        launcher.launch(resident.backward, (call.programs(tile),), arguments, tile.warps, tile.stages)
    elif tile.streamed:
        streamed.backward(grad_y.contiguous(), operands, call, tile, **states)
    else:
        stepwise.backward(grad_y.contiguous(), operands, call, tile, **states)
    hidden = hidden[: call.kernel_size]
    if with_frames:
        _fill_beside(hidden, operands, call)
    return gates, hidden, sums


def _weight_gradients(gates: Tensor, states: Tensor) -> Tensor:
    """Gradients of the gates ``[steps, rows, 4H]`` times what the weights were multiplied by, ``[steps, rows, ..]``."""
    return gates.flatten(0, 1).mT.mm(states.flatten(0, 1))


def _gradients(grad_y: Tensor, operands: LSTMOperands, call: Call, with_x: bool) -> LSTMGradients:
    """Compute the gradients with a few large products over all steps of all windows."""
    weight_ih, grad_x = operands.weight_ih, None
    # Without a gradient of x, the frames of every window are stored next to the hidden states, with a 1 for the bias:
    # one product for all weights is cheaper than summing over windows first, because gates are several times wider.
    with_frames = not with_x and not call.positions
    gates, hidden, sums = _gate_gradients(grad_y, operands, call, with_frames)
    if with_frames:
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
            grad_weight_ih = _by_step(gates.mT.bmm(_apart(x, call)), call)
            grad_bias = gates.sum((0, 1), dtype=torch.float32)
            if with_x:
                grad_x = _sum_windows(gates.bmm(_by_step(weight_ih, call)), call)
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


@without_autocast
def _backward(grad_y: Tensor, operands: LSTMOperands, windows: Windows, with_x: bool) -> list[Tensor]:
    """Gradients of x (empty unless ``with_x``) and of the parameters that are not None, in order."""
    operands = prepare(operands)
    call = Call.of(operands, windows)
    check_other("grad_y", grad_y, call.shape, operands)
    if not call.rows:
        zeros = [None if tensor is None else torch.zeros_like(tensor) for tensor in operands.differentiable]
        return operands.list_gradients(LSTMGradients(*zeros))  # type: ignore[arg-type]
    return operands.list_gradients(_gradients(grad_y, operands, call, with_x))


def _fake_backward(
    grad_y: Tensor,  # noqa: ARG001
    operands: LSTMOperands,
    windows: Windows,  # noqa: ARG001
    with_x: bool,
) -> list[Tensor]:
    return operands.fake_gradients(with_x)


_operation = Operation(f"triton_windowed_lstm({LSTM}, {WINDOWS}, ScalarType dtype) -> Tensor", _forward, _fake_forward)
_operation_backward = Operation(
    f"triton_windowed_lstm_backward(Tensor grad_y, {LSTM}, {WINDOWS}, bool with_x) -> Tensor[]",
    _backward,
    _fake_backward,
)


def _setup(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:  # noqa: ANN401, ARG001
    ctx.options = inputs[8:13]
    ctx.save_for_backward(*inputs[:8])


def _differentiate(ctx: Any, grad_y: Tensor) -> tuple[Any, ...]:  # noqa: ANN401
    tensors = ctx.saved_tensors
    with_x = ctx.needs_input_grad[0]
    gradients = _operation_backward(grad_y, *tensors, *ctx.options, with_x)
    return (*hand_out(gradients, tensors, with_x), *(None,) * 7)


_operation.register_autograd(_differentiate, setup_context=_setup)
_operation_backward.register_autograd(refuse_second_derivative("Triton LSTM kernels can"))


class _Unobserved(torch.autograd.Function):
    """The operation without PyTorch's dispatcher, whose part of a call takes longer than the kernels on few windows."""

    @staticmethod
    def forward(ctx: Any, windows: Windows, dtype: torch.dtype, *tensors: Tensor | None) -> Tensor:  # noqa: ANN401
        ctx.windows = windows
        ctx.save_for_backward(*tensors)
        y: Tensor = _operation.run(LSTMOperands(*tensors), windows, dtype)  # type: ignore[arg-type]
        return y

    @staticmethod
    def backward(ctx: Any, grad_y: Tensor) -> tuple[Any, ...]:  # noqa: ANN401
        tensors, windows, with_x = ctx.saved_tensors, ctx.windows, ctx.needs_input_grad[2]
        if torch.is_grad_enabled():
            gradients = _operation_backward(grad_y, *tensors, *windows.options, with_x)
        else:
            gradients = _operation_backward.run(grad_y, LSTMOperands(*tensors), windows, with_x)
        return None, None, *hand_out(gradients, tensors, with_x), None


def windowed_lstm(operands: LSTMOperands, windows: Windows) -> Tensor:
    """:func:`convrnn.ops.windowed_lstm` by the kernels.

    Under autocast the products have autocast's dtype, and the features the dtype of the parameters.
    """
    dtype = operands.x.dtype
    if torch.is_autocast_enabled(operands.x.device.type):
        x, weight_ih, weight_hh = operands.x, operands.weight_ih, operands.weight_hh
        checks.check_floating({"x": x, "weight_ih": weight_ih, "weight_hh": weight_hh})
        dtype = weight_hh.dtype
        multiplied = torch.get_autocast_dtype(x.device.type)
        x, weight_ih, weight_hh = x.to(multiplied), weight_ih.to(multiplied), weight_hh.to(multiplied)
        operands = replace(operands, x=x, weight_ih=weight_ih, weight_hh=weight_hh)
    y: Tensor
    if is_traced(operands):
        y = torch.ops.convrnn.triton_windowed_lstm(*operands.tensors, *windows.options, dtype)
    elif may_need_gradient(operands.tensors):
        y = _Unobserved.apply(windows, dtype, *operands.tensors)  # type: ignore[no-untyped-call]
    else:
        y = _operation.run(operands, windows, dtype)
    return y
