"""The GPU kernels: the LSTM in Triton, for float32, bfloat16 and float16.

The operations registered here are differentiable once. The kernels themselves, and Triton with them, load when they
first run.
"""

from convrnn.ops.triton.sequence import triton_lstm
from convrnn.ops.triton.windowed import triton_windowed_lstm

__all__ = ["triton_lstm", "triton_windowed_lstm"]
