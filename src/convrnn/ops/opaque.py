"""``torch.ops.convrnn.lstm``: the LSTM over whole sequences as one operation, for compiled and exported programs.

A graph with every frame of a recording unrolled would be useless. The backend of the forward pass is chosen when the
program runs; the backward pass recomputes the states with the reference.
"""

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from convrnn.ops import dispatch, reference
from convrnn.ops.checks import check_floating, check_tensor
from convrnn.ops.operands import LSTMOperands, hand_out
from convrnn.ops.registration import LSTM, Operation, without_autocast


def _within(operands: LSTMOperands) -> LSTMOperands:
    """The operands with lengths clamped to 0 and the number of frames."""
    if operands.lengths is None:
        return operands
    return replace(operands, lengths=operands.lengths.clamp(0, operands.x.size(1)))


@without_autocast
def _forward(operands: LSTMOperands, reverse: bool) -> tuple[Tensor, Tensor]:
    operands = _within(operands)
    states: tuple[Tensor, Tensor] = dispatch.choose("lstm", operands)(operands, reverse)
    return states


def _fake_forward(operands: LSTMOperands, reverse: bool) -> tuple[Tensor, Tensor]:  # noqa: ARG001
    states = operands.x.new_empty(operands.states_shape)
    return states, torch.empty_like(states)


@without_autocast
def _backward(grad_hidden: Tensor, grad_cell: Tensor, operands: LSTMOperands, reverse: bool) -> list[Tensor]:
    """Gradients of the seven differentiable tensors in order, except those that are None."""
    gradients = {"grad_hidden": grad_hidden, "grad_cell": grad_cell}
    for name, gradient in gradients.items():
        check_tensor(name, gradient, operands.states_shape, operands.x.device)
    check_floating(operands.named | gradients)
    lengths = _within(operands).lengths

    def states(*present: Tensor) -> tuple[Tensor, Tensor]:
        left = iter(present)
        tensors = [None if t is None else next(left) for t in operands.differentiable]
        return reference.lstm(*tensors, lengths=lengths, reverse=reverse)  # type: ignore[arg-type]

    # Autograd does not record inside a registered operation, but function transforms still differentiate.
    pull_back = torch.func.vjp(states, *(t for t in operands.differentiable if t is not None))[1]
    return [gradient.contiguous() for gradient in pull_back((grad_hidden, grad_cell))]


def _fake_backward(
    grad_hidden: Tensor,  # noqa: ARG001
    grad_cell: Tensor,  # noqa: ARG001
    operands: LSTMOperands,
    reverse: bool,  # noqa: ARG001
) -> list[Tensor]:
    return operands.fake_gradients(with_x=True)


lstm = Operation(f"lstm({LSTM}, bool reverse) -> (Tensor, Tensor)", _forward, _fake_forward)
lstm_backward = Operation(
    f"lstm_backward(Tensor grad_hidden, Tensor grad_cell, {LSTM}, bool reverse) -> Tensor[]", _backward, _fake_backward
)


def _setup(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:  # noqa: ANN401, ARG001
    *tensors, ctx.reverse = inputs
    ctx.save_for_backward(*tensors)


def _differentiate(ctx: Any, grad_hidden: Tensor, grad_cell: Tensor) -> tuple[Tensor | None, ...]:  # noqa: ANN401
    gradients = lstm_backward(grad_hidden, grad_cell, *ctx.saved_tensors, ctx.reverse)
    return (*hand_out(gradients, ctx.saved_tensors), None, None)


def _refuse_second_derivative(*_: object) -> None:
    raise RuntimeError(
        "convrnn::lstm can be differentiated once; for second derivatives call convrnn.ops.lstm, not compiled, within "
        'convrnn.ops.use_backend("reference")'
    )


lstm.register_autograd(_differentiate, setup_context=_setup)
lstm_backward.register_autograd(_refuse_second_derivative)
