"""Few windows whose weights do not fit on the chip: all steps in one launch, with the weights read again in every step.

A program takes a tile of windows with all their units through all steps; ``UNITS``, a power of 2, is at least H. The
operand of the next step's product is written to memory and read from there in blocks of ``INNER``.
"""

import triton
import triton.language as tl

from convrnn.ops.triton.kernels.cell import (
    add_peepholes_to_sums,
    add_to_sums,
    cell_gradient,
    choose,
    combine,
    frame_order,
    gate_tile,
    next_cell,
    next_hidden,
    of_direction,
    output_gradient,
    product,
    recurrent_tile,
    rounded,
    state_gradient,
    state_tile,
    store_beside,
    store_gate,
    store_gates,
    store_state,
    vector,
    window_rows,
)

# The kernels are not recompiled for other values of these.
_SIZES = [
    *("rows", "windows", "stride", "sequence_frames", "window_frames", "frame_first", "frame_step"),
    *("y_first", "y_step", "hidden_step"),
]


@triton.jit
def _transposed_tile(weight, GATE: tl.constexpr, inner, unit, H: tl.constexpr):
    """A block of one gate's recurrent weights, stored transposed ``[H, 4 * H]``: ``[inner, units]``."""
    at = weight + GATE * H + inner[:, None] * (4 * H) + unit[None, :]
    return tl.load(at, mask=(inner < H)[:, None] & (unit < H)[None, :], other=0.0)


@triton.jit(do_not_specialize=_SIZES)
def forward(
    wx,
    bias,
    bias_reverse,
    x,
    weight_hh,
    weight_hh_reverse,
    first,
    first_reverse,
    weight_peephole,
    weight_peephole_reverse,
    initial_cell,
    initial_cell_reverse,
    lengths,
    y,
    gates,
    hidden,
    cell,
    largest,
    rows,
    windows,
    stride,
    sequence_frames,
    window_frames,
    frame_first,
    frame_step,
    y_first,
    y_step,
    hidden_step,
    KERNEL_SIZE: tl.constexpr,
    HIDDEN_STEPS: tl.constexpr,
    FEATURES: tl.constexpr,
    H: tl.constexpr,
    PITCH: tl.constexpr,
    SEQUENCE: tl.constexpr,
    REDUCE: tl.constexpr,
    PRECISION: tl.constexpr,
    ROWS: tl.constexpr,
    UNITS: tl.constexpr,
    INNER: tl.constexpr,
    BESIDE: tl.constexpr,
    DIRECTIONS: tl.constexpr,
):
    """The result of every window, what :func:`backward` needs, or both.

    Args as for ``resident.forward``, except:
        x: The frames ``[.., FEATURES]``, in the same rows as ``wx``; None unless ``BESIDE``.
        weight_hh: Transposed and contiguous, ``[H, 4 * H]``.
        y: None if only the other tensors are wanted.
        gates: None if only ``y`` is wanted; then so are ``cell`` and ``largest``.
        hidden: Always given; ``hidden_step`` is the offset between the states of two steps, 0 if they share memory.
        BESIDE: A power of 2, at least ``PITCH - H``, if frames are written beside the hidden states, with a 1 in every
            column that is left, and zeros before the first step; 0 if not.
    """
    row, unit = tl.arange(0, ROWS), tl.arange(0, UNITS)
    every_row = rows.to(tl.int64)
    dtype: tl.constexpr = weight_hh.dtype.element_ty
    wx = of_direction(wx, (rows // windows).to(tl.int64) * sequence_frames * (4 * H), DIRECTIONS)
    bias = choose(bias, bias_reverse, DIRECTIONS) if bias is not None else None
    weight_hh = choose(weight_hh, weight_hh_reverse, DIRECTIONS)
    first = choose(first, first_reverse, DIRECTIONS) if first is not None else None
    weight_peephole = (
        choose(weight_peephole, weight_peephole_reverse, DIRECTIONS) if weight_peephole is not None else None
    )
    initial_cell = choose(initial_cell, initial_cell_reverse, DIRECTIONS) if initial_cell is not None else None
    y = of_direction(y, every_row * (KERNEL_SIZE * H if REDUCE == "none" else H), DIRECTIONS) if y is not None else None
    gates = of_direction(gates, every_row * (KERNEL_SIZE * 4 * H), DIRECTIONS) if gates is not None else None
    kept: tl.constexpr = 1 if gates is None else HIDDEN_STEPS + 1
    hidden = of_direction(hidden, every_row * (kept * PITCH), DIRECTIONS)
    cell = of_direction(cell, every_row * (KERNEL_SIZE * H), DIRECTIONS) if cell is not None else None
    largest = of_direction(largest, every_row * (2 * H), DIRECTIONS) if largest is not None else None
    frame_first, frame_step = frame_order(frame_first, frame_step, KERNEL_SIZE, DIRECTIONS)
    y_first, y_step = frame_order(y_first, y_step, KERNEL_SIZE, DIRECTIONS)
    start, frame, valid = window_rows(
        tl.program_id(0), lengths, rows, windows, stride, sequence_frames, window_frames, KERNEL_SIZE, ROWS
    )
    inside = valid[:, None] & (unit < H)[None, :]
    c = tl.zeros((ROWS, UNITS), tl.float32) + vector(initial_cell, 0, unit, H)
    total, h = c, c
    ties = tl.full((ROWS, UNITS), 1.0, tl.float32)
    step = tl.zeros((), tl.int32)
    while step < KERNEL_SIZE:
        here = step * every_row + start
        at = tl.zeros((), tl.int64) + frame_first + step * frame_step
        own_wx = wx + at * (4 * H)
        a_i = gate_tile(own_wx, frame, unit, inside, 0, H) + vector(bias, 0, unit, H)
        a_f = gate_tile(own_wx, frame, unit, inside, 1, H) + vector(bias, 1, unit, H)
        a_g = gate_tile(own_wx, frame, unit, inside, 2, H) + vector(bias, 2, unit, H)
        a_o = gate_tile(own_wx, frame, unit, inside, 3, H) + vector(bias, 3, unit, H)
        if first is not None:
            if step == 0:
                a_i += vector(first, 0, unit, H)
                a_f += vector(first, 1, unit, H)
                a_g += vector(first, 2, unit, H)
                a_o += vector(first, 3, unit, H)
        own_hidden = hidden + step.to(tl.int64) * hidden_step + start * PITCH
        if BESIDE > 0:
            store_beside(own_hidden, x, at, frame, row, valid, FEATURES, H, PITCH, BESIDE, PRECISION)
            if step == 0:
                store_state(own_hidden, row, unit, tl.zeros_like(c), inside, PITCH, PRECISION)
        for k in range(0, H if step > 0 else 0, INNER):
            inner = k + tl.arange(0, INNER)
            h_before = state_tile(own_hidden, row, inner, valid[:, None] & (inner < H)[None, :], PITCH)
            a_i = product(h_before, _transposed_tile(weight_hh, 0, inner, unit, H), a_i, PRECISION)
            a_f = product(h_before, _transposed_tile(weight_hh, 1, inner, unit, H), a_f, PRECISION)
            a_g = product(h_before, _transposed_tile(weight_hh, 2, inner, unit, H), a_g, PRECISION)
            a_o = product(h_before, _transposed_tile(weight_hh, 3, inner, unit, H), a_o, PRECISION)
        i, f, g, c = next_cell(a_i, a_f, a_g, c, weight_peephole, unit, H, PRECISION)
        if gates is not None:
            store_gate(gates + here * (4 * H), row, unit, i, inside, 0, H, PRECISION)
            store_gate(gates + here * (4 * H), row, unit, f, inside, 1, H, PRECISION)
            store_gate(gates + here * (4 * H), row, unit, g, inside, 2, H, PRECISION)
            store_state(cell + here * H, row, unit, c, inside, H, PRECISION)
        if step < HIDDEN_STEPS:
            o, h = next_hidden(a_o, c, weight_peephole, unit, H, PRECISION)
            operand = rounded(h, dtype, PRECISION)
            if gates is not None:
                store_gate(gates + here * (4 * H), row, unit, o, inside, 3, H, PRECISION)
            if REDUCE == "max":
                h = operand.to(tl.float32)  # the backward pass compares what was stored with the largest
            tl.debug_barrier()  # no thread may still be reading what others now overwrite
            store_state(own_hidden + hidden_step, row, unit, operand, inside, PITCH, PRECISION)
            tl.debug_barrier()  # other threads read it
        state = c if SEQUENCE == "cell" else h
        if step == 0:
            total = state
        else:
            total, ties = combine(total, ties, state, REDUCE)
        if y is not None:
            if REDUCE == "none":
                own_y = y + (start * KERNEL_SIZE + y_first + step * y_step) * H
                store_state(own_y, row * KERNEL_SIZE, unit, state, inside, H, PRECISION)
        step += 1
    if y is not None:
        if REDUCE == "mean":
            total = total / KERNEL_SIZE
        if REDUCE != "none":
            store_state(y + start * H, row, unit, total, inside, H, PRECISION)
    if gates is not None:
        if REDUCE == "max":
            store_state(largest + start * H, row, unit, total, inside, H, PRECISION)
            store_state(largest + (every_row + start) * H, row, unit, ties, inside, H, PRECISION)


@triton.jit(do_not_specialize=_SIZES)
def backward(
    grad,
    weight_hh,
    weight_hh_reverse,
    weight_peephole,
    weight_peephole_reverse,
    initial_cell,
    initial_cell_reverse,
    lengths,
    gates,
    hidden,
    cell,
    largest,
    sums,
    rows,
    windows,
    stride,
    sequence_frames,
    window_frames,
    y_first,
    y_step,
    KERNEL_SIZE: tl.constexpr,
    HIDDEN_STEPS: tl.constexpr,
    H: tl.constexpr,
    PITCH: tl.constexpr,
    SEQUENCE: tl.constexpr,
    REDUCE: tl.constexpr,
    PRECISION: tl.constexpr,
    ROWS: tl.constexpr,
    UNITS: tl.constexpr,
    INNER: tl.constexpr,
    DIRECTIONS: tl.constexpr,
):
    """Gradients of the four pre-activations in every step, which overwrite the gates.

    Args as for ``resident.backward``; every program has one tile.
    """
    row, unit = tl.arange(0, ROWS), tl.arange(0, UNITS)
    every_row = rows.to(tl.int64)
    grad = of_direction(grad, every_row * (KERNEL_SIZE * H if REDUCE == "none" else H), DIRECTIONS)
    weight_hh = choose(weight_hh, weight_hh_reverse, DIRECTIONS)
    weight_peephole = (
        choose(weight_peephole, weight_peephole_reverse, DIRECTIONS) if weight_peephole is not None else None
    )
    initial_cell = choose(initial_cell, initial_cell_reverse, DIRECTIONS) if initial_cell is not None else None
    gates = of_direction(gates, every_row * (KERNEL_SIZE * 4 * H), DIRECTIONS)
    hidden = of_direction(hidden, every_row * ((HIDDEN_STEPS + 1) * PITCH), DIRECTIONS)
    cell = of_direction(cell, every_row * (KERNEL_SIZE * H), DIRECTIONS)
    largest = of_direction(largest, every_row * (2 * H), DIRECTIONS) if largest is not None else None
    sums = of_direction(sums, tl.num_programs(0) * (4 * H), DIRECTIONS) if sums is not None else None
    y_first, y_step = frame_order(y_first, y_step, KERNEL_SIZE, DIRECTIONS)
    start, _, valid = window_rows(
        tl.program_id(0), lengths, rows, windows, stride, sequence_frames, window_frames, KERNEL_SIZE, ROWS
    )
    inside = valid[:, None] & (unit < H)[None, :]
    nothing = tl.zeros((ROWS, UNITS), tl.float32)
    own_grad = grad + start * (KERNEL_SIZE * H if REDUCE == "none" else H)
    own_largest = largest + start * H if REDUCE == "max" else None
    c = state_tile(cell + ((KERNEL_SIZE - 1) * every_row + start) * H, row, unit, inside, H)
    dc = nothing
    step = tl.zeros((), tl.int32) + (KERNEL_SIZE - 1)
    while step >= 0:
        here = step * every_row + start
        own = gates + here * (4 * H)
        c_before = state_tile(cell + (here - every_row) * H, row, unit, inside & (step > 0), H)
        if initial_cell is not None:
            if step == 0:
                c_before += vector(initial_cell, 0, unit, H)
        # Separate sums, so that no product has to wait for another.
        dh, dh_f, dh_g, dh_o = nothing, nothing, nothing, nothing
        after = own + every_row * (4 * H)
        for k in range(0, H if step < KERNEL_SIZE - 1 else 0, INNER):
            inner = k + tl.arange(0, INNER)
            read = valid[:, None] & (inner < H)[None, :]
            da = state_tile(after, row, inner, read, 4 * H)
            dh = product(da, recurrent_tile(weight_hh, 0, inner, unit, H), dh, PRECISION)
            da = state_tile(after + H, row, inner, read, 4 * H)
            dh_f = product(da, recurrent_tile(weight_hh, 1, inner, unit, H), dh_f, PRECISION)
            da = state_tile(after + 2 * H, row, inner, read, 4 * H)
            dh_g = product(da, recurrent_tile(weight_hh, 2, inner, unit, H), dh_g, PRECISION)
            da = state_tile(after + 3 * H, row, inner, read, 4 * H)
            dh_o = product(da, recurrent_tile(weight_hh, 3, inner, unit, H), dh_o, PRECISION)
        dh = (dh + dh_f) + (dh_g + dh_o)
        extra = nothing
        if REDUCE == "last":
            if step == KERNEL_SIZE - 1:
                extra = state_tile(own_grad, row, unit, inside, H).to(tl.float32)
        else:
            state = c
            if SEQUENCE == "hidden" and REDUCE == "max":
                state = state_tile(hidden + (every_row + here) * PITCH, row, unit, inside, PITCH).to(tl.float32)
            at = y_first + step * y_step
            extra = state_gradient(
                own_grad, own_largest, every_row, row, unit, state, at, inside, KERNEL_SIZE, H, REDUCE
            )
        if SEQUENCE == "cell":
            dc += extra
        else:
            dh += extra
        da_o = nothing
        if step < HIDDEN_STEPS:
            o = gate_tile(own, row, unit, inside, 3, H)
            da_o, dc = output_gradient(o, c, weight_peephole, unit, dh, dc, H, PRECISION)
        i = gate_tile(own, row, unit, inside, 0, H)
        f = gate_tile(own, row, unit, inside, 1, H)
        g = gate_tile(own, row, unit, inside, 2, H)
        da_i, da_f, da_g, dc = cell_gradient(i, f, g, c_before, weight_peephole, unit, dc, H)
        tl.debug_barrier()  # no thread may still be reading what others now overwrite
        store_gates(own, row, unit, da_i, da_f, da_g, da_o, inside, H, PRECISION)
        tl.debug_barrier()  # other threads read them
        if weight_peephole is not None:
            add_peepholes_to_sums(sums, da_i, da_f, da_o, c_before, c, unit, H)
        if initial_cell is not None:
            if step == 0:
                add_to_sums(sums, 3, tl.sum(dc, 0), unit, H)
        c = c_before
        step -= 1
