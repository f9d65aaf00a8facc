"""Whole sequences: one launch for every step, whose programs share the sequences and the units among them."""

import triton
import triton.language as tl

from convrnn.ops.triton.kernels.cell import (
    add_to_sums,
    cell_gradient,
    gate_tile,
    hidden_gradient,
    next_cell,
    next_hidden,
    output_gradient,
    product,
    state_tile,
    store_gate,
    store_state,
    vector,
    weight_tile,
)


@triton.jit
def _frames_of_step(lengths, batch, frames, step, REVERSE: tl.constexpr, ROWS: tl.constexpr):
    """This program's rows, which of them have this step and which the next, and their frame in ``[batch * frames]``."""
    row = tl.program_id(0).to(tl.int64) * ROWS + tl.arange(0, ROWS)
    length = tl.zeros((ROWS,), tl.int64) + frames
    if lengths is not None:
        length = tl.load(lengths + row, mask=row < batch, other=0)
    there = row < batch
    frame = length - 1 - step if REVERSE else step
    return row, there & (step < length), there & (step + 1 < length), row * frames + frame


@triton.jit(do_not_specialize=["batch", "frames", "step"])
def forward(
    wx,
    weight_hh,
    first,
    weight_peephole,
    initial_cell,
    lengths,
    hidden,
    cell,
    batch,
    frames,
    step,
    H: tl.constexpr,
    REVERSE: tl.constexpr,
    PRECISION: tl.constexpr,
    ROWS: tl.constexpr,
    UNITS: tl.constexpr,
    INNER: tl.constexpr,
):
    """One step of every sequence that has so many; backwards from its own last frame where ``REVERSE``.

    Args:
        wx: Projections with the bias, ``[batch, frames, 4 * H]``.
        weight_hh: ``[4 * H, H]``.
        first: Product of the recurrent weights and the initial hidden state ``[4 * H]``; None is zeros.
        weight_peephole: ``[3, H]`` or None.
        initial_cell: ``[H]`` or None.
        lengths: Frames of each sequence, or None.
        hidden: Takes the states ``[batch, frames, H]``; those of the step before are there.
        cell: Likewise, float32.
    """
    _, valid, _, here = _frames_of_step(lengths, batch, frames, step, REVERSE, ROWS)
    before = here + 1 if REVERSE else here - 1
    unit = tl.program_id(1) * UNITS + tl.arange(0, UNITS)
    inside = valid[:, None] & (unit < H)[None, :]
    a_i = gate_tile(wx, here, unit, inside, 0, H)
    a_f = gate_tile(wx, here, unit, inside, 1, H)
    a_g = gate_tile(wx, here, unit, inside, 2, H)
    a_o = gate_tile(wx, here, unit, inside, 3, H)
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
    store_state(hidden, here, unit, h, inside, H, PRECISION)
    store_state(cell, here, unit, c, inside, H, PRECISION)


@triton.jit(do_not_specialize=["batch", "frames", "step"])
def backward(
    grad_hidden,
    grad_cell,
    weight_hh,
    weight_peephole,
    initial_cell,
    lengths,
    cell,
    gates,
    carried,
    sums,
    batch,
    frames,
    step,
    H: tl.constexpr,
    REVERSE: tl.constexpr,
    PRECISION: tl.constexpr,
    ROWS: tl.constexpr,
    UNITS: tl.constexpr,
    INNER: tl.constexpr,
):
    """Gradients of the four gates' sums in one step, from those of the step after it.

    Args as of :func:`forward`, and:
        grad_hidden: Gradient of the hidden states ``[batch, frames, H]``, or None.
        grad_cell: Of the cell states, or None.
        gates: The gates' sums ``[batch, frames, 4 * H]``, of which their gradients take the place.
        carried: Gradient of the cell states that goes from one step to the one before it, float32 ``[batch, H]``.
        sums: Gradients of ``weight_peephole`` and ``initial_cell``, to which each program adds its own, ``[programs, 4,
            H]``; None where there is neither.
    """
    row, valid, goes_on, here = _frames_of_step(lengths, batch, frames, step, REVERSE, ROWS)
    before, after = (here + 1, here - 1) if REVERSE else (here - 1, here + 1)
    unit = tl.program_id(1) * UNITS + tl.arange(0, UNITS)
    known = (unit < H)[None, :]
    inside = valid[:, None] & known
    dh = hidden_gradient(gates, weight_hh, after, unit, goes_on, H, PRECISION, ROWS, UNITS, INNER)
    dc = state_tile(carried, row, unit, goes_on[:, None] & known, H)
    if grad_hidden is not None:
        dh += state_tile(grad_hidden, here, unit, inside, H).to(tl.float32)
    if grad_cell is not None:
        dc += state_tile(grad_cell, here, unit, inside, H).to(tl.float32)
    c = state_tile(cell, here, unit, inside, H)
    c_before = state_tile(cell, before, unit, tl.where(step > 0, inside, False), H)
    c_before += tl.where(step == 0, vector(initial_cell, 0, unit, H), 0.0)
    a_i = gate_tile(gates, here, unit, inside, 0, H)
    a_f = gate_tile(gates, here, unit, inside, 1, H)
    a_g = gate_tile(gates, here, unit, inside, 2, H)
    a_o = gate_tile(gates, here, unit, inside, 3, H)
    da_o, dc = output_gradient(a_o, c, weight_peephole, unit, dh, dc, H)
    da_i, da_f, da_g, dc = cell_gradient(a_i, a_f, a_g, c_before, weight_peephole, unit, dc, H)
    tl.debug_barrier()  # no thread may still be reading what others now replace
    store_gate(gates, here, unit, da_i, inside, 0, H, PRECISION)
    store_gate(gates, here, unit, da_f, inside, 1, H, PRECISION)
    store_gate(gates, here, unit, da_g, inside, 2, H, PRECISION)
    store_gate(gates, here, unit, da_o, inside, 3, H, PRECISION)
    store_state(carried, row, unit, dc, inside, H, PRECISION)
    if weight_peephole is not None:
        add_to_sums(sums, 0, da_i * c_before, unit, H)
        add_to_sums(sums, 1, da_f * c_before, unit, H)
        add_to_sums(sums, 2, da_o * c, unit, H)
    if initial_cell is not None:
        if step == 0:
            add_to_sums(sums, 3, dc, unit, H)
