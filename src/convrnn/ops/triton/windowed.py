"""The LSTM over windows on the GPU, as operations that PyTorch knows."""

from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from convrnn.ops import geometry
from convrnn.ops.operands import DIFFERENTIABLE, Tensors, fake_gradients, hand_out, refuse_second_derivative, there
from convrnn.ops.triton import operands, tiles
from convrnn.ops.triton.tiles import Tile


@dataclass(frozen=True)
class _Call:
    """Sizes and options."""

    batch: int
    frames: int
    features: int
    hidden: int
    positions: bool
    kernel_size: int
    stride: int
    sequence: str
    reduce: str
    reverse: bool

    @classmethod
    def of(cls, x: Tensor, weight_ih: Tensor, weight_hh: Tensor, *options: Any) -> "_Call":  # noqa: ANN401
        batch, frames, features = x.shape
        return cls(batch, frames, features, weight_hh.size(1), weight_ih.dim() == 3, *options)

    @property
    def windows(self) -> int:
        """Of one sequence."""
        return geometry.num_windows(self.frames, self.kernel_size, self.stride)

    @property
    def rows(self) -> int:
        """Windows of all sequences."""
        return self.batch * self.windows

    @property
    def hidden_steps(self) -> int:
        """Steps whose hidden state anyone needs."""
        return self.kernel_size - (self.sequence == "cell" and self.reduce == "last")

    @property
    def first(self) -> int:
        """Position of the frame that is processed first."""
        return self.kernel_size - 1 if self.reverse else 0

    @property
    def direction(self) -> int:
        """From a frame to the one that is processed next."""
        return -1 if self.reverse else 1

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the result."""
        return (self.batch, self.windows, *((self.kernel_size,) if self.reduce == "none" else ()), self.hidden)

    def tile(self, x: Tensor) -> Tile:
        """The part of the windows that one program takes at a time."""
        features = None if self.positions else self.features
        return tiles.choose(self.rows, self.hidden, features, x.dtype, x.device)

    def programs(self, tile: Tile) -> int:
        """That take all rows together."""
        count = -(-self.rows // tile.rows)
        return min(count, tile.programs) if tile.resident else count

    def arguments(self, tile: Tile, dtype: torch.dtype) -> dict[str, Any]:
        """What the forward and the backward kernel take beside tensors."""
        sizes = {
            "rows": self.rows,
            "windows": self.windows,
            "stride": self.stride,
            "sequence_frames": self.windows if self.positions else self.frames,
            "window_frames": 1 if self.positions else self.stride,
            "y_first": self.first,
            "y_step": self.direction,
        }
        constants = {
            "KERNEL_SIZE": self.kernel_size,
            "HIDDEN_STEPS": self.hidden_steps,
            "H": self.hidden,
            "SEQUENCE": self.sequence,
            "REDUCE": self.reduce,
            "PRECISION": tiles.precision(dtype),
        }
        own = {"tiles": -(-self.rows // tile.rows)} if tile.resident else {"INNER": tile.inner}
        return sizes | constants | own | {"ROWS": tile.rows, "UNITS": tile.units}

    def forward_arguments(self, tile: Tile, dtype: torch.dtype) -> dict[str, Any]:
        """What the forward kernel takes beside tensors."""
        frames = {
            "frame_first": 0 if self.positions else self.first,
            "frame_step": self.rows if self.positions else self.direction,
        }
        own = {"FEATURES": self.features, "INPUTS": max(16, tile.inputs)} if tile.resident else {}
        return self.arguments(tile, dtype) | frames | own


def _by_step(positions: Tensor, call: _Call) -> Tensor:
    """From the order of positions in the window to the order in which they are processed, or back."""
    return positions.flip(0) if call.reverse else positions


def _in_windows(x: Tensor, call: _Call) -> Tensor:
    """The frames of all windows, by the step that processes them: ``[kernel_size, batch, windows, in]``."""
    return _by_step(x.unfold(1, call.kernel_size, call.stride).permute(3, 0, 1, 2), call)


def _apart(x: Tensor, call: _Call) -> Tensor:
    """As :func:`_in_windows`, for products: ``[kernel_size, rows, in]``."""
    return _in_windows(x, call).reshape(call.kernel_size, call.rows, x.size(2))


def _operands(tensors: Tensors, call: _Call, tile: Tile) -> Tensors:
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
    frames = {"x": None, "weight_ih": None, "bias": None} if tile.resident else {}
    return {"wx": wx, **frames, **others}


def _run_forward(
    tensors: Tensors,
    call: _Call,
    tile: Tile,
    slots: int,
    *,
    pitch: int,
    y: Tensor | None = None,
    gates: Tensor | None = None,
    hidden: Tensor | None = None,
    cell: Tensor | None = None,
    largest: Tensor | None = None,
) -> None:
    """To ``y``, or what the backward kernel needs to the others."""
    (x,) = there(tensors, "x")
    arguments = {**_operands(tensors, call, tile), **call.forward_arguments(tile, x.dtype), "PITCH": pitch}
    arguments |= {"y": y, "gates": gates, "hidden": hidden, "cell": cell, "largest": largest}
    if tile.resident:
        from convrnn.ops.triton.kernels import resident

        tiles.launch(resident.forward, (call.programs(tile),), arguments, tile.warps, tile.stages)
    else:
        from convrnn.ops.triton.kernels import streamed

        arguments |= {"slots": slots}
        tiles.launch(streamed.forward, (call.programs(tile),), arguments, tile.warps, tile.stages)


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
    tensors = operands.checked(*given, positions=kernel_size)
    call = _Call.of(x, weight_ih, weight_hh, kernel_size, stride, sequence, reduce, reverse)
    tile = call.tile(x)
    y = operands.room(tensors, call.shape, dtype)
    if not call.rows:
        return y
    # A reduction of the streaming kernel goes on in the result, which must not be rounded in every step.
    exact = y.float() if reduce in ("mean", "max") and not tile.resident else y
    slots = min(2, kernel_size)
    hidden = cell = None
    if not tile.resident:
        hidden = x.new_empty(slots + 1, call.rows, call.hidden)
        cell = x.new_empty(slots, call.rows, call.hidden, dtype=torch.float32)
    _run_forward(tensors, call, tile, slots, y=exact, hidden=hidden, cell=cell, pitch=call.hidden)
    return exact.to(dtype)


@triton_windowed_lstm.register_fake
def _(x: Tensor, weight_ih: Tensor, weight_hh: Tensor, *options: Any) -> Tensor:  # noqa: ANN401
    *call_options, dtype = options[5:]
    return x.new_empty(_Call.of(x, weight_ih, weight_hh, *call_options).shape, dtype=dtype)


def _sum_windows(gradients: Tensor, call: _Call) -> Tensor:
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


def _gate_gradients(grad_y: Tensor, tensors: Tensors, call: _Call, beside: int) -> tuple[Tensor, Tensor, Tensor | None]:
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
    states: dict[str, Any] = {"gates": gates, "hidden": hidden, "cell": cell, "largest": largest}
    _run_forward(tensors, call, tile, call.kernel_size, pitch=pitch, **states)
    others = {name: tensors[name] for name in ("weight_peephole", "initial_cell", "lengths")}
    arguments = {**call.arguments(tile, x.dtype), **others, **states, "PITCH": pitch}
    arguments |= {"grad": grad_y.contiguous(), "weight_hh": weight_hh, "sums": sums}
    if tile.resident:
        from convrnn.ops.triton.kernels import resident

        tiles.launch(resident.backward, (call.programs(tile),), arguments, tile.warps, tile.stages)
    else:
        from convrnn.ops.triton.kernels import streamed

        carried = x.new_empty(2, call.rows, call.hidden, dtype=torch.float32)
        arguments |= {"carried_hidden": carried[0], "carried_cell": carried[1]}
        tiles.launch(streamed.backward, (call.programs(tile),), arguments, tile.warps, tile.stages)
    return gates, hidden[: call.kernel_size], sums


def _gradients(grad_y: Tensor, tensors: Tensors, call: _Call, with_x: bool) -> Tensors:
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
    tensors = operands.checked(*given, positions=kernel_size)
    call = _Call.of(x, weight_ih, weight_hh, kernel_size, stride, sequence, reduce, reverse)
    if not call.rows:
        return operands.listed(
            {name: None if t is None else torch.zeros_like(t) for name, t in tensors.items()}, tensors
        )
    return operands.listed(_gradients(grad_y, tensors, call, with_x), tensors)


@triton_windowed_lstm_backward.register_fake
def _(_grad_y: Tensor, *inputs: Any) -> list[Tensor]:  # noqa: ANN401
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
