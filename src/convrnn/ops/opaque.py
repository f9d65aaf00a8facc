"""Whole sequences as one operation, for compiled and exported programs: ``torch.ops.convrnn.rnn``, ``gru``, ``lstm``.

A graph with every frame of a recording unrolled would be useless. The backend of the forward pass is chosen when the
program runs; the backward pass recomputes the states with the reference.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from convrnn.ops import dispatch, reference
from convrnn.ops.checks import check_floating, check_tensor
from convrnn.ops.operands import CellOperands, GRUOperands, LSTMOperands, RNNOperands, hand_out
from convrnn.ops.registration import Operation, without_autocast


def _register(kind: type[CellOperands], function: Callable[..., Any], *states: str) -> None:
    """Register an operation over whole sequences, and its backward pass.

    Args:
        kind: Type of the operands.
        function: The operation in :mod:`reference`.
        states: Names of its results.
    """
    name, number = function.__name__, len(states)

    @without_autocast
    def forward(operands: CellOperands, reverse: bool) -> Any:  # noqa: ANN401
        operands = _within(operands)
        return dispatch.choose(name, operands)(operands, reverse)

    def fake_forward(operands: CellOperands, reverse: bool) -> Any:  # noqa: ANN401, ARG001
        results = tuple(operands.x.new_empty(operands.states_shape) for _ in states)
        return results if number > 1 else results[0]

    @without_autocast
    def backward(*arguments: Any) -> list[Tensor]:  # noqa: ANN401
        """Gradients of the differentiable tensors in order, except those that are None."""
        *given, operands, reverse = arguments
        gradients = {f"grad_{state}": gradient for state, gradient in zip(states, given, strict=True)}
        for argument, gradient in gradients.items():
            check_tensor(argument, gradient, operands.states_shape, operands.x.device)
        check_floating(operands.named | gradients)
        lengths = _within(operands).lengths

        def run(*present: Tensor) -> Any:  # noqa: ANN401
            left = iter(present)
            tensors = [None if t is None else next(left) for t in operands.differentiable]
            return function(*tensors, **operands.options, lengths=lengths, reverse=reverse)

        # Autograd does not record inside a registered operation, but function transforms still differentiate.
        pull_back = torch.func.vjp(run, *(t for t in operands.differentiable if t is not None))[1]
        upstream = tuple(given) if number > 1 else given[0]
        return [gradient.contiguous() for gradient in pull_back(upstream)]

    def fake_backward(*arguments: Any) -> list[Tensor]:  # noqa: ANN401
        operands: CellOperands = arguments[number]
        return operands.fake_gradients(with_x=True)

    results = "Tensor" if number == 1 else f"({', '.join(number * ['Tensor'])})"
    upstream = ", ".join(f"Tensor grad_{state}" for state in states)
    operation = Operation(f"{name}({kind.schema}, bool reverse) -> {results}", forward, fake_forward, operands=kind)
    operation_backward = Operation(
        f"{name}_backward({upstream}, {kind.schema}, bool reverse) -> Tensor[]", backward, fake_backward, operands=kind
    )
    tensors = len(kind.tensor_names) + 1

    def setup(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:  # noqa: ANN401, ARG001
        ctx.save_for_backward(*inputs[:tensors])
        ctx.options = inputs[tensors:]

    def differentiate(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:  # noqa: ANN401
        found = operation_backward(*gradients, *ctx.saved_tensors, *ctx.options)
        return (*hand_out(found, ctx.saved_tensors), None, *(None for _ in ctx.options))

    def refuse_second_derivative(*_: object) -> None:
        raise RuntimeError(
            f"convrnn::{name} can be differentiated once; for second derivatives call convrnn.ops.{name}, not "
            'compiled, within convrnn.ops.use_backend("reference")'
        )

    operation.register_autograd(differentiate, setup_context=setup)
    operation_backward.register_autograd(refuse_second_derivative)


def _within(operands: CellOperands) -> CellOperands:
    """The operands with lengths clamped to 0 and the number of frames."""
    if operands.lengths is None:
        return operands
    return replace(operands, lengths=operands.lengths.clamp(0, operands.x.size(1)))  # type: ignore[type-var]


_register(RNNOperands, reference.rnn, "hidden")
_register(GRUOperands, reference.gru, "hidden")
_register(LSTMOperands, reference.lstm, "hidden", "cell")
