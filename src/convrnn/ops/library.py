"""The operations as PyTorch knows them: ``torch.ops.convrnn.*``.

The windowed operations are composites of PyTorch's own: compilers see through them and fuse the few steps of a window.
The whole-sequence ``lstm`` is opaque: a graph with every frame of a recording unrolled would be useless. Its forward
pass takes the CPU kernel where it can; its backward pass computes the states again.
"""

from typing import Any

import torch
from torch import Tensor

from convrnn.ops import backend, native, reference

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
    with torch.autocast(x.device.type, enabled=False):
        if backend.runs_native(x):
            states: tuple[Tensor, Tensor] = native.native_lstm(*tensors, lengths, reverse, False)[:2]
            return states
        return reference.lstm(*tensors, lengths=lengths, reverse=reverse)


@_lstm.register_fake
def _(x: Tensor, _weight_ih: Tensor, weight_hh: Tensor, *_: Any) -> tuple[Tensor, Tensor]:  # noqa: ANN401
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

    def states(*given: Tensor) -> tuple[Tensor, Tensor]:
        there = iter(given)
        tensors = [None if t is None else next(there) for t in inputs]
        return reference.lstm(*tensors, lengths=lengths, reverse=reverse)  # type: ignore[arg-type]

    # Inside a registered operation autograd no longer records; the function transform differentiates here too.
    with torch.autocast(x.device.type, enabled=False):
        pull_back = torch.func.vjp(states, *(t for t in inputs if t is not None))[1]
        gradients = pull_back((grad_hidden, grad_cell))
    return [gradient.contiguous() for gradient in gradients]


@_lstm_backward.register_fake
def _(_grad_hidden: Tensor, _grad_cell: Tensor, *inputs: Any) -> list[Tensor]:  # noqa: ANN401
    return [torch.empty_like(t, memory_format=torch.contiguous_format) for t in inputs[:7] if t is not None]


def _save(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:  # noqa: ANN401, ARG001
    *tensors, ctx.reverse = inputs
    ctx.save_for_backward(*tensors)


def _backward(ctx: Any, grad_hidden: Tensor, grad_cell: Tensor) -> tuple[Tensor | None, ...]:  # noqa: ANN401
    gradients = iter(_lstm_backward(grad_hidden, grad_cell, *ctx.saved_tensors, ctx.reverse))
    return (*(None if t is None else next(gradients) for t in ctx.saved_tensors[:7]), None, None)


_lstm.register_autograd(_backward, setup_context=_save)
