"""The tensors of an LSTM and the options of its windows, in the form that every backend takes."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from convrnn.ops import checks, geometry
from convrnn.ops.checks import check_memory


@dataclass(frozen=True)
class CellOperands:
    """The tensors that every recurrent cell has.

    Attributes:
        x: Frames ``[batch, frames, in]``.
        weight_ih: ``[gates * H, in]``, or ``[kernel_size, gates * H, in]``: one matrix per position in the window.
        weight_hh: ``[gates * H, H]``.
        bias: ``[gates * H]`` or None.
    """

    x: Tensor
    weight_ih: Tensor
    weight_hh: Tensor
    bias: Tensor | None


@dataclass(frozen=True)
class LSTMOperands(CellOperands):
    """The tensors of an LSTM, in the order in which registered operations take them.

    Attributes:
        weight_peephole: Diagonals of W_ci, W_cf, W_co ``[3, H]`` or None.
        initial_hidden: h before the first step ``[H]``; None is zeros.
        initial_cell: c before the first step ``[H]``; None is zeros.
        lengths: Valid frames of each sequence, int64 ``[batch]``; None is all. Values below 0 count as 0, values above
            the number of frames as all of them.
    """

    weight_peephole: Tensor | None = None
    initial_hidden: Tensor | None = None
    initial_cell: Tensor | None = None
    lengths: Tensor | None = None

    @property
    def differentiable(self) -> tuple[Tensor | None, ...]:
        """All tensors except the lengths, in order."""
        return (
            *(self.x, self.weight_ih, self.weight_hh),
            *(self.bias, self.weight_peephole, self.initial_hidden, self.initial_cell),
        )

    @property
    def tensors(self) -> tuple[Tensor | None, ...]:
        """All eight, in the order in which registered operations take them."""
        return (
            *(self.x, self.weight_ih, self.weight_hh),
            *(self.bias, self.weight_peephole, self.initial_hidden, self.initial_cell, self.lengths),
        )

    @property
    def named(self) -> dict[str, Tensor | None]:
        """All eight by name, for checks that name a tensor in an error."""
        return {
            "x": self.x,
            "weight_ih": self.weight_ih,
            "weight_hh": self.weight_hh,
            "bias": self.bias,
            "weight_peephole": self.weight_peephole,
            "initial_hidden": self.initial_hidden,
            "initial_cell": self.initial_cell,
            "lengths": self.lengths,
        }

    @property
    def hidden(self) -> int:
        """Hidden units H."""
        return self.weight_hh.size(1)

    @property
    def states_shape(self) -> tuple[int, int, int]:
        """Shape of the states of whole sequences, ``[batch, frames, H]``."""
        return self.x.size(0), self.x.size(1), self.weight_hh.size(1)

    def check(self, kernel_size: int | None = None) -> None:
        """Reject tensors that do not fit together or are on different devices; each backend checks the dtypes itself.

        Args:
            kernel_size: Frames in a window; None for whole sequences.

        Raises:
            ValueError: naming the first tensor that does not fit, its shape and what is allowed.
        """
        checks.check_cell(4, self.named, kernel_size)

    def contiguous(self) -> "LSTMOperands":
        """The same operands, each contiguous in memory.

        Raises:
            ValueError: naming a tensor that would have to be copied but has no memory.
        """
        for tensor in self.tensors:
            if tensor is not None and not tensor.is_contiguous():
                break
        else:
            return self
        tensors = {name: None if each is None else contiguous(name, each) for name, each in self.named.items()}
        return LSTMOperands(**tensors)  # type: ignore[arg-type]

    def list_gradients(self, gradients: "LSTMGradients") -> list[Tensor]:
        """The results of a backward operation as a list without None, which PyTorch's schemas do not support.

        Returns:
            The gradient of x, an empty tensor if there is none, and those of the parameters that are not None, each in
            its parameter's dtype.
        """
        listed = []
        for tensor, gradient in zip(self.differentiable, gradients.in_order, strict=True):
            if tensor is None:
                continue
            if gradient is None:
                listed.append(tensor.new_empty(0))
            else:
                listed.append(gradient if gradient.dtype == tensor.dtype else gradient.to(tensor.dtype))
        return listed

    def fake_gradients(self, with_x: bool) -> list[Tensor]:
        """The list of :meth:`list_gradients` with only shapes and dtypes, for compilers."""
        grad_x = self.x.new_empty(self.x.shape if with_x else 0)
        return [grad_x, *(t.new_empty(t.shape) for t in self.differentiable[1:] if t is not None)]


@dataclass(frozen=True)
class LSTMGradients:
    """Gradients of an LSTM's tensors; None where the tensor is absent or its gradient is not wanted."""

    x: Tensor | None
    weight_ih: Tensor
    weight_hh: Tensor
    bias: Tensor | None = None
    weight_peephole: Tensor | None = None
    initial_hidden: Tensor | None = None
    initial_cell: Tensor | None = None

    @property
    def in_order(self) -> tuple[Tensor | None, ...]:
        """All seven, in the order of the operands."""
        return (
            *(self.x, self.weight_ih, self.weight_hh),
            *(self.bias, self.weight_peephole, self.initial_hidden, self.initial_cell),
        )


@dataclass(frozen=True)
class Windows:
    """The options of an LSTM over windows, in the order in which registered operations take them.

    Attributes:
        kernel_size: Frames in a window.
        stride: Frames between the starts of two windows.
        sequence: Features from the "hidden" or the "cell" states.
        reduce: "last", "mean", "max" or "none".
        reverse: Whether a window is processed from its last frame to its first.
    """

    kernel_size: int
    stride: int
    sequence: str
    reduce: str
    reverse: bool

    @property
    def options(self) -> tuple[int, int, str, str, bool]:
        """All five, in order."""
        return self.kernel_size, self.stride, self.sequence, self.reduce, self.reverse

    def check(self, x: Tensor) -> None:
        """Reject options that are invalid or do not fit ``x``.

        Raises:
            ValueError: naming the option, its value and what is allowed.
        """
        checks.check_window(x, self.kernel_size, self.stride, self.reduce, self.sequence)

    def count(self, frames: int) -> int:
        """Windows in a sequence."""
        return geometry.num_windows(frames, self.kernel_size, self.stride)

    def shape(self, operands: LSTMOperands) -> tuple[int, ...]:
        """Shape of the features, ``[batch, windows, H]``, or ``[batch, windows, kernel_size, H]`` for "none"."""
        positions = (self.kernel_size,) if self.reduce == "none" else ()
        return (operands.x.size(0), self.count(operands.x.size(1)), *positions, operands.hidden)


def hand_out(gradients: Sequence[Tensor], tensors: Sequence[Tensor | None], with_x: bool = True) -> list[Tensor | None]:
    """Expand the list of :meth:`LSTMOperands.list_gradients` to all seven tensors, None where there is no gradient.

    Args:
        gradients: The list.
        tensors: The operation's tensors, in order.
        with_x: Whether x has a gradient.
    """
    left = iter(gradients)
    handed = [None if tensor is None else next(left) for tensor in tensors[:7]]
    return handed if with_x else [None, *handed[1:]]


def may_need_gradient(tensors: Iterable[Tensor | None]) -> bool:
    """Whether a backward pass through any of these tensors may follow."""
    return torch.is_grad_enabled() and any(tensor is not None and tensor.requires_grad for tensor in tensors)


def contiguous(name: str, tensor: Tensor) -> Tensor:
    """The tensor, contiguous in memory.

    Raises:
        ValueError: naming the tensor, if it would have to be copied but has no memory.
    """
    if tensor.is_contiguous():
        return tensor
    check_memory(name, tensor)
    return tensor.contiguous()


def refuse_second_derivative(kernels: str) -> Callable[..., None]:
    """The backward pass of a backward pass, which raises.

    Args:
        kernels: The subject of the sentence, with its verb, such as "native LSTM kernel can".
    """

    def refuse(*_: object) -> None:
        raise RuntimeError(
            f"the {kernels} be differentiated once; for second derivatives run the forward pass within "
            'convrnn.ops.use_backend("reference")'
        )

    return refuse
