"""The LSTM over windows on the GPU, as operations that PyTorch knows."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from convrnn.ops import geometry
from convrnn.ops.checks import check_devices, check_window
from convrnn.ops.operands import DIFFERENTIABLE, Tensors, fake_gradients, hand_out, refuse_second_derivative, there
from convrnn.ops.triton import operands, stepwise, tiles
from convrnn.ops.triton.call import Call
from convrnn.ops.triton.tiles import Tile


def _by_step(positions: Tensor, call: Call) -> Tensor:
    """From the order of positions in the window to the order in which they are processed, or back."""
    return positions.flip(0) if call.reverse else positions


def _in_windows(x: Tensor, call: Call) -> Tensor:
    """The frames of all windows, by the step that processes them: ``[kernel_size, batch, windows, in]``."""
    return _by_step(x.unfold(1, call.kernel_size, call.stride).permute(3, 0, 1, 2), call)


def _apart(x: Tensor, call: Call) -> Tensor:
    """As :func:`_in_windows`, for products: ``[kernel_size, rows, in]``."""
    return _in_windows(x, call).reshape(call.kernel_size, call.rows, x.size(2))


def _operands(tensors: Tensors, call: Call, tile: Tile) -> Tensors:
    """The tensors that both kernels take; frames are projected before, each once, unless the tile projects them."""
    x, weight_ih, weight_hh = there(tensors, "x", "weight_ih", "weight_hh")
    others = {name: tensors[name] for name in ("weight_peephole", "initial_cell", "lengths")}
    others |= {"weight_hh": weight_hh, "first": operands.first_product(tensors)}
    if tile.inputs:
        return {"wx": None, "x": x, "weight_ih": weight_ih, "bias": tensors["bias"], **others}
    bias = None if tensors["bias"] is None else tensors["bias"].to(x.dtype)
    if call.positions:
        inputs, weights = _apart(x, call), _by_step(weight_ih, call).mT
        wx = inputs.bmm(weights) if bias is None else torch.baddbmm(bias, inputs, weights)
    else:
        wx = F.linear(x, weight_ih, bias)
    return {"wx": wx, "x": None, "weight_ih": None, "bias": None, **others}


def _run_forward(
    tensors: Tensors,
    call: Call,
    tile: Tile,
    *,
    y: Tensor | None = None,
    gates: Tensor | None = None,
    hidden: Tensor | None = None,
    cell: Tensor | None = None,
    largest: Tensor | None = None,
) -> None:
    """To ``y``, or what the backward pass needs to the others."""
    taken = _operands(tensors, call, tile)
    if not tile.resident:
        return stepwise.forward(taken, call, tile, y=y, gates=gates, hidden=hidden, cell=cell, largest=largest)
    from convrnn.ops.triton.kernels import resident

    states = {"y": y, "gates": gates, "hidden": hidden, "cell": cell, "largest": largest}
    frames = {
        "frame_first": call.frame_first,
        "frame_step": call.frame_step,
        "FEATURES": call.features,
        "INPUTS": max(16, tile.inputs),
    }
    arguments = {**_resident_arguments(tensors, call, tile, hidden), **taken, **states, **frames}
    return tiles.launch(resident.forward, (call.programs(tile),), arguments, tile.warps, tile.stages)


def _resident_arguments(tensors: Tensors, call: Call, tile: Tile, hidden: Tensor | None) -> dict[str, Any]:
    """What both kernels of :mod:`resident` take beside tensors."""
    (x,) = there(tensors, "x")
    return {
        **call.sizes(),
        **call.constants(tile, x.dtype),
        "tiles": -(-call.rows // tile.rows),
        "y_first": call.first,
        "y_step": call.direction,
        "HIDDEN_STEPS": call.hidden_steps,
        "PITCH": call.hidden if hidden is None else hidden.size(2),
    }


@torch.library.custom_op("convrnn::triton_windowed_lstm", mutates_args=())
@operands.without_autocast
def triton_windowed_lstm(
    x: Tensor,
    weight_ih: Tensor,
    weight_hh: Tensor,
    bias: Tensor | None,
    weight_peephole: Tensor | None,
    initial_hidden: Tensor | None,
    initial_cell: Tensor | None,
    lengths: Tensor | None,
    kernel_size: int,
    stride: int,
    sequence: str,
    reduce: str,
    reverse: bool,
    dtype: torch.dtype,
) -> Tensor:
    """:func:`convrnn.ops.windowed_lstm` by the kernels, in ``dtype``.

    ``x``, ``weight_ih`` and ``weight_hh`` have the dtype of the products; the other parameters may have any.
    """
    given = (x, weight_ih, weight_hh, bias, weight_peephole, initial_hidden, initial_cell, lengths)
    check_window(x, kernel_size, stride, reduce, sequence)
    tensors = operands.checked(*given, kernel_size=kernel_size)
    call = Call.of(x, weight_ih, weight_hh, kernel_size, stride, sequence, reduce, reverse)
    if not dtype.is_floating_point:
        raise ValueError(f"dtype must be a floating one, but is {dtype}")
    tile = call.tile(x)
    y = operands.room(tensors, call.shape, dtype)
    if not call.rows:
        return y
    # A reduction in steps goes on in the result, which must not be rounded in every one.
    exact = y.float() if reduce in ("mean", "max") and not tile.resident else y
    _run_forward(tensors, call, tile, y=exact)
    return exact.to(dtype)


@triton_windowed_lstm.register_fake
def _(x: Tensor, weight_ih: Tensor, weight_hh: Tensor, *options: Any) -> Tensor:  # noqa: ANN401
    check_devices(x, weight_ih, weight_hh, *options)
    *call_options, dtype = options[5:]
    return x.new_empty(Call.of(x, weight_ih, weight_hh, *call_options).shape, dtype=dtype)


def _sum_windows(gradients: Tensor, call: Call) -> Tensor:
    """``[kernel_size, rows, columns]``, by steps, to ``[batch, frames, columns]``: sums over a frame's windows."""
    from convrnn.ops.triton.kernels import windows

    columns, rows, block = gradients.size(2), 16, 128
    total = gradients.new_empty(call.batch, call.frames, columns)
    arguments = {
        "gradients": gradients,
        "total": total,
        "sequences": call.batch,
        "frames": call.frames,
        "windows": call.windows,
        "stride": call.stride,
        "KERNEL_SIZE": call.kernel_size,
        "MOST": -(-call.kernel_size // call.stride),
        "first": call.first,
        "step": call.direction,
        "COLUMNS": columns,
        "PRECISION": tiles.precision(gradients.dtype),
        "ROWS": rows,
        "BLOCK": block,
    }
    programs = (-(-call.batch * call.frames // rows), -(-columns // block))
    tiles.launch(windows.sum_windows, programs, arguments)
    return total


def _gate_gradients(grad_y: Tensor, tensors: Tensors, call: Call, beside: int) -> tuple[Tensor, Tensor, Tensor | None]:
    """Of every step's gates ``[kernel_size, rows, 4H]``; the hidden states before it; each program's share of others.

    The hidden states are in ``[steps, rows, H + beside]`` or wider, for rows of whole 16 bytes; those before the first
    step are not filled in. What the programs have to add up is of the peepholes and of the initial cell state,
    ``[programs, 4, H]``.
    """
    x, weight_hh = there(tensors, "x", "weight_hh")
    tile = call.tile(x)
    pitch = -(-(call.hidden + beside) // 8) * 8
    gates = operands.room(tensors, (call.kernel_size, call.rows, 4 * call.hidden))
    hidden = operands.room(tensors, (call.hidden_steps + 1, call.rows, pitch))
    cell = x.new_empty(call.kernel_size, call.rows, call.hidden, dtype=torch.float32)
    sums = largest = None
    if call.reduce == "max":
        largest = x.new_empty(2, call.rows, call.hidden, dtype=torch.float32)
    if tensors["weight_peephole"] is not None or tensors["initial_cell"] is not None:
        sums = x.new_zeros(call.programs(tile), 4, call.hidden, dtype=torch.float32)
    _run_forward(tensors, call, tile, gates=gates, hidden=hidden, cell=cell, largest=largest)
    states: dict[str, Any] = {"gates": gates, "hidden": hidden, "cell": cell, "largest": largest, "sums": sums}
    if tile.resident:
        from convrnn.ops.triton.kernels import resident

        others = {name: tensors[name] for name in ("weight_peephole", "initial_cell", "lengths")}
        arguments = {**_resident_arguments(tensors, call, tile, hidden), **others, **states}
        arguments |= {"grad": grad_y.contiguous(), "weight_hh": weight_hh}
        tiles.launch(resident.backward, (call.programs(tile),), arguments, tile.warps, tile.stages)
    else:
        stepwise.backward(grad_y.contiguous(), tensors, call, tile, **states)
    return gates, hidden[: call.kernel_size], sums


def _gradients(grad_y: Tensor, tensors: Tensors, call: Call, with_x: bool) -> Tensors:
    """Of all seven tensors, by few products over all steps of all windows; None where there is none."""
    x, weight_ih = there(tensors, "x", "weight_ih")
    gradients: Tensors = dict.fromkeys(DIFFERENTIABLE)
    # Zeros take part in the products where a sequence has ended; what stands there in x may be NaN.
    x = geometry.mask_frames(x, tensors["lengths"])
    # Without a gradient of x, the frames of every window stand beside the hidden states, and a 1 for the bias: one
    # product for all weights is cheaper than sums over windows first, the gates being several times wider.
    beside = 0 if with_x or call.positions else call.features + 1
    gates, hidden, sums = _gate_gradients(grad_y, tensors, call, beside)
    if beside:
        inputs = F.pad(x, (0, hidden.size(2) - call.hidden - call.features), value=1.0)
        hidden[..., call.hidden :].unflatten(1, (call.batch, call.windows)).copy_(_in_windows(inputs, call))
        hidden[0, :, : call.hidden] = 0
        product = gates.flatten(0, 1).mT.mm(hidden.flatten(0, 1))
        # Copies, because results of an operation must not share memory.
        grad_weight_hh = product[:, : call.hidden].contiguous()
        gradients["weight_ih"] = product[:, call.hidden : call.hidden + call.features].contiguous()
        gradients["bias"] = product[:, call.hidden + call.features].contiguous()
    else:
        later, before = gates[1:].flatten(0, 1), hidden[1:].flatten(0, 1)
        grad_weight_hh = later.mT.mm(before)[:, : call.hidden].contiguous()
    if call.positions:
        gradients["weight_ih"] = _by_step(gates.mT.bmm(_apart(x, call)), call)
        gradients["bias"] = gates.sum((0, 1), dtype=torch.float32)
        if with_x:
            gradients["x"] = _sum_windows(gates.bmm(_by_step(weight_ih, call)), call)
    elif with_x:
        frames = _sum_windows(gates, call).flatten(0, 1)
        gradients["weight_ih"] = frames.mT.mm(x.flatten(0, 1))
        gradients["bias"] = frames.sum(0, dtype=torch.float32)
        gradients["x"] = frames.mm(weight_ih).view(x.shape)
    gradients["initial_hidden"] = operands.first_gradients(tensors, gates[0], grad_weight_hh)
    gradients["weight_hh"] = grad_weight_hh
    if sums is not None:
        gradients |= {"weight_peephole": sums[:, :3].sum(0), "initial_cell": sums[:, 3].sum(0)}
    return gradients


@torch.library.custom_op("convrnn::triton_windowed_lstm_backward", mutates_args=())
@operands.without_autocast
def triton_windowed_lstm_backward(
    grad_y: Tensor,
    x: Tensor,
    weight_ih: Tensor,
    weight_hh: Tensor,
    bias: Tensor | None,
    weight_peephole: Tensor | None,
    initial_hidden: Tensor | None,
    initial_cell: Tensor | None,
    lengths: Tensor | None,
    kernel_size: int,
    stride: int,
    sequence: str,
    reduce: str,
    reverse: bool,
    with_x: bool,
) -> list[Tensor]:
    """Gradients of x (empty unless ``with_x``) and of those of the parameters that are there, in their order."""
    given = (x, weight_ih, weight_hh, bias, weight_peephole, initial_hidden, initial_cell, lengths)
    check_window(x, kernel_size, stride, reduce, sequence)
    tensors = operands.checked(*given, kernel_size=kernel_size)
    call = Call.of(x, weight_ih, weight_hh, kernel_size, stride, sequence, reduce, reverse)
    operands.check_beside({"grad_y": grad_y}, call.shape, x)
    if not call.rows:
        return operands.listed(
            {name: None if t is None else torch.zeros_like(t) for name, t in tensors.items()}, tensors
        )
    return operands.listed(_gradients(grad_y, tensors, call, with_x), tensors)


@triton_windowed_lstm_backward.register_fake
def _(grad_y: Tensor, *inputs: Any) -> list[Tensor]:  # noqa: ANN401
    check_devices(grad_y, *inputs)
    return fake_gradients(inputs[:7], with_x=inputs[-1])


def _setup(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:  # noqa: ANN401, ARG001
    ctx.options = inputs[8:13]
    ctx.save_for_backward(*inputs[:8])


def _backward(ctx: Any, grad_y: Tensor) -> tuple[Any, ...]:  # noqa: ANN401
    tensors = ctx.saved_tensors
    with_x = ctx.needs_input_grad[0]
    gradients = triton_windowed_lstm_backward(grad_y, *tensors, *ctx.options, with_x)
    return (*hand_out(gradients, tensors[:7], with_x), *(None,) * 7)


triton_windowed_lstm.register_autograd(_backward, setup_context=_setup)
triton_windowed_lstm_backward.register_autograd(refuse_second_derivative("Triton LSTM kernels can"))
