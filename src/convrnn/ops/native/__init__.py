"""The CPU kernel: the LSTM in C, for float32 (sources in ``csrc``).

The library is loaded with ctypes and depends on nothing of PyTorch's, so that one build serves every version. It is
there where a C compiler was at installation. The operations registered here are differentiable once. Over windows
only the last step's gates are kept for the backward pass, which computes the few states of a window again. Over whole
sequences, which are too long for that, the gates of all steps are kept beside the states.
"""

from convrnn.ops.native.library import MISSING, available, instruction_sets, use_instruction_set
from convrnn.ops.native.sequence import native_lstm
from convrnn.ops.native.windowed import native_windowed_lstm

__all__ = [
    "MISSING",
    "available",
    "instruction_sets",
    "native_lstm",
    "native_windowed_lstm",
    "use_instruction_set",
]
