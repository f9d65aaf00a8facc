"""Sums over the windows that share a frame."""

import triton
import triton.language as tl

from convrnn.ops.triton.kernels.cell import state_tile, store_state


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
        gradients: Gradient of every frame of every window, ``[KERNEL_SIZE, sequences * windows, COLUMNS]``: that of the
            frame at position p in the window is at ``first + p * step``.
        total: Filled with the sums, ``[sequences, frames, COLUMNS]``.
        MOST: Maximum number of windows that contain a frame.
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
