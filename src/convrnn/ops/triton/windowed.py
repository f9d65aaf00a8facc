"""The LSTM over windows on the GPU, as registered PyTorch operations."""

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from convrnn.ops import checks
from convrnn.ops.operands import (
    LSTMGradients,
    LSTMOperands,
    Windows,
    hand_out,
    may_need_gradient,
    refuse_second_derivative,
)
from convrnn.ops.registration import LSTM, WINDOWS, Operation, is_traced, without_autocast
from convrnn.ops.triton.call import Call
from convrnn.ops.triton.gradients import forward, gradients, keeps_frames
from convrnn.ops.triton.operands import check_other, new_result, prepare
from convrnn.ops.triton.states import States


def _forward(operands: LSTMOperands, windows: Windows, dtype: torch.dtype) -> Tensor:
    """:func:`convrnn.ops.windowed_lstm` by the kernels, with features in ``dtype``.

    ``x``, ``weight_ih`` and ``weight_hh`` have the dtype of the products; the other parameters may have any.
    """
    return _forward_keeping(operands, windows, dtype)[0]


@without_autocast
def _forward_keeping(
    operands: LSTMOperands, windows: Windows, dtype: torch.dtype, with_x: bool | None = None
) -> tuple[Tensor, States | None]:
    """The features, and for few windows, unless ``with_x`` is None, the states that a backward pass needs.

    Args:
        operands: The operands, not prepared.
        windows: Options of the windows.
        dtype: Dtype of the features.
        with_x: Whether a backward pass will compute a gradient of x; None if there will be none.
    """
    operands = prepare(operands)
    call = Call.of(operands, windows)
    if not dtype.is_floating_point:
        raise ValueError(f"dtype must be a floating one, but is {dtype}")
    tile = call.tile(operands.x)
    y = new_result(operands, call.shape, dtype)
    if not call.rows:
        return y, None
    states, with_frames = None, False
    if tile.kind == "streamed" and with_x is not None:
        with_frames = keeps_frames(call, with_x)
        states = States.new(operands, call, with_frames=with_frames)
    # A stepwise reduction accumulates in the result, which must not be rounded after every step.
    exact = y.float() if windows.reduce in ("mean", "max") and tile.kind == "stepwise" else y
    forward(operands, call, y=exact, states=states, with_frames=with_frames)
    return exact.to(dtype), states


def _fake_forward(operands: LSTMOperands, windows: Windows, dtype: torch.dtype) -> Tensor:
    return operands.x.new_empty(windows.shape(operands), dtype=dtype)


@without_autocast
def _backward(
    grad_y: Tensor, operands: LSTMOperands, windows: Windows, with_x: bool, states: States | None = None
) -> list[Tensor]:
    """Gradients of x (empty unless ``with_x``) and of the parameters that are not None, in order."""
    operands = prepare(operands)
    call = Call.of(operands, windows)
    check_other("grad_y", grad_y, call.shape, operands)
    if not call.rows:
        zeros = [None if tensor is None else torch.zeros_like(tensor) for tensor in operands.differentiable]
        return operands.list_gradients(LSTMGradients(*zeros))  # type: ignore[arg-type]
    return operands.list_gradients(gradients(grad_y, operands, call, with_x, states))


def _fake_backward(
    grad_y: Tensor,  # noqa: ARG001
    operands: LSTMOperands,
    windows: Windows,  # noqa: ARG001
    with_x: bool,
) -> list[Tensor]:
    return operands.fake_gradients(with_x)


_operation = Operation(f"triton_windowed_lstm({LSTM}, {WINDOWS}, ScalarType dtype) -> Tensor", _forward, _fake_forward)
_operation_backward = Operation(
    f"triton_windowed_lstm_backward(Tensor grad_y, {LSTM}, {WINDOWS}, bool with_x) -> Tensor[]",
    _backward,
    _fake_backward,
)


_TENSORS = LSTM.count(",") + 1


def _setup(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:  # noqa: ANN401, ARG001
    ctx.options = inputs[_TENSORS:-1]
    ctx.save_for_backward(*inputs[:_TENSORS])


def _differentiate(ctx: Any, grad_y: Tensor) -> tuple[Any, ...]:  # noqa: ANN401
    tensors = ctx.saved_tensors
    with_x = ctx.needs_input_grad[0]
    gradients = _operation_backward(grad_y, *tensors, *ctx.options, with_x)
    return (*hand_out(gradients, tensors, with_x), *(None,) * 7)


_operation.register_autograd(_differentiate, setup_context=_setup)
_operation_backward.register_autograd(refuse_second_derivative("Triton LSTM kernels can"))


class _Unobserved(torch.autograd.Function):
    """The operation without PyTorch's dispatcher, whose overhead exceeds the time of the kernels on few windows.

    For few windows it also keeps the states of the forward pass; the operation computes them again.
    """

    @staticmethod
    def forward(ctx: Any, windows: Windows, dtype: torch.dtype, *tensors: Tensor | None) -> Tensor:  # noqa: ANN401
        operands = LSTMOperands(*tensors)  # type: ignore[arg-type]
        _operation.check(operands, windows)
        y, states = _forward_keeping(operands, windows, dtype, ctx.needs_input_grad[2])
        ctx.windows, ctx.keeps = windows, states is not None
        ctx.save_for_backward(*tensors, *(states.tensors if states else ()))
        return y

    @staticmethod
    def backward(ctx: Any, grad_y: Tensor) -> tuple[Any, ...]:  # noqa: ANN401
        # Read once: activation checkpointing lets no tensor be read twice.
        saved = ctx.saved_tensors
        tensors, kept = saved[:_TENSORS], saved[_TENSORS:]
        windows, with_x = ctx.windows, ctx.needs_input_grad[2]
        if torch.is_grad_enabled():
            found = _operation_backward(grad_y, *tensors, *windows.options, with_x)
        else:
            states = States(*kept) if ctx.keeps else None
            # They are overwritten, so that another backward pass has to compute them again.
            ctx.keeps = False
            found = _backward(grad_y, LSTMOperands(*tensors), windows, with_x, states)
        return None, None, *hand_out(found, tensors, with_x), None


def windowed_lstm(operands: LSTMOperands, windows: Windows) -> Tensor:
    """:func:`convrnn.ops.windowed_lstm` by the kernels.

    Under autocast the products have autocast's dtype, and the features the dtype of the parameters.
    """
    dtype = operands.x.dtype
    if torch.is_autocast_enabled(operands.x.device.type):
        x, weight_ih, weight_hh = operands.x, operands.weight_ih, operands.weight_hh
        checks.check_floating({"x": x, "weight_ih": weight_ih, "weight_hh": weight_hh})
        dtype = weight_hh.dtype
        multiplied = torch.get_autocast_dtype(x.device.type)
        x, weight_ih, weight_hh = x.to(multiplied), weight_ih.to(multiplied), weight_hh.to(multiplied)
        operands = replace(operands, x=x, weight_ih=weight_ih, weight_hh=weight_hh)
    y: Tensor
    if is_traced(operands):
        y = torch.ops.convrnn.triton_windowed_lstm(*operands.tensors, *windows.options, dtype)
    elif may_need_gradient(operands.tensors):
        y = _Unobserved.apply(windows, dtype, *operands.tensors)  # type: ignore[no-untyped-call]
    else:
        y = _operation.run(operands, windows, dtype)
    return y
