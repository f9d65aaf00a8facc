"""Recurrent networks over whole sequences by the CPU kernel, as registered PyTorch operations; differentiable once."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from convrnn.ops.native import calls, library
from convrnn.ops.operands import (
    CellOperands,
    GRUOperands,
    LSTMOperands,
    RNNOperands,
    hand_out,
    may_need_gradient,
    refuse_second_derivative,
)
from convrnn.ops.registration import Operation

_STATES = ("hidden", "cell")


def _gates_shape(operands: CellOperands) -> tuple[int, int, int, int]:
    """Shape of what is stored of every frame besides the states: gates, and what else the backward pass needs."""
    batch, frames, hidden = operands.states_shape
    return batch, frames, library.saved_vectors(operands.cell, operands.options.get("reset_after", False)), hidden


def _new_results(operands: CellOperands, save: bool, new: Callable[..., Tensor]) -> tuple[Tensor, ...]:
    states = [new(operands.states_shape, dtype=torch.float32) for _ in _states(operands)]
    return *states, new(_gates_shape(operands) if save else (0,), dtype=torch.float32)


def _states(operands: CellOperands | type[CellOperands]) -> tuple[str, ...]:
    return _STATES if "initial_cell" in operands.tensor_names else _STATES[:1]


def _forward(operands: CellOperands, reverse: bool, save: bool) -> tuple[Tensor, ...]:
    """The states in float32, and the gates that the backward pass needs: empty unless ``save``."""
    operands = calls.prepare(operands)
    x = operands.x
    results = _new_results(operands, save, x.new_empty if operands.lengths is None else x.new_zeros)
    if x.size(0):
        arrays = {f"states_{name}": state for name, state in zip(_states(operands), results, strict=False)}
        saved = results[-1] if save else None
        library.run(library.FORWARD, calls.sizes(operands, x.size(0), reverse), operands, **arrays, saved=saved)
    return results


def _fake_forward(operands: CellOperands, reverse: bool, save: bool) -> tuple[Tensor, ...]:  # noqa: ARG001
    return _new_results(operands, save, operands.x.new_empty)


def _backward(*arguments: Any) -> list[Tensor]:  # noqa: ANN401
    """Gradients of x (empty unless ``with_x``) and of the parameters that are not None, in order."""
    *tensors, gates, operands, reverse, with_x = arguments
    dtype, operands = operands.x.dtype, calls.prepare(operands)
    names = _states(operands)
    # Errors name the arguments of the operation.
    given = dict(zip((*(f"grad_{name}" for name in names), *names), tensors, strict=True))
    arrays = {
        name: None if tensor is None else calls.prepare_other(name, tensor, operands.states_shape, operands)
        for name, tensor in given.items()
    }
    return calls.run_backward(
        calls.sizes(operands, operands.x.size(0), reverse),
        operands,
        dtype,
        with_x,
        saved=calls.prepare_other("gates", gates, _gates_shape(operands), operands),
        **{name if name.startswith("grad_") else f"states_{name}": array for name, array in arrays.items()},
    )


def _fake_backward(*arguments: Any) -> list[Tensor]:  # noqa: ANN401
    *_, operands, _, with_x = arguments
    gradients: list[Tensor] = operands.fake_gradients(with_x)
    return gradients


def _register(kind: type[CellOperands]) -> Callable[[CellOperands, bool], Any]:
    """Register the operations of a cell over whole sequences; returns the one for the dispatch table.

    Args:
        kind: Type of the cell's operands.
    """
    name, states = f"native_{kind.cell}", _states(kind)
    results = ", ".join("Tensor" for _ in (*states, "gates"))
    operation = Operation(
        f"{name}({kind.schema}, bool reverse, bool save) -> ({results})",
        _forward,
        _fake_forward,
        operands=kind,
        key="CPU",
    )
    upstream = ", ".join([*(f"Tensor? grad_{state}" for state in states), *(f"Tensor {state}" for state in states)])
    operation_backward = Operation(
        f"{name}_backward({upstream}, Tensor gates, {kind.schema}, bool reverse, bool with_x) -> Tensor[]",
        _backward,
        _fake_backward,
        operands=kind,
        key="CPU",
    )
    tensors = len(kind.tensor_names) + 1

    def setup(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:  # noqa: ANN401
        *ctx.options, save = inputs[tensors:]
        ctx.mark_non_differentiable(output[-1])
        ctx.set_materialize_grads(False)
        if save:
            ctx.save_for_backward(*output, *inputs[:tensors])

    def differentiate(ctx: Any, *gradients: Tensor | None) -> tuple[Any, ...]:  # noqa: ANN401
        if not ctx.saved_tensors:
            raise RuntimeError(f"{name} was called with save=False and cannot be differentiated")
        nothing = (None,) * (len(ctx.options) + 1)
        upstream = gradients[:-1]
        if all(gradient is None for gradient in upstream):
            return (*(None,) * tensors, *nothing)
        results, given = ctx.saved_tensors[: len(gradients)], ctx.saved_tensors[len(gradients) :]
        with_x = ctx.needs_input_grad[0]
        found = operation_backward(*upstream, *results, *given, *ctx.options, with_x)
        return (*hand_out(found, given, with_x), None, *nothing)

    operation.register_autograd(differentiate, setup_context=setup)
    operation_backward.register_autograd(refuse_second_derivative("native kernel can"))

    def run(operands: CellOperands, reverse: bool) -> Any:  # noqa: ANN401
        dtype = operands.x.dtype
        if calls.is_observed(operands):
            *states, _ = operation(*operands.arguments, reverse, may_need_gradient(operands.differentiable))
        else:
            *states, _ = operation.run(operands, reverse, False)
        if dtype != torch.float32:
            states = [state.to(dtype) for state in states]
        return tuple(states) if len(states) > 1 else states[0]

    return run


OPERATIONS = {kind.cell: _register(kind) for kind in (RNNOperands, GRUOperands, LSTMOperands)}
"""The operations by the names of the public functions."""
