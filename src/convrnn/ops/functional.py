"""The public operations: pure functions on tensors, run by the backend that :mod:`dispatch` chooses."""

from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor

from convrnn.ops import checks
from convrnn.ops.checks import check_lengths, is_autocast_enabled
from convrnn.ops.dispatch import choose
from convrnn.ops.operands import GRUOperands, LSTMOperands, RNNOperands, Windows


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
    r"""A simple recurrent network over every window of frames, equation 1.

    .. math:: h_t = \sigma(W_{xh} x_t + W_{hh} h_{t-1} + b_h)

    Args:
        x: Frames ``[batch, frames, in]``.
        weight_ih: ``[H, in]``, or ``[kernel_size, H, in]``: one matrix per frame position in the window.
        weight_hh: ``[H, H]``.
        bias: ``[H]`` or None.
        initial_hidden: State before the first step ``[H]``; None is zeros.
        kernel_size: Frames in a window, the paper's r1.
        stride: Frames between the starts of two windows, the paper's r2.
        nonlinearity: "tanh", "sigmoid" (the paper's σ) or "relu".
        reduce: "last" (the state after the last processed step), "mean" or "max" over the window's frames, or "none".
        lengths: Valid frames of each sequence, int64 ``[batch]``; None is all. Windows that reach past it are zeros.
        reverse: Process each window from its last frame to its first.

    Returns:
        ``[batch, windows, H]``; for "none" every frame's state, in frame order, ``[batch, windows, kernel_size, H]``.

    Raises:
        ValueError: naming the argument whose shape, dtype or value does not fit.

    Example:
        >>> windowed_rnn(torch.ones(1, 4, 1), torch.ones(1, 1), torch.zeros(1, 1), None, kernel_size=2, stride=2).shape
        torch.Size([1, 2, 1])
    """
    checks.check_frames(x)
    lengths = check_lengths(lengths, x)
    operands = RNNOperands(x, weight_ih, weight_hh, bias, initial_hidden, lengths, nonlinearity)
    run = choose("windowed_rnn", operands)
    y: Tensor = run(operands, Windows(kernel_size, stride, "hidden", reduce, reverse))
    return y


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
    r"""A gated recurrent network over every window of frames.

    .. math::
        r, z &= \sigma(W_{xr,xz} x_t + W_{hr,hz} h_{t-1} + b_{r,z}) \\
        n &= \tanh(W_{xn} x_t + b_n + W_{hn} (r \odot h_{t-1})) \\
        h_t &= (1 - z) \odot n + z \odot h_{t-1}

    Args:
        x: Frames ``[batch, frames, in]``.
        weight_ih: ``[3H, in]``, gates r, z, n; or ``[kernel_size, 3H, in]``.
        weight_hh: ``[3H, H]``.
        bias: ``[3H]`` or None.
        bias_hn: ``[H]``, only with ``reset_after``: the bias that the reset gate multiplies.
        initial_hidden: State before the first step ``[H]``; None is zeros.
        kernel_size: Frames in a window, the paper's r1.
        stride: Frames between the starts of two windows, the paper's r2.
        reset_after: False: the reset gate acts on the state, as above and in the authors' code. True: on the product,
            ``r * (W_hn h + b_hn)``, as in ``torch.nn.GRU``.
        reduce: "last", "mean", "max" or "none", as in :func:`windowed_rnn`.
        lengths: Valid frames of each sequence, int64 ``[batch]``; None is all.
        reverse: Process each window from its last frame to its first.

    Returns:
        ``[batch, windows, H]``, or ``[batch, windows, kernel_size, H]`` for "none".

    Raises:
        ValueError: naming the argument whose shape, dtype or value does not fit.

    Example:
        >>> windowed_gru(torch.ones(1, 4, 1), torch.ones(3, 1), torch.zeros(3, 1), None, kernel_size=2).shape
        torch.Size([1, 3, 1])
    """
    checks.check_frames(x)
    lengths = check_lengths(lengths, x)
    operands = GRUOperands(x, weight_ih, weight_hh, bias, bias_hn, initial_hidden, lengths, reset_after)
    run = choose("windowed_gru", operands)
    y: Tensor = run(operands, Windows(kernel_size, stride, "hidden", reduce, reverse))
    return y


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
    r"""An LSTM with peepholes over every window of frames, equations 3 to 7.

    .. math::
        i_t &= \sigma(W_{xi} x_t + W_{hi} h_{t-1} + W_{ci} c_{t-1} + b_i) \\
        f_t &= \sigma(W_{xf} x_t + W_{hf} h_{t-1} + W_{cf} c_{t-1} + b_f) \\
        c_t &= f_t c_{t-1} + i_t \tanh(W_{xc} x_t + W_{hc} h_{t-1} + b_c) \\
        o_t &= \sigma(W_{xo} x_t + W_{ho} h_{t-1} + W_{co} c_t + b_o) \\
        h_t &= o_t \tanh(c_t)

    Args:
        x: Frames ``[batch, frames, in]``.
        weight_ih: ``[4H, in]``, gates i, f, g, o; or ``[kernel_size, 4H, in]``, one matrix per frame position in the
            window (Extended CLSTM).
        weight_hh: ``[4H, H]``.
        bias: ``[4H]`` or None.
        weight_peephole: Diagonals of W_ci, W_cf, W_co ``[3, H]``; None is no peepholes.
        initial_hidden: h before the first step ``[H]``; None is zeros.
        initial_cell: c before the first step ``[H]``; None is zeros.
        kernel_size: Frames in a window, the paper's r1.
        stride: Frames between the starts of two windows, the paper's r2.
        sequence: Features from the "hidden" states h or the "cell" states c.
        reduce: "last", "mean", "max" or "none", as in :func:`windowed_rnn`.
        lengths: Valid frames of each sequence, int64 ``[batch]``; None is all.
        reverse: Process each window from its last frame to its first.

    Returns:
        ``[batch, windows, H]``, or ``[batch, windows, kernel_size, H]`` for "none".

    Raises:
        ValueError: naming the argument whose shape, dtype or value does not fit.

    Example:
        >>> x, lengths = torch.randn(2, 9, 26), torch.tensor([9, 6])
        >>> y = windowed_lstm(x, torch.randn(400, 26), torch.randn(400, 100), None, kernel_size=5, stride=2,
        ...                   lengths=lengths)
        >>> y.shape, y[1, 1:].abs().max()
        (torch.Size([2, 3, 100]), tensor(0.))
    """
    checks.check_frames(x)
    lengths = check_lengths(lengths, x)
    operands = LSTMOperands(x, weight_ih, weight_hh, bias, weight_peephole, initial_hidden, initial_cell, lengths)
    run = choose("windowed_lstm", operands)
    y: Tensor = run(operands, Windows(kernel_size, stride, sequence, reduce, reverse))
    return y


def windowed_bilstm(
    x: Tensor,
    forward: Mapping[str, Tensor | None],
    backward: Mapping[str, Tensor | None],
    *,
    kernel_size: int,
    stride: int = 1,
    sequence: str = "cell",
    reduce: str = "last",
    lengths: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Two LSTMs over every window of frames, one of them from its last frame to its first.

    On a GPU both are computed at the same time, unless one has enough windows to fill it, more than 256 units, or an
    input matrix for each position.

    Args:
        x: Frames ``[batch, frames, in]``.
        forward: The parameters of :func:`windowed_lstm` for the forward direction, by name.
        backward: Likewise for the backward direction, with the same names, shapes and dtypes.
        kernel_size: Frames in a window, the paper's r1.
        stride: Frames between the starts of two windows, the paper's r2.
        sequence: Features from the "hidden" states h or the "cell" states c.
        reduce: "last" (each direction's own final state), "mean", "max" or "none", as in :func:`windowed_rnn`.
        lengths: Valid frames of each sequence, int64 ``[batch]``; None is all.

    Returns:
        The features of both directions, each as of :func:`windowed_lstm`; they may share memory.

    Raises:
        ValueError: naming the argument whose shape, dtype or value does not fit.

    Example:
        >>> parameters = {"weight_ih": torch.randn(32, 26), "weight_hh": torch.randn(32, 8), "bias": None}
        >>> one, other = windowed_bilstm(torch.randn(2, 9, 26), parameters, parameters, kernel_size=5, stride=2)
        >>> one.shape, other.shape
        (torch.Size([2, 3, 8]), torch.Size([2, 3, 8]))
    """
    checks.check_frames(x)
    one, other = _both_directions(x, forward, backward, check_lengths(lengths, x))
    run = choose("windowed_bilstm", one)
    y: tuple[Tensor, Tensor] = run(one, other, Windows(kernel_size, stride, sequence, reduce, reverse=False))
    return y


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
    """A simple recurrent network over whole sequences, equation 1.

    Args:
        x: Frames ``[batch, frames, in]``.
        weight_ih: ``[H, in]``.
        weight_hh: ``[H, H]``.
        bias: ``[H]`` or None.
        initial_hidden: State before the first step ``[H]``; None is zeros.
        nonlinearity: "tanh", "sigmoid" (the paper's σ) or "relu".
        lengths: Valid frames of each sequence, int64 ``[batch]``; None is all.
        reverse: Process each sequence from its own last frame to its first.

    Returns:
        Hidden states ``[batch, frames, H]`` in frame order, zeros past the length.

    Raises:
        ValueError: naming the argument whose shape, dtype or value does not fit.

    Example:
        >>> rnn(torch.randn(2, 9, 26), torch.randn(8, 26), torch.randn(8, 8), None).shape
        torch.Size([2, 9, 8])
    """
    x, lengths = _check_sequences(x, weight_hh, lengths)
    operands = RNNOperands(x, weight_ih, weight_hh, bias, initial_hidden, lengths, nonlinearity)
    with _without_autocast(x):
        run = choose("rnn", operands)
        states: Tensor = run(operands, reverse)
    return states


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
    """A gated recurrent network over whole sequences; its equations are those of :func:`windowed_gru`.

    Args:
        x: Frames ``[batch, frames, in]``.
        weight_ih: ``[3H, in]``, gates r, z, n.
        weight_hh: ``[3H, H]``.
        bias: ``[3H]`` or None.
        bias_hn: ``[H]``, only with ``reset_after``: the bias that the reset gate multiplies.
        initial_hidden: State before the first step ``[H]``; None is zeros.
        reset_after: False: the reset gate acts on the state, as in the authors' code. True: on the product, as in
            ``torch.nn.GRU``.
        lengths: Valid frames of each sequence, int64 ``[batch]``; None is all.
        reverse: Process each sequence from its own last frame to its first.

    Returns:
        Hidden states ``[batch, frames, H]`` in frame order, zeros past the length.

    Raises:
        ValueError: naming the argument whose shape, dtype or value does not fit.

    Example:
        >>> gru(torch.randn(2, 9, 26), torch.randn(24, 26), torch.randn(24, 8), None).shape
        torch.Size([2, 9, 8])
    """
    x, lengths = _check_sequences(x, weight_hh, lengths)
    operands = GRUOperands(x, weight_ih, weight_hh, bias, bias_hn, initial_hidden, lengths, reset_after)
    with _without_autocast(x):
        run = choose("gru", operands)
        states: Tensor = run(operands, reverse)
    return states


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
    """An LSTM with peepholes over whole sequences, equations 3 to 7.

    Args:
        x: Frames ``[batch, frames, in]``.
        weight_ih: ``[4H, in]``, gates i, f, g, o.
        weight_hh: ``[4H, H]``.
        bias: ``[4H]`` or None.
        weight_peephole: Diagonals of W_ci, W_cf, W_co ``[3, H]``; None is no peepholes.
        initial_hidden: h before the first step ``[H]``; None is zeros.
        initial_cell: c before the first step ``[H]``; None is zeros.
        lengths: Valid frames of each sequence, int64 ``[batch]``; None is all.
        reverse: Process each sequence from its own last frame to its first.

    Returns:
        Hidden and cell states, each ``[batch, frames, H]`` in frame order, zeros past the length.

    Raises:
        ValueError: naming the argument whose shape, dtype or value does not fit.

    Example:
        >>> hidden, cell = lstm(torch.randn(2, 9, 26), torch.randn(32, 26), torch.randn(32, 8), None)
        >>> hidden.shape
        torch.Size([2, 9, 8])
    """
    x, lengths = _check_sequences(x, weight_hh, lengths)
    operands = LSTMOperands(x, weight_ih, weight_hh, bias, weight_peephole, initial_hidden, initial_cell, lengths)
    with _without_autocast(x):
        run = choose("lstm", operands)
        states: tuple[Tensor, Tensor] = run(operands, reverse)
    return states


def lstm_hidden(
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
) -> Tensor:
    """Only the hidden states of :func:`lstm`, which cuDNN computes faster on a GPU if there are no peepholes.

    The arguments are those of :func:`lstm`.

    Returns:
        Hidden states ``[batch, frames, H]`` in frame order, zeros past the length.

    Raises:
        ValueError: naming the argument whose shape, dtype or value does not fit.

    Example:
        >>> lstm_hidden(torch.randn(2, 9, 26), torch.randn(32, 26), torch.randn(32, 8), None).shape
        torch.Size([2, 9, 8])
    """
    x, lengths = _check_sequences(x, weight_hh, lengths)
    operands = LSTMOperands(x, weight_ih, weight_hh, bias, weight_peephole, initial_hidden, initial_cell, lengths)
    with _without_autocast(x):
        run = choose("lstm_hidden", operands)
        states: Tensor = run(operands, reverse)
    return states


def bilstm_hidden(
    x: Tensor,
    forward: Mapping[str, Tensor | None],
    backward: Mapping[str, Tensor | None],
    *,
    lengths: Tensor | None = None,
) -> Tensor:
    """The hidden states of two LSTMs over whole sequences, one of them from the last frame to the first.

    On a GPU both are computed at the same time.

    Args:
        x: Frames ``[batch, frames, in]``.
        forward: The parameters of :func:`lstm` for the forward direction, by name.
        backward: Likewise for the backward direction, with the same names and shapes.
        lengths: Valid frames of each sequence, int64 ``[batch]``; None is all.

    Returns:
        The hidden states of both side by side ``[batch, frames, 2H]``, in frame order, zeros past the length.

    Raises:
        ValueError: naming the argument whose shape, dtype or value does not fit.

    Example:
        >>> parameters = {"weight_ih": torch.randn(32, 26), "weight_hh": torch.randn(32, 8), "bias": None}
        >>> bilstm_hidden(torch.randn(2, 9, 26), parameters, parameters).shape
        torch.Size([2, 9, 16])
    """
    weight_hh = forward["weight_hh"]
    assert weight_hh is not None
    x, lengths = _check_sequences(x, weight_hh, lengths)
    one, other = _both_directions(x, forward, backward, lengths)
    with _without_autocast(x):
        run = choose("bilstm_hidden", one)
        states: Tensor = run(one, other)
    return states


def _both_directions(
    x: Tensor, forward: Mapping[str, Tensor | None], backward: Mapping[str, Tensor | None], lengths: Tensor | None
) -> tuple[LSTMOperands, LSTMOperands]:
    one, other = (LSTMOperands(x, **parameters, lengths=lengths) for parameters in (forward, backward))  # type: ignore[arg-type]
    for name, first, second in zip(one.tensor_names, one.differentiable, other.differentiable, strict=True):
        if (None if first is None else first.shape) != (None if second is None else second.shape):
            raise ValueError(f"{name} must have the same shape in both directions, or be None in both")
    return one, other


def _check_sequences(x: Tensor, weight_hh: Tensor, lengths: Tensor | None) -> tuple[Tensor, Tensor | None]:
    """Frames and lengths of whole sequences, checked; under autocast the frames have the dtype of the parameters."""
    checks.check_frames(x)
    lengths = check_lengths(lengths, x)
    # A state accumulated over a whole recording needs the precision of the parameters.
    return x.to(weight_hh.dtype) if is_autocast_enabled(x.device) else x, lengths


def _without_autocast(x: Tensor) -> AbstractContextManager[object]:
    return torch.autocast(x.device.type, enabled=False) if is_autocast_enabled(x.device) else nullcontext()
