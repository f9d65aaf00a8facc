"""The forward and the backward pass of resident windows in one kernel, for windows of few frames.

The gates and cell states of all steps stay on the chip, in registers: only the gradients of the gates and the hidden
states are written, which the products for the gradients of the weights read. Steps are unrolled, and the same weights
in shared memory serve both passes.
"""

import triton
import triton.language as tl

from convrnn.ops.triton.kernels.cell import (
    add_to_sums,
    any_of,
    cell_gradient,
    combine,
    frame_tile,
    largest_gradient,
    next_cell,
    next_hidden,
    output_gradient,
    pack,
    recurrent_tile,
    rounded,
    state_gradient,
    state_tile,
    store_beside,
    store_gates,
    store_state,
    transposed_product,
    unpack,
    vector,
    weight_tile,
    window_rows,
)
from convrnn.ops.triton.kernels.resident import SIZES, gate_input


@triton.jit
def _pre_activation(
    wx,
    u,
    v,
    bias,
    first,
    operand,
    w,
    at,
    frame,
    unit,
    inside,
    STEP: tl.constexpr,
    GATE: tl.constexpr,
    H: tl.constexpr,
    PRECISION: tl.constexpr,
    ROWS: tl.constexpr,
    UNITS: tl.constexpr,
):
    """A gate's pre-activation in a step, without what the peephole adds."""
    a = gate_input(wx, u, v, bias, at, frame, unit, inside, GATE, H, PRECISION, True, ROWS, UNITS)
    if STEP > 0:
        a = transposed_product(operand, tl.trans(w), a, PRECISION)
    elif first is not None:
        a += vector(first, GATE, unit, H)
    return a


@triton.jit
def _product_of_gradients(da_i, da_f, da_g, da_o, w_i, w_f, w_g, w_o, dtype: tl.constexpr, PRECISION: tl.constexpr):
    """Gradient of the hidden state before a step from those of its pre-activations; None is zero."""
    dh = transposed_product(rounded(da_i, dtype, PRECISION), w_i, tl.zeros_like(da_i), PRECISION)
    dh = transposed_product(rounded(da_f, dtype, PRECISION), w_f, dh, PRECISION)
    dh = transposed_product(rounded(da_g, dtype, PRECISION), w_g, dh, PRECISION)
    if da_o is not None:
        dh = transposed_product(rounded(da_o, dtype, PRECISION), w_o, dh, PRECISION)
    return dh


@triton.jit(do_not_specialize=SIZES)
def backward(
    wx,
    x,
    weight_ih,
    bias,
    weight_hh,
    first,
    weight_peephole,
    initial_cell,
    lengths,
    grad,
    gates,
    hidden,
    sums,
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
):
    """Gradients of the four pre-activations in every step, and the hidden states before it.

    Args as for :func:`resident.forward` and :func:`resident.backward`, and:
        gates: Filled with the gradients.
        hidden: Filled with the hidden states before every step, and zeros before the first, ``[.., rows, PITCH]``.
        BESIDE: A power of 2, at least ``PITCH - H``, if frames are written beside the hidden states, and a 1 in every
            column that is left; 0 if not, and then nothing is written before the first step.
    """
    row, unit, feature = tl.arange(0, ROWS), tl.arange(0, UNITS), tl.arange(0, INPUTS)
    every_row = rows.to(tl.int64)
    dtype: tl.constexpr = weight_hh.dtype.element_ty
    v_i = weight_tile(weight_ih, 0, feature, unit, H, FEATURES) if wx is None else None
    v_f = weight_tile(weight_ih, 1, feature, unit, H, FEATURES) if wx is None else None
    v_g = weight_tile(weight_ih, 2, feature, unit, H, FEATURES) if wx is None else None
    v_o = weight_tile(weight_ih, 3, feature, unit, H, FEATURES) if wx is None else None
    w_i = recurrent_tile(weight_hh, 0, unit, unit, H)
    w_f = recurrent_tile(weight_hh, 1, unit, unit, H)
    w_g = recurrent_tile(weight_hh, 2, unit, unit, H)
    w_o = recurrent_tile(weight_hh, 3, unit, unit, H)
    nothing = tl.zeros((ROWS, UNITS), tl.float32)
    tile = tl.program_id(0)
    while tile < tiles:
        start, frame, valid = window_rows(
            tile, lengths, rows, windows, stride, sequence_frames, window_frames, KERNEL_SIZE, ROWS
        )
        if any_of(valid, ROWS):
            inside = valid[:, None] & (unit < H)[None, :]
            c = nothing + vector(initial_cell, 0, unit, H)
            operand = rounded(nothing, dtype, PRECISION)
            total, ties = nothing, nothing
            cells, kept = (c,), ()
            for step in tl.static_range(KERNEL_SIZE):
                here = step * every_row + start
                at = tl.zeros((), tl.int64) + frame_first + step * frame_step
                if BESIDE > 0:
                    beside = hidden + here * PITCH
                    store_beside(beside, x, at, frame, row, valid, FEATURES, H, PITCH, BESIDE, PRECISION)
                if BESIDE > 0 or step > 0:
                    store_state(hidden + here * PITCH, row, unit, operand, inside, PITCH, PRECISION)
                u = frame_tile(x, at, frame, valid, FEATURES, INPUTS) if wx is None else None
                a_i = _pre_activation(
                    wx, u, v_i, bias, first, operand, w_i, at, frame, unit, inside, step, 0, H, PRECISION, ROWS, UNITS
                )
                a_f = _pre_activation(
                    wx, u, v_f, bias, first, operand, w_f, at, frame, unit, inside, step, 1, H, PRECISION, ROWS, UNITS
                )
                a_g = _pre_activation(
                    wx, u, v_g, bias, first, operand, w_g, at, frame, unit, inside, step, 2, H, PRECISION, ROWS, UNITS
                )
                i, f, g, c = next_cell(a_i, a_f, a_g, c, weight_peephole, unit, H, PRECISION)
                o = nothing
                if step < HIDDEN_STEPS:
                    a_o = _pre_activation(
                        wx,
                        u,
                        v_o,
                        bias,
                        first,
                        operand,
                        w_o,
                        at,
                        frame,
                        unit,
                        inside,
                        step,
                        3,
                        H,
                        PRECISION,
                        ROWS,
                        UNITS,
                    )
                    o, h = next_hidden(a_o, c, weight_peephole, unit, H, PRECISION)
                    operand = rounded(h, dtype, PRECISION)
                if REDUCE == "max":
                    state = c if SEQUENCE == "cell" else operand.to(tl.float32)
                    if step == 0:
                        total, ties = state, tl.full((ROWS, UNITS), 1.0, tl.float32)
                    else:
                        total, ties = combine(total, ties, state, REDUCE)
                cells += (c,)
                kept += ((pack(i, f, dtype, PRECISION), pack(g, o, dtype, PRECISION), operand),)

            own_grad = grad + start * (KERNEL_SIZE * H if REDUCE == "none" else H)
            dh, dc = nothing, nothing
            sum_i, sum_f, sum_o = nothing, nothing, nothing
            if REDUCE == "last":
                if SEQUENCE == "cell":
                    dc = state_tile(own_grad, row, unit, inside, H).to(tl.float32)
                else:
                    dh = state_tile(own_grad, row, unit, inside, H).to(tl.float32)
            for step in tl.static_range(KERNEL_SIZE - 1, -1, -1):
                i, f = unpack(kept[step][0], PRECISION)
                g, o = unpack(kept[step][1], PRECISION)
                c_before, c = cells[step], cells[step + 1]
                if REDUCE != "last":
                    if REDUCE == "max":
                        state = c if SEQUENCE == "cell" else kept[step][2]
                        extra = largest_gradient(state_tile(own_grad, row, unit, inside, H), state, total, ties)
                    else:
                        at = y_first + step * y_step
                        extra = state_gradient(
                            own_grad, None, every_row, row, unit, c, at, inside, KERNEL_SIZE, H, REDUCE
                        )
                    if SEQUENCE == "cell":
                        dc += extra
                    else:
                        dh += extra
                da_o = nothing
                if step < HIDDEN_STEPS:
                    da_o, dc = output_gradient(o, c, weight_peephole, unit, dh, dc, H, PRECISION)
                da_i, da_f, da_g, dc = cell_gradient(i, f, g, c_before, weight_peephole, unit, dc, H)
                if weight_peephole is not None:
                    sum_i += da_i * c_before
                    sum_f += da_f * c_before
                    sum_o += da_o * c
                own_gates = gates + (step * every_row + start) * (4 * H)
                store_gates(own_gates, row, unit, da_i, da_f, da_g, da_o, inside, H, PRECISION)
                if step > 0:
                    da_o = da_o if step < HIDDEN_STEPS else None
                    dh = _product_of_gradients(da_i, da_f, da_g, da_o, w_i, w_f, w_g, w_o, dtype, PRECISION)
            if weight_peephole is not None:
                add_to_sums(sums, 0, tl.sum(sum_i, 0), unit, H)
                add_to_sums(sums, 1, tl.sum(sum_f, 0), unit, H)
                add_to_sums(sums, 2, tl.sum(sum_o, 0), unit, H)
            if initial_cell is not None:
                add_to_sums(sums, 3, tl.sum(dc, 0), unit, H)
        tile += tl.num_programs(0)
