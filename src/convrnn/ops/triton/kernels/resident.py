"""Windows whose weights fit on the chip: a program reads them once and processes one tile of windows after another.

A tile goes through all its steps with its states in registers. ``UNITS``, a power of 2, is at least H. If the input
weights fit as well, frames are projected here, for each of their windows: for few features that is less work than
writing and reading projections four times as wide as the states. The hidden state is needed only for the first
``HIDDEN_STEPS`` steps: not for the last one if the result is the last cell state.
"""

import triton
import triton.language as tl

from convrnn.ops.triton.kernels.cell import (
    add_to_sums,
    choose,
    combine,
    frame_order,
    frame_tile,
    gate_tile,
    next_cell,
    next_hidden,
    of_direction,
    product,
    recurrent_tile,
    rounded,
    state_gradient,
    state_tile,
    store_beside,
    store_gate,
    store_gates,
    store_state,
    tanh,
    vector,
    weight_tile,
    window_rows,
)

# The kernels are not recompiled for other values of these.
_SIZES = [
    *("rows", "tiles", "windows", "stride"),
    *("sequence_frames", "window_frames", "frame_first", "frame_step", "y_first", "y_step"),
]


@triton.jit
def _gate_input(
    wx,
    u,
    v,
    bias,
    at,
    frame,
    unit,
    inside,
    GATE: tl.constexpr,
    H: tl.constexpr,
    PRECISION: tl.constexpr,
    ROWS: tl.constexpr,
    UNITS: tl.constexpr,
):
    """A gate's input projection: read, or computed as the product of the frames and the gate's input weights."""
    if wx is not None:
        return gate_tile(wx + at * (4 * H), frame, unit, inside, GATE, H) + vector(bias, GATE, unit, H)
    else:
        return product(u, v, tl.zeros((ROWS, UNITS), tl.float32) + vector(bias, GATE, unit, H), PRECISION)


@triton.jit(do_not_specialize=_SIZES)
def forward(
    wx,
    x,
    weight_ih,
    weight_ih_reverse,
    bias,
    bias_reverse,
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
    tiles,
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
    FEATURES: tl.constexpr,
    H: tl.constexpr,
    PITCH: tl.constexpr,
    SEQUENCE: tl.constexpr,
    REDUCE: tl.constexpr,
    PRECISION: tl.constexpr,
    ROWS: tl.constexpr,
    UNITS: tl.constexpr,
    INPUTS: tl.constexpr,
    BESIDE: tl.constexpr,
    DIRECTIONS: tl.constexpr,
):
    """The result of every window or, if ``y`` is None, what :func:`backward` needs.

    Args:
        wx: Projections without the bias, ``[.., 4 * H]``; None if frames are projected here. A window's row at a step
            is ``sequence * sequence_frames + window * window_frames + frame_first + step * frame_step``.
        x: The frames ``[.., FEATURES]``, with the same rows; None if ``wx`` is given, unless ``BESIDE``.
        weight_ih: ``[4 * H, FEATURES]``; None if ``wx`` is given.
        bias: ``[4 * H]``, or None.
        weight_hh: ``[4 * H, H]``.
        first: Product of the recurrent weights and the initial hidden state ``[4 * H]``; None is zeros.
        weight_peephole: ``[3, H]`` or None.
        initial_cell: ``[H]`` or None.
        lengths: Frames of each sequence, or None. Nothing is written for windows that reach past it.
        y: ``[rows, H]``; for "none" ``[rows, KERNEL_SIZE, H]``, a step's state at ``y_first + step * y_step``.
        gates: The gates of every step ``[KERNEL_SIZE, rows, 4 * H]``; None if ``y`` is given.
        hidden: The hidden states before every step and after the last one, ``[HIDDEN_STEPS + 1, rows, PITCH]``; that
            before the first is not written. None if ``y`` is given.
        cell: The cell state after every step, float32 ``[KERNEL_SIZE, rows, H]``; None if ``y`` is given.
        largest: For "max" the largest state and how many are as large, float32 ``[2, rows, H]``; otherwise None.
        tiles: Number of tiles of ``ROWS`` rows.
        INPUTS: A power of 2, at least ``FEATURES``.
        DIRECTIONS: 1 or 2. Of two, the parameters whose names end in "reverse" are those of the second, which goes from
            the last frame of a window to the first whatever ``frame_first``, ``frame_step``, ``y_first`` and ``y_step``
            are; ``wx``, the result and the tensors of states have a first axis of directions.
        BESIDE: A power of 2, at least ``PITCH - H``, if the frames are written beside the hidden states, a 1 in every
            column that is left, and zeros before the first step; 0 if not.
    """
    row, unit, feature = tl.arange(0, ROWS), tl.arange(0, UNITS), tl.arange(0, INPUTS)
    every_row = rows.to(tl.int64)
    dtype: tl.constexpr = weight_hh.dtype.element_ty
    wx = (
        of_direction(wx, (rows // windows).to(tl.int64) * sequence_frames * (4 * H), DIRECTIONS)
        if wx is not None
        else None
    )
    weight_ih = choose(weight_ih, weight_ih_reverse, DIRECTIONS) if weight_ih is not None else None
    bias = choose(bias, bias_reverse, DIRECTIONS) if bias is not None else None
    weight_hh = choose(weight_hh, weight_hh_reverse, DIRECTIONS)
    first = choose(first, first_reverse, DIRECTIONS) if first is not None else None
    weight_peephole = (
        choose(weight_peephole, weight_peephole_reverse, DIRECTIONS) if weight_peephole is not None else None
    )
    initial_cell = choose(initial_cell, initial_cell_reverse, DIRECTIONS) if initial_cell is not None else None
    y = of_direction(y, every_row * (KERNEL_SIZE * H if REDUCE == "none" else H), DIRECTIONS) if y is not None else None
    gates = of_direction(gates, every_row * (KERNEL_SIZE * 4 * H), DIRECTIONS) if gates is not None else None
    hidden = of_direction(hidden, every_row * ((HIDDEN_STEPS + 1) * PITCH), DIRECTIONS) if hidden is not None else None
    cell = of_direction(cell, every_row * (KERNEL_SIZE * H), DIRECTIONS) if cell is not None else None
    largest = of_direction(largest, every_row * (2 * H), DIRECTIONS) if largest is not None else None
    frame_first, frame_step = frame_order(frame_first, frame_step, KERNEL_SIZE, DIRECTIONS)
    y_first, y_step = frame_order(y_first, y_step, KERNEL_SIZE, DIRECTIONS)
    v_i = weight_tile(weight_ih, 0, feature, unit, H, FEATURES) if wx is None else None
    v_f = weight_tile(weight_ih, 1, feature, unit, H, FEATURES) if wx is None else None
    v_g = weight_tile(weight_ih, 2, feature, unit, H, FEATURES) if wx is None else None
    v_o = weight_tile(weight_ih, 3, feature, unit, H, FEATURES) if wx is None else None
    w_i = weight_tile(weight_hh, 0, unit, unit, H, H)
    w_f = weight_tile(weight_hh, 1, unit, unit, H, H)
    w_g = weight_tile(weight_hh, 2, unit, unit, H, H)
    w_o = weight_tile(weight_hh, 3, unit, unit, H, H)
    tile = tl.program_id(0)
    while tile < tiles:
        start, frame, valid = window_rows(
            tile, lengths, rows, windows, stride, sequence_frames, window_frames, KERNEL_SIZE, ROWS
        )
        if tl.max(valid.to(tl.int32)) != 0:
            inside = valid[:, None] & (unit < H)[None, :]
            at = tl.zeros((), tl.int64) + frame_first
            u_0 = frame_tile(x, at, frame, valid, FEATURES, INPUTS) if wx is None else None
            a_i = _gate_input(wx, u_0, v_i, bias, at, frame, unit, inside, 0, H, PRECISION, ROWS, UNITS)
            a_f = _gate_input(wx, u_0, v_f, bias, at, frame, unit, inside, 1, H, PRECISION, ROWS, UNITS)
            a_g = _gate_input(wx, u_0, v_g, bias, at, frame, unit, inside, 2, H, PRECISION, ROWS, UNITS)
            a_o = _gate_input(wx, u_0, v_o, bias, at, frame, unit, inside, 3, H, PRECISION, ROWS, UNITS)
            if first is not None:
                a_i += vector(first, 0, unit, H)
                a_f += vector(first, 1, unit, H)
                a_g += vector(first, 2, unit, H)
                a_o += vector(first, 3, unit, H)
            c = tl.zeros((ROWS, UNITS), tl.float32) + vector(initial_cell, 0, unit, H)
            i, f, g, c = next_cell(a_i, a_f, a_g, c, weight_peephole, unit, H, PRECISION)
            o, h = next_hidden(a_o, c, weight_peephole, unit, H, PRECISION)
            operand = rounded(h, dtype, PRECISION)
            if y is None:
                store_gates(gates + start * (4 * H), row, unit, i, f, g, o, inside, H, PRECISION)
                if BESIDE > 0:
                    own_hidden = hidden + start * PITCH
                    store_state(own_hidden, row, unit, tl.zeros_like(c), inside, PITCH, PRECISION)
                    store_beside(own_hidden, x, at, frame, row, valid, FEATURES, H, PITCH, BESIDE, PRECISION)
                if HIDDEN_STEPS > 0:
                    store_state(hidden + (every_row + start) * PITCH, row, unit, operand, inside, PITCH, PRECISION)
                store_state(cell + start * H, row, unit, c, inside, H, PRECISION)
                h = operand.to(tl.float32)
            total = c if SEQUENCE == "cell" else h
            ties = tl.full((ROWS, UNITS), 1.0, tl.float32)
            if y is not None:
                if REDUCE == "none":
                    own_y = y + (start * KERNEL_SIZE + y_first) * H
                    store_state(own_y, row * KERNEL_SIZE, unit, total, inside, H, PRECISION)

            for step in range(1, KERNEL_SIZE):
                here = step * every_row + start
                at = tl.zeros((), tl.int64) + frame_first + step * frame_step
                u = frame_tile(x, at, frame, valid, FEATURES, INPUTS) if wx is None else None
                a_i = _gate_input(wx, u, v_i, bias, at, frame, unit, inside, 0, H, PRECISION, ROWS, UNITS)
                a_f = _gate_input(wx, u, v_f, bias, at, frame, unit, inside, 1, H, PRECISION, ROWS, UNITS)
                a_g = _gate_input(wx, u, v_g, bias, at, frame, unit, inside, 2, H, PRECISION, ROWS, UNITS)
                a_i = product(operand, w_i, a_i, PRECISION)
                a_f = product(operand, w_f, a_f, PRECISION)
                a_g = product(operand, w_g, a_g, PRECISION)
                i, f, g, c = next_cell(a_i, a_f, a_g, c, weight_peephole, unit, H, PRECISION)
                if y is None:
                    if BESIDE > 0:
                        own_hidden = hidden + here * PITCH
                        store_beside(own_hidden, x, at, frame, row, valid, FEATURES, H, PITCH, BESIDE, PRECISION)
                    store_gate(gates + here * (4 * H), row, unit, i, inside, 0, H, PRECISION)
                    store_gate(gates + here * (4 * H), row, unit, f, inside, 1, H, PRECISION)
                    store_gate(gates + here * (4 * H), row, unit, g, inside, 2, H, PRECISION)
                    store_state(cell + here * H, row, unit, c, inside, H, PRECISION)
                if step < HIDDEN_STEPS:
                    a_o = _gate_input(wx, u, v_o, bias, at, frame, unit, inside, 3, H, PRECISION, ROWS, UNITS)
                    a_o = product(operand, w_o, a_o, PRECISION)
                    o, h = next_hidden(a_o, c, weight_peephole, unit, H, PRECISION)
                    operand = rounded(h, dtype, PRECISION)
                    if y is None:
                        store_gate(gates + here * (4 * H), row, unit, o, inside, 3, H, PRECISION)
                        store_state(hidden + (every_row + here) * PITCH, row, unit, operand, inside, PITCH, PRECISION)
                        h = operand.to(tl.float32)
                state = c if SEQUENCE == "cell" else h
                total, ties = combine(total, ties, state, REDUCE)
                if y is not None:
                    if REDUCE == "none":
                        own_y = y + (start * KERNEL_SIZE + y_first + step * y_step) * H
                        store_state(own_y, row * KERNEL_SIZE, unit, state, inside, H, PRECISION)

            if y is not None:
                if REDUCE == "mean":
                    total = total / KERNEL_SIZE
                if REDUCE != "none":
                    store_state(y + start * H, row, unit, total, inside, H, PRECISION)
            else:
                if REDUCE == "max":
                    store_state(largest + start * H, row, unit, total, inside, H, PRECISION)
                    store_state(largest + (every_row + start) * H, row, unit, ties, inside, H, PRECISION)
        tile += tl.num_programs(0)


# The same gradients as in `cell`, computed such that every value that was loaded is multiplied by a gradient first: the
# compiler then needs it only in the layout of the gradients, which that of the products determines.


@triton.jit
def _output_gradient(o, c, weight_peephole, unit, dh, dc, H: tl.constexpr, PRECISION: tl.constexpr):
    t = tanh(c, PRECISION)
    dh_o = dh * o
    dh_o_t = dh_o * t
    da_o = dh_o_t - dh_o_t * o
    dc += dh_o - dh_o_t * t
    if weight_peephole is not None:
        dc += da_o * vector(weight_peephole, 2, unit, H)
    return da_o, dc


@triton.jit
def _cell_gradient(i, f, g, c, weight_peephole, unit, dc, H: tl.constexpr):
    dc_i, dc_f = dc * i, dc * f
    dc_i_g, dc_f_c = dc_i * g, dc_f * c
    da_i = dc_i_g - dc_i_g * i
    da_f = dc_f_c - dc_f_c * f
    da_g = dc_i - dc_i_g * g
    dc = dc_f
    if weight_peephole is not None:
        dc += da_i * vector(weight_peephole, 0, unit, H) + da_f * vector(weight_peephole, 1, unit, H)
    return da_i, da_f, da_g, dc


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
    tiles,
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
    DIRECTIONS: tl.constexpr,
):
    """Gradients of the four pre-activations in every step, which overwrite the gates.

    Args as for :func:`forward`, and:
        grad: Gradient of the result, in its shape.
        sums: Zeros, to be filled by each program with the gradients of ``weight_peephole`` and ``initial_cell``, summed
            over its windows and their steps, ``[programs, 4, H]``; None if there is neither.
    """
    row, unit = tl.arange(0, ROWS), tl.arange(0, UNITS)
    every_row = rows.to(tl.int64)
    dtype: tl.constexpr = weight_hh.dtype.element_ty
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
    w_i = recurrent_tile(weight_hh, 0, unit, unit, H)
    w_f = recurrent_tile(weight_hh, 1, unit, unit, H)
    w_g = recurrent_tile(weight_hh, 2, unit, unit, H)
    w_o = recurrent_tile(weight_hh, 3, unit, unit, H)
    nothing = tl.zeros((ROWS, UNITS), tl.float32)
    zeros = tl.zeros((UNITS,), tl.float32)
    sum_i, sum_f, sum_o, sum_c = zeros, zeros, zeros, zeros
    tile = tl.program_id(0)
    while tile < tiles:
        start, _, valid = window_rows(
            tile, lengths, rows, windows, stride, sequence_frames, window_frames, KERNEL_SIZE, ROWS
        )
        if tl.max(valid.to(tl.int32)) != 0:
            inside = valid[:, None] & (unit < H)[None, :]
            own_grad = grad + start * (KERNEL_SIZE * H if REDUCE == "none" else H)
            own_largest = largest + start * H if REDUCE == "max" else None
            step = tl.zeros((), tl.int32) + (KERNEL_SIZE - 1)
            last = gates + ((KERNEL_SIZE - 1) * every_row + start) * (4 * H)
            next_i = state_tile(last, row, unit, inside, 4 * H)
            next_f = state_tile(last + H, row, unit, inside, 4 * H)
            next_g = state_tile(last + 2 * H, row, unit, inside, 4 * H)
            next_o = state_tile(last + 3 * H, row, unit, inside & (step < HIDDEN_STEPS), 4 * H)
            last_cell = cell + ((KERNEL_SIZE - 2) * every_row + start) * H
            next_c = state_tile(last_cell, row, unit, inside & (step > 0), H)
            dh, dc = nothing, nothing
            if REDUCE == "last":
                if SEQUENCE == "cell":
                    dc = state_tile(own_grad, row, unit, inside, H).to(tl.float32)
                else:
                    dh = state_tile(own_grad, row, unit, inside, H).to(tl.float32)
            c = state_tile(cell + ((KERNEL_SIZE - 1) * every_row + start) * H, row, unit, inside, H)
            # Not a for loop, in which the compiler would carry the states in every layout that they are used in.
            while step >= 0:
                here = step * every_row + start
                own = gates + here * (4 * H)
                i, f, g, o, c_before = next_i, next_f, next_g, next_o, next_c
                before, earlier = own - every_row * (4 * H), inside & (step > 0)
                next_i = state_tile(before, row, unit, earlier, 4 * H)
                next_f = state_tile(before + H, row, unit, earlier, 4 * H)
                next_g = state_tile(before + 2 * H, row, unit, earlier, 4 * H)
                next_o = state_tile(before + 3 * H, row, unit, earlier & (step <= HIDDEN_STEPS), 4 * H)
                next_c = state_tile(cell + (here - 2 * every_row) * H, row, unit, inside & (step > 1), H)
                if initial_cell is not None:
                    if step == 0:
                        c_before += vector(initial_cell, 0, unit, H)
                if REDUCE != "last":
                    at = y_first + step * y_step
                    if SEQUENCE == "cell":
                        state = c
                    elif REDUCE == "max":
                        state = state_tile(hidden + (every_row + here) * PITCH, row, unit, inside, PITCH)
                    else:
                        state = nothing
                    extra = state_gradient(
                        own_grad, own_largest, every_row, row, unit, state, at, inside, KERNEL_SIZE, H, REDUCE
                    )
                    if SEQUENCE == "cell":
                        dc += extra
                    else:
                        dh += extra
                da_o = nothing
                if step < HIDDEN_STEPS:
                    da_o, dc = _output_gradient(o.to(tl.float32), c, weight_peephole, unit, dh, dc, H, PRECISION)
                i, f, g = i.to(tl.float32), f.to(tl.float32), g.to(tl.float32)
                da_i, da_f, da_g, dc = _cell_gradient(i, f, g, c_before, weight_peephole, unit, dc, H)
                if weight_peephole is not None:
                    sum_i += tl.sum(da_i * c_before, 0)
                    sum_f += tl.sum(da_f * c_before, 0)
                    sum_o += tl.sum(da_o * c, 0)
                tl.debug_barrier()  # no thread may still be reading what others now overwrite
                store_gates(own, row, unit, da_i, da_f, da_g, da_o, inside, H, PRECISION)
                if step > 0:
                    dh = product(rounded(da_i, dtype, PRECISION), w_i, nothing, PRECISION)
                    dh = product(rounded(da_f, dtype, PRECISION), w_f, dh, PRECISION)
                    dh = product(rounded(da_g, dtype, PRECISION), w_g, dh, PRECISION)
                    dh = product(rounded(da_o, dtype, PRECISION), w_o, dh, PRECISION)
                # The same as c_before, but in the layout of the products, in which the next step needs it.
                c = tl.where((unit < H)[None, :], c_before, dh)
                step -= 1
            if initial_cell is not None:
                sum_c += tl.sum(dc, 0)
        tile += tl.num_programs(0)
    if weight_peephole is not None:
        add_to_sums(sums, 0, sum_i, unit, H)
        add_to_sums(sums, 1, sum_f, unit, H)
        add_to_sums(sums, 2, sum_o, unit, H)
    if initial_cell is not None:
        add_to_sums(sums, 3, sum_c, unit, H)
