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
    gate_tile,
    hidden_gradient,
    next_cell,
    next_hidden,
    output_gradient,
    product,
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
    hidden,
    cell,
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
    SEQUENCE: tl.constexpr,
    REDUCE: tl.constexpr,
    PRECISION: tl.constexpr,
    ROWS: tl.constexpr,
    UNITS: tl.constexpr,
    INNER: tl.constexpr,
):
    """As :func:`resident.forward`, but the states are always written.

    Args as there, and:
        y: Float32 unless ``REDUCE`` is "last" or "none": the reduction goes on in it.
        hidden: ``[slots, rows, H]``; a step's states are in slot ``step % slots``.
        cell: Likewise, float32.
        slots: The number of steps where all states are kept, else two at least.
    """
    row, sequence, window, valid = window_rows(lengths, rows, windows, stride, KERNEL_SIZE, ROWS)
    if tl.max(valid.to(tl.int32), 0) == 0:
        return
    frame = sequence * sequence_frames + window * window_frames + frame_first
    for step in range(KERNEL_SIZE):
        here = (step % slots) * rows + row
        before = ((step + slots - 1) % slots) * rows + row
        at = frame + step * frame_step
        for start in range(0, H, UNITS):
            unit = start + tl.arange(0, UNITS)
            inside = valid[:, None] & (unit < H)[None, :]
            a_i = gate_tile(wx, at, unit, inside, 0, H)
            a_f = gate_tile(wx, at, unit, inside, 1, H)
            a_g = gate_tile(wx, at, unit, inside, 2, H)
            a_o = gate_tile(wx, at, unit, inside, 3, H)
            for k in range(0, H if step > 0 else 0, INNER):
                inner = k + tl.arange(0, INNER)
                h_before = state_tile(hidden, before, inner, valid[:, None] & (inner < H)[None, :], H)
                a_i = product(h_before, weight_tile(weight_hh, 0, inner, unit, H), a_i, PRECISION)
                a_f = product(h_before, weight_tile(weight_hh, 1, inner, unit, H), a_f, PRECISION)
                a_g = product(h_before, weight_tile(weight_hh, 2, inner, unit, H), a_g, PRECISION)
                a_o = product(h_before, weight_tile(weight_hh, 3, inner, unit, H), a_o, PRECISION)
            a_i += tl.where(step == 0, vector(first, 0, unit, H), 0.0)
            a_f += tl.where(step == 0, vector(first, 1, unit, H), 0.0)
            a_g += tl.where(step == 0, vector(first, 2, unit, H), 0.0)
            a_o += tl.where(step == 0, vector(first, 3, unit, H), 0.0)
            c = state_tile(cell, before, unit, tl.where(step > 0, inside, False), H)
            c += tl.where(step == 0, vector(initial_cell, 0, unit, H), 0.0)
            c = next_cell(a_i, a_f, a_g, c, weight_peephole, unit, H)
            h = next_hidden(a_o, c, weight_peephole, unit, H)
            if step < HIDDEN_STEPS:
                store_state(hidden, here, unit, h, inside, H, PRECISION)
            store_state(cell, here, unit, c, inside, H, PRECISION)
            state = c if SEQUENCE == "cell" else h
            if REDUCE == "none":
                store_state(y, row * KERNEL_SIZE + y_first + step * y_step, unit, state, inside, H, PRECISION)
            elif REDUCE == "last":
                store_state(y, row, unit, state, tl.where(step == KERNEL_SIZE - 1, inside, False), H, PRECISION)
            else:
                if step > 0:
                    state = combine(state_tile(y, row, unit, inside, H), state, REDUCE)
                if REDUCE == "mean":
                    state = tl.where(step == KERNEL_SIZE - 1, state / KERNEL_SIZE, state)
                tl.debug_barrier()  # no thread may still be reading what others now replace
                store_state(y, row, unit, state, inside, H, PRECISION)
        tl.debug_barrier()


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
    carried_hidden,
    carried_cell,
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
    """As :func:`resident.backward`.

    Args as there, with ``slots`` of all steps, and:
        sums: Zeros at first.
        carried_hidden: Room for the gradient of the hidden state that goes from one step to the one before it,
            ``[rows, H]`` float32.
        carried_cell: Likewise of the cell state.
    """
    row, sequence, window, valid = window_rows(lengths, rows, windows, stride, KERNEL_SIZE, ROWS)
    if tl.max(valid.to(tl.int32), 0) == 0:
        return
    frame = sequence * sequence_frames + window * window_frames + frame_first
    for back in range(1, KERNEL_SIZE + 1):
        step = KERNEL_SIZE - back
        here = step * rows + row
        at = frame + step * frame_step
        for start in range(0, H, UNITS):
            unit = start + tl.arange(0, UNITS)
            inside = valid[:, None] & (unit < H)[None, :]
            a_i = gate_tile(wx, at, unit, inside, 0, H)
            a_f = gate_tile(wx, at, unit, inside, 1, H)
            a_g = gate_tile(wx, at, unit, inside, 2, H)
            a_o = gate_tile(wx, at, unit, inside, 3, H)
            for k in range(0, H if step > 0 else 0, INNER):
                inner = k + tl.arange(0, INNER)
                h_before = state_tile(hidden, here - rows, inner, valid[:, None] & (inner < H)[None, :], H)
                a_i = product(h_before, weight_tile(weight_hh, 0, inner, unit, H), a_i, PRECISION)
                a_f = product(h_before, weight_tile(weight_hh, 1, inner, unit, H), a_f, PRECISION)
                a_g = product(h_before, weight_tile(weight_hh, 2, inner, unit, H), a_g, PRECISION)
                a_o = product(h_before, weight_tile(weight_hh, 3, inner, unit, H), a_o, PRECISION)
            a_i += tl.where(step == 0, vector(first, 0, unit, H), 0.0)
            a_f += tl.where(step == 0, vector(first, 1, unit, H), 0.0)
            a_g += tl.where(step == 0, vector(first, 2, unit, H), 0.0)
            a_o += tl.where(step == 0, vector(first, 3, unit, H), 0.0)
            c_before = state_tile(cell, here - rows, unit, tl.where(step > 0, inside, False), H)
            c_before += tl.where(step == 0, vector(initial_cell, 0, unit, H), 0.0)
            c = state_tile(cell, here, unit, inside, H)
            carried = tl.where(back > 1, inside, False)
            dh = state_tile(carried_hidden, row, unit, carried, H)
            dc = state_tile(carried_cell, row, unit, carried, H)
            if REDUCE == "last":
                at_last = tl.where(back == 1, inside, False)
                if SEQUENCE == "cell":
                    dc += state_tile(grad, row, unit, at_last, H).to(tl.float32)
                else:
                    dh += state_tile(grad, row, unit, at_last, H).to(tl.float32)
            else:
                position = y_first + step * y_step
                if SEQUENCE == "cell":
                    dc += state_gradient(grad, largest, row, unit, c, position, inside, KERNEL_SIZE, H, REDUCE)
                else:
                    h = state_tile(hidden, here, unit, inside, H)
                    dh += state_gradient(grad, largest, row, unit, h, position, inside, KERNEL_SIZE, H, REDUCE)
            da_o, dc = output_gradient(a_o, c, weight_peephole, unit, dh, dc, H)
            da_i, da_f, da_g, dc = cell_gradient(a_i, a_f, a_g, c_before, weight_peephole, unit, dc, H)
            store_gate(gates, here, unit, da_i, inside, 0, H, PRECISION)
            store_gate(gates, here, unit, da_f, inside, 1, H, PRECISION)
            store_gate(gates, here, unit, da_g, inside, 2, H, PRECISION)
            store_gate(gates, here, unit, da_o, inside, 3, H, PRECISION)
            tl.debug_barrier()  # no thread may still be reading what others now replace
            store_state(carried_cell, row, unit, dc, inside, H, PRECISION)
            if weight_peephole is not None:
                add_to_sums(sums, 0, da_i * c_before, unit, H)
                add_to_sums(sums, 1, da_f * c_before, unit, H)
                add_to_sums(sums, 2, da_o * c, unit, H)
            if initial_cell is not None:
                if step == 0:
                    add_to_sums(sums, 3, dc, unit, H)
        tl.debug_barrier()
        if step > 0:
            for start in range(0, H, UNITS):
                unit = start + tl.arange(0, UNITS)
                inside = valid[:, None] & (unit < H)[None, :]
                dh = hidden_gradient(gates, weight_hh, here, unit, valid, H, PRECISION, ROWS, UNITS, INNER)
                store_state(carried_hidden, row, unit, dh, inside, H, PRECISION)
        tl.debug_barrier()
