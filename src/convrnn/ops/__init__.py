"""Pure functions on tensors: recurrent networks over every window of a sequence, and over whole sequences.

:mod:`convrnn.ops.dispatch` has the table of backends and chooses which one runs.
"""

from convrnn.ops import opaque as opaque  # registers torch.ops.convrnn.lstm
from convrnn.ops.dispatch import use_backend
from convrnn.ops.functional import lstm, lstm_hidden, windowed_gru, windowed_lstm, windowed_rnn

__all__ = ["lstm", "lstm_hidden", "use_backend", "windowed_gru", "windowed_lstm", "windowed_rnn"]
