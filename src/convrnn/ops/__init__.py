"""Pure functions on tensors: recurrent networks over every window of a sequence, and over whole sequences.

:mod:`convrnn.ops.dispatch` has the table of backends and chooses which one runs.
"""

from convrnn.ops import opaque as opaque  # registers torch.ops.convrnn.rnn, gru and lstm
from convrnn.ops.dispatch import use_backend
from convrnn.ops.functional import (
    bilstm_hidden,
    gru,
    lstm,
    lstm_hidden,
    rnn,
    windowed_bilstm,
    windowed_gru,
    windowed_lstm,
    windowed_rnn,
)

__all__ = [
    "bilstm_hidden",
    "gru",
    "lstm",
    "lstm_hidden",
    "rnn",
    "use_backend",
    "windowed_bilstm",
    "windowed_gru",
    "windowed_lstm",
    "windowed_rnn",
]
