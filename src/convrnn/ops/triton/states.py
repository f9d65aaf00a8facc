"""What the forward pass over windows keeps for the backward pass."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from convrnn.ops import geometry
from convrnn.ops.operands import LSTMOperands
from convrnn.ops.triton.call import Call
from convrnn.ops.triton.operands import new_result


@dataclass(frozen=True)
class States:
    """Tensors that the forward pass fills; those of two directions have a first axis for them.

    Attributes:
        gates: The gates of every step, ``[kernel_size, rows, 4H]``.
        hidden: The hidden states before every step and after the last one that has any, ``[steps, rows, H]`` or wider:
            beside them may lie the frames of the step and a 1 for the bias, filled up so that rows start at multiples
            of 16 bytes. The state before the first step is zero, or missing if there are no frames.
        cell: The cell state after every step, float32 ``[kernel_size, rows, H]``.
        largest: For "max" the largest state and how many are as large, float32 ``[2, rows, H]``; otherwise None.
    """

    gates: Tensor
    hidden: Tensor
    cell: Tensor
    largest: Tensor | None

    @classmethod
    def new(cls, operands: LSTMOperands, call: Call, *, with_frames: bool) -> "States":
        """The tensors, to be filled.

        Args:
            operands: Operands of the operation.
            call: Its sizes.
            with_frames: Whether the frames lie beside the hidden states.
        """
        x = operands.x
        beside = call.features + 1 if with_frames else 0
        pitch = -(-(call.hidden + beside) // 8) * 8
        largest = None
        if call.options.reduce == "max":
            largest = x.new_empty(*call.axis, 2, call.rows, call.hidden, dtype=torch.float32)
        cell = x.new_empty(*call.axis, call.kernel_size, call.rows, call.hidden, dtype=torch.float32)
        gates = new_result(operands, (*call.axis, call.kernel_size, call.rows, 4 * call.hidden))
        hidden = new_result(operands, (*call.axis, call.hidden_steps + 1, call.rows, pitch))
        return cls(gates, hidden, cell, largest)

    @property
    def tensors(self) -> tuple[Tensor | None, ...]:
        """All four, in order."""
        return self.gates, self.hidden, self.cell, self.largest

    def add_frames(self, operands: LSTMOperands, call: Call) -> None:
        """Fill in the frames of every window of one direction beside its hidden states, and zeros before the first."""
        hidden = self.hidden[: call.kernel_size]
        # Past the end of a sequence the products need zeros; the values of x may be NaN.
        x = geometry.mask_frames(operands.x, operands.lengths)
        inputs = F.pad(x, (0, hidden.size(2) - call.hidden - call.features), value=1.0)
        hidden[..., call.hidden :].unflatten(1, (call.batch, call.windows)).copy_(call.in_windows(inputs))
        hidden[0, :, : call.hidden] = 0
