"""Both directions of an LSTM as one operation: the parameters of the second, and gradients of both."""

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from convrnn.ops.operands import LSTMGradients, LSTMOperands, hand_out
from convrnn.ops.registration import LSTM

_NAMES = LSTMOperands.tensor_names[1:]

TENSORS = len(_NAMES) + 2
"""Number of tensors of one direction: the frames, the parameters, the lengths."""

PARAMETERS = ", ".join(
    f"{kind} {name}_reverse" for kind, name in (part.split() for part in LSTM.split(", ")) if name in _NAMES
)
"""The part of a schema with the parameters of the backward direction."""


def backward_operands(
    operands: LSTMOperands, parameters: Sequence[Tensor | None], kernel_size: int | None = None
) -> LSTMOperands:
    """The operands of the backward direction.

    Args:
        operands: Those of the forward direction.
        parameters: The parameters of the backward one, in order.
        kernel_size: Frames in a window; None for whole sequences.

    Raises:
        ValueError: They do not fit together, or not to those of the forward direction.
    """
    other = LSTMOperands(operands.x, *parameters, operands.lengths)  # type: ignore[arg-type,call-arg]
    other.check(kernel_size)
    for name, one, two in zip(operands.tensor_names, operands.differentiable, other.differentiable, strict=True):
        if (one is None) != (two is None):
            raise ValueError(f"{name} is given for one direction and missing for the other")
        if one is not None and two is not None and (one.shape, one.dtype) != (two.shape, two.dtype):
            raise ValueError(
                f"{name} must be the same in both directions, but is {one.dtype} with shape {list(one.shape)} and "
                f"{two.dtype} with shape {list(two.shape)}"
            )
    return other


def list_gradients(operands: Sequence[LSTMOperands], gradients: Sequence[LSTMGradients]) -> list[Tensor]:
    """The results of a backward operation, as of :meth:`LSTMOperands.list_gradients`, one direction after the other.

    Args:
        operands: Those of each direction.
        gradients: Likewise; that of x is the sum of theirs.
    """
    first, *others = gradients
    listed = operands[0].list_gradients(first)
    for each, own in zip(operands[1:], others, strict=True):
        x, *parameters = each.list_gradients(own)
        listed[0] = listed[0] + x if own.x is not None else listed[0]
        listed += parameters
    return listed


def fake_gradients(operands: LSTMOperands, parameters: Sequence[Tensor | None], with_x: bool) -> list[Tensor]:
    """As :meth:`LSTMOperands.fake_gradients`, and those of the parameters of the backward direction."""
    others = [tensor.new_empty(tensor.shape) for tensor in parameters if tensor is not None]
    return operands.fake_gradients(with_x) + others


def hand_out_all(gradients: Sequence[Tensor], tensors: Sequence[Tensor | None], with_x: bool) -> tuple[Any, ...]:
    """What a backward pass returns for every tensor of one direction or of both.

    Args:
        gradients: As of :func:`list_gradients`.
        tensors: The frames, the parameters, the lengths and, of both directions, the parameters of the backward one.
        with_x: Whether x has a gradient.
    """
    if len(tensors) == TENSORS:
        return (*hand_out(gradients, tensors, with_x), None)
    forward, backward = tensors[:TENSORS], tensors[TENSORS:]
    own = 1 + sum(tensor is not None for tensor in forward[1:-1])
    return (*hand_out(gradients[:own], forward, with_x), None, *hand_out(gradients[own:], [*backward, None]))
