"""The LSTM over windows by the CPU kernel, as registered PyTorch operations; differentiable once."""

from contextlib import nullcontext
from typing import Any

import torch
from torch import Tensor

from convrnn.ops import geometry
from convrnn.ops.checks import REDUCTIONS, SEQUENCES
from convrnn.ops.native import calls, library
from convrnn.ops.operands import LSTMOperands, Windows, hand_out, may_need_gradient, refuse_second_derivative
from convrnn.ops.registration import LSTM, WINDOWS, Operation, register_composite

_MOST_LANES = 16  # floats of the widest vector


def _sizes(operands: LSTMOperands, windows: Windows) -> dict[str, int]:
    """Sizes of a call; ``rows`` counts the windows within their sequence's length."""
    batch, frames, _ = operands.x.shape
    count = windows.count(frames)
    rows = batch * count
    if operands.lengths is not None:
        rows = int(geometry.num_windows(operands.lengths.clamp(0, frames), windows.kernel_size, windows.stride).sum())
    return {
        **calls.sizes(operands, rows, windows.reverse),
        "kernel_size": windows.kernel_size,
        "stride": windows.stride,
        "windows": count,
        "sequence": SEQUENCES.index(windows.sequence),
        "reduce": REDUCTIONS.index(windows.reduce),
    }


def _saved_shape(operands: LSTMOperands, windows: Windows) -> tuple[int, int, int]:
    """Shape of what is saved of every window: gates of its last step or, if it is long, a few states.

    It is large enough for every instruction set.
    """
    sequence, reduce = SEQUENCES.index(windows.sequence), REDUCTIONS.index(windows.reduce)
    vectors = library.saved_vectors(windows.kernel_size, sequence, reduce)
    units = -(-operands.hidden // _MOST_LANES) * _MOST_LANES
    return operands.x.size(0) * windows.count(operands.x.size(1)), vectors, units


def _forward(operands: LSTMOperands, windows: Windows, save: bool) -> tuple[Tensor, Tensor]:
    """:func:`convrnn.ops.windowed_lstm` by the kernel, and what its backward pass needs: empty unless ``save``."""
    operands = calls.prepare(operands)
    x, shape = operands.x, windows.shape(operands)
    sizes = _sizes(operands, windows)
    y = x.new_empty(shape) if operands.lengths is None else x.new_zeros(shape)
    saved = x.new_empty(_saved_shape(operands, windows) if save else (0,))
    if sizes["rows"]:
        library.run(library.FORWARD, sizes, operands, y=y, saved=saved if save else None)
    return y, saved


def _fake_forward(operands: LSTMOperands, windows: Windows, save: bool) -> tuple[Tensor, Tensor]:
    x = operands.x
    return x.new_empty(windows.shape(operands)), x.new_empty(_saved_shape(operands, windows) if save else (0,))


def _backward(grad_y: Tensor, saved: Tensor, operands: LSTMOperands, windows: Windows, with_x: bool) -> list[Tensor]:
    """Gradients of x (empty unless ``with_x``) and of the parameters that are not None, in order."""
    operands = calls.prepare(operands)
    grad_y = calls.prepare_other("grad_y", grad_y, windows.shape(operands), operands)
    saved = calls.prepare_other("saved", saved, _saved_shape(operands, windows), operands)
    return calls.run_backward(_sizes(operands, windows), operands, with_x, grad_y=grad_y, saved=saved)


def _fake_backward(
    grad_y: Tensor,  # noqa: ARG001
    saved: Tensor,  # noqa: ARG001
    operands: LSTMOperands,
    windows: Windows,  # noqa: ARG001
    with_x: bool,
) -> list[Tensor]:
    return operands.fake_gradients(with_x)


_kept = Operation(
    f"native_windowed_lstm_kept({LSTM}, {WINDOWS}, bool save) -> (Tensor, Tensor)", _forward, _fake_forward, key="CPU"
)
_kept_backward = Operation(
    f"native_windowed_lstm_backward(Tensor grad_y, Tensor saved, {LSTM}, {WINDOWS}, bool with_x) -> Tensor[]",
    _backward,
    _fake_backward,
    key="CPU",
)


def _setup(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:  # noqa: ANN401
    *flat, save = inputs
    ctx.options = flat[8:]
    ctx.instruction_set = library.instruction_set()
    ctx.mark_non_differentiable(output[1])
    ctx.set_materialize_grads(False)
    if save:
        ctx.save_for_backward(output[1], *flat[:8])


def _differentiate(ctx: Any, grad_y: Tensor | None, _: None) -> tuple[Any, ...]:  # noqa: ANN401
    if not ctx.saved_tensors:
        raise RuntimeError("native_windowed_lstm_kept was called with save=False and cannot be differentiated")
    if grad_y is None:
        return (None,) * 14
    saved, *tensors = ctx.saved_tensors
    with_x = ctx.needs_input_grad[0]
    # The layout of what is saved depends on the instruction set.
    same = ctx.instruction_set == library.instruction_set()
    with nullcontext() if same else library.use_instruction_set(ctx.instruction_set):
        gradients = _kept_backward(grad_y, saved, *tensors, *ctx.options, with_x)
    return (*hand_out(gradients, tensors, with_x), *(None,) * 7)


_kept.register_autograd(_differentiate, setup_context=_setup)
_kept_backward.register_autograd(refuse_second_derivative("native LSTM kernel can"))


def _choose_to_save(*flat: Any) -> Tensor:  # noqa: ANN401
    """Save if a backward pass may follow; a composite, because a registered operation cannot know that."""
    y: Tensor = _kept(*flat, may_need_gradient(flat[:7]))[0]
    return y


register_composite("native_windowed_lstm", _choose_to_save, f"({LSTM}, {WINDOWS}) -> Tensor")


def windowed_lstm(operands: LSTMOperands, windows: Windows) -> Tensor:
    """:func:`convrnn.ops.windowed_lstm` by the kernel."""
    y: Tensor = torch.ops.convrnn.native_windowed_lstm(*operands.tensors, *windows.options)
    return y
