"""Windows, where the recurrent weights do not fit on the chip: they stream from the cache, for any number of units.

A program takes a tile of windows through all their steps, and in a step one block of ``UNITS`` units after the other.
The states of the step before lie in global memory, where the program wrote them itself: after a barrier it sees them.
"""

import triton
import triton.language as tl

from convrnn.ops.triton.kernels.cell import (
    add_to_sums,
    cell_gradient,
    combine,
    four_gates,
    four_weight_tiles,
    gate_tile,
    hidden_gradient,
    next_cell,
    next_hidden,
    output_gradient,
    product,
    rounded,
    state_gradient,
    state_tile,
    store_gates,
    store_state,
    vector,
    window_rows,
)

# The kernels are not compiled anew for other values of these.
_SIZES = [
    *("slots", "rows", "windows", "stride"),
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
    gates,
    hidden,
    cell,
    largest,
    slots,
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
    PITCH: tl.constexpr,
    SEQUENCE: tl.constexpr,
    REDUCE: tl.constexpr,
    PRECISION: tl.constexpr,
    ROWS: tl.constexpr,
    UNITS: tl.constexpr,
    INNER: tl.constexpr,
):
    """As :func:`resident.forward`, with projected frames.

    Args as there, but:
        y: Float32 unless ``REDUCE`` is "last" or "none": the reduction goes on in it.
        hidden: The hidden state before and after each step, ``[slots + 1, rows, PITCH]``: step ``s`` reads slot ``s %
            (slots + 1)`` and writes the next one.
        cell: The cell state after each step, float32 ``[slots, rows, H]``, at ``s % slots``.
        slots: All steps where ``y`` is None, else two, or one for a single step.
    """
    every_row = rows.to(tl.int64)
    start_row, frame, valid = window_rows(
        tl.program_id(0), lengths, rows, windows, stride, sequence_frames, window_frames, KERNEL_SIZE, ROWS
    )
    if tl.max(valid.to(tl.int32), 0) == 0:
        return
    row = tl.arange(0, ROWS)
    for step in range(KERNEL_SIZE):
        here = step * every_row + start_row
        own_cell = cell + ((step % slots) * every_row + start_row) * H
        before_cell = cell + (((step + slots - 1) % slots) * every_row + start_row) * H
        before_hidden = hidden + ((step % (slots + 1)) * every_row + start_row) * PITCH
        own_hidden = hidden + (((step + 1) % (slots + 1)) * every_row + start_row) * PITCH
        at = tl.zeros((), tl.int64) + frame_first + step * frame_step
        for block in range(0, H, UNITS):
            unit = block + tl.arange(0, UNITS)
            inside = valid[:, None] & (unit < H)[None, :]
            a_i = gate_tile(wx + at * (4 * H), frame, unit, inside, 0, H)
            a_f = gate_tile(wx + at * (4 * H), frame, unit, inside, 1, H)
            a_g = gate_tile(wx + at * (4 * H), frame, unit, inside, 2, H)
            a_o = gate_tile(wx + at * (4 * H), frame, unit, inside, 3, H)
            total = tl.zeros((ROWS, 4 * UNITS), tl.float32)
            for k in range(0, H if step > 0 else 0, INNER):
                inner = k + tl.arange(0, INNER)
                h_before = state_tile(before_hidden, row, inner, valid[:, None] & (inner < H)[None, :], PITCH)
                total = product(h_before, four_weight_tiles(weight_hh, inner, block, H, UNITS), total, PRECISION)
            total_i, total_f, total_g, total_o = four_gates(total, ROWS, UNITS)
            a_i += total_i
            a_f += total_f
            a_g += total_g
            a_o += total_o
            a_i += tl.where(step == 0, vector(first, 0, unit, H), 0.0)
            a_f += tl.where(step == 0, vector(first, 1, unit, H), 0.0)
            a_g += tl.where(step == 0, vector(first, 2, unit, H), 0.0)
            a_o += tl.where(step == 0, vector(first, 3, unit, H), 0.0)
            c = state_tile(before_cell, row, unit, tl.where(step > 0, inside, False), H)
            c += tl.where(step == 0, vector(initial_cell, 0, unit, H), 0.0)
            i, f, g, c = next_cell(a_i, a_f, a_g, c, weight_peephole, unit, H, PRECISION)
            o, h = next_hidden(a_o, c, weight_peephole, unit, H, PRECISION)
            if y is None:
                store_gates(gates + here * (4 * H), row, unit, i, f, g, o, inside, H, PRECISION)
                h = rounded(h, hidden.dtype.element_ty, PRECISION).to(tl.float32)
            if step < HIDDEN_STEPS:
                store_state(own_hidden, row, unit, h, inside, PITCH, PRECISION)
            store_state(own_cell, row, unit, c, inside, H, PRECISION)
            state = c if SEQUENCE == "cell" else h
            if y is None:
                if REDUCE == "max":
                    top, ties = state, tl.full((ROWS, UNITS), 1.0, tl.float32)
                    own_top, own_ties = largest + start_row * H, largest + (every_row + start_row) * H
                    if step > 0:
                        top = state_tile(own_top, row, unit, inside, H)
                        ties = state_tile(own_ties, row, unit, inside, H)
                        top, ties = combine(top, ties, state, REDUCE)
                    tl.debug_barrier()  # no thread may still be reading what others now replace
                    store_state(own_top, row, unit, top, inside, H, PRECISION)
                    store_state(own_ties, row, unit, ties, inside, H, PRECISION)
            elif REDUCE == "none":
                own_y = y + (start_row * KERNEL_SIZE + y_first + step * y_step) * H
                store_state(own_y, row * KERNEL_SIZE, unit, state, inside, H, PRECISION)
            elif REDUCE == "last":
                at_last = tl.where(step == KERNEL_SIZE - 1, inside, False)
                store_state(y + start_row * H, row, unit, state, at_last, H, PRECISION)
            else:
                if step > 0:
                    state, _ = combine(state_tile(y + start_row * H, row, unit, inside, H), state, state, REDUCE)
                if REDUCE == "mean":
                    state = tl.where(step == KERNEL_SIZE - 1, state / KERNEL_SIZE, state)
                tl.debug_barrier()  # no thread may still be reading what others now replace
                store_state(y + start_row * H, row, unit, state, inside, H, PRECISION)
        tl.debug_barrier()


@triton.jit(do_not_specialize=_SIZES)
def backward(
    grad,
    weight_hh,
    weight_peephole,
    initial_cell,
    lengths,
    gates,
    hidden,
    cell,
    largest,
    sums,
    carried_hidden,
    carried_cell,
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
):
    """As :func:`resident.backward`.

    Args as there, and:
        carried_hidden: Room for the gradient of the hidden state that goes from one step to the one before it,
            ``[rows, H]`` float32.
        carried_cell: Likewise of the cell state.
    """
    every_row = rows.to(tl.int64)
    start_row, _, valid = window_rows(
        tl.program_id(0), lengths, rows, windows, stride, sequence_frames, window_frames, KERNEL_SIZE, ROWS
    )
    if tl.max(valid.to(tl.int32), 0) == 0:
        return
    row = tl.arange(0, ROWS)
    own_carried_hidden, own_carried_cell = carried_hidden + start_row * H, carried_cell + start_row * H
    own_grad = grad + start_row * (KERNEL_SIZE * H if REDUCE == "none" else H)
    own_largest = largest + start_row * H if REDUCE == "max" else None
    for back in range(1, KERNEL_SIZE + 1):
        step = KERNEL_SIZE - back
        here = step * every_row + start_row
        own = gates + here * (4 * H)
        for block in range(0, H, UNITS):
            unit = block + tl.arange(0, UNITS)
            inside = valid[:, None] & (unit < H)[None, :]
            i = gate_tile(own, row, unit, inside, 0, H)
            f = gate_tile(own, row, unit, inside, 1, H)
            g = gate_tile(own, row, unit, inside, 2, H)
            o = gate_tile(own, row, unit, inside, 3, H)
            c_before = state_tile(cell + (here - every_row) * H, row, unit, tl.where(step > 0, inside, False), H)
            c_before += tl.where(step == 0, vector(initial_cell, 0, unit, H), 0.0)
            c = state_tile(cell + here * H, row, unit, inside, H)
            carried = tl.where(back > 1, inside, False)
            dh = state_tile(own_carried_hidden, row, unit, carried, H)
            dc = state_tile(own_carried_cell, row, unit, carried, H)
            if REDUCE == "last":
                at_last = tl.where(back == 1, inside, False)
                if SEQUENCE == "cell":
                    dc += state_tile(own_grad, row, unit, at_last, H).to(tl.float32)
                else:
                    dh += state_tile(own_grad, row, unit, at_last, H).to(tl.float32)
            else:
                at = y_first + step * y_step
                if SEQUENCE == "cell":
                    state = c
                elif REDUCE == "max":
                    state = state_tile(hidden + (every_row + here) * PITCH, row, unit, inside, PITCH)
                else:
                    state = dh
                extra = state_gradient(
                    own_grad, own_largest, every_row, row, unit, state, at, inside, KERNEL_SIZE, H, REDUCE
                )
                if SEQUENCE == "cell":
                    dc += extra
                else:
                    dh += extra
            da_o, dc = output_gradient(o, c, weight_peephole, unit, dh, dc, H, PRECISION)
            da_i, da_f, da_g, dc = cell_gradient(i, f, g, c_before, weight_peephole, unit, dc, H)
            tl.debug_barrier()  # no thread may still be reading what others now replace
            store_gates(own, row, unit, da_i, da_f, da_g, da_o, inside, H, PRECISION)
            store_state(own_carried_cell, row, unit, dc, inside, H, PRECISION)
            if weight_peephole is not None:
                add_to_sums(sums, 0, tl.sum(da_i * c_before, 0), unit, H)
                add_to_sums(sums, 1, tl.sum(da_f * c_before, 0), unit, H)
                add_to_sums(sums, 2, tl.sum(da_o * c, 0), unit, H)
            if initial_cell is not None:
                if step == 0:
                    add_to_sums(sums, 3, tl.sum(dc, 0), unit, H)
        tl.debug_barrier()
        if step > 0:
            # Of this there is one sum for a unit, where there were four before.
            for block in range(0, H, 4 * UNITS):
                unit = block + tl.arange(0, 4 * UNITS)
                inside = valid[:, None] & (unit < H)[None, :]
                dh = hidden_gradient(own, weight_hh, row, unit, valid, H, PRECISION, ROWS, 4 * UNITS, INNER)
                store_state(own_carried_hidden, row, unit, dh, inside, H, PRECISION)
        tl.debug_barrier()
