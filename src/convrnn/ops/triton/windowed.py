"""The LSTM over windows on the GPU, as registered PyTorch operations."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from convrnn.ops import checks
from convrnn.ops.operands import LSTMOperands, Windows, may_need_gradient, refuse_second_derivative
from convrnn.ops.registration import LSTM, OPTIONS, WINDOWS, Operation, is_traced, without_autocast
from convrnn.ops.triton import directions, tiles
from convrnn.ops.triton.call import Call
from convrnn.ops.triton.gradients import forward, gradients, keeps_frames
from convrnn.ops.triton.operands import check_other, new_result, prepare
from convrnn.ops.triton.states import States


def _forward(operands: LSTMOperands, windows: Windows, *others: Any) -> Tensor:  # noqa: ANN401
    """:func:`convrnn.ops.windowed_lstm` by the kernels.

    ``x``, ``weight_ih`` and ``weight_hh`` have the dtype of the products; the other parameters may have any. The others
    are, for both directions, the parameters of the backward one; and the dtype of the features. Those of both have a
    first axis.
    """
    *parameters, dtype = others
    return _forward_keeping(operands, windows, dtype, parameters=parameters)[0]


@without_autocast
def _forward_keeping(
    operands: LSTMOperands,
    windows: Windows,
    dtype: torch.dtype,
    with_x: bool | None = None,
    parameters: Sequence[Tensor | None] = (),
) -> tuple[Tensor, States | None]:
    """The features, and for few windows, unless ``with_x`` is None, the states that a backward pass needs.

    Args:
        operands: The operands, not prepared.
        windows: Options of the windows.
        dtype: Dtype of the features.
        with_x: Whether a backward pass will compute a gradient of x; None if there will be none.
        parameters: Those of the backward direction; of one direction, none.
    """
    if not dtype.is_floating_point:
        raise ValueError(f"dtype must be a floating one, but is {dtype}")
    if parameters:
        both = _prepare_both(operands, windows, parameters)
        call = Call.of(both[0], windows, 2)
        if not call.one_grid(operands.x):
            features = [_forward(each, replace(windows, reverse=bool(n)), dtype) for n, each in enumerate(both)]
            return torch.stack(features), None
    else:
        both = (prepare(operands),)
        call = Call.of(both[0], windows)
    first = both[0]
    tile = call.tile(first.x)
    y = new_result(first, call.shape, dtype)
    if not call.rows:
        return y, None
    states, with_frames = None, False
    if tile.kind == "streamed" and with_x is not None:
        with_frames = keeps_frames(call, with_x)
        states = States.new(first, call, with_frames=with_frames)
    # A stepwise reduction accumulates in the result, which must not be rounded after every step.
    exact = y.float() if windows.reduce in ("mean", "max") and tile.kind == "stepwise" else y
    forward(both, call, y=exact, states=states, with_frames=with_frames)
    return exact.to(dtype), states


def _prepare_both(
    operands: LSTMOperands, windows: Windows, parameters: Sequence[Tensor | None]
) -> tuple[LSTMOperands, ...]:
    """The prepared operands of both directions."""
    if windows.reverse:
        raise ValueError("reverse is True, but of both directions the first one goes forward; it must be False")
    return prepare(operands), prepare(directions.backward_operands(operands, parameters, windows.kernel_size))


def _fake_forward(operands: LSTMOperands, windows: Windows, *others: Any) -> Tensor:  # noqa: ANN401
    *parameters, dtype = others
    shape = windows.shape(operands)
    return operands.x.new_empty((2, *shape) if parameters else shape, dtype=dtype)


@without_autocast
def _backward(
    grad_y: Tensor,
    operands: LSTMOperands,
    windows: Windows,
    *others: Any,  # noqa: ANN401
    states: States | None = None,
) -> list[Tensor]:
    """Gradients of x (empty unless the last argument is true) and of the parameters that are not None, in order."""
    *parameters, with_x = others
    if parameters:
        return _backward_both(grad_y, operands, windows, parameters, with_x, states)
    operands = prepare(operands)
    call = Call.of(operands, windows)
    check_other("grad_y", grad_y, call.shape, operands)
    if not call.rows:
        return _zeros(operands.differentiable)
    return operands.list_gradients(gradients(grad_y, (operands,), call, with_x, states)[0])


def _backward_both(
    grad_y: Tensor,
    operands: LSTMOperands,
    windows: Windows,
    parameters: Sequence[Tensor | None],
    with_x: bool,
    states: States | None,
) -> list[Tensor]:
    both = _prepare_both(operands, windows, parameters)
    call = Call.of(operands, windows, 2)
    check_other("grad_y", grad_y, call.shape, operands)
    if not call.rows:
        return _zeros([*operands.differentiable, *parameters])
    if call.one_grid(operands.x):
        return directions.list_gradients(both, gradients(grad_y, both, call, with_x, states))
    one, other = (
        _backward(grad, each, replace(windows, reverse=bool(n)), with_x)
        for n, (grad, each) in enumerate(zip(grad_y, both, strict=True))
    )
    return [one[0] + other[0], *one[1:], *other[1:]]


def _zeros(tensors: Sequence[Tensor | None]) -> list[Tensor]:
    return [torch.zeros_like(tensor) for tensor in tensors if tensor is not None]


def _fake_backward(
    grad_y: Tensor,  # noqa: ARG001
    operands: LSTMOperands,
    windows: Windows,  # noqa: ARG001
    *others: Any,  # noqa: ANN401
) -> list[Tensor]:
    *parameters, with_x = others
    return directions.fake_gradients(operands, parameters, with_x)


_BOTH = f"{LSTM}, {WINDOWS}, {directions.PARAMETERS}"
_one = Operation(f"triton_windowed_lstm({LSTM}, {WINDOWS}, ScalarType dtype) -> Tensor", _forward, _fake_forward)
_one_backward = Operation(
    f"triton_windowed_lstm_backward(Tensor grad_y, {LSTM}, {WINDOWS}, bool with_x) -> Tensor[]",
    _backward,
    _fake_backward,
)
_both = Operation(f"triton_windowed_bilstm({_BOTH}, ScalarType dtype) -> Tensor", _forward, _fake_forward)
_both_backward = Operation(
    f"triton_windowed_bilstm_backward(Tensor grad_y, {_BOTH}, bool with_x) -> Tensor[]", _backward, _fake_backward
)


def _setup(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:  # noqa: ANN401, ARG001
    own = directions.TENSORS
    ctx.options = inputs[own : own + OPTIONS]
    ctx.save_for_backward(*inputs[:own], *inputs[own + OPTIONS : -1])


def _differentiate(ctx: Any, grad_y: Tensor) -> tuple[Any, ...]:  # noqa: ANN401
    tensors, own = ctx.saved_tensors, directions.TENSORS
    with_x = ctx.needs_input_grad[0]
    operation = _both_backward if len(tensors) > own else _one_backward
    found = operation(grad_y, *tensors[:own], *ctx.options, *tensors[own:], with_x)
    handed = directions.hand_out_all(found, tensors, with_x)
    return (*handed[:own], *(None,) * OPTIONS, *handed[own:], None)


for _operation in (_one, _both):
    _operation.register_autograd(_differentiate, setup_context=_setup)
for _operation in (_one_backward, _both_backward):
    _operation.register_autograd(refuse_second_derivative("Triton LSTM kernels can"))


class _Unobserved(torch.autograd.Function):
    """The operations without PyTorch's dispatcher, whose overhead exceeds the time of the kernels on few windows.

    For few windows it also keeps the states of the forward pass; the operations compute them again.
    """

    @staticmethod
    def forward(ctx: Any, windows: Windows, dtype: torch.dtype, *tensors: Tensor | None) -> Tensor:  # noqa: ANN401
        operands, parameters = LSTMOperands(*tensors[: directions.TENSORS]), tensors[directions.TENSORS :]  # type: ignore[arg-type]
        _one.check(operands, windows)
        y, states = _forward_keeping(operands, windows, dtype, ctx.needs_input_grad[2], parameters)
        ctx.windows, ctx.number, ctx.keeps = windows, len(tensors), states is not None
        ctx.save_for_backward(*tensors, *(states.tensors if states else ()))
        return y

    @staticmethod
    def backward(ctx: Any, grad_y: Tensor) -> tuple[Any, ...]:  # noqa: ANN401
        # Read once: activation checkpointing lets no tensor be read twice.
        saved = ctx.saved_tensors
        tensors, kept = saved[: ctx.number], saved[ctx.number :]
        forward, parameters = tensors[: directions.TENSORS], tensors[directions.TENSORS :]
        windows, with_x = ctx.windows, ctx.needs_input_grad[2]
        if torch.is_grad_enabled():
            operation = _both_backward if parameters else _one_backward
            found = operation(grad_y, *forward, *windows.options, *parameters, with_x)
        else:
            states = States(*kept) if ctx.keeps else None
            # They are overwritten, so that another backward pass has to compute them again.
            ctx.keeps = False
            found = _backward(grad_y, LSTMOperands(*forward), windows, *parameters, with_x, states=states)
        return None, None, *directions.hand_out_all(found, tensors, with_x)


def windowed_lstm(operands: LSTMOperands, windows: Windows) -> Tensor:
    """:func:`convrnn.ops.windowed_lstm` by the kernels.

    Under autocast the products have autocast's dtype, and the features the dtype of the parameters.
    """
    dtype = operands.x.dtype
    if torch.is_autocast_enabled(operands.x.device.type):
        operands, dtype = _cast(operands)
    y: Tensor
    if is_traced(operands):
        y = torch.ops.convrnn.triton_windowed_lstm(*operands.tensors, *windows.options, dtype)
    elif may_need_gradient(operands.tensors):
        y = _Unobserved.apply(windows, dtype, *operands.tensors)  # type: ignore[no-untyped-call]
    else:
        y = _one.run(operands, windows, dtype)
    return y


def windowed_bilstm(operands: LSTMOperands, backward: LSTMOperands, windows: Windows) -> tuple[Tensor, Tensor]:
    """:func:`convrnn.ops.windowed_bilstm` by the kernels; few windows of both directions take the same launches."""
    traced = is_traced(operands) or is_traced(backward)
    if not traced:
        windows.check(operands)
        rows = operands.x.size(0) * windows.count(operands.x.size(1))
        if operands.weight_ih.dim() == 3 or not tiles.few(2 * rows, operands.x.device):
            # So that each keeps the states of few windows.
            return windowed_lstm(operands, windows), windowed_lstm(backward, replace(windows, reverse=True))
    dtype = operands.x.dtype
    if torch.is_autocast_enabled(operands.x.device.type):
        operands, dtype = _cast(operands)
        backward, _ = _cast(replace(backward, x=operands.x))
    parameters = backward.differentiable[1:]
    y: Tensor
    if traced:
        y = torch.ops.convrnn.triton_windowed_bilstm(*operands.tensors, *windows.options, *parameters, dtype)
    elif may_need_gradient((*operands.tensors, *parameters)):
        y = _Unobserved.apply(windows, dtype, *operands.tensors, *parameters)  # type: ignore[no-untyped-call]
    else:
        y = _both.run(operands, windows, *parameters, dtype)
    # Not `unbind`, whose results may not be changed in place.
    return y[0], y[1]


def _cast(operands: LSTMOperands) -> tuple[LSTMOperands, torch.dtype]:
    """What the products multiply in autocast's dtype, and the dtype of the features."""
    products = {name: getattr(operands, name) for name in ("x", "weight_ih", "weight_hh")}
    checks.check_floating(products)
    multiplied = torch.get_autocast_dtype(operands.x.device.type)
    cast = {name: tensor.to(multiplied) for name, tensor in products.items()}
    return replace(operands, **cast), operands.weight_hh.dtype
