"""The operations as PyTorch knows them: ``torch.ops.convrnn.*``.

The windowed operations are composites of PyTorch's own: compilers see through them and fuse the few steps of a window.
The whole-sequence ``lstm`` is opaque: a graph with every frame of a recording unrolled would be useless. Its forward
pass takes the CPU kernel where it can; its backward pass computes the states again.

Each operation checks its operands by itself, since it can be called past :mod:`convrnn.ops.functional`. Lengths out of
range, which the public functions refuse where they may look at them, count as none or all of the frames.
"""

from typing import Any

import torch
from torch import Tensor

from convrnn.ops import backend, native, reference
from convrnn.ops.checks import check_cell, check_devices, check_floating, check_tensor
from convrnn.ops.operands import named

_library = torch.library.Library("convrnn", "DEF")

for _operation in (reference.windowed_rnn, reference.windowed_gru, reference.windowed_lstm):
    _library.define(_operation.__name__ + torch.library.infer_schema(_operation, mutates_args=()))
    _library.impl(_operation.__name__, _operation, "CompositeImplicitAutograd")


@torch.library.custom_op("convrnn::lstm", mutates_args=())
def _lstm(
    x: Tensor,
    weight_ih: Tensor,
    weight_hh: Tensor,
    bias: Tensor | None,
    weight_peephole: Tensor | None,
    initial_hidden: Tensor | None,
    initial_cell: Tensor | None,
    lengths: Tensor | None,
    reverse: bool,
) -> tuple[Tensor, Tensor]:
    tensors = (x, weight_ih, weight_hh, bias, weight_peephole, initial_hidden, initial_cell)
    check_cell(4, named(*tensors, lengths))
    with torch.autocast(x.device.type, enabled=False):
        if backend.runs_native(x):
            states: tuple[Tensor, Tensor] = native.native_lstm(*tensors, lengths, reverse, False)[:2]
            return states
        return reference.lstm(*tensors, lengths=_within(lengths, x), reverse=reverse)


def _within(lengths: Tensor | None, x: Tensor) -> Tensor | None:
    return None if lengths is None else lengths.clamp(0, x.size(1))


@_lstm.register_fake
def _(x: Tensor, weight_ih: Tensor, weight_hh: Tensor, *others: Any) -> tuple[Tensor, Tensor]:  # noqa: ANN401
    check_devices(x, weight_ih, weight_hh, *others)
    states = x.new_empty(x.size(0), x.size(1), weight_hh.size(1))
    return states, torch.empty_like(states)


@torch.library.custom_op("convrnn::lstm_backward", mutates_args=())
def _lstm_backward(
    grad_hidden: Tensor,
    grad_cell: Tensor,
    x: Tensor,
    weight_ih: Tensor,
    weight_hh: Tensor,
    bias: Tensor | None,
    weight_peephole: Tensor | None,
    initial_hidden: Tensor | None,
    initial_cell: Tensor | None,
    lengths: Tensor | None,
    reverse: bool,
) -> list[Tensor]:
    """Gradients of those of the seven differentiable inputs that are there, in this order."""
    inputs = (x, weight_ih, weight_hh, bias, weight_peephole, initial_hidden, initial_cell)
    tensors = named(*inputs, lengths)
    check_cell(4, tensors)
    gradients = {"grad_hidden": grad_hidden, "grad_cell": grad_cell}
    for name, gradient in gradients.items():
        check_tensor(name, gradient, (*x.shape[:2], weight_hh.size(1)), x.device)
    lengths = _within(lengths, x)

    def states(*given: Tensor) -> tuple[Tensor, Tensor]:
        there = iter(given)
        present = [None if t is None else next(there) for t in inputs]
        return reference.lstm(*present, lengths=lengths, reverse=reverse)  # type: ignore[arg-type]

    # Inside a registered operation autograd no longer records; the function transform differentiates here too.
    with torch.autocast(x.device.type, enabled=False):
        check_floating(tensors | gradients)
        pull_back = torch.func.vjp(states, *(t for t in inputs if t is not None))[1]
        return [gradient.contiguous() for gradient in pull_back((grad_hidden, grad_cell))]


@_lstm_backward.register_fake
def _(grad_hidden: Tensor, grad_cell: Tensor, *inputs: Any) -> list[Tensor]:  # noqa: ANN401
    check_devices(grad_hidden, grad_cell, *inputs)
    return [torch.empty_like(t, memory_format=torch.contiguous_format) for t in inputs[:7] if t is not None]


def _save(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:  # noqa: ANN401, ARG001
    *tensors, ctx.reverse = inputs
    ctx.save_for_backward(*tensors)


def _backward(ctx: Any, grad_hidden: Tensor, grad_cell: Tensor) -> tuple[Tensor | None, ...]:  # noqa: ANN401
    gradients = iter(_lstm_backward(grad_hidden, grad_cell, *ctx.saved_tensors, ctx.reverse))
    return (*(None if t is None else next(gradients) for t in ctx.saved_tensors[:7]), None, None)


_lstm.register_autograd(_backward, setup_context=_save)
