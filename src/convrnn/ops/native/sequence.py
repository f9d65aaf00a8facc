"""The LSTM over whole sequences by the CPU kernel, as registered PyTorch operations; differentiable once."""

from typing import Any

from torch import Tensor

from convrnn.ops.native import calls, library
from convrnn.ops.operands import LSTMOperands, hand_out, may_need_gradient, refuse_second_derivative
from convrnn.ops.registration import LSTM, Operation

_KEPT_GATES = 5  # i, f, g, o and tanh(c)


def _gates_shape(operands: LSTMOperands) -> tuple[int, int, int, int]:
    """Shape of the stored i, f, g, o and tanh(c) of every frame."""
    batch, frames, hidden = operands.states_shape
    return batch, frames, _KEPT_GATES, hidden


def _forward(operands: LSTMOperands, reverse: bool, save: bool) -> tuple[Tensor, Tensor, Tensor]:
    """:func:`convrnn.ops.lstm` by the kernel, and the gates that its backward pass needs: empty unless ``save``."""
    operands = calls.prepare(operands)
    x, states = operands.x, operands.states_shape
    new = x.new_empty if operands.lengths is None else x.new_zeros
    hidden, cell, gates = new(states), new(states), new(_gates_shape(operands) if save else (0,))
    if x.size(0):
        arrays = {"states_hidden": hidden, "states_cell": cell, "saved": gates if save else None}
        library.run(library.FORWARD, calls.sizes(operands, x.size(0), reverse), operands, **arrays)
    return hidden, cell, gates


def _fake_forward(operands: LSTMOperands, reverse: bool, save: bool) -> tuple[Tensor, Tensor, Tensor]:  # noqa: ARG001
    x, states = operands.x, operands.states_shape
    return x.new_empty(states), x.new_empty(states), x.new_empty(_gates_shape(operands) if save else (0,))


def _backward(
    grad_hidden: Tensor | None,
    grad_cell: Tensor | None,
    hidden: Tensor,
    cell: Tensor,
    gates: Tensor,
    operands: LSTMOperands,
    reverse: bool,
    with_x: bool,
) -> list[Tensor]:
    """Gradients of x (empty unless ``with_x``) and of the parameters that are not None, in order."""
    operands = calls.prepare(operands)
    states = operands.states_shape
    return calls.run_backward(
        calls.sizes(operands, operands.x.size(0), reverse),
        operands,
        with_x,
        states_hidden=calls.prepare_other("hidden", hidden, states, operands),
        states_cell=calls.prepare_other("cell", cell, states, operands),
        saved=calls.prepare_other("gates", gates, _gates_shape(operands), operands),
        grad_hidden=None if grad_hidden is None else calls.prepare_other("grad_hidden", grad_hidden, states, operands),
        grad_cell=None if grad_cell is None else calls.prepare_other("grad_cell", grad_cell, states, operands),
    )


def _fake_backward(
    grad_hidden: Tensor | None,  # noqa: ARG001
    grad_cell: Tensor | None,  # noqa: ARG001
    hidden: Tensor,  # noqa: ARG001
    cell: Tensor,  # noqa: ARG001
    gates: Tensor,  # noqa: ARG001
    operands: LSTMOperands,
    reverse: bool,  # noqa: ARG001
    with_x: bool,
) -> list[Tensor]:
    return operands.fake_gradients(with_x)


_lstm = Operation(
    f"native_lstm({LSTM}, bool reverse, bool save) -> (Tensor, Tensor, Tensor)", _forward, _fake_forward, key="CPU"
)
_lstm_backward = Operation(
    "native_lstm_backward(Tensor? grad_hidden, Tensor? grad_cell, Tensor hidden, Tensor cell, Tensor gates, "
    f"{LSTM}, bool reverse, bool with_x) -> Tensor[]",
    _backward,
    _fake_backward,
    key="CPU",
)


def _setup(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor, Tensor]) -> None:  # noqa: ANN401
    *tensors, ctx.reverse, save = inputs
    ctx.mark_non_differentiable(output[2])
    ctx.set_materialize_grads(False)
    if save:
        ctx.save_for_backward(*output, *tensors)


def _differentiate(ctx: Any, grad_hidden: Tensor | None, grad_cell: Tensor | None, _: None) -> tuple[Any, ...]:  # noqa: ANN401
    if not ctx.saved_tensors:
        raise RuntimeError("native_lstm was called with save=False and cannot be differentiated")
    if grad_hidden is None and grad_cell is None:
        return (None,) * 10
    hidden, cell, gates, *tensors = ctx.saved_tensors
    with_x = ctx.needs_input_grad[0]
    gradients = _lstm_backward(grad_hidden, grad_cell, hidden, cell, gates, *tensors, ctx.reverse, with_x)
    return (*hand_out(gradients, tensors, with_x), None, None, None)


_lstm.register_autograd(_differentiate, setup_context=_setup)
_lstm_backward.register_autograd(refuse_second_derivative("native LSTM kernel can"))


def lstm(operands: LSTMOperands, reverse: bool) -> tuple[Tensor, Tensor]:
    """:func:`convrnn.ops.lstm` by the kernel."""
    hidden, cell, _ = _lstm(*operands.tensors, reverse, may_need_gradient(operands.differentiable))
    return hidden, cell
