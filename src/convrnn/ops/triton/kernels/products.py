"""The product for the gradients of weights: a small result, summed over the rows of all steps."""

import triton
import triton.language as tl

from convrnn.ops.triton.kernels.cell import product, state_tile


@triton.jit(do_not_specialize=["rows"])
def sum_of_products(
    gates,
    states,
    total,
    rows,
    GATES: tl.constexpr,
    PITCH: tl.constexpr,
    STATES: tl.constexpr,
    PRECISION: tl.constexpr,
    PART: tl.constexpr,
    ROWS: tl.constexpr,
    ACROSS: tl.constexpr,
    COLUMNS: tl.constexpr,
):
    """``gatesᵀ @ states``, of which every program sums a part of the rows, for some of the gates.

    Args:
        gates: ``[rows, GATES]``.
        states: ``[rows, PITCH]``, of which the first ``STATES`` columns are multiplied.
        total: Filled with every part's sum, float32 ``[parts, GATES, STATES]``.
        PART: Number of rows in a part, a multiple of ``ROWS``.
        ROWS: Number of rows in one product.
        ACROSS: Number of gates in one product.
        COLUMNS: A power of 2, at least ``STATES``.
    """
    gate, column = tl.program_id(0) * ACROSS + tl.arange(0, ACROSS), tl.arange(0, COLUMNS)
    row = tl.arange(0, ROWS)
    start = tl.program_id(1).to(tl.int64) * PART
    # The last part may be shorter.
    left = tl.minimum(rows - start, PART)
    gates += start * GATES
    states += start * PITCH
    result = tl.zeros((ACROSS, COLUMNS), tl.float32)
    for _ in range(0, PART, ROWS):
        inside = (row < left)[:, None]
        a = state_tile(gates, row, gate, inside & (gate < GATES)[None, :], GATES)
        b = state_tile(states, row, column, inside & (column < STATES)[None, :], PITCH)
        result = product(tl.trans(a), b, result, PRECISION)
        gates += ROWS * GATES
        states += ROWS * PITCH
        left -= ROWS
    at = total + (tl.program_id(1) * GATES + gate[:, None]) * STATES + column[None, :]
    tl.store(at, result, mask=(gate < GATES)[:, None] & (column < STATES)[None, :])
