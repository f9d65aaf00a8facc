"""Sums over the windows that share a frame."""

import triton
import triton.language as tl

from convrnn.ops.triton.kernels.cell import frame_order, of_direction, state_tile, store_state


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
    DIRECTIONS: tl.constexpr,
):
    """Gradients of the frames, each the sum over the windows that contain it, in the order of the windows.

    Args:
        gradients: Gradient of every frame of every window, ``[DIRECTIONS, KERNEL_SIZE, sequences * windows, COLUMNS]``:
            that of the frame at position p in the window is at ``first + p * step``, where of two directions the second
            is in reverse order.
        total: Filled with the sums, ``[DIRECTIONS, sequences, frames, COLUMNS]``.
        MOST: Maximum number of windows that contain a frame.
    """
    every_row, every_frame = sequences.to(tl.int64) * windows, sequences.to(tl.int64) * frames
    gradients = of_direction(gradients, every_row * (KERNEL_SIZE * COLUMNS), DIRECTIONS)
    total = of_direction(total, every_frame * COLUMNS, DIRECTIONS)
    first, step = frame_order(first, step, KERNEL_SIZE, DIRECTIONS)
    row = tl.program_id(0).to(tl.int64) * ROWS + tl.arange(0, ROWS)
    column = tl.program_id(2) * BLOCK + tl.arange(0, BLOCK)
    sequence, frame = row // frames, row % frames
    there = row < every_frame
    known = (column < COLUMNS)[None, :]
    value = tl.zeros((ROWS, BLOCK), tl.float32)
    for i in range(MOST):
        window = frame // stride - (MOST - 1 - i)
        position = frame - window * stride
        inside = there & (window >= 0) & (window < windows) & (position < KERNEL_SIZE)
        at = (first + position * step) * every_row + sequence * windows + window
        value += state_tile(gradients, at, column, inside[:, None] & known, COLUMNS).to(tl.float32)
    store_state(total, row, column, value, there[:, None] & known, COLUMNS, PRECISION)
