"""Many windows whose weights do not fit on the chip: one step of all windows, with cuBLAS for the product.

A program takes a tile of windows and units through the step.
"""

import triton
import triton.language as tl

from convrnn.ops.triton.kernels.cell import (
    add_peepholes_to_sums,
    add_to_sums,
    cell_gradient,
    combine,
    gate_tile,
    next_cell,
    next_hidden,
    output_gradient,
    rounded,
    state_gradient,
    state_tile,
    store_gate,
    store_gates,
    store_state,
    vector,
    window_rows,
)

# The kernels are not recompiled for other values of these.
_SIZES = ["rows", "windows", "stride", "sequence_frames", "window_frames", "frame_offset", "position"]


@triton.jit
def _pre_activation(
    wx,
    bias,
    frame,
    product,
    row,
    first,
    unit,
    inside,
    GATE: tl.constexpr,
    H: tl.constexpr,
    PRODUCT_PITCH: tl.constexpr,
):
    """A gate's pre-activation without the peepholes."""
    total = gate_tile(wx, frame, unit, inside, GATE, H) + vector(bias, GATE, unit, H) + vector(first, GATE, unit, H)
    if product is not None:
        total += state_tile(product + GATE * H, row, unit, inside, PRODUCT_PITCH)
    return total


@triton.jit(do_not_specialize=_SIZES)
def forward(
    wx,
    bias,
    product,
    first,
    weight_peephole,
    initial_cell,
    lengths,
    y,
    gates,
    hidden,
    cell_before,
    cell,
    largest,
    rows,
    windows,
    stride,
    sequence_frames,
    window_frames,
    frame_offset,
    position,
    KERNEL_SIZE: tl.constexpr,
    WITH_HIDDEN: tl.constexpr,
    LAST: tl.constexpr,
    H: tl.constexpr,
    PITCH: tl.constexpr,
    PRODUCT_PITCH: tl.constexpr,
    SEQUENCE: tl.constexpr,
    REDUCE: tl.constexpr,
    PRECISION: tl.constexpr,
    ROWS: tl.constexpr,
    UNITS: tl.constexpr,
):
    """One step of what :func:`resident.forward` does for all steps.

    Args:
        wx: Projections without the bias, ``[.., 4 * H]``: a window's row is ``sequence * sequence_frames + window *
            window_frames + frame_offset``.
        bias: ``[4 * H]``, or None.
        product: Product of the hidden state before the step and the recurrent weights, float32 ``[rows,
            PRODUCT_PITCH]``; None in the first step.
        first: The product of the first step ``[4 * H]``, which all rows share; None is zeros, or in a later step.
        weight_peephole: ``[3, H]`` or None.
        initial_cell: ``[H]``, in the first step; None is zeros, or in a later step.
        lengths: Frames of each sequence, or None. Nothing is written for windows that reach past it.
        y: The result, float32 if a reduction accumulates in it: ``[rows, H]``, or ``[rows, KERNEL_SIZE, H]`` for
            "none"; None if :func:`backward` follows.
        gates: This step's gates ``[rows, 4 * H]``; None if ``y`` is given.
        hidden: Filled with the hidden state after the step, ``[rows, PITCH]``; None unless ``WITH_HIDDEN``.
        cell_before: Cell state before the step, float32 ``[rows, H]``; None in the first step.
        cell: Filled with the cell state after the step; may be the same tensor as ``cell_before``.
        largest: For "max" the largest state and how many are as large, float32 ``[2, rows, H]``; None if ``y`` is
            given.
        position: Position of the step's state in a window's result, for "none".
    """
    start, frame, valid = window_rows(
        tl.program_id(0), lengths, rows, windows, stride, sequence_frames, window_frames, KERNEL_SIZE, ROWS
    )
    row, unit = tl.arange(0, ROWS), tl.program_id(1) * UNITS + tl.arange(0, UNITS)
    inside = valid[:, None] & (unit < H)[None, :]
    if product is not None:
        product += start * PRODUCT_PITCH
    own_wx = wx + (tl.zeros((), tl.int64) + frame_offset) * (4 * H)
    a_i = _pre_activation(own_wx, bias, frame, product, row, first, unit, inside, 0, H, PRODUCT_PITCH)
    a_f = _pre_activation(own_wx, bias, frame, product, row, first, unit, inside, 1, H, PRODUCT_PITCH)
    a_g = _pre_activation(own_wx, bias, frame, product, row, first, unit, inside, 2, H, PRODUCT_PITCH)
    if cell_before is None:
        c = tl.zeros((ROWS, UNITS), tl.float32) + vector(initial_cell, 0, unit, H)
    else:
        c = state_tile(cell_before + start * H, row, unit, inside, H)
    i, f, g, c = next_cell(a_i, a_f, a_g, c, weight_peephole, unit, H, PRECISION)
    state = c
    if WITH_HIDDEN:
        a_o = _pre_activation(own_wx, bias, frame, product, row, first, unit, inside, 3, H, PRODUCT_PITCH)
        o, h = next_hidden(a_o, c, weight_peephole, unit, H, PRECISION)
        operand = rounded(h, hidden.dtype.element_ty, PRECISION)
        store_state(hidden + start * PITCH, row, unit, operand, inside, PITCH, PRECISION)
        if y is None:
            store_gate(gates + start * (4 * H), row, unit, o, inside, 3, H, PRECISION)
            h = operand.to(tl.float32)
        if SEQUENCE == "hidden":
            state = h
    if y is None:
        store_gate(gates + start * (4 * H), row, unit, i, inside, 0, H, PRECISION)
        store_gate(gates + start * (4 * H), row, unit, f, inside, 1, H, PRECISION)
        store_gate(gates + start * (4 * H), row, unit, g, inside, 2, H, PRECISION)
    tl.debug_barrier()  # no thread may still be reading what others now overwrite
    store_state(cell + start * H, row, unit, c, inside, H, PRECISION)
    if y is None:
        if REDUCE == "max":
            top, ties = state, tl.full((ROWS, UNITS), 1.0, tl.float32)
            own_top, own_ties = largest + start * H, largest + (rows.to(tl.int64) + start) * H
            if cell_before is not None:
                top = state_tile(own_top, row, unit, inside, H)
                ties = state_tile(own_ties, row, unit, inside, H)
                top, ties = combine(top, ties, state, REDUCE)
            tl.debug_barrier()
            store_state(own_top, row, unit, top, inside, H, PRECISION)
            store_state(own_ties, row, unit, ties, inside, H, PRECISION)
    elif REDUCE == "none":
        own_y = y + (start * KERNEL_SIZE + position) * H
        store_state(own_y, row * KERNEL_SIZE, unit, state, inside, H, PRECISION)
    elif REDUCE == "last":
        if LAST:
            store_state(y + start * H, row, unit, state, inside, H, PRECISION)
    else:
        if cell_before is not None:
            state, _ = combine(state_tile(y + start * H, row, unit, inside, H), state, state, REDUCE)
        if REDUCE == "mean":
            if LAST:
                state = state / KERNEL_SIZE
        tl.debug_barrier()
        store_state(y + start * H, row, unit, state, inside, H, PRECISION)


@triton.jit(do_not_specialize=_SIZES)
def backward(
    grad,
    weight_peephole,
    initial_cell,
    lengths,
    gates,
    hidden,
    cell_before,
    cell,
    largest,
    sums,
    grad_hidden,
    grad_cell,
    rows,
    windows,
    stride,
    sequence_frames,
    window_frames,
    position,
    KERNEL_SIZE: tl.constexpr,
    WITH_HIDDEN: tl.constexpr,
    LAST: tl.constexpr,
    H: tl.constexpr,
    PITCH: tl.constexpr,
    SEQUENCE: tl.constexpr,
    REDUCE: tl.constexpr,
    PRECISION: tl.constexpr,
    ROWS: tl.constexpr,
    UNITS: tl.constexpr,
):
    """Gradients of the pre-activations in one step, which overwrite the gates.

    Args as for :func:`forward`, and:
        grad: Gradient of the result, in its shape.
        sums: Gradients of ``weight_peephole`` and ``initial_cell``, to which each tile of windows adds its own,
            ``[tiles, 4, H]``; None if there is neither.
        grad_hidden: Gradient that the hidden state after this step has from the next step, float32 ``[rows, H]``; None
            in the last step.
        grad_cell: The same for the cell state, not read in the last step; overwritten with the gradient of the cell
            state before this step.
    """
    start, _, valid = window_rows(
        tl.program_id(0), lengths, rows, windows, stride, sequence_frames, window_frames, KERNEL_SIZE, ROWS
    )
    row, unit = tl.arange(0, ROWS), tl.program_id(1) * UNITS + tl.arange(0, UNITS)
    inside = valid[:, None] & (unit < H)[None, :]
    nothing = tl.zeros((ROWS, UNITS), tl.float32)
    own = gates + start * (4 * H)
    c = state_tile(cell + start * H, row, unit, inside, H)
    if cell_before is None:
        c_before = nothing + vector(initial_cell, 0, unit, H)
    else:
        c_before = state_tile(cell_before + start * H, row, unit, inside, H)
    dh, dc = nothing, nothing
    if not LAST:
        dh = state_tile(grad_hidden + start * H, row, unit, inside, H)
        dc = state_tile(grad_cell + start * H, row, unit, inside, H)
    own_grad = grad + start * (KERNEL_SIZE * H if REDUCE == "none" else H)
    extra = nothing
    if REDUCE == "last":
        if LAST:
            extra = state_tile(own_grad, row, unit, inside, H).to(tl.float32)
    else:
        state = c
        if SEQUENCE == "hidden" and REDUCE == "max":
            state = state_tile(hidden + start * PITCH, row, unit, inside, PITCH)
        own_largest = largest + start * H if REDUCE == "max" else None
        extra = state_gradient(
            own_grad, own_largest, rows.to(tl.int64), row, unit, state, position, inside, KERNEL_SIZE, H, REDUCE
        )
    if SEQUENCE == "cell":
        dc += extra
    else:
        dh += extra
    da_o = nothing
    if WITH_HIDDEN:
        o = gate_tile(own, row, unit, inside, 3, H)
        da_o, dc = output_gradient(o, c, weight_peephole, unit, dh, dc, H, PRECISION)
    i = gate_tile(own, row, unit, inside, 0, H)
    f = gate_tile(own, row, unit, inside, 1, H)
    g = gate_tile(own, row, unit, inside, 2, H)
    da_i, da_f, da_g, dc = cell_gradient(i, f, g, c_before, weight_peephole, unit, dc, H)
    tl.debug_barrier()  # no thread may still be reading what others now overwrite
    store_gates(own, row, unit, da_i, da_f, da_g, da_o, inside, H, PRECISION)
    store_state(grad_cell + start * H, row, unit, dc, inside, H, PRECISION)
    if weight_peephole is not None:
        add_peepholes_to_sums(sums, da_i, da_f, da_o, c_before, c, unit, H)
    if initial_cell is not None:
        if cell_before is None:
            add_to_sums(sums, 3, tl.sum(dc, 0), unit, H)
