"""The paper's equations in plain PyTorch: the definition that every faster backend is tested against.

Each ``*_step`` is one time step in the paper's order and symbols. ``wx`` stands for the input's part of the
pre-activations with the bias, ``W_x x_t + b``: it does not depend on the recurrence, so it is computed once per frame
and shared by all windows that contain the frame. Everything here is differentiable twice.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from convrnn.ops import checks
from convrnn.ops.geometry import mask_frames, num_windows, reverse_frames
from convrnn.ops.operands import named

NONLINEARITIES = {"tanh": torch.tanh, "sigmoid": torch.sigmoid, "relu": torch.relu}


def rnn_step(wx: Tensor, h: Tensor, W_hh: Tensor, nonlinearity: str) -> Tensor:
    """Equation 1, ``h_t = σ(W_xh x_t + W_hh h_{t-1} + b_h)``."""
    return NONLINEARITIES[nonlinearity](wx + F.linear(h, W_hh))


def gru_step(wx: Tensor, h: Tensor, W_hh: Tensor, b_hn: Tensor | None, reset_after: bool) -> Tensor:
    """The gated recurrent unit; its reset gate acts on ``h`` before the recurrent product, or on the product."""
    wx_rz, wx_n = wx.split([2 * h.size(-1), h.size(-1)], dim=-1)
    W_rz, W_n = W_hh.split([2 * h.size(-1), h.size(-1)], dim=0)
    r, z = torch.sigmoid(wx_rz + F.linear(h, W_rz)).chunk(2, dim=-1)
    n = torch.tanh(wx_n + (r * F.linear(h, W_n, b_hn) if reset_after else F.linear(r * h, W_n, b_hn)))
    return (1 - z) * n + z * h


def lstm_step(wx: Tensor, h: Tensor, c: Tensor, W_h: Tensor, W_c: Tensor | None) -> tuple[Tensor, Tensor]:
    """Equations 3 to 7; ``W_c`` holds the diagonals of W_ci, W_cf and W_co, or is None without peepholes."""
    a_i, a_f, a_c, a_o = (wx + F.linear(h, W_h)).chunk(4, dim=-1)
    if W_c is None:
        i = torch.sigmoid(a_i)
        f = torch.sigmoid(a_f)
        c = f * c + i * torch.tanh(a_c)
        o = torch.sigmoid(a_o)
    else:
        W_ci, W_cf, W_co = W_c.unbind(0)
        i = torch.sigmoid(torch.addcmul(a_i, W_ci, c))  # (3)
        f = torch.sigmoid(torch.addcmul(a_f, W_cf, c))  # (4)
        c = f * c + i * torch.tanh(a_c)  # (5)
        o = torch.sigmoid(torch.addcmul(a_o, W_co, c))  # (6)
    h = o * torch.tanh(c)  # (7)
    return h, c


def project_windows(
    x: Tensor, weight_ih: Tensor, bias: Tensor | None, kernel_size: int, stride: int
) -> tuple[Tensor, ...]:
    """``W_x x_t + b`` of every window's frame t: ``kernel_size`` tensors ``[batch, windows, gates * H]``.

    With one input matrix per position (Extended, ``weight_ih`` ``[kernel_size, gates * H, in]``) the product depends on
    where in the window a frame stands, and cannot be shared.
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
    checks.check_window(x, kernel_size, stride, reduce)
    checks.one_of("nonlinearity", nonlinearity, tuple(NONLINEARITIES))
    tensors = {"x": x, "weight_ih": weight_ih, "weight_hh": weight_hh, "bias": bias, "lengths": lengths}
    tensors |= {"initial_hidden": initial_hidden}
    checks.check_cell(1, tensors, kernel_size)
    checks.check_floating(tensors)
    wx = project_windows(mask_frames(x, lengths), weight_ih, bias, kernel_size, stride)
    h = _initial(initial_hidden, weight_hh)
    states = []
    for wx_t in reversed(wx) if reverse else wx:
        h = rnn_step(wx_t, h, weight_hh, nonlinearity)
        states.append(h)
    return mask_frames(reduce_states(states, reduce, reverse), _windows_within(lengths, kernel_size, stride))


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
    checks.check_window(x, kernel_size, stride, reduce)
    tensors = {"x": x, "weight_ih": weight_ih, "weight_hh": weight_hh, "bias": bias, "lengths": lengths}
    tensors |= {"bias_hn": bias_hn, "initial_hidden": initial_hidden}
    checks.check_cell(3, tensors, kernel_size)
    checks.check_floating(tensors)
    if bias_hn is not None and not reset_after:
        raise ValueError("bias_hn is given, but reset_after is False; only reset_after=True has this bias")
    wx = project_windows(mask_frames(x, lengths), weight_ih, bias, kernel_size, stride)
    h = _initial(initial_hidden, weight_hh)
    states = []
    for wx_t in reversed(wx) if reverse else wx:
        h = gru_step(wx_t, h, weight_hh, bias_hn, reset_after)
        states.append(h)
    return mask_frames(reduce_states(states, reduce, reverse), _windows_within(lengths, kernel_size, stride))


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
    checks.check_window(x, kernel_size, stride, reduce, sequence)
    tensors = named(x, weight_ih, weight_hh, bias, weight_peephole, initial_hidden, initial_cell, lengths)
    checks.check_cell(4, tensors, kernel_size)
    checks.check_floating(tensors)
    wx = project_windows(mask_frames(x, lengths), weight_ih, bias, kernel_size, stride)
    h, c = _initial(initial_hidden, weight_hh), _initial(initial_cell, weight_hh)
    states = []
    for wx_t in reversed(wx) if reverse else wx:
        h, c = lstm_step(wx_t, h, c, weight_hh, weight_peephole)
        states.append(c if sequence == "cell" else h)
    return mask_frames(reduce_states(states, reduce, reverse), _windows_within(lengths, kernel_size, stride))


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
    tensors = named(x, weight_ih, weight_hh, bias, weight_peephole, initial_hidden, initial_cell, lengths)
    checks.check_cell(4, tensors)
    checks.check_floating(tensors)
    wx = F.linear(mask_frames(x, lengths), weight_ih, bias)
    if reverse:
        wx = reverse_frames(wx, lengths)
    h, c = _initial(initial_hidden, weight_hh), _initial(initial_cell, weight_hh)
    hs, cs = [], []
    # Unbound once: indexing wx[:, t] in the loop would give the backward pass one full-size gradient per step.
    for wx_t in wx.unbind(1):
        h, c = lstm_step(wx_t, h, c, weight_hh, weight_peephole)
        hs.append(h)
        cs.append(c)
    hidden, cell = torch.stack(hs, dim=1), torch.stack(cs, dim=1)
    if reverse:
        hidden, cell = reverse_frames(hidden, lengths), reverse_frames(cell, lengths)
    return mask_frames(hidden, lengths), mask_frames(cell, lengths)
