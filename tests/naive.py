"""A naive implementation of the paper's equations, window by window and frame by frame, in NumPy float64.

It shares only the parameters' names and layouts with the package.
"""

import numpy as np


def sigmoid(a):
    return 1 / (1 + np.exp(-a))


NONLINEARITIES = {"tanh": np.tanh, "sigmoid": sigmoid, "relu": lambda a: np.maximum(a, 0)}


def states(rnn_type, frames, p, *, reverse=False, nonlinearity="tanh", reset_after=False):
    """Hidden and cell states of a window ``[r1, in]`` in the order of its frames, each ``[r1, H]``.

    ``p`` has the arrays weight_ih, weight_hh and, if they exist, bias, bias_hn, weight_peephole, initial_hidden,
    initial_cell.
    """
    n = p["weight_hh"].shape[1]
    zeros = np.zeros(n)
    h = p.get("initial_hidden", zeros)
    c = p.get("initial_cell", zeros)
    hs, cs = np.zeros((len(frames), n)), np.zeros((len(frames), n))
    for t in reversed(range(len(frames))) if reverse else range(len(frames)):
        x_t = frames[t]
        W_x = p["weight_ih"] if p["weight_ih"].ndim == 2 else p["weight_ih"][t]
        gates = range(len(W_x) // n)
        W_x = [W_x[g * n : (g + 1) * n] for g in gates]
        W_h = [p["weight_hh"][g * n : (g + 1) * n] for g in gates]
        b = [p["bias"][g * n : (g + 1) * n] if "bias" in p else zeros for g in gates]
        if rnn_type == "rnn":
            h = NONLINEARITIES[nonlinearity](W_x[0] @ x_t + W_h[0] @ h + b[0])
        elif rnn_type == "gru":
            r = sigmoid(W_x[0] @ x_t + W_h[0] @ h + b[0])
            z = sigmoid(W_x[1] @ x_t + W_h[1] @ h + b[1])
            recurrent = r * (W_h[2] @ h + p.get("bias_hn", zeros)) if reset_after else W_h[2] @ (r * h)
            h = (1 - z) * np.tanh(W_x[2] @ x_t + b[2] + recurrent) + z * h
        else:
            W_ci, W_cf, W_co = p.get("weight_peephole", np.zeros((3, n)))
            i = sigmoid(W_x[0] @ x_t + W_h[0] @ h + W_ci * c + b[0])
            f = sigmoid(W_x[1] @ x_t + W_h[1] @ h + W_cf * c + b[1])
            c = f * c + i * np.tanh(W_x[2] @ x_t + W_h[2] @ h + b[2])
            o = sigmoid(W_x[3] @ x_t + W_h[3] @ h + W_co * c + b[3])
            h = o * np.tanh(c)
        hs[t], cs[t] = h, c
    return hs, cs


def reduce_frames(values, reduce, reverse=False):
    """Reduces the first axis; the last processed frame of a reversed window is its first."""
    if reduce == "last":
        return values[0] if reverse else values[-1]
    return {"mean": values.mean(axis=0), "max": values.max(axis=0), "none": values}[reduce]


def windows(sequence, kernel_size, stride, padding="valid"):
    """Every window of a sequence ``[frames, in]``."""
    if padding == "same" and len(sequence):
        total = max((-(-len(sequence) // stride) - 1) * stride + kernel_size - len(sequence), 0)
        sequence = np.pad(sequence, ((total // 2, total - total // 2), (0, 0)))
    elif padding == "same":
        return []
    starts = range(0, len(sequence) - kernel_size + 1, stride)
    return [sequence[start : start + kernel_size] for start in starts]


def window_features(layer, frames):
    """What a ConvRNN computes from one window ``[r1, in]``: section III-C."""
    parameters = {name: value.detach().double().numpy() for name, value in layer.named_parameters()}
    suffixes = ("", "_reverse") if layer.bidirectional else ("",)
    for depth in range(layer.num_layers):
        both = []
        for suffix in suffixes:
            ending = f"_l{depth}{suffix}"
            p = {name.removesuffix(ending): value for name, value in parameters.items() if name.endswith(ending)}
            reverse = suffix == "_reverse"
            own = ("nonlinearity", "reset_after")
            options = {name: getattr(layer, name) for name in own if hasattr(layer, name)}
            both.append(states(layer.rnn_type, frames, p, reverse=reverse, **options))
        frames = np.concatenate([h for h, _ in both], axis=1)
    s = [c if layer.sequence == "cell" else h for h, c in both]
    if not layer.projection:
        return np.concatenate([reduce_frames(s_d, layer.reduce, reverse=d == 1) for d, s_d in enumerate(s)])
    y = np.array([parameters["weight_ho"] @ s_t for s_t in s[0]])
    if layer.bidirectional:
        y = y + np.array([parameters["weight_ho_reverse"] @ s_t for s_t in s[1]])
    return reduce_frames(y + parameters.get("bias_o", 0.0), layer.reduce)


def conv_rnn(layer, x, lengths):
    """A whole ConvRNN: ``[batch, frames, in]`` to ``[batch, windows, out]``, zeros beyond each sequence's windows."""
    x = x.detach().double().numpy()
    longest = len(windows(x[0], layer.kernel_size, layer.stride, layer.padding))
    y = np.zeros((len(x), longest, layer.out_features))
    for row, length in enumerate(lengths):
        for number, window in enumerate(windows(x[row, :length], layer.kernel_size, layer.stride, layer.padding)):
            y[row, number] = window_features(layer, window)
    return y
