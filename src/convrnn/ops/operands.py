"""The tensors and options of a recurrent cell and of its windows, in the form that every backend takes."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar, Self

import torch
from torch import Tensor

from convrnn.ops import checks, geometry
from convrnn.ops.checks import check_memory

_SCHEMA_TYPES: dict[Any, str] = {Tensor: "Tensor", Tensor | None: "Tensor?", str: "str", bool: "bool"}


class CellOperands:
    """The tensors and options of a recurrent cell.

    Each cell has a subclass, a dataclass whose fields are in the order in which registered operations take them: the
    tensors, with the initial states last, the lengths, the options.

    Attributes:
        cell: Name of the cell.
        gates: Number of its gates.
        schema: The fields in the language of PyTorch's schemas.
        tensor_names: Names of the tensors except the lengths, in order.
        option_names: Names of the cell's own options, in order.
        x: Frames ``[batch, frames, in]``.
        weight_ih: ``[gates * H, in]``, or ``[kernel_size, gates * H, in]``: one matrix per position in the window.
        weight_hh: ``[gates * H, H]``.
        bias: ``[gates * H]`` or None.
        initial_hidden: h before the first step ``[H]``; None is zeros.
        lengths: Valid frames of each sequence, int64 ``[batch]``; None is all. Values below 0 count as 0, values above
            the number of frames as all of them.
    """

    cell: ClassVar[str]
    gates: ClassVar[int]
    schema: ClassVar[str]
    tensor_names: ClassVar[tuple[str, ...]]
    option_names: ClassVar[tuple[str, ...]]

    x: Tensor
    weight_ih: Tensor
    weight_hh: Tensor
    bias: Tensor | None
    initial_hidden: Tensor | None
    lengths: Tensor | None

    def __init_subclass__(cls, *, cell: str, gates: int) -> None:
        """Read the order of the fields."""
        cls.cell, cls.gates = cell, gates
        fields = cls.__annotations__
        cls.schema = ", ".join(f"{_SCHEMA_TYPES[kind]} {name}" for name, kind in fields.items())
        names = tuple(fields)
        lengths = names.index("lengths")
        cls.tensor_names, cls.option_names = names[:lengths], names[lengths + 1 :]

    @property
    def differentiable(self) -> tuple[Tensor | None, ...]:
        """All tensors except the lengths, in order."""
        return tuple([getattr(self, name) for name in self.tensor_names])

    @property
    def tensors(self) -> tuple[Tensor | None, ...]:
        """All tensors, in order; the lengths are the last."""
        return (*self.differentiable, self.lengths)

    @property
    def arguments(self) -> tuple[Any, ...]:
        """All fields, in order."""
        return (*self.tensors, *self.options.values())

    @property
    def options(self) -> dict[str, Any]:
        """The cell's own options by name."""
        return {name: getattr(self, name) for name in self.option_names}

    @cached_property
    def named(self) -> Mapping[str, Tensor | None]:
        """All tensors by name, in order, for checks that name a tensor in an error."""
        return dict(zip((*self.tensor_names, "lengths"), self.tensors, strict=True))

    @property
    def has_cell_states(self) -> bool:
        """Whether the cell has cell states in addition to the hidden ones."""
        return "initial_cell" in self.tensor_names

    @property
    def hidden(self) -> int:
        """Hidden units H."""
        return self.weight_hh.size(1)

    @property
    def states_shape(self) -> tuple[int, int, int]:
        """Shape of the states of whole sequences, ``[batch, frames, H]``."""
        return self.x.size(0), self.x.size(1), self.weight_hh.size(1)

    def check(self, kernel_size: int | None = None) -> None:
        """Reject options and tensors that do not fit together; each backend checks the dtypes itself.

        Args:
            kernel_size: Frames in a window; None for whole sequences.

        Raises:
            ValueError: naming the first option or tensor that does not fit, what it is and what is allowed.
        """
        checks.check_cell(self.gates, self.named, kernel_size)

    def contiguous(self) -> Self:
        """The same operands, each contiguous in memory.

        Raises:
            ValueError: naming a tensor that would have to be copied but has no memory.
        """
        for tensor in self.tensors:
            if tensor is not None and not tensor.is_contiguous():
                break
        else:
            return self
        return self.map(contiguous)

    def map(self, change: Callable[[str, Tensor], Tensor]) -> Self:
        """The same operands with every tensor changed.

        Args:
            change: Takes the name of a tensor and the tensor.
        """
        tensors = [None if each is None else change(name, each) for name, each in self.named.items()]
        return type(self)(*tensors, *self.options.values())

    def fake_gradients(self, with_x: bool) -> list[Tensor]:
        """What a backward operation returns, with only shapes and dtypes, for compilers: see :func:`hand_out`."""
        grad_x = self.x.new_empty(self.x.shape if with_x else 0)
        return [grad_x, *(t.new_empty(t.shape) for t in self.differentiable[1:] if t is not None)]


@dataclass(frozen=True)
class RNNOperands(CellOperands, cell="rnn", gates=1):
    """The tensors of a simple recurrent network.

    Attributes:
        nonlinearity: "tanh", "sigmoid" or "relu".
    """

    x: Tensor
    weight_ih: Tensor
    weight_hh: Tensor
    bias: Tensor | None
    initial_hidden: Tensor | None = None
    lengths: Tensor | None = None
    nonlinearity: str = "tanh"

    def check(self, kernel_size: int | None = None) -> None:
        """As for every cell; and reject an unknown nonlinearity."""
        checks.one_of("nonlinearity", self.nonlinearity, checks.NONLINEARITIES)
        super().check(kernel_size)


@dataclass(frozen=True)
class GRUOperands(CellOperands, cell="gru", gates=3):
    """The tensors of a gated recurrent unit, whose gates are r, z, n.

    Attributes:
        bias_hn: ``[H]``, only with ``reset_after``: the bias that the reset gate multiplies; or None.
        reset_after: Whether the reset gate acts on the recurrent product instead of on the state before it.
    """

    x: Tensor
    weight_ih: Tensor
    weight_hh: Tensor
    bias: Tensor | None
    bias_hn: Tensor | None = None
    initial_hidden: Tensor | None = None
    lengths: Tensor | None = None
    reset_after: bool = False

    def check(self, kernel_size: int | None = None) -> None:
        """As for every cell; and reject a bias that only the other convention has."""
        checks.check_bias_hn(self.bias_hn, self.reset_after)
        super().check(kernel_size)


@dataclass(frozen=True)
class LSTMOperands(CellOperands, cell="lstm", gates=4):
    """The tensors of an LSTM, whose gates are i, f, g, o.

    Attributes:
        weight_peephole: Diagonals of W_ci, W_cf, W_co ``[3, H]`` or None.
        initial_cell: c before the first step ``[H]``; None is zeros.
    """

    x: Tensor
    weight_ih: Tensor
    weight_hh: Tensor
    bias: Tensor | None
    weight_peephole: Tensor | None = None
    initial_hidden: Tensor | None = None
    initial_cell: Tensor | None = None
    lengths: Tensor | None = None

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
    """The options of a cell over windows, in the order in which registered operations take them.

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

    def check(self, operands: CellOperands) -> None:
        """Reject options that are invalid or do not fit the operands.

        Raises:
            ValueError: naming the option, its value and what is allowed.
        """
        checks.check_window(operands.x, self.kernel_size, self.stride, self.reduce, self.sequence)
        if self.sequence == "cell" and not operands.has_cell_states:
            raise ValueError(f"sequence is 'cell', but the cell {operands.cell!r} has only 'hidden' states")

    def count(self, frames: int) -> int:
        """Windows in a sequence."""
        return geometry.num_windows(frames, self.kernel_size, self.stride)

    def shape(self, operands: CellOperands) -> tuple[int, ...]:
        """Shape of the features, ``[batch, windows, H]``, or ``[batch, windows, kernel_size, H]`` for "none"."""
        positions = (self.kernel_size,) if self.reduce == "none" else ()
        return (operands.x.size(0), self.count(operands.x.size(1)), *positions, operands.hidden)


def hand_out(gradients: Sequence[Tensor], tensors: Sequence[Tensor | None], with_x: bool = True) -> list[Tensor | None]:
    """Expand the results of a backward operation, a list without None, which PyTorch's schemas do not support.

    Args:
        gradients: The gradient of x, an empty tensor if there is none, and those of the parameters that are not None.
        tensors: The operation's tensors in order, with the lengths last.
        with_x: Whether x has a gradient.

    Returns:
        A gradient, or None, for each tensor except the lengths.
    """
    left = iter(gradients)
    handed = [None if tensor is None else next(left) for tensor in tensors[:-1]]
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
