"""Shared parts of the kernels: activations, one step of the LSTM and its gradient, and access to tiles.

States, pre-activations and gates are float32, whatever the dtype of the operands. A tile is ``[rows, units]``; a row is
one window or one sequence. Weights, projections and gate gradients store the gates i, f, g, o side by side, ``4 * H``
numbers per row.
"""

import triton
import triton.language as tl


@triton.jit
def sigmoid(x, PRECISION: tl.constexpr):
    """``1 / (1 + exp(-x))``; to 11 bits if ``PRECISION`` is "bf16"."""
    if PRECISION == "bf16":
        return 0.5 * tanh(0.5 * x, PRECISION) + 0.5
    else:
        return 1.0 / (1.0 + tl.exp(-x))


@triton.jit
def tanh(x, PRECISION: tl.constexpr):
    """Accurate to three units in the last place of float32, even for small arguments; to 11 bits for "bf16"."""
    if PRECISION == "bf16":
        # One instruction of the GPU instead of an exponential and a reciprocal, as below.
        return tl.inline_asm_elementwise("tanh.approx.f32 $0, $1;", "=f,f", [x], tl.float32, is_pure=True, pack=1)
    else:
        # 1 - 2 / (exp(2x) + 1) cancels near 0; the minimax polynomial does not.
        z = x * x
        p = -5.13866015e-3 * z + 2.00919665e-2
        p = p * z - 5.35588587e-2
        p = p * z + 1.33291110e-1
        p = p * z - 3.33331902e-1
        return tl.where(z < 0.49, x + x * z * p, 1.0 - 2.0 / (tl.exp(2.0 * x) + 1.0))


@triton.jit
def rounded(x, dtype: tl.constexpr, PRECISION: tl.constexpr):
    """``x`` in another floating dtype, rounded to nearest, ties to even."""
    if PRECISION == "upcast" and dtype == tl.bfloat16:
        # The interpreter's conversion loses the carry into the exponent.
        bits = x.to(tl.float32).to(tl.uint32, bitcast=True)
        bits = (bits + 0x7FFF + ((bits >> 16) & 1)) & 0xFFFF0000
        x = bits.to(tl.float32, bitcast=True)
    return x.to(dtype)


@triton.jit
def product(a, b, total, PRECISION: tl.constexpr):
    """``total + a @ b``, summed in float32.

    ``PRECISION`` is that of float32 operands, "bf16", "fp16", or "upcast" for the interpreter.
    """
    if PRECISION == "upcast":
        # The interpreter would multiply the bit patterns of bfloat16.
        return tl.dot(a.to(tl.float32), b.to(tl.float32), total, input_precision="ieee")
    elif PRECISION == "bf16" or PRECISION == "fp16":
        return tl.dot(a, b, total)
    else:
        return tl.dot(a, b, total, input_precision=PRECISION)


@triton.jit
def next_cell(a_i, a_f, a_g, c, weight_peephole, unit, H: tl.constexpr, PRECISION: tl.constexpr):
    """Equations 3 to 5: three gates and the new cell state, from the pre-activations and the cell state before."""
    if weight_peephole is not None:
        a_i += vector(weight_peephole, 0, unit, H) * c
        a_f += vector(weight_peephole, 1, unit, H) * c
    i, f, g = sigmoid(a_i, PRECISION), sigmoid(a_f, PRECISION), tanh(a_g, PRECISION)
    return i, f, g, f * c + i * g


@triton.jit
def next_hidden(a_o, c, weight_peephole, unit, H: tl.constexpr, PRECISION: tl.constexpr):
    """Equations 6 and 7: the output gate and the hidden state, from its pre-activation and the new cell state."""
    if weight_peephole is not None:
        a_o += vector(weight_peephole, 2, unit, H) * c
    o = sigmoid(a_o, PRECISION)
    return o, o * tanh(c, PRECISION)


@triton.jit
def output_gradient(o, c, weight_peephole, unit, dh, dc, H: tl.constexpr, PRECISION: tl.constexpr):
    """Gradients of the output gate's pre-activation and of the new cell state, from those of both states."""
    t = tanh(c, PRECISION)
    da_o = dh * t * o * (1.0 - o)
    dc += dh * o * (1.0 - t * t)
    if weight_peephole is not None:
        dc += da_o * vector(weight_peephole, 2, unit, H)
    return da_o, dc


@triton.jit
def cell_gradient(i, f, g, c, weight_peephole, unit, dc, H: tl.constexpr):
    """Gradients of three pre-activations and of the cell state before, ``c``, from that of the new cell state."""
    da_i = dc * g * i * (1.0 - i)
    da_f = dc * c * f * (1.0 - f)
    da_g = dc * i * (1.0 - g * g)
    dc *= f
    if weight_peephole is not None:
        dc += da_i * vector(weight_peephole, 0, unit, H) + da_f * vector(weight_peephole, 1, unit, H)
    return da_i, da_f, da_g, dc


@triton.jit
def window_rows(
    tile,
    lengths,
    rows,
    windows,
    stride,
    sequence_frames,
    window_frames,
    KERNEL_SIZE: tl.constexpr,
    ROWS: tl.constexpr,
):
    """A tile's first row, and for each of its rows the start of its frames and whether they all exist."""
    start = tile.to(tl.int64) * ROWS
    row = start + tl.arange(0, ROWS)
    sequence, window = row // windows, row % windows
    valid = row < rows
    if lengths is not None:
        length = tl.load(lengths + sequence, mask=valid, other=0)
        valid = valid & (window * stride + KERNEL_SIZE <= length)
    return start, sequence * sequence_frames + window * window_frames, valid


@triton.jit
def choose(forward, backward, DIRECTIONS: tl.constexpr):
    """A parameter of this program's direction, by its number among the programs of axis 1."""
    if DIRECTIONS == 1:
        return forward
    else:
        return tl.where(tl.program_id(1) == 0, forward, backward)


@triton.jit
def of_direction(source, size, DIRECTIONS: tl.constexpr):
    """The part of a tensor ``[DIRECTIONS, ..]`` that belongs to this program's direction, each of ``size`` numbers."""
    if DIRECTIONS == 1:
        return source
    else:
        return source + tl.program_id(1).to(tl.int64) * size


@triton.jit
def frame_order(first, step, KERNEL_SIZE: tl.constexpr, DIRECTIONS: tl.constexpr):
    """Position in the window of this direction's first frame, and the offset from a frame to the next one.

    With one direction, the arguments; of two, the second goes from the last frame to the first.
    """
    if DIRECTIONS == 1:
        return first, step
    else:
        return tl.program_id(1) * (KERNEL_SIZE - 1), 1 - 2 * tl.program_id(1)


# If a tile's rows are contiguous in memory, `row` below is their index in the tile and the source is the tile's first
# row: the compiler then knows every thread's offsets, and they take no registers.


@triton.jit
def gate_tile(source, row, unit, inside, GATE: tl.constexpr, H: tl.constexpr):
    """One gate's tile of ``[.., 4 * H]``."""
    at = source + GATE * H + (row[:, None] * (4 * H) + unit[None, :])
    return tl.load(at, mask=inside, other=0.0).to(tl.float32)


@triton.jit
def store_gate(target, row, unit, value, inside, GATE: tl.constexpr, H: tl.constexpr, PRECISION: tl.constexpr):
    """Write a tile that :func:`gate_tile` reads."""
    at = target + GATE * H + (row[:, None] * (4 * H) + unit[None, :])
    tl.store(at, rounded(value, target.dtype.element_ty, PRECISION), mask=inside)


@triton.jit
def store_gates(target, row, unit, i, f, g, o, inside, H: tl.constexpr, PRECISION: tl.constexpr):
    """Write all four gates' tiles."""
    store_gate(target, row, unit, i, inside, 0, H, PRECISION)
    store_gate(target, row, unit, f, inside, 1, H, PRECISION)
    store_gate(target, row, unit, g, inside, 2, H, PRECISION)
    store_gate(target, row, unit, o, inside, 3, H, PRECISION)


@triton.jit
def state_tile(source, row, unit, inside, H: tl.constexpr):
    """A tile of ``[.., H]``, in its dtype."""
    return tl.load(source + (row[:, None] * H + unit[None, :]), mask=inside, other=0.0)


@triton.jit
def store_state(target, row, unit, value, inside, H: tl.constexpr, PRECISION: tl.constexpr):
    """Write a tile that :func:`state_tile` reads."""
    at = target + (row[:, None] * H + unit[None, :])
    tl.store(at, rounded(value, target.dtype.element_ty, PRECISION), mask=inside)


@triton.jit
def frame_tile(x, at, frame, valid, FEATURES: tl.constexpr, INPUTS: tl.constexpr):
    """The frames of the rows at a step, ``[rows, INPUTS]``."""
    feature = tl.arange(0, INPUTS)
    inside = valid[:, None] & (feature < FEATURES)[None, :]
    # Added to the rows' own frames, so that the compiler keeps no address of every step in registers.
    return state_tile(x, frame + at, feature, inside, FEATURES)


@triton.jit
def store_beside(
    hidden,
    x,
    at,
    frame,
    row,
    valid,
    FEATURES: tl.constexpr,
    H: tl.constexpr,
    PITCH: tl.constexpr,
    BESIDE: tl.constexpr,
    PRECISION: tl.constexpr,
):
    """Write the frames of a step beside its hidden states, and then ones."""
    column = tl.arange(0, BESIDE)
    u = frame_tile(x, at, frame, valid, FEATURES, BESIDE)
    value = tl.where((column < FEATURES)[None, :], u.to(tl.float32), 1.0)
    store_state(hidden + H, row, column, value, valid[:, None] & (column < PITCH - H)[None, :], PITCH, PRECISION)


@triton.jit
def vector(source, number: tl.constexpr, unit, H: tl.constexpr):
    """A part of one of the parameters ``[.., H]`` for all rows, ``[1, units]``; zeros if it is None."""
    if source is None:
        return tl.zeros_like(unit).to(tl.float32)[None, :]
    else:
        return tl.load(source + number * H + unit, mask=unit < H, other=0.0).to(tl.float32)[None, :]


@triton.jit
def weight_tile(weight, GATE: tl.constexpr, inner, unit, H: tl.constexpr, DEPTH: tl.constexpr):
    """One gate's part of weights ``[4 * H, DEPTH]``, transposed: ``[inner, units]``."""
    at = weight + (GATE * H + unit)[None, :] * DEPTH + inner[:, None]
    return tl.load(at, mask=(inner < DEPTH)[:, None] & (unit < H)[None, :], other=0.0)


@triton.jit
def four_weight_tiles(weight_hh, inner, block, H: tl.constexpr, UNITS: tl.constexpr):
    """All gates' weights of the units starting at ``block``: ``[inner, units * 4]``, a unit's gates side by side.

    They are stored in this order, ``[H, H, 4]``: in another, threads would compete for banks of shared memory.
    """
    column = 4 * block + tl.arange(0, 4 * UNITS)
    at = weight_hh + inner[:, None] * (4 * H) + column[None, :]
    return tl.load(at, mask=(inner < H)[:, None] & (column < 4 * H)[None, :], other=0.0)


@triton.jit
def four_gates(x, ROWS: tl.constexpr, UNITS: tl.constexpr):
    """``[rows, units * 4]``, a unit's gates side by side, to the four gates."""
    even, odd = tl.split(tl.reshape(x, (ROWS, UNITS, 2, 2)))
    i, g = tl.split(even)
    f, o = tl.split(odd)
    return i, f, g, o


@triton.jit
def recurrent_tile(weight_hh, GATE: tl.constexpr, inner, unit, H: tl.constexpr):
    """One gate's recurrent weights, for gradients: ``[inner, units]``, with sums over the gate's units."""
    at = weight_hh + GATE * H * H + inner[:, None] * H + unit[None, :]
    return tl.load(at, mask=(inner < H)[:, None] & (unit < H)[None, :], other=0.0)


@triton.jit
def combine(total, ties, state, REDUCE: tl.constexpr):
    """Add a state to the reduction over a window, and for "max" to the number of states that are as large."""
    if REDUCE == "mean":
        return total + state, ties
    elif REDUCE == "max":
        ties = tl.where(state > total, 1.0, ties + tl.where(state == total, 1.0, 0.0))
        return tl.maximum(total, state, propagate_nan=tl.PropagateNan.ALL), ties
    else:
        return state, ties


@triton.jit
def state_gradient(
    grad,
    largest,
    rows,
    row,
    unit,
    state,
    position,
    inside,
    KERNEL_SIZE: tl.constexpr,
    H: tl.constexpr,
    REDUCE: tl.constexpr,
):
    """What the gradient of the result adds to that of one step's state; not for "last", which affects only one step.

    ``grad`` starts at the tile, as does, for "max", ``largest``, ``[2, rows, H]``: the largest state, and the number of
    states that are as large.
    """
    if REDUCE == "none":
        return state_tile(grad + position * H, row * KERNEL_SIZE, unit, inside, H).to(tl.float32)
    elif REDUCE == "mean":
        return state_tile(grad, row, unit, inside, H).to(tl.float32) / KERNEL_SIZE
    else:
        top = state_tile(largest, row, unit, inside, H)
        ties = state_tile(largest + rows * H, row, unit, inside, H)
        share = state_tile(grad, row, unit, inside, H).to(tl.float32) / tl.maximum(ties, 1.0)  # 0 outside
        return tl.where(state.to(tl.float32) == top, share, 0.0)


@triton.jit
def add_to_sums(sums, NUMBER: tl.constexpr, value, unit, H: tl.constexpr):
    """Add a tile's sum ``[units]`` to one of this program's own vectors ``[programs, 4, H]``."""
    at = sums + (tl.program_id(0) * 4 + NUMBER) * H + unit
    tl.store(at, tl.load(at, mask=unit < H, other=0.0) + value, mask=unit < H)


@triton.jit
def add_peepholes_to_sums(sums, da_i, da_f, da_o, c_before, c, unit, H: tl.constexpr):
    """Add a step's gradients of the three peepholes, summed over its rows."""
    add_to_sums(sums, 0, tl.sum(da_i * c_before, 0), unit, H)
    add_to_sums(sums, 1, tl.sum(da_f * c_before, 0), unit, H)
    add_to_sums(sums, 2, tl.sum(da_o * c, 0), unit, H)
