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
    hidden: int
    positions: bool
    kernel_size: int
    stride: int
    sequence: str
    reduce: str
    reverse: bool

    @classmethod
    def of(cls, x: Tensor, weight_ih: Tensor, weight_hh: Tensor, *options: Any) -> "_Call":  # noqa: ANN401
        return cls(x.size(0), x.size(1), weight_hh.size(1), weight_ih.dim() == 3, *options)

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

    def programs(self, tile: Tile) -> int:
        """That take all rows together."""
        return -(-self.rows // tile.rows)

    def arguments(self, tile: Tile, dtype: torch.dtype) -> dict[str, Any]:
        """What the forward and the backward kernel take beside tensors."""
        sizes = {
            "rows": self.rows,
            "windows": self.windows,
            "stride": self.stride,
            "sequence_frames": self.windows if self.positions else self.frames,
            "window_frames": 1 if self.positions else self.stride,
            "frame_first": 0 if self.positions else self.first,
            "frame_step": self.rows if self.positions else self.direction,
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
        return sizes | constants | {"ROWS": tile.rows, "UNITS": tile.units}


def _by_step(positions: Tensor, call: _Call) -> Tensor:
    """From the order of positions in the window to the order in which they are processed, or back."""
    return positions.flip(0) if call.reverse else positions


def _apart(x: Tensor, call: _Call) -> Tensor:
    """The frames of all windows, by the step that processes them: ``[kernel_size, rows, in]``."""
    windows = x.unfold(1, call.kernel_size, call.stride).permute(3, 0, 1, 2)
    return _by_step(windows.reshape(call.kernel_size, call.rows, x.size(2)), call)


def _operands(tensors: Tensors, call: _Call) -> Tensors:
    """The tensors that both kernels take: the projection of every frame, or of every window's, among them."""
    x, weight_ih, weight_hh = there(tensors, "x", "weight_ih", "weight_hh")
    bias = None if tensors["bias"] is None else tensors["bias"].to(x.dtype)
    if call.positions:
        inputs, weights = _apart(x, call), _by_step(weight_ih, call).mT
        wx = inputs.bmm(weights) if bias is None else torch.baddbmm(bias, inputs, weights)
    else:
        wx = F.linear(x, weight_ih, bias)
    others = {name: tensors[name] for name in ("weight_peephole", "initial_cell", "lengths")}
    return {"wx": wx, "weight_hh": weight_hh, "first": operands.first_product(tensors), **others}


def _state_shapes(call: _Call, slots: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Of the hidden and the cell states of so many steps."""
    return (max(1, min(slots, call.hidden_steps)), call.rows, call.hidden), (slots, call.rows, call.hidden)


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
    save: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    """:func:`convrnn.ops.windowed_lstm` by the kernels, in ``dtype``, and the states that its gradient needs.

    ``x``, ``weight_ih`` and ``weight_hh`` have the dtype of the products; the other parameters may have any. The
    states come in the order of the steps, hidden in the products' dtype and cell in float32; empty unless ``save``.
    """
    given = (x, weight_ih, weight_hh, bias, weight_peephole, initial_hidden, initial_cell, lengths)
    tensors = operands.checked(*given, positions=kernel_size)
    call = _Call.of(x, weight_ih, weight_hh, kernel_size, stride, sequence, reduce, reverse)
    tile = tiles.choose(call.rows, call.hidden, x.dtype, x.device)
    y = operands.room(tensors, call.shape, dtype)
    hidden = cell = None
    if save or not tile.resident:
        shapes = _state_shapes(call, kernel_size if save else min(2, kernel_size))
        hidden, cell = operands.room(tensors, shapes[0]), operands.room(tensors, shapes[1], torch.float32)
    if call.rows:
        arguments = {**_operands(tensors, call), **call.arguments(tile, x.dtype), "hidden": hidden, "cell": cell}
        if tile.resident:
            from convrnn.ops.triton.kernels import resident

            tiles.launch(resident.forward, (call.programs(tile),), arguments | {"y": y}, tile.warps, tile.stages)
        else:
            from convrnn.ops.triton.kernels import streamed

            # A reduction goes on in the result, which must not be rounded in every step.
            exact = y.float() if reduce in ("mean", "max") else y
            slots = kernel_size if save else min(2, kernel_size)
            arguments |= {"y": exact, "slots": slots, "INNER": tile.inner}
            tiles.launch(streamed.forward, (call.programs(tile),), arguments, tile.warps, tile.stages)
            y = exact.to(dtype)
    if hidden is None or cell is None or not save:
        return y, x.new_empty(0), x.new_empty(0, dtype=torch.float32)
    return y, hidden, cell


@triton_windowed_lstm.register_fake
def _(x: Tensor, weight_ih: Tensor, weight_hh: Tensor, *options: Any) -> tuple[Tensor, Tensor, Tensor]:  # noqa: ANN401
    *call_options, dtype, save = options[5:]
    call = _Call.of(x, weight_ih, weight_hh, *call_options)
    hidden, cell = _state_shapes(call, call.kernel_size) if save else ((0,), (0,))
    return x.new_empty(call.shape, dtype=dtype), x.new_empty(hidden), x.new_empty(cell, dtype=torch.float32)


def _share_maximum(states: Tensor, grad_y: Tensor) -> tuple[Tensor, Tensor]:
    """The largest of each window's states, and the gradient that each of those as large gets."""
    from convrnn.ops.triton.kernels import windows

    steps, rows, hidden = states.shape
    largest, share = torch.empty_like(states[0], dtype=torch.float32), torch.empty_like(states[0], dtype=torch.float32)
    block = 1024
    arguments = {"states": states, "grad": grad_y, "largest": largest, "share": share, "rows": rows}
    tiles.launch(
        windows.share_maximum, (-(-rows * hidden // block),), arguments | {"STEPS": steps, "H": hidden, "BLOCK": block}
    )
    return largest, share


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


def _gate_gradients(
    grad_y: Tensor, hidden: Tensor, cell: Tensor, tensors: Tensors, call: _Call
) -> tuple[Tensor, Tensor | None]:
    """Of every step ``[kernel_size, rows, 4H]``, and each program's of the peepholes and the initial cell state."""
    (x,) = there(tensors, "x")
    tile = tiles.choose(call.rows, call.hidden, x.dtype, x.device)
    grad, largest = grad_y.contiguous(), None
    if call.reduce == "max":
        largest, grad = _share_maximum(cell if call.sequence == "cell" else hidden, grad)
    gates = operands.room(tensors, (call.kernel_size, call.rows, 4 * call.hidden))
    sums = None
    if tensors["weight_peephole"] is not None or tensors["initial_cell"] is not None:
        sums = x.new_zeros(call.programs(tile), 4, call.hidden, dtype=torch.float32)
    arguments = {**_operands(tensors, call), **call.arguments(tile, x.dtype), "grad": grad, "largest": largest}
    arguments |= {"hidden": hidden, "cell": cell, "gates": gates, "sums": sums, "INNER": tile.inner}
    if tile.resident:
        from convrnn.ops.triton.kernels import resident

        tiles.launch(resident.backward, (call.programs(tile),), arguments, tile.warps, tile.stages)
    else:
        from convrnn.ops.triton.kernels import streamed

        carried = x.new_empty(2, call.rows, call.hidden, dtype=torch.float32)
        arguments |= {"carried_hidden": carried[0], "carried_cell": carried[1], "slots": call.kernel_size}
        tiles.launch(streamed.backward, (call.programs(tile),), arguments, tile.warps, tile.stages)
    return gates, sums


def _gradients(
    gates: Tensor, sums: Tensor | None, hidden: Tensor, tensors: Tensors, call: _Call, with_x: bool
) -> Tensors:
    """Of all seven tensors, by one product each over all steps of all windows; None where there is none."""
    x, weight_ih = there(tensors, "x", "weight_ih")
    gradients: Tensors = dict.fromkeys(DIFFERENTIABLE)
    # Zeros take part in the products where a sequence has ended; what stands there in x may be NaN.
    x = geometry.mask_frames(x, tensors["lengths"])
    if call.positions:
        gradients["weight_ih"] = _by_step(gates.mT.bmm(_apart(x, call)), call)
        gradients["bias"] = gates.sum((0, 1), dtype=torch.float32)
        if with_x:
            gradients["x"] = _sum_windows(gates.bmm(_by_step(weight_ih, call)), call)
    else:
        frames = _sum_windows(gates, call).flatten(0, 1)
        gradients["weight_ih"] = frames.mT.mm(x.flatten(0, 1))
        gradients["bias"] = frames.sum(0, dtype=torch.float32)
        if with_x:
            gradients["x"] = frames.mm(weight_ih).view(x.shape)
    later, before = gates[1:].flatten(0, 1), hidden[: call.kernel_size - 1].flatten(0, 1)
    grad_weight_hh = later.mT.mm(before)
    gradients["initial_hidden"] = operands.first_gradients(tensors, gates[0], grad_weight_hh)
    gradients["weight_hh"] = grad_weight_hh
    if sums is not None:
        gradients |= {"weight_peephole": sums[:, :3].sum(0), "initial_cell": sums[:, 3].sum(0)}
    return gradients


@torch.library.custom_op("convrnn::triton_windowed_lstm_backward", mutates_args=())
@operands.without_autocast
def triton_windowed_lstm_backward(
    grad_y: Tensor,
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
    gates, sums = _gate_gradients(grad_y, hidden, cell, tensors, call)
    return operands.listed(_gradients(gates, sums, hidden, tensors, call, with_x), tensors)


@triton_windowed_lstm_backward.register_fake
def _(_grad_y: Tensor, _hidden: Tensor, _cell: Tensor, *inputs: Any) -> list[Tensor]:  # noqa: ANN401
    return fake_gradients(inputs[:7], with_x=inputs[-1])


def _setup(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor, Tensor]) -> None:  # noqa: ANN401
    ctx.options, save = inputs[8:13], inputs[-1]
    ctx.mark_non_differentiable(*output[1:])
    ctx.set_materialize_grads(False)
    if save:
        ctx.save_for_backward(*output[1:], *inputs[:8])


def _backward(ctx: Any, grad_y: Tensor | None, *_: None) -> tuple[Any, ...]:  # noqa: ANN401
    if not ctx.saved_tensors:
        raise RuntimeError("triton_windowed_lstm was called with save=False and cannot be differentiated")
    if grad_y is None:
        return (None,) * 15
    hidden, cell, *tensors = ctx.saved_tensors
    with_x = ctx.needs_input_grad[0]
    gradients = triton_windowed_lstm_backward(grad_y, hidden, cell, *tensors, *ctx.options, with_x)
    return (*hand_out(gradients, tensors[:7], with_x), *(None,) * 8)


triton_windowed_lstm.register_autograd(_backward, setup_context=_setup)
triton_windowed_lstm_backward.register_autograd(refuse_second_derivative("Triton LSTM kernels can"))
