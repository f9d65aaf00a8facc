"""The forward and the backward pass of resident windows in one kernel, for windows of few frames.

The gates and cell states of all steps stay on the chip, in registers: only the gradients of the gates and the hidden
states are written, which the products for the gradients of the weights read. Steps are unrolled, and the same weights
in shared memory serve both passes.

Products are transposed, as by :func:`transposed_product` in :mod:`cell`.
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
    product,
    rounded,
    state_gradient,
    state_tile,
    store_beside,
    store_gates,
    store_state,
    unpack,
    vector,
    window_rows,
)
from convrnn.ops.triton.kernels.resident import SIZES

# In the products, all gates are stacked, each padded to UNITS rows: [4 * UNITS, ..]. So a step needs one product with
# the weights and, in the backward pass, one with their transpose, for which the compiler reads the same shared memory.


@triton.jit
def _stacked(H: tl.constexpr, UNITS: tl.constexpr):
    """The numbers of all gates' units among ``4 * H``, and whether they exist, ``[4 * UNITS]``."""
    row = tl.arange(0, 4 * UNITS)
    unit = row % UNITS
    return row // UNITS * H + unit, unit < H


@triton.jit
def _stacked_weights(weight, inner, H: tl.constexpr, DEPTH: tl.constexpr, UNITS: tl.constexpr):
    """Weights ``[4 * H, DEPTH]`` as ``[4 * UNITS, inner]``."""
    row, exists = _stacked(H, UNITS)
    at = weight + row[:, None] * DEPTH + inner[None, :]
    return tl.load(at, mask=exists[:, None] & (inner < DEPTH)[None, :], other=0.0)


@triton.jit
def _stacked_vector(source, H: tl.constexpr, UNITS: tl.constexpr):
    """A vector ``[4 * H]`` as ``[4 * UNITS, 1]``; zeros if it is None."""
    row, exists = _stacked(H, UNITS)
    if source is None:
        return tl.zeros((4 * UNITS, 1), tl.float32)
    else:
        return tl.load(source + row, mask=exists, other=0.0).to(tl.float32)[:, None]


@triton.jit
def _split(stacked, ROWS: tl.constexpr, UNITS: tl.constexpr):
    """``[4 * UNITS, rows]`` to the four gates ``[rows, units]``."""
    gates = tl.permute(tl.reshape(stacked, (4, UNITS, ROWS)), (2, 1, 0))
    even, odd = tl.split(tl.reshape(gates, (ROWS, UNITS, 2, 2)))
    i, g = tl.split(even)
    f, o = tl.split(odd)
    return i, f, g, o


@triton.jit
def _stack(i, f, g, o, ROWS: tl.constexpr, UNITS: tl.constexpr):
    """The inverse of :func:`_split`."""
    gates = tl.reshape(tl.join(tl.join(i, g), tl.join(f, o)), (ROWS, UNITS, 4))
    return tl.reshape(tl.permute(gates, (2, 1, 0)), (4 * UNITS, ROWS))


@triton.jit
def _input(
    wx,
    x,
    v,
    bias,
    at,
    frame,
    valid,
    FEATURES: tl.constexpr,
    H: tl.constexpr,
    PRECISION: tl.constexpr,
    ROWS: tl.constexpr,
    UNITS: tl.constexpr,
    INPUTS: tl.constexpr,
):
    """All gates' input projections in a step, stacked: read, or computed from the frames."""
    if wx is not None:
        row, exists = _stacked(H, UNITS)
        here = wx + (frame + at)[None, :] * (4 * H) + row[:, None]
        return tl.load(here, mask=exists[:, None] & valid[None, :], other=0.0).to(tl.float32)
    else:
        u = frame_tile(x, at, frame, valid, FEATURES, INPUTS)
        return product(v, tl.trans(u), tl.zeros((4 * UNITS, ROWS), tl.float32) + bias, PRECISION)


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
    v = _stacked_weights(weight_ih, feature, H, FEATURES, UNITS) if wx is None else None
    w = _stacked_weights(weight_hh, unit, H, H, UNITS)
    stacked_bias = _stacked_vector(bias, H, UNITS)
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
                a = _input(wx, x, v, stacked_bias, at, frame, valid, FEATURES, H, PRECISION, ROWS, UNITS, INPUTS)
                if step > 0:
                    a = product(w, tl.trans(operand), a, PRECISION)
                elif first is not None:
                    a += _stacked_vector(first, H, UNITS)
                a_i, a_f, a_g, a_o = _split(a, ROWS, UNITS)
                i, f, g, c = next_cell(a_i, a_f, a_g, c, weight_peephole, unit, H, PRECISION)
                o = nothing
                if step < HIDDEN_STEPS:
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
                    da_i, da_f = rounded(da_i, dtype, PRECISION), rounded(da_f, dtype, PRECISION)
                    da_g, da_o = rounded(da_g, dtype, PRECISION), rounded(da_o, dtype, PRECISION)
                    da = _stack(da_i, da_f, da_g, da_o, ROWS, UNITS)
                    dh = tl.trans(product(tl.trans(w), da, tl.zeros((UNITS, ROWS), tl.float32), PRECISION))
            if weight_peephole is not None:
                add_to_sums(sums, 0, tl.sum(sum_i, 0), unit, H)
                add_to_sums(sums, 1, tl.sum(sum_f, 0), unit, H)
                add_to_sums(sums, 2, tl.sum(sum_o, 0), unit, H)
            if initial_cell is not None:
                add_to_sums(sums, 3, tl.sum(dc, 0), unit, H)
        tile += tl.num_programs(0)
