"""The public operations: pure functions on tensors, checked, and run by a backend."""

from collections.abc import Mapping

import torch
from torch import Tensor

from convrnn.ops import backend, cudnn, reference

REDUCTIONS = ("last", "mean", "max", "none")
SEQUENCES = ("hidden", "cell")


def _one_of(argument: str, value: str, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        raise ValueError(f"{argument} is {value!r}; it must be one of {', '.join(map(repr, allowed))}")


def _check_tensors(x: Tensor, gates: int, weight_ih: Tensor, weight_hh: Tensor, kernel_size: int | None) -> None:
    if x.dim() != 3:
        raise ValueError(f"x must be [batch, frames, features], but has shape {list(x.shape)}")
    if x.size(1) == 0:
        raise ValueError("x must have at least one frame, but has none")
    if weight_hh.dim() != 2 or weight_hh.size(0) != gates * weight_hh.size(1):
        raise ValueError(f"weight_hh must be [{gates} * hidden, hidden], but has shape {list(weight_hh.shape)}")
    shape = [weight_hh.size(0), x.size(2)]
    allowed = [shape] if kernel_size is None else [shape, [kernel_size, *shape]]
    if list(weight_ih.shape) not in allowed:
        raise ValueError(
            f"weight_ih must have shape {' or '.join(map(str, allowed))}, but has shape {list(weight_ih.shape)}"
        )
    for name, tensor in (("x", x), ("weight_ih", weight_ih), ("weight_hh", weight_hh)):
        _check_dtype(name, tensor, x)


def _check_dtype(name: str, tensor: Tensor, x: Tensor) -> None:
    if not tensor.is_floating_point():
        raise ValueError(f"{name} must be of a floating dtype, but is {tensor.dtype}")
    if tensor.dtype != x.dtype and not torch.is_autocast_enabled(x.device.type):
        raise ValueError(f"{name} is {tensor.dtype}, but x is {x.dtype}; outside autocast they must be the same")


def _check_vectors(x: Tensor, tensors: Mapping[str, tuple[Tensor | None, list[int]]]) -> None:
    for name, (tensor, shape) in tensors.items():
        if tensor is None:
            continue
        if list(tensor.shape) != shape:
            raise ValueError(f"{name} must have shape {shape}, but has shape {list(tensor.shape)}")
        _check_dtype(name, tensor, x)


def _check_lstm(
    x: Tensor,
    weight_ih: Tensor,
    weight_hh: Tensor,
    bias: Tensor | None,
    weight_peephole: Tensor | None,
    initial_hidden: Tensor | None,
    initial_cell: Tensor | None,
    kernel_size: int | None,
) -> None:
    _check_tensors(x, 4, weight_ih, weight_hh, kernel_size)
    hidden = weight_hh.size(1)
    _check_vectors(
        x,
        {
            "bias": (bias, [4 * hidden]),
            "weight_peephole": (weight_peephole, [3, hidden]),
            "initial_hidden": (initial_hidden, [hidden]),
            "initial_cell": (initial_cell, [hidden]),
        },
    )


def _check_window(x: Tensor, kernel_size: int, stride: int, reduce: str) -> None:
    _one_of("reduce", reduce, REDUCTIONS)
    for name, value in (("kernel_size", kernel_size), ("stride", stride)):
        if value < 1:
            raise ValueError(f"{name} must be at least 1, but is {value}")
    if x.size(1) < kernel_size:
        raise ValueError(f"kernel_size is {kernel_size}, longer than x with its {x.size(1)} frames")


def check_lengths(lengths: Tensor | None, x: Tensor) -> Tensor | None:
    """``lengths`` fit to use with ``x`` ``[batch, frames, ...]``: int64 ``[batch]`` on its device, values 0 to frames.

    Values are checked in eager mode on the CPU; elsewhere, where a look at them would stop the device or break the
    graph, they are clamped.

    Raises:
        ValueError: naming what is wrong.

    Example:
        >>> check_lengths(torch.tensor([3, 9]), torch.zeros(2, 5, 1))
        Traceback (most recent call last):
        ...
        ValueError: lengths must lie between 0 and 5, the frames of x, but lengths[1] is 9
    """
    if lengths is None:
        return None
    if not isinstance(lengths, Tensor):
        raise ValueError(f"lengths must be an int64 tensor, but is a {type(lengths).__name__}")
    if lengths.dtype != torch.int64 or lengths.dim() != 1 or lengths.size(0) != x.size(0):
        raise ValueError(
            f"lengths must be int64 with shape [{x.size(0)}], but is {lengths.dtype} with shape {list(lengths.shape)}"
        )
    if lengths.device != x.device:
        raise ValueError(f"lengths must be on x's device, {x.device}, but is on {lengths.device}")
    if torch.compiler.is_compiling() or lengths.device.type != "cpu":
        return lengths.clamp(0, x.size(1))
    outside = ((lengths < 0) | (lengths > x.size(1))).nonzero()
    if len(outside):
        row = int(outside[0])
        raise ValueError(
            f"lengths must lie between 0 and {x.size(1)}, the frames of x, but lengths[{row}] is {int(lengths[row])}"
        )
    return lengths


def _needs_gradient(tensors: tuple[Tensor | None, ...]) -> bool:
    return torch.is_grad_enabled() and any(tensor is not None and tensor.requires_grad for tensor in tensors)


def _autocast(x: Tensor, weight_ih: Tensor, weight_hh: Tensor, *others: Tensor | None) -> tuple[Tensor | None, ...]:
    """What is multiplied in autocast's dtype where it is on; states are float32 in any case."""
    if not torch.is_autocast_enabled(x.device.type):
        return x, weight_ih, weight_hh, *others
    dtype = torch.get_autocast_dtype(x.device.type)
    return x.to(dtype), weight_ih.to(dtype), weight_hh.to(dtype), *others


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
        lengths: Valid frames of each sequence, int64 ``[batch]``; None is all. Windows beyond come back as zeros.
        reverse: Process each window from its last frame to its first.

    Returns:
        ``[batch, windows, H]``; for "none" every frame's state, in frame order, ``[batch, windows, kernel_size, H]``.

    Raises:
        ValueError: naming the argument whose shape, dtype or value does not fit.

    Example:
        >>> windowed_rnn(torch.ones(1, 4, 1), torch.ones(1, 1), torch.zeros(1, 1), None, kernel_size=2, stride=2).shape
        torch.Size([1, 2, 1])
    """
    _check_window(x, kernel_size, stride, reduce)
    _one_of("nonlinearity", nonlinearity, tuple(reference.NONLINEARITIES))
    _check_tensors(x, 1, weight_ih, weight_hh, kernel_size)
    hidden = weight_hh.size(1)
    _check_vectors(x, {"bias": (bias, [hidden]), "initial_hidden": (initial_hidden, [hidden])})
    y: Tensor = torch.ops.convrnn.windowed_rnn(
        x,
        weight_ih,
        weight_hh,
        bias,
        initial_hidden,
        kernel_size=kernel_size,
        stride=stride,
        nonlinearity=nonlinearity,
        reduce=reduce,
        lengths=check_lengths(lengths, x),
        reverse=reverse,
    )
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
    _check_window(x, kernel_size, stride, reduce)
    _check_tensors(x, 3, weight_ih, weight_hh, kernel_size)
    hidden = weight_hh.size(1)
    _check_vectors(
        x, {"bias": (bias, [3 * hidden]), "bias_hn": (bias_hn, [hidden]), "initial_hidden": (initial_hidden, [hidden])}
    )
    if bias_hn is not None and not reset_after:
        raise ValueError("bias_hn is given, but reset_after is False; only reset_after=True has this bias")
    y: Tensor = torch.ops.convrnn.windowed_gru(
        x,
        weight_ih,
        weight_hh,
        bias,
        bias_hn,
        initial_hidden,
        kernel_size=kernel_size,
        stride=stride,
        reset_after=reset_after,
        reduce=reduce,
        lengths=check_lengths(lengths, x),
        reverse=reverse,
    )
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
    _check_window(x, kernel_size, stride, reduce)
    _one_of("sequence", sequence, SEQUENCES)
    _check_lstm(x, weight_ih, weight_hh, bias, weight_peephole, initial_hidden, initial_cell, kernel_size)
    lengths = check_lengths(lengths, x)
    tensors = (x, weight_ih, weight_hh, bias, weight_peephole, initial_hidden, initial_cell)
    operations = torch.ops.convrnn
    if backend.runs_triton(x):
        dtype = weight_hh.dtype if torch.is_autocast_enabled(x.device.type) else x.dtype
        options = (kernel_size, stride, sequence, reduce, reverse, dtype)
        states: Tensor = operations.triton_windowed_lstm(*_autocast(*tensors), lengths, *options)
        return states
    operation = operations.native_windowed_lstm if backend.runs_native(x) else operations.windowed_lstm
    y: Tensor = operation(
        *tensors,
        kernel_size=kernel_size,
        stride=stride,
        sequence=sequence,
        reduce=reduce,
        lengths=lengths,
        reverse=reverse,
    )
    return y


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
    _check_lstm(x, weight_ih, weight_hh, bias, weight_peephole, initial_hidden, initial_cell, None)
    lengths = check_lengths(lengths, x)
    if torch.is_autocast_enabled(x.device.type):
        # A state that adds up over a whole recording keeps the parameters' precision.
        x = x.to(weight_hh.dtype)
    tensors = (x, weight_ih, weight_hh, bias, weight_peephole, initial_hidden, initial_cell)
    states: tuple[Tensor, Tensor]
    with torch.autocast(x.device.type, enabled=False):
        if backend.runs_native(x):
            states = torch.ops.convrnn.native_lstm(*tensors, lengths, reverse, _needs_gradient(tensors))[:2]
        elif backend.runs_triton(x):
            states = torch.ops.convrnn.triton_lstm(*tensors, lengths, reverse)[:2]
        elif torch.compiler.is_compiling():
            states = torch.ops.convrnn.lstm(*tensors, lengths, reverse)
        else:
            states = reference.lstm(*tensors, lengths=lengths, reverse=reverse)
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
    """The hidden states of :func:`lstm` alone: on a GPU, without peepholes, cuDNN has them sooner.

    The arguments are those of :func:`lstm`.

    Returns:
        Hidden states ``[batch, frames, H]`` in frame order, zeros past the length.

    Raises:
        ValueError: naming the argument whose shape, dtype or value does not fit.

    Example:
        >>> lstm_hidden(torch.randn(2, 9, 26), torch.randn(32, 26), torch.randn(32, 8), None).shape
        torch.Size([2, 9, 8])
    """
    if weight_peephole is not None or not backend.runs_cudnn(x):
        tensors = (x, weight_ih, weight_hh, bias, weight_peephole, initial_hidden, initial_cell)
        return lstm(*tensors, lengths=lengths, reverse=reverse)[0]
    _check_lstm(x, weight_ih, weight_hh, bias, None, initial_hidden, initial_cell, None)
    lengths = check_lengths(lengths, x)
    if torch.is_autocast_enabled(x.device.type):
        x = x.to(weight_hh.dtype)
    with torch.autocast(x.device.type, enabled=False):
        return cudnn.lstm_hidden(
            x, weight_ih, weight_hh, bias, initial_hidden, initial_cell, lengths=lengths, reverse=reverse
        )
