"""What goes on around the recurrence: the largest state's gradient, and sums over the windows that share a frame."""

import triton
import triton.language as tl

from convrnn.ops.triton.kernels.cell import state_tile, store_state


@triton.jit(do_not_specialize=["rows"])
def share_maximum(states, grad, largest, share, rows, STEPS: tl.constexpr, H: tl.constexpr, BLOCK: tl.constexpr):
    """The largest of each window's states, and the gradient that each of those gets that are as large.

    Args:
        states: ``[STEPS, rows, H]``.
        grad: Gradient of the largest, ``[rows, H]``.
        largest: Takes the largest states, float32 ``[rows, H]``.
        share: Takes the gradient over the number of states that are as large, float32 ``[rows, H]``.
    """
    at = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    inside = at < rows.to(tl.int64) * H
    top = tl.full((BLOCK,), float("-inf"), tl.float32)
    ties = tl.zeros((BLOCK,), tl.float32)
    for step in range(STEPS):
        here = at + step * (rows.to(tl.int64) * H)
        state = tl.load(states + here, mask=inside, other=0.0).to(tl.float32)
        ties = tl.where(state > top, 1.0, ties + tl.where(state == top, 1.0, 0.0))
        top = tl.maximum(top, state, propagate_nan=tl.PropagateNan.ALL)
    tl.store(largest + at, top, mask=inside)
    tl.store(share + at, tl.load(grad + at, mask=inside, other=0.0).to(tl.float32) / ties, mask=inside)


@triton.jit(do_not_specialize=["sequences", "frames", "windows", "stride", "first", "step"])
def sum_windows(
    gradients,
    total,
    sequences,
    frames,
    windows,
    stride,
    first,
    step,
    KERNEL_SIZE: tl.constexpr,
    MOST: tl.constexpr,
    COLUMNS: tl.constexpr,
    PRECISION: tl.constexpr,
    ROWS: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """Gradients of the frames, each the sum over the windows that contain it, in the order of the windows.

    Args:
        gradients: Of every window's frame, ``[KERNEL_SIZE, sequences * windows, COLUMNS]``: that of the frame at
            position p in the window is at ``first + p * step``.
        total: Takes the sums, ``[sequences, frames, COLUMNS]``.
        MOST: Windows that a frame can be in.
    """
    row = tl.program_id(0).to(tl.int64) * ROWS + tl.arange(0, ROWS)
    column = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    sequence, frame = row // frames, row % frames
    there = row < sequences.to(tl.int64) * frames
    known = (column < COLUMNS)[None, :]
    value = tl.zeros((ROWS, BLOCK), tl.float32)
    for i in range(MOST):
        window = frame // stride - (MOST - 1 - i)
        position = frame - window * stride
        inside = there & (window >= 0) & (window < windows) & (position < KERNEL_SIZE)
        at = (first + position * step) * (sequences * windows) + sequence * windows + window
        value += state_tile(gradients, at, column, inside[:, None] & known, COLUMNS).to(tl.float32)
    store_state(total, row, column, value, there[:, None] & known, COLUMNS, PRECISION)
