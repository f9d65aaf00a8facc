"""The LSTM over whole sequences by the CPU kernel, as operations that PyTorch knows; differentiable once."""

from typing import Any

import torch
from torch import Tensor

from convrnn.ops.checks import check_devices
from convrnn.ops.native import calls, library
from convrnn.ops.native.operation import Operation
from convrnn.ops.operands import Tensors, fake_gradients, hand_out, refuse_second_derivative

_KEPT_GATES = 5  # i, f, g, o and tanh(c)


def _gates_shape(x: Tensor, weight_hh: Tensor, save: bool) -> tuple[int, ...]:
    """Of i, f, g, o and tanh(c) of every frame, where they are kept."""
    return (x.size(0), x.size(1), _KEPT_GATES, weight_hh.size(1)) if save else (0,)


@Operation
def native_lstm(
    x: Tensor,
    weight_ih: Tensor,
    weight_hh: Tensor,
    bias: Tensor | None,
    weight_peephole: Tensor | None,
    initial_hidden: Tensor | None,
    initial_cell: Tensor | None,
    lengths: Tensor | None,
    reverse: bool,
    save: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    """:func:`convrnn.ops.lstm` by the kernel, and what its backward pass needs beside: empty unless ``save``."""
    sizes, tensors = calls.inputs(x, weight_ih, weight_hh, bias, weight_peephole, initial_hidden, initial_cell, lengths)
    shape = (x.size(0), x.size(1), weight_hh.size(1))
    shapes = (shape, shape, _gates_shape(x, weight_hh, save))
    hidden, cell, gates = (x.new_empty(s) if lengths is None else x.new_zeros(s) for s in shapes)
    if x.size(0):
        sizes |= {"rows": x.size(0), "reverse": int(reverse)}
        states = {"states_hidden": hidden, "states_cell": cell, "gates": gates if save else None}
        library.run(library.FORWARD, sizes, tensors | states)
    return hidden, cell, gates


@native_lstm.register_fake
def _(x: Tensor, weight_ih: Tensor, weight_hh: Tensor, *options: Any) -> tuple[Tensor, Tensor, Tensor]:  # noqa: ANN401
    check_devices(x, weight_ih, weight_hh, *options)
    states = x.new_empty(x.size(0), x.size(1), weight_hh.size(1))
    return states, torch.empty_like(states), x.new_empty(_gates_shape(x, weight_hh, options[-1]))


@Operation
def native_lstm_backward(
    grad_hidden: Tensor | None,
    grad_cell: Tensor | None,
    hidden: Tensor,
    cell: Tensor,
    gates: Tensor,
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
    sizes, tensors = calls.inputs(x, weight_ih, weight_hh, bias, weight_peephole, initial_hidden, initial_cell, lengths)
    sizes |= {"rows": x.size(0), "reverse": int(reverse)}
    states: Tensors = {"states_hidden": hidden, "states_cell": cell, "gates": gates}
    states |= {"grad_hidden": grad_hidden, "grad_cell": grad_cell}
    shapes = dict.fromkeys(states, (*x.shape[:2], weight_hh.size(1))) | {"gates": _gates_shape(x, weight_hh, save=True)}
    return calls.run_backward(sizes, tensors | calls.beside(states, shapes, x.device), with_x)


@native_lstm_backward.register_fake
def _(grad_hidden: Tensor | None, grad_cell: Tensor | None, *inputs: Any) -> list[Tensor]:  # noqa: ANN401
    check_devices(grad_hidden, grad_cell, *inputs)
    return fake_gradients(inputs[3:10], with_x=inputs[-1])


def _lstm_setup(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor, Tensor]) -> None:  # noqa: ANN401
    *tensors, ctx.reverse, save = inputs
    ctx.mark_non_differentiable(output[2])
    ctx.set_materialize_grads(False)
    if save:
        ctx.save_for_backward(*output, *tensors)


def _lstm_backward(ctx: Any, grad_hidden: Tensor | None, grad_cell: Tensor | None, _: None) -> tuple[Any, ...]:  # noqa: ANN401
    if not ctx.saved_tensors:
        raise RuntimeError("native_lstm was called with save=False and cannot be differentiated")
    *states, x, weight_ih, weight_hh, bias, weight_peephole, initial_hidden, initial_cell, lengths = ctx.saved_tensors
    tensors = (x, weight_ih, weight_hh, bias, weight_peephole, initial_hidden, initial_cell)
    if grad_hidden is None and grad_cell is None:
        return (None,) * 10
    with_x = ctx.needs_input_grad[0]
    gradients = native_lstm_backward(grad_hidden, grad_cell, *states, *tensors, lengths, ctx.reverse, with_x)
    return (*hand_out(gradients, tensors, with_x), None, None, None)


native_lstm.register_autograd(_lstm_backward, setup_context=_lstm_setup)
native_lstm_backward.register_autograd(refuse_second_derivative("native LSTM kernel can"))
