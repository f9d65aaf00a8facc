"""Pure functions on tensors: recurrent networks over every window of a sequence, and over whole sequences."""

from convrnn.ops import geometry, library, native, triton
from convrnn.ops.backend import BACKENDS, use_backend
from convrnn.ops.checks import check_lengths
from convrnn.ops.functional import lstm, lstm_hidden, windowed_gru, windowed_lstm, windowed_rnn

__all__ = [
    "BACKENDS",
    "check_lengths",
    "geometry",
    "library",
    "lstm",
    "lstm_hidden",
    "native",
    "triton",
    "use_backend",
    "windowed_gru",
    "windowed_lstm",
    "windowed_rnn",
]
