"""Windows, where the recurrent weights fit on the chip: every program reads them once and has its states in registers.

A program takes a tile of windows through all their steps. ``UNITS``, a power of 2, is at least H. The hidden state is
needed of the first ``HIDDEN_STEPS`` steps only: not of the last one, where the result is the last cell state.
"""

import triton
import triton.language as tl

from convrnn.ops.triton.kernels.cell import (
    cell_gradient,
    combine,
    gate_tile,
    hidden_gradient,
    next_cell,
    next_hidden,
    output_gradient,
    product,
    rounded,
    state_gradient,
    state_tile,
    store_gate,
    store_state,
    vector,
    weight_tile,
    window_rows,
)

# The kernels are not compiled anew for other values of these.
_SIZES = [
    *("rows", "windows", "stride"),
    *("sequence_frames", "window_frames", "frame_first", "frame_step", "y_first", "y_step"),
]


@triton.jit(do_not_specialize=_SIZES)
def forward(
    wx,
    weight_hh,
    first,
    weight_peephole,
    initial_cell,
    lengths,
    y,
    hidden,
    cell,
    rows,
    windows,
    stride,
    sequence_frames,
    window_frames,
    frame_first,
    frame_step,
    y_first,
    y_step,
    KERNEL_SIZE: tl.constexpr,
    HIDDEN_STEPS: tl.constexpr,
    H: tl.constexpr,
    SEQUENCE: tl.constexpr,
    REDUCE: tl.constexpr,
    PRECISION: tl.constexpr,
    ROWS: tl.constexpr,
    UNITS: tl.constexpr,
):
    """The result of every window and, where ``hidden`` is not None, the states that the backward pass needs.

    Args:
        wx: Projections with the bias, ``[.., 4 * H]``. A window's row at a step is ``sequence * sequence_frames +
            window * window_frames + frame_first + step * frame_step``.
        weight_hh: ``[4 * H, H]``.
        first: Product of the recurrent weights and the initial hidden state ``[4 * H]``; None is zeros.
        weight_peephole: ``[3, H]`` or None.
        initial_cell: ``[H]`` or None.
        lengths: Frames of each sequence, or None. Nothing is written for windows that reach beyond.
        y: ``[rows, H]``; for "none" ``[rows, KERNEL_SIZE, H]``, a step's state at ``y_first + step * y_step``.
        hidden: ``[HIDDEN_STEPS, rows, H]`` (one step at least) or None.
        cell: ``[KERNEL_SIZE, rows, H]`` or None.
    """
    row, sequence, window, valid = window_rows(lengths, rows, windows, stride, KERNEL_SIZE, ROWS)
    if tl.max(valid.to(tl.int32), 0) == 0:
        return
    frame = sequence * sequence_frames + window * window_frames + frame_first
    unit = tl.arange(0, UNITS)
    inside = valid[:, None] & (unit < H)[None, :]
    w_i = weight_tile(weight_hh, 0, unit, unit, H)
    w_f = weight_tile(weight_hh, 1, unit, unit, H)
    w_g = weight_tile(weight_hh, 2, unit, unit, H)
    w_o = weight_tile(weight_hh, 3, unit, unit, H)

    a_i = gate_tile(wx, frame, unit, inside, 0, H) + vector(first, 0, unit, H)
    a_f = gate_tile(wx, frame, unit, inside, 1, H) + vector(first, 1, unit, H)
    a_g = gate_tile(wx, frame, unit, inside, 2, H) + vector(first, 2, unit, H)
    a_o = gate_tile(wx, frame, unit, inside, 3, H) + vector(first, 3, unit, H)
    c = next_cell(a_i, a_f, a_g, vector(initial_cell, 0, unit, H), weight_peephole, unit, H)
    h = next_hidden(a_o, c, weight_peephole, unit, H)
    if hidden is not None:
        store_state(hidden, row, unit, h, inside, H, PRECISION)
        store_state(cell, row, unit, c, inside, H, PRECISION)
    total = c if SEQUENCE == "cell" else h
    if REDUCE == "none":
        store_state(y, row * KERNEL_SIZE + y_first, unit, total, inside, H, PRECISION)

    for step in range(1, KERNEL_SIZE):
        at = frame + step * frame_step
        operand = rounded(h, weight_hh.dtype.element_ty, PRECISION)
        a_i = product(operand, w_i, gate_tile(wx, at, unit, inside, 0, H), PRECISION)
        a_f = product(operand, w_f, gate_tile(wx, at, unit, inside, 1, H), PRECISION)
        a_g = product(operand, w_g, gate_tile(wx, at, unit, inside, 2, H), PRECISION)
        c = next_cell(a_i, a_f, a_g, c, weight_peephole, unit, H)
        if step < HIDDEN_STEPS:
            a_o = product(operand, w_o, gate_tile(wx, at, unit, inside, 3, H), PRECISION)
            h = next_hidden(a_o, c, weight_peephole, unit, H)
            if hidden is not None:
                store_state(hidden, step * rows + row, unit, h, inside, H, PRECISION)
        if cell is not None:
            store_state(cell, step * rows + row, unit, c, inside, H, PRECISION)
        state = c if SEQUENCE == "cell" else h
        total = combine(total, state, REDUCE)
        if REDUCE == "none":
            store_state(y, row * KERNEL_SIZE + y_first + step * y_step, unit, state, inside, H, PRECISION)

    if REDUCE == "mean":
        total = total / KERNEL_SIZE
    if REDUCE != "none":
        store_state(y, row, unit, total, inside, H, PRECISION)


@triton.jit(do_not_specialize=_SIZES)
def backward(
    grad,
    largest,
    wx,
    weight_hh,
    first,
    weight_peephole,
    initial_cell,
    lengths,
    hidden,
    cell,
    gates,
    sums,
    rows,
    windows,
    stride,
    sequence_frames,
    window_frames,
    frame_first,
    frame_step,
    y_first,
    y_step,
    KERNEL_SIZE: tl.constexpr,
    HIDDEN_STEPS: tl.constexpr,
    H: tl.constexpr,
    SEQUENCE: tl.constexpr,
    REDUCE: tl.constexpr,
    PRECISION: tl.constexpr,
    ROWS: tl.constexpr,
    UNITS: tl.constexpr,
    INNER: tl.constexpr,
):
    """Gradients of the four gates' sums in every step, the gates computed again from the saved states.

    Args as of :func:`forward`, and:
        grad: Gradient of the result, in its shape; for "max" what each of the largest states gets.
        largest: For "max" the largest state ``[rows, H]``, else None.
        gates: Takes the gradients, ``[KERNEL_SIZE, rows, 4 * H]``.
        sums: Takes, for each program, gradients summed over its windows and their steps: of ``weight_peephole`` and of
            ``initial_cell``, ``[programs, 4, H]``; None where there is neither.
    """
    row, sequence, window, valid = window_rows(lengths, rows, windows, stride, KERNEL_SIZE, ROWS)
    if tl.max(valid.to(tl.int32), 0) == 0:
        return
    frame = sequence * sequence_frames + window * window_frames + frame_first
    unit = tl.arange(0, UNITS)
    inside = valid[:, None] & (unit < H)[None, :]
    w_i = weight_tile(weight_hh, 0, unit, unit, H)
    w_f = weight_tile(weight_hh, 1, unit, unit, H)
    w_g = weight_tile(weight_hh, 2, unit, unit, H)
    w_o = weight_tile(weight_hh, 3, unit, unit, H)
    nothing = tl.zeros((ROWS, UNITS), tl.float32)
    sum_i = tl.zeros((UNITS,), tl.float32)
    sum_f = tl.zeros((UNITS,), tl.float32)
    sum_o = tl.zeros((UNITS,), tl.float32)

    dh, dc = nothing, nothing
    if REDUCE == "last":
        if SEQUENCE == "cell":
            dc = state_tile(grad, row, unit, inside, H).to(tl.float32)
        else:
            dh = state_tile(grad, row, unit, inside, H).to(tl.float32)
    c = state_tile(cell, (KERNEL_SIZE - 1) * rows + row, unit, inside, H)
    for back in range(1, KERNEL_SIZE):
        step = KERNEL_SIZE - back
        here = step * rows + row
        at = frame + step * frame_step
        c_before = state_tile(cell, here - rows, unit, inside, H)
        h_before = state_tile(hidden, here - rows, unit, inside, H)
        if REDUCE != "last":
            position = y_first + step * y_step
            if SEQUENCE == "cell":
                dc += state_gradient(grad, largest, row, unit, c, position, inside, KERNEL_SIZE, H, REDUCE)
            else:
                h = state_tile(hidden, here, unit, inside, H)
                dh += state_gradient(grad, largest, row, unit, h, position, inside, KERNEL_SIZE, H, REDUCE)
        da_o = nothing
        if step < HIDDEN_STEPS:
            a_o = product(h_before, w_o, gate_tile(wx, at, unit, inside, 3, H), PRECISION)
            da_o, dc = output_gradient(a_o, c, weight_peephole, unit, dh, dc, H)
        a_i = product(h_before, w_i, gate_tile(wx, at, unit, inside, 0, H), PRECISION)
        a_f = product(h_before, w_f, gate_tile(wx, at, unit, inside, 1, H), PRECISION)
        a_g = product(h_before, w_g, gate_tile(wx, at, unit, inside, 2, H), PRECISION)
        da_i, da_f, da_g, dc = cell_gradient(a_i, a_f, a_g, c_before, weight_peephole, unit, dc, H)
        store_gate(gates, here, unit, da_i, inside, 0, H, PRECISION)
        store_gate(gates, here, unit, da_f, inside, 1, H, PRECISION)
        store_gate(gates, here, unit, da_g, inside, 2, H, PRECISION)
        store_gate(gates, here, unit, da_o, inside, 3, H, PRECISION)
        tl.debug_barrier()
        dh = hidden_gradient(gates, weight_hh, here, unit, valid, H, PRECISION, ROWS, UNITS, INNER)
        if weight_peephole is not None:
            sum_i += tl.sum(da_i * c_before, 0)
            sum_f += tl.sum(da_f * c_before, 0)
            sum_o += tl.sum(da_o * c, 0)
        c = c_before

    if REDUCE != "last":
        if SEQUENCE == "cell":
            dc += state_gradient(grad, largest, row, unit, c, y_first, inside, KERNEL_SIZE, H, REDUCE)
        else:
            h = state_tile(hidden, row, unit, inside, H)
            dh += state_gradient(grad, largest, row, unit, h, y_first, inside, KERNEL_SIZE, H, REDUCE)
    c_before = vector(initial_cell, 0, unit, H)
    a_i = gate_tile(wx, frame, unit, inside, 0, H) + vector(first, 0, unit, H)
    a_f = gate_tile(wx, frame, unit, inside, 1, H) + vector(first, 1, unit, H)
    a_g = gate_tile(wx, frame, unit, inside, 2, H) + vector(first, 2, unit, H)
    a_o = gate_tile(wx, frame, unit, inside, 3, H) + vector(first, 3, unit, H)
    da_o, dc = output_gradient(a_o, c, weight_peephole, unit, dh, dc, H)
    da_i, da_f, da_g, dc = cell_gradient(a_i, a_f, a_g, c_before, weight_peephole, unit, dc, H)
    store_gate(gates, row, unit, da_i, inside, 0, H, PRECISION)
    store_gate(gates, row, unit, da_f, inside, 1, H, PRECISION)
    store_gate(gates, row, unit, da_g, inside, 2, H, PRECISION)
    store_gate(gates, row, unit, da_o, inside, 3, H, PRECISION)
    mine = sums + tl.program_id(0) * (4 * H) + unit if sums is not None else None
    if weight_peephole is not None:
        tl.store(mine, sum_i + tl.sum(da_i * c_before, 0), mask=unit < H)
        tl.store(mine + H, sum_f + tl.sum(da_f * c_before, 0), mask=unit < H)
        tl.store(mine + 2 * H, sum_o + tl.sum(da_o * c, 0), mask=unit < H)
    if initial_cell is not None:
        tl.store(mine + 3 * H, tl.sum(dc, 0), mask=unit < H)
