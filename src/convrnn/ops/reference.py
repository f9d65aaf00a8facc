"""The paper's equations in plain PyTorch: the definition that every faster backend is tested against.

Each ``*_step`` is one time step of a cell, in the paper's order and symbols. ``wx`` is the input projection with the
bias, ``W_x x_t + b``: it does not depend on the recurrence, so it is computed once per frame and shared by all windows
that contain the frame. :func:`windowed` runs a step over every window, and :func:`whole` over whole sequences.
Everything here is twice differentiable.
"""

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from convrnn.ops import checks
from convrnn.ops.geometry import mask_frames, num_windows, reverse_frames
from convrnn.ops.operands import CellOperands, GRUOperands, LSTMOperands, RNNOperands

NONLINEARITIES = dict(zip(checks.NONLINEARITIES, (torch.tanh, torch.sigmoid, torch.relu), strict=True))

Step = Callable[..., Tensor | tuple[Tensor, ...]]
"""One time step: ``(wx_t, h, W_h, **others)`` to the new h, or ``(wx_t, h, c, W_h, **others)`` to the new (h, c)."""


LONGEST_UNROLLED = 16
"""Frames in a window up to which exported programs hold every step; beyond, they hold a loop."""


def exported_as_loop(kernel_size: int) -> bool:
    """Whether a program is being exported in which windows of this many frames become a loop."""
    return kernel_size > LONGEST_UNROLLED and torch.compiler.is_exporting()


def rnn_step(wx: Tensor, h: Tensor, W_h: Tensor, nonlinearity: str = "tanh") -> Tensor:
    """Equation 1, ``h_t = σ(W_xh x_t + W_hh h_{t-1} + b_h)``."""
    return NONLINEARITIES[nonlinearity](wx + F.linear(h, W_h))


def gru_step(wx: Tensor, h: Tensor, W_h: Tensor, bias_hn: Tensor | None = None, reset_after: bool = False) -> Tensor:
    """The gated recurrent unit; its reset gate acts on ``h`` before the recurrent product, or on the product."""
    wx_rz, wx_n = wx.split([2 * h.size(-1), h.size(-1)], dim=-1)
    W_rz, W_n = W_h.split([2 * h.size(-1), h.size(-1)], dim=0)
    r, z = torch.sigmoid(wx_rz + F.linear(h, W_rz)).chunk(2, dim=-1)
    n = torch.tanh(wx_n + (r * F.linear(h, W_n, bias_hn) if reset_after else F.linear(r * h, W_n, bias_hn)))
    return (1 - z) * n + z * h


def lstm_step(
    wx: Tensor, h: Tensor, c: Tensor, W_h: Tensor, weight_peephole: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Equations 3 to 7; the peepholes are the diagonals of W_ci, W_cf and W_co, or None."""
    a_i, a_f, a_c, a_o = (wx + F.linear(h, W_h)).chunk(4, dim=-1)
    if weight_peephole is None:
        i = torch.sigmoid(a_i)
        f = torch.sigmoid(a_f)
        c = f * c + i * torch.tanh(a_c)
        o = torch.sigmoid(a_o)
    else:
        W_ci, W_cf, W_co = weight_peephole.unbind(0)
        i = torch.sigmoid(torch.addcmul(a_i, W_ci, c))  # (3)
        f = torch.sigmoid(torch.addcmul(a_f, W_cf, c))  # (4)
        c = f * c + i * torch.tanh(a_c)  # (5)
        o = torch.sigmoid(torch.addcmul(a_o, W_co, c))  # (6)
    h = o * torch.tanh(c)  # (7)
    return h, c


def project_windows(
    x: Tensor, weight_ih: Tensor, bias: Tensor | None, kernel_size: int, stride: int
) -> tuple[Tensor, ...]:
    """``W_x x_t + b`` for frame t of every window: ``kernel_size`` tensors ``[batch, windows, gates * H]``.

    With one input matrix per position (Extended, ``weight_ih`` ``[kernel_size, gates * H, in]``) the product depends on
    the frame's position in the window and cannot be shared.
    """
    if weight_ih.dim() == 2:
        return F.linear(x, weight_ih, bias).unfold(1, kernel_size, stride).unbind(-1)
    frames = x.unfold(1, kernel_size, stride).unbind(-1)
    return tuple(F.linear(x_t, W_t, bias) for x_t, W_t in zip(frames, weight_ih.unbind(0), strict=True))


def reduce_states(states: Sequence[Tensor], reduce: str, reverse: bool) -> Tensor:
    """The window's features from its states ``[batch, windows, H]`` in processing order (section III-C)."""
    if reduce == "last":
        return states[-1]
    stacked = torch.stack(tuple(reversed(states)) if reverse else tuple(states), dim=2)
    if reduce == "mean":
        return stacked.mean(dim=2)
    return stacked.amax(dim=2) if reduce == "max" else stacked


def _initial(state: Tensor | None, weight_hh: Tensor) -> Tensor:
    # One vector for all windows: the first step then costs a single matrix-vector product.
    return weight_hh.new_zeros(weight_hh.size(1)) if state is None else state


def _windows_within(lengths: Tensor | None, kernel_size: int, stride: int) -> Tensor | None:
    return None if lengths is None else num_windows(lengths, kernel_size, stride)


def windowed(
    step: Step,
    x: Tensor,
    weight_ih: Tensor,
    weight_hh: Tensor,
    bias: Tensor | None,
    *initial: Tensor | None,
    gates: int,
    kernel_size: int,
    stride: int = 1,
    sequence: str = "hidden",
    reduce: str = "last",
    lengths: Tensor | None = None,
    reverse: bool = False,
    **others: Tensor | bool | str | None,
) -> Tensor:
    """A recurrent network over every window of frames, given one step of its cell.

    Args:
        step: The cell's step.
        x: Frames ``[batch, frames, in]``.
        weight_ih: ``[gates * H, in]``, or ``[kernel_size, gates * H, in]``: one matrix per frame position.
        weight_hh: ``[gates * H, H]``.
        bias: ``[gates * H]`` or None.
        initial: The cell's states before the first step, h or h and c, each ``[H]``; None is zeros.
        gates: Blocks of rows in the weights.
        kernel_size: Frames in a window, the paper's r1.
        stride: Frames between the starts of two windows, the paper's r2.
        sequence: Features from the "hidden" states h or the "cell" states c.
        reduce: "last" (the state after the last processed step), "mean" or "max" over the window's frames, or "none".
        lengths: Valid frames of each sequence, int64 ``[batch]``; None is all.
        reverse: Process each window from its last frame to its first.
        others: The step's other arguments by name: tensors and options specific to this cell.

    Returns:
        ``[batch, windows, H]``, or ``[batch, windows, kernel_size, H]`` for "none".

    Raises:
        ValueError: naming the argument whose shape, dtype or value does not fit.

    Example:
        >>> def leaky(wx, h, W_h):
        ...     return 0.9 * h + 0.1 * torch.tanh(wx + F.linear(h, W_h))
        >>> x, weight_ih, weight_hh = torch.ones(1, 9, 3), torch.ones(4, 3), torch.eye(4)
        >>> windowed(leaky, x, weight_ih, weight_hh, None, None, gates=1, kernel_size=5, stride=2).shape
        torch.Size([1, 3, 4])
    """
    checks.check_window(x, kernel_size, stride, reduce, sequence)
    tensors = {"x": x, "weight_ih": weight_ih, "weight_hh": weight_hh, "bias": bias, "lengths": lengths}
    tensors |= {name: other for name, other in others.items() if isinstance(other, Tensor)}
    tensors |= dict(zip(checks.INITIAL, initial, strict=False))
    checks.check_cell(gates, tensors, kernel_size)
    checks.check_floating(tensors)
    x = mask_frames(x, lengths)
    states = tuple(_initial(state, weight_hh) for state in initial)
    wanted = checks.SEQUENCES.index(sequence)
    y: Tensor
    if exported_as_loop(kernel_size):
        from convrnn.ops.scan import scan_windows

        y = scan_windows(
            lambda wx_t, *before: step(wx_t, *before, weight_hh, **others),
            x.unfold(1, kernel_size, stride).movedim(-1, 0),
            weight_ih,
            bias,
            states,
            wanted=wanted,
            reduce=reduce,
            reverse=reverse,
        )
    else:
        wx = project_windows(x, weight_ih, bias, kernel_size, stride)
        features = []
        for wx_t in reversed(wx) if reverse else wx:
            new = step(wx_t, *states, weight_hh, **others)
            states = new if isinstance(new, tuple) else (new,)
            features.append(states[wanted])
        y = reduce_states(features, reduce, reverse)
    return mask_frames(y, _windows_within(lengths, kernel_size, stride))


def windowed_rnn(
    x: Tensor,
    weight_ih: Tensor,
    weight_hh: Tensor,
    bias: Tensor | None,
    initial_hidden: Tensor | None = None,
    *,
    kernel_size: int,
    stride: int = 1,
    nonlinearity: str = "tanh",
    reduce: str = "last",
    lengths: Tensor | None = None,
    reverse: bool = False,
) -> Tensor:
    """A simple recurrent network over every window: see :func:`convrnn.ops.windowed_rnn`."""
    checks.one_of("nonlinearity", nonlinearity, tuple(NONLINEARITIES))
    return windowed(
        rnn_step,
        x,
        weight_ih,
        weight_hh,
        bias,
        initial_hidden,
        gates=1,
        kernel_size=kernel_size,
        stride=stride,
        reduce=reduce,
        lengths=lengths,
        reverse=reverse,
        nonlinearity=nonlinearity,
    )


def windowed_gru(
    x: Tensor,
    weight_ih: Tensor,
    weight_hh: Tensor,
    bias: Tensor | None,
    bias_hn: Tensor | None = None,
    initial_hidden: Tensor | None = None,
    *,
    kernel_size: int,
    stride: int = 1,
    reset_after: bool = False,
    reduce: str = "last",
    lengths: Tensor | None = None,
    reverse: bool = False,
) -> Tensor:
    """A gated recurrent network over every window: see :func:`convrnn.ops.windowed_gru`."""
    checks.check_bias_hn(bias_hn, reset_after)
    return windowed(
        gru_step,
        x,
        weight_ih,
        weight_hh,
        bias,
        initial_hidden,
        gates=3,
        kernel_size=kernel_size,
        stride=stride,
        reduce=reduce,
        lengths=lengths,
        reverse=reverse,
        bias_hn=bias_hn,
        reset_after=reset_after,
    )


def windowed_lstm(
    x: Tensor,
    weight_ih: Tensor,
    weight_hh: Tensor,
    bias: Tensor | None,
    weight_peephole: Tensor | None = None,
    initial_hidden: Tensor | None = None,
    initial_cell: Tensor | None = None,
    *,
    kernel_size: int,
    stride: int = 1,
    sequence: str = "cell",
    reduce: str = "last",
    lengths: Tensor | None = None,
    reverse: bool = False,
) -> Tensor:
    """An LSTM over every window: see :func:`convrnn.ops.windowed_lstm`."""
    return windowed(
        lstm_step,
        x,
        weight_ih,
        weight_hh,
        bias,
        initial_hidden,
        initial_cell,
        gates=4,
        kernel_size=kernel_size,
        stride=stride,
        sequence=sequence,
        reduce=reduce,
        lengths=lengths,
        reverse=reverse,
        weight_peephole=weight_peephole,
    )


def whole(
    step: Step, operands: CellOperands, *initial: Tensor | None, reverse: bool, **others: Tensor | bool | str | None
) -> tuple[Tensor, ...]:
    """A recurrent network over whole sequences, given one step of its cell.

    Args:
        step: The cell's step.
        operands: The cell's tensors.
        initial: The cell's states before the first step, h or h and c, each ``[H]``; None is zeros.
        reverse: Process each sequence from its own last frame to its first.
        others: The step's other arguments by name.

    Returns:
        The states, each ``[batch, frames, H]`` in frame order, zeros past the length.

    Raises:
        ValueError: naming the argument whose shape, dtype or value does not fit.
    """
    operands.check()
    checks.check_floating(operands.named)
    lengths, weight_hh = operands.lengths, operands.weight_hh
    wx = F.linear(mask_frames(operands.x, lengths), operands.weight_ih, operands.bias)
    if reverse:
        wx = reverse_frames(wx, lengths)
    states = tuple(_initial(state, weight_hh) for state in initial)
    every = []
    # Unbound once: indexing wx[:, t] in the loop would give the backward pass one full-size gradient per step.
    for wx_t in wx.unbind(1):
        new = step(wx_t, *states, weight_hh, **others)
        states = new if isinstance(new, tuple) else (new,)
        every.append(states)
    stacked = tuple(torch.stack(each, dim=1) for each in zip(*every, strict=True))
    if reverse:
        stacked = tuple(reverse_frames(each, lengths) for each in stacked)
    return tuple(mask_frames(each, lengths) for each in stacked)


def rnn(
    x: Tensor,
    weight_ih: Tensor,
    weight_hh: Tensor,
    bias: Tensor | None,
    initial_hidden: Tensor | None = None,
    *,
    nonlinearity: str = "tanh",
    lengths: Tensor | None = None,
    reverse: bool = False,
) -> Tensor:
    """A simple recurrent network over whole sequences: see :func:`convrnn.ops.rnn`."""
    operands = RNNOperands(x, weight_ih, weight_hh, bias, initial_hidden, lengths, nonlinearity)
    return whole(rnn_step, operands, initial_hidden, reverse=reverse, nonlinearity=nonlinearity)[0]


def gru(
    x: Tensor,
    weight_ih: Tensor,
    weight_hh: Tensor,
    bias: Tensor | None,
    bias_hn: Tensor | None = None,
    initial_hidden: Tensor | None = None,
    *,
    reset_after: bool = False,
    lengths: Tensor | None = None,
    reverse: bool = False,
) -> Tensor:
    """A gated recurrent network over whole sequences: see :func:`convrnn.ops.gru`."""
    operands = GRUOperands(x, weight_ih, weight_hh, bias, bias_hn, initial_hidden, lengths, reset_after)
    return whole(gru_step, operands, initial_hidden, reverse=reverse, bias_hn=bias_hn, reset_after=reset_after)[0]


def lstm(
    x: Tensor,
    weight_ih: Tensor,
    weight_hh: Tensor,
    bias: Tensor | None,
    weight_peephole: Tensor | None = None,
    initial_hidden: Tensor | None = None,
    initial_cell: Tensor | None = None,
    *,
    lengths: Tensor | None = None,
    reverse: bool = False,
) -> tuple[Tensor, Tensor]:
    """An LSTM over whole sequences: see :func:`convrnn.ops.lstm`."""
    operands = LSTMOperands(x, weight_ih, weight_hh, bias, weight_peephole, initial_hidden, initial_cell, lengths)
    hidden, cell = whole(
        lstm_step, operands, initial_hidden, initial_cell, reverse=reverse, weight_peephole=weight_peephole
    )
    return hidden, cell
