"""Recurrent networks over windows by the CPU kernel, as registered PyTorch operations; differentiable once."""

import math
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import torch
from torch import Tensor

from convrnn.ops.checks import REDUCTIONS, SEQUENCES
from convrnn.ops.native import calls, library
from convrnn.ops.operands import (
    CellOperands,
    GRUOperands,
    LSTMOperands,
    RNNOperands,
    Windows,
    hand_out,
    may_need_gradient,
    refuse_second_derivative,
)
from convrnn.ops.registration import WINDOWS, Operation, register_composite

_MOST_LANES = 16  # floats of the widest vector
_MOST_SAVED = 64 * 2**20  # bytes
_LONGEST_SHORT = 8  # frames; of longer windows the kernel saves states between sections of steps instead of gates


def saved_steps(operands: CellOperands, windows: Windows) -> int:
    """Of how many of a window's last steps the forward pass saves the gates for the backward pass; at least 1.

    The backward pass computes the other steps again. That takes less time than reading their gates from memory, except
    for the cells with several gates on processors without AVX-512. There all steps are saved unless they take more than
    64 MiB; the features are then rounded differently from those of a forward pass without a backward pass. Of a window
    of more than 8 frames, 1 saves a few states.
    """
    steps = windows.kernel_size
    if steps > _LONGEST_SHORT or operands.gates == 1 or library.instruction_set() == "avx512":
        return 1
    size = 4 * math.prod(_saved_shape(operands, windows, steps))
    # A size that a compiler does not know must not become a condition of its program.
    return steps if isinstance(size, int) and size <= _MOST_SAVED else 1


def _sizes(operands: CellOperands, windows: Windows, saved_steps: int) -> dict[str, int]:
    """Sizes of a call; ``rows`` counts the windows within their sequence's length."""
    batch, frames, _ = operands.x.shape
    count = windows.count(frames)
    rows = batch * count
    if operands.lengths is not None:
        rows = sum(windows.count(min(max(length, 0), frames)) for length in operands.lengths.tolist())
    return {
        **calls.sizes(operands, rows, windows.reverse),
        "kernel_size": windows.kernel_size,
        "stride": windows.stride,
        "windows": count,
        "sequence": SEQUENCES.index(windows.sequence),
        "reduce": REDUCTIONS.index(windows.reduce),
        "saved_steps": saved_steps,
    }


def _saved_shape(operands: CellOperands, windows: Windows, saved_steps: int) -> tuple[int, ...]:
    """Shape of what is saved of every window: gates of its last steps or, if it is long, a few states.

    It is large enough for every instruction set.
    """
    if not saved_steps:
        return (0,)
    vectors = library.saved_vectors(operands.cell, operands.options.get("reset_after", False), windows, saved_steps)
    units = -(-operands.hidden // _MOST_LANES) * _MOST_LANES
    return operands.x.size(0) * windows.count(operands.x.size(1)), vectors, units


def _check_saved_steps(saved_steps: int, windows: Windows, least: int) -> None:
    most = windows.kernel_size if windows.kernel_size <= _LONGEST_SHORT else 1
    if not least <= saved_steps <= most:
        raise ValueError(f"saved_steps must lie between {least} and {most}, but is {saved_steps}")


def _forward(operands: CellOperands, windows: Windows, saved_steps: int) -> tuple[Tensor, Tensor]:
    """The features of every window in float32, and what the backward pass needs: empty for 0 ``saved_steps``."""
    _check_saved_steps(saved_steps, windows, 0)
    operands = calls.prepare(operands)
    x, shape = operands.x, windows.shape(operands)
    sizes = _sizes(operands, windows, saved_steps)
    y = x.new_empty(shape) if operands.lengths is None else x.new_zeros(shape)
    saved = x.new_empty(_saved_shape(operands, windows, saved_steps))
    if sizes["rows"]:
        library.run(library.FORWARD, sizes, operands, y=y, saved=saved if saved_steps else None)
    return y, saved


def _fake_forward(operands: CellOperands, windows: Windows, saved_steps: int) -> tuple[Tensor, Tensor]:
    shapes = windows.shape(operands), _saved_shape(operands, windows, saved_steps)
    y, saved = (operands.x.new_empty(shape, dtype=torch.float32) for shape in shapes)
    return y, saved


def _backward(
    grad_y: Tensor, saved: Tensor, operands: CellOperands, windows: Windows, saved_steps: int, with_x: bool
) -> list[Tensor]:
    """Gradients of x (empty unless ``with_x``) and of the parameters that are not None, in order."""
    _check_saved_steps(saved_steps, windows, 1)
    dtype, operands = operands.x.dtype, calls.prepare(operands)
    grad_y = calls.prepare_other("grad_y", grad_y, windows.shape(operands), operands)
    saved = calls.prepare_other("saved", saved, _saved_shape(operands, windows, saved_steps), operands)
    sizes = _sizes(operands, windows, saved_steps)
    return calls.run_backward(sizes, operands, dtype, with_x, grad_y=grad_y, saved=saved)


def _fake_backward(
    grad_y: Tensor,  # noqa: ARG001
    saved: Tensor,  # noqa: ARG001
    operands: CellOperands,
    windows: Windows,  # noqa: ARG001
    saved_steps: int,  # noqa: ARG001
    with_x: bool,
) -> list[Tensor]:
    return operands.fake_gradients(with_x)


def _register(kind: type[CellOperands]) -> Callable[[CellOperands, Windows], Tensor]:
    """Register the operations of a cell over windows; returns the one for the dispatch table.

    Args:
        kind: Type of the cell's operands.
    """
    name = f"native_windowed_{kind.cell}"
    operands = f"{kind.schema}, {WINDOWS}"
    kept = Operation(
        f"{name}_kept({operands}, int saved_steps) -> (Tensor, Tensor)",
        _forward,
        _fake_forward,
        operands=kind,
        key="CPU",
    )
    kept_backward = Operation(
        f"{name}_backward(Tensor grad_y, Tensor saved, {operands}, int saved_steps, bool with_x) -> Tensor[]",
        _backward,
        _fake_backward,
        operands=kind,
        key="CPU",
    )
    tensors = len(kind.tensor_names) + 1

    def setup(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:  # noqa: ANN401
        ctx.options = inputs[tensors:]
        ctx.instruction_set = library.instruction_set()
        ctx.mark_non_differentiable(output[1])
        ctx.set_materialize_grads(False)
        if inputs[-1]:
            ctx.save_for_backward(output[1], *inputs[:tensors])

    def differentiate(ctx: Any, grad_y: Tensor | None, _: None) -> tuple[Any, ...]:  # noqa: ANN401
        if not ctx.saved_tensors:
            raise RuntimeError(f"{name}_kept was called with saved_steps=0 and cannot be differentiated")
        nothing = (None,) * len(ctx.options)
        if grad_y is None:
            return (*(None,) * tensors, *nothing)
        saved, *given = ctx.saved_tensors
        with_x = ctx.needs_input_grad[0]
        # The layout of what is saved depends on the instruction set.
        same = ctx.instruction_set == library.instruction_set()
        with nullcontext() if same else library.use_instruction_set(ctx.instruction_set):
            gradients = kept_backward(grad_y, saved, *given, *ctx.options, with_x)
        return (*hand_out(gradients, given, with_x), None, *nothing)

    kept.register_autograd(differentiate, setup_context=setup)
    kept_backward.register_autograd(refuse_second_derivative("native kernel can"))

    def choose_to_save(*flat: Any) -> Tensor:  # noqa: ANN401
        """Save if a backward pass may follow; a composite, because a registered operation cannot know that."""
        operands, windows = kept.pack(flat)
        dtype, operands = calls.result_dtype(operands), calls.unify(operands)
        steps = saved_steps(operands, windows) if may_need_gradient(operands.differentiable) else 0
        y: Tensor = kept(*operands.arguments, *windows.options, steps)[0]
        return y if dtype == torch.float32 else y.to(dtype)

    register_composite(name, choose_to_save, f"({operands}) -> Tensor")

    def run(operands: CellOperands, windows: Windows) -> Tensor:
        y: Tensor
        if not calls.is_observed(operands):
            dtype = calls.result_dtype(operands)
            y = kept.run(calls.unify(operands), windows, 0)[0]
            return y if dtype == torch.float32 else y.to(dtype)
        y = getattr(torch.ops.convrnn, name)(*operands.arguments, *windows.options)
        return y

    return run


OPERATIONS = {f"windowed_{kind.cell}": _register(kind) for kind in (RNNOperands, GRUOperands, LSTMOperands)}
"""The operations by the names of the public functions."""
