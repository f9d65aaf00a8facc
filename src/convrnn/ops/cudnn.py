"""The LSTM without peepholes over whole sequences by cuDNN, which gives the hidden states alone."""

import torch
from torch import Tensor

from convrnn.ops.geometry import mask_frames, reverse_frames


def lstm_hidden(
    x: Tensor,
    weight_ih: Tensor,
    weight_hh: Tensor,
    bias: Tensor | None,
    initial_hidden: Tensor | None = None,
    initial_cell: Tensor | None = None,
    *,
    lengths: Tensor | None = None,
    reverse: bool = False,
) -> Tensor:
    """Hidden states of :func:`convrnn.ops.lstm`, ``[batch, frames, H]``, by PyTorch's own LSTM.

    On the GPU that is cuDNN's; ``torch.backends.cudnn.allow_tf32`` decides about its products.

    Example:
        >>> lstm_hidden(torch.randn(2, 9, 26), torch.randn(32, 26), torch.randn(32, 8), None).shape
        torch.Size([2, 9, 8])
    """
    rows, hidden = weight_hh.shape
    # Zeros for the bias that PyTorch adds to ours, and in one piece of memory, as cuDNN wants its parameters.
    biases = (x.new_zeros(rows) if bias is None else bias, x.new_zeros(rows))
    pieces = torch.cat([weight_ih.flatten(), weight_hh.flatten(), *biases]).split(
        [weight_ih.numel(), weight_hh.numel(), rows, rows]
    )
    weights = [pieces[0].view_as(weight_ih), pieces[1].view_as(weight_hh), *pieces[2:]]
    state = [
        (x.new_zeros(hidden) if initial is None else initial).expand(1, x.size(0), hidden).contiguous()
        for initial in (initial_hidden, initial_cell)
    ]
    x = mask_frames(x, lengths)
    if reverse:
        x = reverse_frames(x, lengths)
    states: Tensor = torch.lstm(x, state, weights, True, 1, 0.0, torch.is_grad_enabled(), False, True)[0]
    if reverse:
        states = reverse_frames(states, lengths)
    return mask_frames(states, lengths)
