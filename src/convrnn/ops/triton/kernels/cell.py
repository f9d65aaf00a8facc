"""What the kernels share: the activations, one step of the LSTM and its gradient, and how tiles are read.

States, sums and gates are float32 whatever the operands are. A tile is ``[rows, units]``; a row is one window or one
sequence. Weights, projections and gate gradients keep the gates i, f, g, o side by side, ``4 * H`` numbers in a row.
"""

import triton
import triton.language as tl


@triton.jit
def sigmoid(x):
    """``1 / (1 + exp(-x))``."""
    return 1.0 / (1.0 + tl.exp(-x))


@triton.jit
def tanh(x):
    """Accurate to three units in the last place of float32, small arguments too."""
    # 1 - 2 / (exp(2x) + 1) cancels near 0; the polynomial, of least relative error there, does not.
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
        # The interpreter's own conversion loses the carry into the exponent.
        bits = x.to(tl.float32).to(tl.uint32, bitcast=True)
        bits = (bits + 0x7FFF + ((bits >> 16) & 1)) & 0xFFFF0000
        x = bits.to(tl.float32, bitcast=True)
    return x.to(dtype)


@triton.jit
def product(a, b, total, PRECISION: tl.constexpr):
    """``total + a @ b``, summed in float32; ``PRECISION`` is of float32 operands, or "upcast" for the interpreter."""
    if PRECISION == "upcast":
        # The interpreter multiplies bit patterns of bfloat16.
        return tl.dot(a.to(tl.float32), b.to(tl.float32), total, input_precision="ieee")
    else:
        return tl.dot(a, b, total, input_precision=PRECISION)


@triton.jit
def next_cell(a_i, a_f, a_g, c, weight_peephole, unit, H: tl.constexpr):
    """Equations 3 to 5: the cell state from three gates' sums and the cell state before."""
    if weight_peephole is not None:
        a_i += vector(weight_peephole, 0, unit, H) * c
        a_f += vector(weight_peephole, 1, unit, H) * c
    return sigmoid(a_f) * c + sigmoid(a_i) * tanh(a_g)


@triton.jit
def next_hidden(a_o, c, weight_peephole, unit, H: tl.constexpr):
    """Equations 6 and 7: the hidden state from the output gate's sum and the new cell state."""
    if weight_peephole is not None:
        a_o += vector(weight_peephole, 2, unit, H) * c
    return sigmoid(a_o) * tanh(c)


@triton.jit
def output_gradient(a_o, c, weight_peephole, unit, dh, dc, H: tl.constexpr):
    """Gradients of the output gate's sum and of the new cell state, from those of both states."""
    if weight_peephole is not None:
        a_o += vector(weight_peephole, 2, unit, H) * c
    o, t = sigmoid(a_o), tanh(c)
    da_o = dh * t * o * (1.0 - o)
    dc += dh * o * (1.0 - t * t)
    if weight_peephole is not None:
        dc += da_o * vector(weight_peephole, 2, unit, H)
    return da_o, dc


@triton.jit
def cell_gradient(a_i, a_f, a_g, c, weight_peephole, unit, dc, H: tl.constexpr):
    """Gradients of three gates' sums and of the cell state before, ``c``, from that of the new cell state."""
    if weight_peephole is not None:
        a_i += vector(weight_peephole, 0, unit, H) * c
        a_f += vector(weight_peephole, 1, unit, H) * c
    i, f, g = sigmoid(a_i), sigmoid(a_f), tanh(a_g)
    da_i = dc * g * i * (1.0 - i)
    da_f = dc * c * f * (1.0 - f)
    da_g = dc * i * (1.0 - g * g)
    dc *= f
    if weight_peephole is not None:
        dc += da_i * vector(weight_peephole, 0, unit, H) + da_f * vector(weight_peephole, 1, unit, H)
    return da_i, da_f, da_g, dc


@triton.jit
def window_rows(lengths, rows, windows, stride, KERNEL_SIZE: tl.constexpr, ROWS: tl.constexpr):
    """This program's rows, and for each its sequence, the window's number there, and whether its frames all exist."""
    row = tl.program_id(0).to(tl.int64) * ROWS + tl.arange(0, ROWS)
    sequence, window = row // windows, row % windows
    valid = row < rows
    if lengths is not None:
        length = tl.load(lengths + sequence, mask=valid, other=0)
        valid = valid & (window * stride + KERNEL_SIZE <= length)
    return row, sequence, window, valid


@triton.jit
def gate_tile(source, row, unit, inside, GATE: tl.constexpr, H: tl.constexpr):
    """One gate's tile of ``[.., 4 * H]``."""
    return tl.load(source + row[:, None] * (4 * H) + (GATE * H + unit)[None, :], mask=inside, other=0.0).to(tl.float32)


@triton.jit
def store_gate(target, row, unit, value, inside, GATE: tl.constexpr, H: tl.constexpr, PRECISION: tl.constexpr):
    """Write what :func:`gate_tile` reads."""
    at = target + row[:, None] * (4 * H) + (GATE * H + unit)[None, :]
    tl.store(at, rounded(value, target.dtype.element_ty, PRECISION), mask=inside)


@triton.jit
def state_tile(source, row, unit, inside, H: tl.constexpr):
    """A tile of ``[.., H]``, in its dtype."""
    return tl.load(source + row[:, None] * H + unit[None, :], mask=inside, other=0.0)


@triton.jit
def store_state(target, row, unit, value, inside, H: tl.constexpr, PRECISION: tl.constexpr):
    """Write what :func:`state_tile` reads."""
    at = target + row[:, None] * H + unit[None, :]
    tl.store(at, rounded(value, target.dtype.element_ty, PRECISION), mask=inside)


@triton.jit
def vector(source, number: tl.constexpr, unit, H: tl.constexpr):
    """A part of one of the parameters ``[.., H]`` for all rows, ``[1, units]``; zeros where it is None."""
    if source is None:
        return tl.zeros_like(unit).to(tl.float32)[None, :]
    else:
        return tl.load(source + number * H + unit, mask=unit < H, other=0.0).to(tl.float32)[None, :]


@triton.jit
def weight_tile(weight_hh, GATE: tl.constexpr, inner, unit, H: tl.constexpr):
    """One gate's recurrent weights, transposed: ``[inner, units]``."""
    at = weight_hh + (GATE * H + unit)[None, :] * H + inner[:, None]
    return tl.load(at, mask=(inner < H)[:, None] & (unit < H)[None, :], other=0.0)


@triton.jit
def hidden_gradient(
    gates,
    weight_hh,
    row,
    unit,
    valid,
    H: tl.constexpr,
    PRECISION: tl.constexpr,
    ROWS: tl.constexpr,
    UNITS: tl.constexpr,
    INNER: tl.constexpr,
):
    """Gradient of the hidden state before a step from those of the step's gates, which other threads may have written.

    A barrier has to stand between.
    """
    dh = tl.zeros((ROWS, UNITS), tl.float32)
    for k in range(0, 4 * H, INNER):
        inner = k + tl.arange(0, INNER)
        known = inner < 4 * H
        da = state_tile(gates, row, inner, valid[:, None] & known[None, :], 4 * H)
        at = weight_hh + inner[:, None] * H + unit[None, :]
        w = tl.load(at, mask=known[:, None] & (unit < H)[None, :], other=0.0)
        dh = product(da, w, dh, PRECISION)
    return dh


@triton.jit
def combine(total, state, REDUCE: tl.constexpr):
    """One more state in the reduction over a window."""
    if REDUCE == "mean":
        return total + state
    elif REDUCE == "max":
        return tl.maximum(total, state, propagate_nan=tl.PropagateNan.ALL)
    else:
        return state


@triton.jit
def state_gradient(
    grad,
    largest,
    row,
    unit,
    state,
    position,
    inside,
    KERNEL_SIZE: tl.constexpr,
    H: tl.constexpr,
    REDUCE: tl.constexpr,
):
    """What the gradient of the result adds to that of one step's state; not for "last", which concerns one step alone.

    For "max", ``grad`` is what each of the largest states gets.
    """
    if REDUCE == "none":
        return state_tile(grad, row * KERNEL_SIZE + position, unit, inside, H).to(tl.float32)
    elif REDUCE == "mean":
        return state_tile(grad, row, unit, inside, H).to(tl.float32) / KERNEL_SIZE
    else:
        is_largest = state.to(tl.float32) == state_tile(largest, row, unit, inside, H)
        return tl.where(is_largest, state_tile(grad, row, unit, inside, H), 0.0)


@triton.jit
def add_to_sums(sums, NUMBER: tl.constexpr, value, unit, H: tl.constexpr):
    """Add a tile's sum over its rows to one of this program's own vectors ``[programs, 4, H]``."""
    at = sums + (tl.program_id(0) * 4 + NUMBER) * H + unit
    tl.store(at, tl.load(at, mask=unit < H, other=0.0) + tl.sum(value, 0), mask=unit < H)
