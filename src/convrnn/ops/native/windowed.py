"""The LSTM over windows by the CPU kernel, as operations that PyTorch knows; differentiable once."""

from contextlib import nullcontext
from typing import Any

import torch
from torch import Tensor

from convrnn.ops import geometry
from convrnn.ops.checks import REDUCTIONS, SEQUENCES, check_devices, check_window
from convrnn.ops.native import calls, library
from convrnn.ops.native.operation import Operation
from convrnn.ops.operands import fake_gradients, hand_out, refuse_second_derivative

_MOST_LANES = 16  # floats of the widest vector


def _windowed_sizes(
    x: Tensor, kernel_size: int, stride: int, sequence: str, reduce: str, lengths: Tensor | None, reverse: bool
) -> dict[str, int]:
    """Options, windows in all, and rows: the windows that lie within their sequence."""
    windows = geometry.num_windows(x.size(1), kernel_size, stride)
    if lengths is None:
        rows = x.size(0) * windows
    else:
        rows = int(geometry.num_windows(lengths.clamp(0, x.size(1)), kernel_size, stride).sum())
    return {
        "kernel_size": kernel_size,
        "stride": stride,
        "windows": windows,
        "rows": rows,
        "reverse": int(reverse),
        "sequence": SEQUENCES.index(sequence),
        "reduce": REDUCTIONS.index(reduce),
    }


def _windowed_shape(x: Tensor, weight_hh: Tensor, kernel_size: int, stride: int, reduce: str) -> tuple[int, ...]:
    windows = geometry.num_windows(x.size(1), kernel_size, stride)
    return (x.size(0), windows, *((kernel_size,) if reduce == "none" else ()), weight_hh.size(1))


def _last_gates_shape(x: Tensor, weight_hh: Tensor, kernel_size: int, stride: int, sequence: str) -> tuple[int, ...]:
    """Of every window's i, f, g and, of hidden states, o of its last step: room for them on any instruction set."""
    windows = x.size(0) * geometry.num_windows(x.size(1), kernel_size, stride)
    return windows, 3 if sequence == "cell" else 4, -(-weight_hh.size(1) // _MOST_LANES) * _MOST_LANES


@Operation
def native_windowed_lstm_kept(
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
    save: bool,
) -> tuple[Tensor, Tensor]:
    """:func:`convrnn.ops.windowed_lstm` by the kernel, and what its backward pass needs: empty unless ``save``."""
    given = (x, weight_ih, weight_hh, bias, weight_peephole, initial_hidden, initial_cell, lengths)
    check_window(x, kernel_size, stride, reduce, sequence)
    sizes, tensors = calls.inputs(*given, kernel_size=kernel_size)
    sizes |= _windowed_sizes(x, kernel_size, stride, sequence, reduce, lengths, reverse)
    shape = _windowed_shape(x, weight_hh, kernel_size, stride, reduce)
    y = x.new_empty(shape) if lengths is None else x.new_zeros(shape)
    gates = x.new_empty(_last_gates_shape(x, weight_hh, kernel_size, stride, sequence) if save else (0,))
    if sizes["rows"]:
        library.run(library.FORWARD, sizes, tensors | {"y": y, "gates": gates if save else None})
    return y, gates


@native_windowed_lstm_kept.register_fake
def _(x: Tensor, weight_ih: Tensor, weight_hh: Tensor, *options: Any) -> tuple[Tensor, Tensor]:  # noqa: ANN401
    check_devices(x, weight_ih, weight_hh, *options)
    kernel_size, stride, sequence, reduce, _reverse, save = options[-6:]
    y = x.new_empty(_windowed_shape(x, weight_hh, kernel_size, stride, reduce))
    return y, x.new_empty(_last_gates_shape(x, weight_hh, kernel_size, stride, sequence) if save else (0,))


def native_windowed_lstm(
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
) -> Tensor:
    """:func:`convrnn.ops.windowed_lstm` by the kernel, which keeps what a backward pass needs where one may come."""
    tensors = (x, weight_ih, weight_hh, bias, weight_peephole, initial_hidden, initial_cell)
    save = torch.is_grad_enabled() and any(t is not None and t.requires_grad for t in tensors)
    operation = torch.ops.convrnn.native_windowed_lstm_kept
    y: Tensor = operation(*tensors, lengths, kernel_size, stride, sequence, reduce, reverse, save)[0]
    return y


# Not an operation with rules of its own: whether to save is to be seen before autograd takes over.
torch.library.define("convrnn::native_windowed_lstm", torch.library.infer_schema(native_windowed_lstm, mutates_args=()))
torch.library.impl("convrnn::native_windowed_lstm", "CompositeImplicitAutograd")(native_windowed_lstm)


@Operation
def native_windowed_lstm_backward(
    grad_y: Tensor,
    gates: Tensor,
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
    sizes, tensors = calls.inputs(*given, kernel_size=kernel_size)
    sizes |= _windowed_sizes(x, kernel_size, stride, sequence, reduce, lengths, reverse)
    shapes = {
        "grad_y": _windowed_shape(x, weight_hh, kernel_size, stride, reduce),
        "gates": _last_gates_shape(x, weight_hh, kernel_size, stride, sequence),
    }
    others = calls.beside({"grad_y": grad_y, "gates": gates}, shapes, x.device)
    return calls.run_backward(sizes, tensors | others, with_x)


@native_windowed_lstm_backward.register_fake
def _(grad_y: Tensor, gates: Tensor, *inputs: Any) -> list[Tensor]:  # noqa: ANN401
    check_devices(grad_y, gates, *inputs)
    return fake_gradients(inputs[:7], with_x=inputs[-1])


def _windowed_setup(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:  # noqa: ANN401
    *tensors, kernel_size, stride, sequence, reduce, reverse, save = inputs
    ctx.options = (kernel_size, stride, sequence, reduce, reverse)
    ctx.instruction_set = library.instruction_set()
    ctx.mark_non_differentiable(output[1])
    ctx.set_materialize_grads(False)
    if save:
        ctx.save_for_backward(output[1], *tensors)


def _windowed_backward(ctx: Any, grad_y: Tensor | None, _: None) -> tuple[Any, ...]:  # noqa: ANN401
    if not ctx.saved_tensors:
        raise RuntimeError("native_windowed_lstm_kept was called with save=False and cannot be differentiated")
    if grad_y is None:
        return (None,) * 14
    gates, *tensors = ctx.saved_tensors
    with_x = ctx.needs_input_grad[0]
    # The kept gates lie in an order of the instruction set's.
    same = ctx.instruction_set == library.instruction_set()
    with nullcontext() if same else library.use_instruction_set(ctx.instruction_set):
        gradients = native_windowed_lstm_backward(grad_y, gates, *tensors, *ctx.options, with_x)
    return (*hand_out(gradients, tensors[:7], with_x), None, *(None for _ in ctx.options), None)


native_windowed_lstm_kept.register_autograd(_windowed_backward, setup_context=_windowed_setup)
native_windowed_lstm_backward.register_autograd(refuse_second_derivative("native LSTM kernel can"))
