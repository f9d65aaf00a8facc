"""Whole sequences: programs share the sequences and the units, and wait for each other between steps.

The third axis of the programs is the direction, in which all tensors but the lengths have a first axis. A launch takes
the steps from ``begin`` to ``end``; more than one step only if all programs run at the same time.
"""

import triton
import triton.language as tl

from convrnn.ops.triton.kernels.cell import (
    add_peepholes_to_sums,
    add_to_sums,
    cell_gradient,
    four_gates,
    four_weight_tiles,
    gate_tile,
    next_cell,
    next_hidden,
    output_gradient,
    product,
    recurrent_tile,
    state_tile,
    store_gates,
    store_state,
    vector,
)

# The kernels are not recompiled for other values of these.
_SIZES = ["batch", "frames", "begin", "end", "reverse"]


@triton.jit
def _lengths_of_rows(lengths, batch, frames, ROWS: tl.constexpr):
    """This program's rows, and the number of frames of each; 0 if there is no such sequence."""
    row = tl.program_id(0).to(tl.int64) * ROWS + tl.arange(0, ROWS)
    length = tl.zeros((ROWS,), tl.int64) + frames
    if lengths is not None:
        length = tl.minimum(tl.load(lengths + row, mask=row < batch, other=0), frames)
    return row, tl.where(row < batch, length, 0)


@triton.jit
def _frame_of(step, length, backwards):
    """The frame of a step: from the first on or, ``backwards``, from each sequence's last on."""
    return tl.where(backwards == 1, length - 1 - step, step)


@triton.jit
def _arrive(arrived):
    """Signal to the programs with the same rows and direction that this one's step is written."""
    tl.debug_barrier()
    tl.atomic_add(arrived + tl.program_id(0), 1, sem="release", scope="gpu")


@triton.jit
def _wait(arrived, steps):
    """Wait until all programs with the same rows and direction have written this many steps."""
    count = tl.atomic_add(arrived + tl.program_id(0), 0, sem="acquire", scope="gpu")
    while count < steps * tl.num_programs(1):
        count = tl.atomic_add(arrived + tl.program_id(0), 0, sem="acquire", scope="gpu")


@triton.jit
def _shared_tile(source, row, unit, inside, PITCH: tl.constexpr):
    """As :func:`state_tile`, for data of other programs: bypasses the cache of this multiprocessor."""
    at = source + (row[:, None] * PITCH + unit[None, :])
    return tl.load(at, mask=inside, other=0.0, cache_modifier=".cg")


@triton.jit(do_not_specialize=_SIZES)
def forward(
    wx,
    weight_hh,
    first,
    weight_peephole,
    initial_cell,
    lengths,
    hidden,
    cell,
    arrived,
    batch,
    frames,
    begin,
    end,
    reverse,
    H: tl.constexpr,
    PRECISION: tl.constexpr,
    ROWS: tl.constexpr,
    UNITS: tl.constexpr,
    INNER: tl.constexpr,
):
    """Steps of every sequence that is long enough; backwards from its own last frame if ``reverse``.

    Args:
        wx: Projections with the bias, ``[directions, batch, frames, 4 * H]``.
        weight_hh: Transposed, a unit's gates side by side: ``[directions, H, H, 4]``.
        first: Product of the recurrent weights and the initial hidden state ``[directions, 4 * H]``; None is zeros.
        weight_peephole: ``[directions, 3, H]`` or None.
        initial_cell: ``[directions, H]`` or None.
        lengths: Frames of each sequence, or None.
        hidden: Filled with the states ``[directions, batch, frames, H]``; those of the step before ``begin`` are there
            already.
        cell: Likewise, float32.
        arrived: Zeros, int32, for each direction and tile of rows: how many steps its programs have written.
        reverse: Whether the first direction goes backwards; a second one is the opposite of the first.
    """
    direction = tl.program_id(2).to(tl.int64)
    backwards = (direction + reverse) % 2
    states = direction * batch * frames * H
    wx += 4 * states
    hidden += states
    cell += states
    weight_hh += direction * 4 * H * H
    arrived += direction * tl.num_programs(0)
    if first is not None:
        first += direction * 4 * H
    if weight_peephole is not None:
        weight_peephole += direction * 3 * H
    if initial_cell is not None:
        initial_cell += direction * H
    row, length = _lengths_of_rows(lengths, batch, frames, ROWS)
    block = tl.program_id(1) * UNITS
    unit = block + tl.arange(0, UNITS)
    # The interpreter does not support ranges between arguments.
    step = begin
    while step < end:
        valid = step < length
        inside = valid[:, None] & (unit < H)[None, :]
        here = row * frames + _frame_of(step, length, backwards)
        before = here - 1 + 2 * backwards
        a_i = gate_tile(wx, here, unit, inside, 0, H)
        a_f = gate_tile(wx, here, unit, inside, 1, H)
        a_g = gate_tile(wx, here, unit, inside, 2, H)
        a_o = gate_tile(wx, here, unit, inside, 3, H)
        c = state_tile(cell, before, unit, inside & (step > 0), H)
        if step > begin:
            _wait(arrived, step - begin)
        total = tl.zeros((ROWS, 4 * UNITS), tl.float32)
        for k in range(0, H if step > 0 else 0, INNER):
            inner = k + tl.arange(0, INNER)
            h_before = _shared_tile(hidden, before, inner, valid[:, None] & (inner < H)[None, :], H)
            total = product(h_before, four_weight_tiles(weight_hh, inner, block, H, UNITS), total, PRECISION)
        total_i, total_f, total_g, total_o = four_gates(total, ROWS, UNITS)
        a_i += total_i
        a_f += total_f
        a_g += total_g
        a_o += total_o
        if step == 0:
            if first is not None:
                a_i += vector(first, 0, unit, H)
                a_f += vector(first, 1, unit, H)
                a_g += vector(first, 2, unit, H)
                a_o += vector(first, 3, unit, H)
            if initial_cell is not None:
                c += vector(initial_cell, 0, unit, H)
        _, _, _, c = next_cell(a_i, a_f, a_g, c, weight_peephole, unit, H, PRECISION)
        _, h = next_hidden(a_o, c, weight_peephole, unit, H, PRECISION)
        store_state(hidden, here, unit, h, inside, H, PRECISION)
        store_state(cell, here, unit, c, inside, H, PRECISION)
        step += 1
        if step < end:
            _arrive(arrived)


@triton.jit(do_not_specialize=_SIZES)
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
    arrived,
    batch,
    frames,
    begin,
    end,
    reverse,
    H: tl.constexpr,
    PRECISION: tl.constexpr,
    ROWS: tl.constexpr,
    UNITS: tl.constexpr,
    INNER: tl.constexpr,
):
    """Gradients of the four pre-activations in the steps, the last step first.

    Args as for :func:`forward`, except:
        weight_hh: As usual, ``[directions, 4 * H, H]``.
        grad_hidden: Gradient of the hidden states ``[directions, batch, frames, H]``, or None.
        grad_cell: Gradient of the cell states, or None.
        gates: The pre-activations ``[directions, batch, frames, 4 * H]``, which their gradients overwrite.
        carried: Gradient of the cell states, carried from one step to the one before it, float32 ``[directions, batch,
            H]``.
        sums: Gradients of ``weight_peephole`` and ``initial_cell``, to which each program adds its own, ``[directions,
            programs, 4, H]``; None if there is neither.
    """
    direction = tl.program_id(2).to(tl.int64)
    backwards = (direction + reverse) % 2
    states = direction * batch * frames * H
    cell += states
    gates += 4 * states
    carried += direction * batch * H
    weight_hh += direction * 4 * H * H
    arrived += direction * tl.num_programs(0)
    if grad_hidden is not None:
        grad_hidden += states
    if grad_cell is not None:
        grad_cell += states
    if weight_peephole is not None:
        weight_peephole += direction * 3 * H
    if initial_cell is not None:
        initial_cell += direction * H
    if sums is not None:
        sums += direction * tl.num_programs(0) * 4 * H
    row, length = _lengths_of_rows(lengths, batch, frames, ROWS)
    unit = tl.program_id(1) * UNITS + tl.arange(0, UNITS)
    known = (unit < H)[None, :]
    step = end - 1
    while step >= begin:
        valid, goes_on = step < length, step + 1 < length
        inside = valid[:, None] & known
        here = row * frames + _frame_of(step, length, backwards)
        before, after = here - 1 + 2 * backwards, here + 1 - 2 * backwards
        c = state_tile(cell, here, unit, inside, H)
        c_before = state_tile(cell, before, unit, inside & (step > 0), H)
        if initial_cell is not None:
            if step == 0:
                c_before += vector(initial_cell, 0, unit, H)
        a_i = gate_tile(gates, here, unit, inside, 0, H)
        a_f = gate_tile(gates, here, unit, inside, 1, H)
        a_g = gate_tile(gates, here, unit, inside, 2, H)
        a_o = gate_tile(gates, here, unit, inside, 3, H)
        i, f, g, _ = next_cell(a_i, a_f, a_g, c_before, weight_peephole, unit, H, PRECISION)
        o, _ = next_hidden(a_o, c, weight_peephole, unit, H, PRECISION)
        dc = state_tile(carried, row, unit, goes_on[:, None] & known, H)
        if grad_cell is not None:
            dc += state_tile(grad_cell, here, unit, inside, H).to(tl.float32)
        if step + 1 < end:
            _wait(arrived, end - 1 - step)
        # Separate sums, so that no product has to wait for another.
        dh = tl.zeros((ROWS, UNITS), tl.float32)
        dh_f, dh_g, dh_o = dh, dh, dh
        for k in range(0, H, INNER):
            inner = k + tl.arange(0, INNER)
            read = goes_on[:, None] & (inner < H)[None, :]
            da = _shared_tile(gates, after, inner, read, 4 * H)
            dh = product(da, recurrent_tile(weight_hh, 0, inner, unit, H), dh, PRECISION)
            da = _shared_tile(gates + H, after, inner, read, 4 * H)
            dh_f = product(da, recurrent_tile(weight_hh, 1, inner, unit, H), dh_f, PRECISION)
            da = _shared_tile(gates + 2 * H, after, inner, read, 4 * H)
            dh_g = product(da, recurrent_tile(weight_hh, 2, inner, unit, H), dh_g, PRECISION)
            da = _shared_tile(gates + 3 * H, after, inner, read, 4 * H)
            dh_o = product(da, recurrent_tile(weight_hh, 3, inner, unit, H), dh_o, PRECISION)
        dh = (dh + dh_f) + (dh_g + dh_o)
        if grad_hidden is not None:
            dh += state_tile(grad_hidden, here, unit, inside, H).to(tl.float32)
        da_o, dc = output_gradient(o, c, weight_peephole, unit, dh, dc, H, PRECISION)
        da_i, da_f, da_g, dc = cell_gradient(i, f, g, c_before, weight_peephole, unit, dc, H)
        tl.debug_barrier()  # no thread may still be reading what others now overwrite
        store_gates(gates, here, unit, da_i, da_f, da_g, da_o, inside, H, PRECISION)
        store_state(carried, row, unit, dc, inside, H, PRECISION)
        if weight_peephole is not None:
            add_peepholes_to_sums(sums, da_i, da_f, da_o, c_before, c, unit, H)
        if initial_cell is not None:
            if step == 0:
                add_to_sums(sums, 3, tl.sum(dc, 0), unit, H)
        step -= 1
        if step >= begin:
            _arrive(arrived)
