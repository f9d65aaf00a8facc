"""Recurrent cells as data: what a layer needs to know about the network that reads its windows.

A cell is one time step, a function like those in :mod:`convrnn.ops.reference`, and one :class:`Cell` record. The rest
follows from the record: the parameters and options of :class:`~convrnn.nn.ConvRNN`, weights from and to PyTorch, the
config of a saved model, the preset. For example, the minimal gated unit of Zhou et al. (2016)::

    def mgu_step(wx, h, W_h):
        wx_f, wx_n = wx.chunk(2, dim=-1)
        W_f, W_n = W_h.chunk(2)
        f = torch.sigmoid(wx_f + F.linear(h, W_f))
        n = torch.tanh(wx_n + F.linear(f * h, W_n))
        return (1 - f) * h + f * n

    layer = ConvRNN(26, 100, kernel_size=5, rnn_type=Cell("mgu", gates=("f", "n"), step=mgu_step))

A cell in :data:`CELLS` can be selected by its name, ``rnn_type="mgu"``.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor, nn

from convrnn import ops
from convrnn.nn.options import require_one_of
from convrnn.ops import reference

OptionValue = bool | str


@dataclass(frozen=True)
class CellOption:
    """An option that only some cells have.

    Attributes:
        name: Name of the constructor's argument and of the layer's attribute.
        default: Value if none is given.
        allowed: Allowed values.
        doc: What it does, as a sentence for a docstring.
        in_step: Whether the step takes it as an argument; otherwise it only decides which tensors exist.
    """

    name: str
    default: OptionValue
    allowed: tuple[OptionValue, ...]
    doc: str
    in_step: bool = True


@dataclass(frozen=True)
class CellTensor:
    """A parameter that only some cells have; it starts at 0.

    Attributes:
        name: Name of the step's argument; the layer's parameter adds a suffix for layer and direction.
        shape: Sizes, with "hidden" for the number of units.
        needs: Options that must all be true for it to exist; "bias" may be among them.
    """

    name: str
    shape: tuple[int | Literal["hidden"], ...]
    needs: tuple[str, ...] = ()


@dataclass(frozen=True)
class TorchModule:
    """PyTorch's own module of a cell.

    Its ``weight_ih`` and ``weight_hh`` are the cell's, and the sum of its two biases is the cell's ``bias``.

    Attributes:
        type: The class.
        options: The cell's options, each with the values that the class supports. An option with several values is an
            argument and an attribute of the class.
        last_gate_bias: The cell's tensor that holds the last gate's part of ``bias_hh``, if it is not added to
            ``bias``.
    """

    type: type[nn.RNN | nn.GRU | nn.LSTM]
    options: Mapping[str, tuple[OptionValue, ...]] = field(default_factory=dict)
    last_gate_bias: str | None = None


@dataclass(frozen=True)
class Cell:
    """A type of recurrent network.

    Every cell has ``weight_ih``, ``weight_hh``, ``bias`` and ``initial_hidden``; a cell with cell states also has
    ``initial_cell``.

    Attributes:
        name: The ``rnn_type`` that selects it.
        gates: Names of the blocks of H rows in ``weight_ih``, ``weight_hh`` and ``bias``, in order.
        step: One time step in plain PyTorch, ``(wx, h, W_h, **others)`` to the new h, or, with cell states,
            ``(wx, h, c, W_h, **others)`` to the new (h, c). ``wx`` ``[..., gates * H]`` is the input projection with
            the bias; the states are ``[..., H]``, in the first step ``[H]``; ``others`` are the tensors and options
            below by name, where an absent tensor is None.
        cell_states: Whether it has cell states c in addition to the hidden states h.
        tensors: Parameters that only this cell has.
        options: Options that only this cell has.
        operation: A function like :func:`convrnn.ops.windowed_gru` that computes the cell over every window on faster
            backends; None runs the step.
        sequence_operation: A function like :func:`convrnn.ops.gru` that computes the hidden states of whole sequences;
            None if the cell only reads windows.
        bidirectional_operation: A function like :func:`convrnn.ops.windowed_bilstm` that computes in both directions
            what ``operation`` computes in one; None if they are computed one after the other.
        bidirectional_sequence_operation: Likewise what ``sequence_operation`` computes, a function like
            :func:`convrnn.ops.bilstm_hidden`.
        torch: PyTorch's own module, if there is one.
        tensor_names: Every parameter that the cell can have, in the order in which a layer registers them; not an
            argument.

    Raises:
        ValueError: if ``gates`` is not a tuple or is empty; or if, without an ``operation``, the step cannot be called
            as above or returns something else, which two calls on zeros show.

    Example:
        >>> ", ".join(f"{name} {shape}" for name, shape in CELLS["gru"].shapes(26, 100).items())
        'weight_ih (300, 26), weight_hh (300, 100), bias (300,)'
    """

    name: str
    gates: tuple[str, ...]
    step: reference.Step
    cell_states: bool = False
    tensors: tuple[CellTensor, ...] = ()
    options: tuple[CellOption, ...] = ()
    operation: Callable[..., Tensor] | None = None
    sequence_operation: Callable[..., Tensor] | None = None
    bidirectional_operation: Callable[..., tuple[Tensor, Tensor]] | None = None
    bidirectional_sequence_operation: Callable[..., Tensor] | None = None
    torch: TorchModule | None = None

    tensor_names: tuple[str, ...] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if not isinstance(self.gates, tuple) or not self.gates:
            raise ValueError(f"gates is {self.gates!r}; it must be a tuple with the name of at least one gate")
        own = (tensor.name for tensor in self.tensors)
        object.__setattr__(self, "tensor_names", ("weight_ih", "weight_hh", "bias", *own, *self._initial_states))
        if self.operation is None:
            self._try_step()

    def _try_step(self) -> None:
        """Run the step twice on zeros, since in a layer a wrong one would fail far from here."""
        units, options = 4, self.complete({})
        shapes = self.shapes(1, units, options=options)
        tensors = {name: torch.zeros(shape, device="cpu") for name, shape in shapes.items()}
        others: dict[str, Tensor | OptionValue | None] = {each.name: tensors.get(each.name) for each in self.tensors}
        others |= {option.name: options[option.name] for option in self.options if option.in_step}
        wx = torch.zeros(2, 3, len(self.gates) * units, device="cpu")
        wanted = [2, 3, units]
        states: tuple[Tensor, ...] = tuple(wx.new_zeros(units) for _ in self._initial_states)
        called = ", ".join(["wx", *("h", "c")[: len(states)], "W_h", *(f"{name}=..." for name in others)])
        for _ in range(2):
            try:
                with torch.no_grad():
                    new = self.step(wx, *states, tensors["weight_hh"], **others)
            except Exception as error:
                reason = (str(error) or type(error).__name__).splitlines()[0]
                raise ValueError(
                    f"the step of cell {self.name!r}, called as step({called}) for gates {self.gates}, fails: {reason}"
                ) from error
            states = new if isinstance(new, tuple) else (new,)
            found = [list(each.shape) if isinstance(each, Tensor) else type(each).__name__ for each in states]
            if found != [wanted] * len(self._initial_states):
                raise ValueError(
                    f"the step of cell {self.name!r} must return {'(h, c), each' if self.cell_states else 'h'} of "
                    f"shape {wanted} for wx of shape {list(wx.shape)}, but returned {' and '.join(map(str, found))}"
                )

    def shapes(
        self,
        inputs: int,
        hidden: int,
        *,
        bias: bool = True,
        learn_initial_state: bool = False,
        options: Mapping[str, OptionValue] | None = None,
    ) -> dict[str, tuple[int, ...]]:
        """The parameters of one layer in one direction: names and shapes in the order of :attr:`tensor_names`.

        Args:
            inputs: Number of values in a frame, or in the states of the layer below.
            hidden: Number of units.
            bias: Whether there are biases.
            learn_initial_state: Whether the states before the first frame are learned.
            options: Values of the cell's options, as :meth:`complete` returns them; None means the defaults.
        """
        rows = len(self.gates) * hidden
        shapes: dict[str, tuple[int, ...]] = {"weight_ih": (rows, inputs), "weight_hh": (rows, hidden)}
        if bias:
            shapes["bias"] = (rows,)
        given = {"bias": bias, **(self.complete({}) if options is None else options)}
        for tensor in self.tensors:
            if all(given[name] for name in tensor.needs):
                shapes[tensor.name] = tuple(hidden if size == "hidden" else size for size in tensor.shape)
        if learn_initial_state:
            shapes |= dict.fromkeys(self._initial_states, (hidden,))
        return shapes

    def complete(self, given: Mapping[str, OptionValue | None]) -> dict[str, OptionValue]:
        """The value of every option of the cell: the given one, or the default if that is None or missing.

        An option that only other cells have may be given if it is None or False.

        Raises:
            TypeError: for an option that no cell has.
            ValueError: for any other value of an option that only other cells have, and for a value that is not
                allowed.

        Example:
            >>> CELLS["lstm"].complete({"reset_after": False})
            {'peepholes': True}
        """
        own = {option.name: option for option in self.options}
        for name, value in given.items():
            if name not in own:
                owners = [repr(cell.name) for cell in CELLS.values() if name in (o.name for o in cell.options)]
                if not owners:
                    raise TypeError(f"ConvRNN got an unexpected keyword argument {name!r}")
                if value:
                    owner = " or ".join(owners)
                    raise ValueError(f"{name} is {value!r}, but rnn_type is {self.name!r}; only {owner} has it")
        values = {}
        for name, option in own.items():
            value = given.get(name)
            values[name] = option.default if value is None else value
            require_one_of(name, values[name], option.allowed)
        return values

    def over_windows(
        self,
        x: Tensor,
        tensors: Mapping[str, Tensor | None],
        options: Mapping[str, OptionValue],
        *,
        sequence: str,
        **window: Any,  # noqa: ANN401 - checked by the operation
    ) -> Tensor:
        """The cell's states over every window of ``x`` ``[batch, frames, inputs]``.

        Args:
            x: Frames.
            tensors: A tensor, or None, for each of :attr:`tensor_names`.
            options: Values of the cell's options.
            sequence: "hidden" or "cell".
            window: ``kernel_size``, ``stride``, ``reduce``, ``lengths`` and ``reverse`` of
                :func:`convrnn.ops.windowed_rnn`.

        Returns:
            ``[batch, windows, H]``, or ``[batch, windows, kernel_size, H]`` if ``reduce`` is "none".
        """
        arguments = window | self._of_windows(options, sequence)
        if self.operation is not None:
            return self.operation(x, **tensors, **arguments)
        shared: list[Any] = [tensors[name] for name in ("weight_ih", "weight_hh", "bias", *self._initial_states)]
        arguments |= {tensor.name: tensors[tensor.name] for tensor in self.tensors}
        return reference.windowed(self.step, x, *shared, gates=len(self.gates), **arguments)

    def over_windows_both_ways(
        self,
        x: Tensor,
        directions: Sequence[Mapping[str, Tensor | None]],
        options: Mapping[str, OptionValue],
        *,
        sequence: str,
        **window: Any,  # noqa: ANN401 - checked by the operation
    ) -> list[Tensor]:
        """As :meth:`over_windows`, in both directions.

        Args:
            x: Frames.
            directions: The tensors of the forward and of the backward direction.
            options: Values of the cell's options.
            sequence: "hidden" or "cell".
            window: As there, without ``reverse``.
        """
        if self.operation is not None and self.bidirectional_operation is not None:
            arguments = window | self._of_windows(options, sequence)
            return list(self.bidirectional_operation(x, *directions, **arguments))
        return [
            self.over_windows(x, tensors, options, sequence=sequence, **window, reverse=number == 1)
            for number, tensors in enumerate(directions)
        ]

    def _of_windows(self, options: Mapping[str, OptionValue], sequence: str) -> dict[str, OptionValue]:
        arguments = {option.name: options[option.name] for option in self.options if option.in_step}
        return arguments | ({"sequence": sequence} if self.cell_states else {})

    def over_sequences(
        self,
        x: Tensor,
        tensors: Mapping[str, Tensor | None],
        options: Mapping[str, OptionValue],
        *,
        lengths: Tensor | None,
        reverse: bool,
    ) -> Tensor:
        """The hidden states of the cell over whole sequences ``[batch, frames, inputs]``: ``[batch, frames, H]``.

        Args:
            x: Frames.
            tensors: A tensor, or None, for each of :attr:`tensor_names`.
            options: Values of the cell's options.
            lengths: Valid frames of each sequence, int64 ``[batch]``; None is all.
            reverse: Process each sequence from its own last frame to its first.

        Raises:
            ValueError: if the cell only reads windows.
        """
        if self.sequence_operation is None:
            raise ValueError(f"the cell {self.name!r} has no operation for whole sequences")
        arguments = {option.name: options[option.name] for option in self.options if option.in_step}
        return self.sequence_operation(x, **tensors, **arguments, lengths=lengths, reverse=reverse)

    def over_sequences_both_ways(
        self,
        x: Tensor,
        directions: Sequence[Mapping[str, Tensor | None]],
        options: Mapping[str, OptionValue],
        *,
        lengths: Tensor | None,
    ) -> Tensor:
        """As :meth:`over_sequences`, in both directions, side by side: ``[batch, frames, 2H]``.

        Args:
            x: Frames.
            directions: The tensors of the forward and of the backward direction.
            options: Values of the cell's options.
            lengths: As there.
        """
        if self.sequence_operation is not None and self.bidirectional_sequence_operation is not None:
            arguments = {option.name: options[option.name] for option in self.options if option.in_step}
            return self.bidirectional_sequence_operation(x, *directions, **arguments, lengths=lengths)
        hidden = [
            self.over_sequences(x, tensors, options, lengths=lengths, reverse=number == 1)
            for number, tensors in enumerate(directions)
        ]
        return torch.cat(hidden, dim=-1)

    @property
    def _initial_states(self) -> tuple[str, ...]:
        return ("initial_hidden", "initial_cell") if self.cell_states else ("initial_hidden",)


RNN_CELL = Cell(
    name="rnn",
    gates=("h",),
    step=reference.rnn_step,
    options=(
        CellOption(
            "nonlinearity",
            default="tanh",
            allowed=("tanh", "sigmoid", "relu"),
            doc='The σ of equation 1: "tanh", "sigmoid" (as in the paper) or "relu".',
        ),
    ),
    operation=ops.windowed_rnn,
    sequence_operation=ops.rnn,
    torch=TorchModule(nn.RNN, options={"nonlinearity": ("tanh", "relu")}),
)
"""The simple recurrent network, equation 1."""

GRU_CELL = Cell(
    name="gru",
    gates=("r", "z", "n"),
    step=reference.gru_step,
    tensors=(CellTensor("bias_hn", ("hidden",), needs=("bias", "reset_after")),),
    options=(
        CellOption(
            "reset_after",
            default=False,
            allowed=(False, True),
            doc="Apply the reset gate to the recurrent product, as ``torch.nn.GRU`` does, instead of to the state "
            "before it, as the authors' code does.",
        ),
    ),
    operation=ops.windowed_gru,
    sequence_operation=ops.gru,
    torch=TorchModule(nn.GRU, options={"reset_after": (True,)}, last_gate_bias="bias_hn"),
)
"""The gated recurrent unit of the authors' code."""

LSTM_CELL = Cell(
    name="lstm",
    gates=("i", "f", "g", "o"),
    step=reference.lstm_step,
    cell_states=True,
    tensors=(CellTensor("weight_peephole", (3, "hidden"), needs=("peepholes",)),),
    options=(
        CellOption(
            "peepholes", default=True, allowed=(False, True), doc="Connect the cell to the gates.", in_step=False
        ),
    ),
    operation=ops.windowed_lstm,
    sequence_operation=ops.lstm_hidden,
    bidirectional_operation=ops.windowed_bilstm,
    bidirectional_sequence_operation=ops.bilstm_hidden,
    torch=TorchModule(nn.LSTM, options={"peepholes": (False,)}),
)
"""The LSTM with peepholes, equations 3 to 7."""

CELLS: dict[str, Cell] = {cell.name: cell for cell in (RNN_CELL, GRU_CELL, LSTM_CELL)}
"""Every cell by its name, the ``rnn_type`` of :class:`~convrnn.nn.ConvRNN`."""
