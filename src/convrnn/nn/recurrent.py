"""Recurrent layers over whole sequences."""

from typing import ClassVar, Generic, Literal, Self, TypeVar, cast

import torch
from torch import Tensor, nn

from convrnn.nn import torch_weights
from convrnn.nn.cells import GRU_CELL, LSTM_CELL, RNN_CELL, Cell, OptionValue
from convrnn.nn.init import register_parameters, reset_recurrent_
from convrnn.nn.options import Device, flatten_frames, require_positive

_Module = TypeVar("_Module", bound=nn.RNNBase)


class _Recurrent(nn.Module, Generic[_Module]):
    """What the layers over whole sequences have in common."""

    cell: ClassVar[Cell]

    weight_hh_l0: nn.Parameter

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        *,
        bidirectional: bool,
        learn_initial_state: bool,
        bias: bool,
        device: Device | None,
        dtype: torch.dtype | None,
        **options: OptionValue,
    ) -> None:
        super().__init__()
        require_positive(input_size=input_size, hidden_size=hidden_size)
        self.input_size = input_size
        self.hidden_size = hidden_size
        self.bidirectional = bidirectional
        self.learn_initial_state = learn_initial_state
        self.bias = bias
        options = self.cell.complete(options)
        for name, value in options.items():
            setattr(self, name, value)
        shapes = self.cell.shapes(
            input_size, hidden_size, bias=bias, learn_initial_state=learn_initial_state, options=options
        )
        named = {name + suffix: shapes.get(name) for suffix in self._suffixes() for name in self.cell.tensor_names}
        register_parameters(self, named, device, dtype)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Reinitialise: Glorot input weights and orthogonal recurrent weights, per gate; everything else zero."""
        reset_recurrent_(self, len(self.cell.gates))

    def forward(self, x: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Hidden states: ``[batch, frames, input_size]`` to ``[batch, frames, directions * hidden_size]``."""
        x = flatten_frames(x, self.input_size, self.weight_hh_l0.dtype)
        options = self._options()
        directions = [
            {name: getattr(self, name + suffix) for name in self.cell.tensor_names} for suffix in self._suffixes()
        ]
        if self.bidirectional:
            return self.cell.over_sequences_both_ways(x, directions, options, lengths=lengths)
        return self.cell.over_sequences(x, directions[0], options, lengths=lengths, reverse=False)

    @classmethod
    def from_torch(cls, module: _Module) -> Self:
        """A layer with a copy of the weights of PyTorch's single-layer ``module`` of the same name.

        Raises:
            ValueError: if the module is another one, has more than one layer or projects its hidden state.

        Example:
            >>> gru, x = nn.GRU(26, 100, batch_first=True), torch.randn(2, 50, 26)
            >>> torch.allclose(GRU.from_torch(gru)(x), gru(x)[0], atol=1e-6)
            True
        """
        if torch_weights.cell_of(module) is not cls.cell:
            raise ValueError(f"module is a {type(module).__name__}; it must be a torch.nn.{cls.__name__}")
        if module.num_layers > 1:
            raise ValueError(f"module has num_layers={module.num_layers}; only modules with one layer can be converted")
        return torch_weights.layer_from_torch(cls, module, (module.input_size, module.hidden_size))

    def to_torch(self) -> _Module:
        """PyTorch's own module (``batch_first=True``) with a copy of the weights.

        Raises:
            ValueError: if PyTorch's module lacks an option, or a parameter that is not zero: peepholes or learned
                initial states.

        Example:
            >>> layer, x = LSTM(26, 100, bidirectional=True), torch.randn(2, 50, 26)
            >>> torch.allclose(layer.to_torch()(x)[0], layer(x), atol=1e-6)
            True
        """
        module = torch_weights.to_torch(self, self.cell, self.input_size, self.hidden_size)
        return cast(_Module, module)

    def _options(self) -> dict[str, OptionValue]:
        return {option.name: getattr(self, option.name) for option in self.cell.options}

    def _suffixes(self) -> tuple[str, ...]:
        return ("_l0", "_l0_reverse") if self.bidirectional else ("_l0",)

    def extra_repr(self) -> str:
        """The arguments."""
        options = "".join(f"{name}={value!r}, " for name, value in self._options().items())
        return (
            f"{self.input_size}, {self.hidden_size}, bidirectional={self.bidirectional}, {options}"
            f"learn_initial_state={self.learn_initial_state}, bias={self.bias}"
        )


class RNN(_Recurrent[nn.RNN]):
    """Simple recurrent network over whole sequences, in one or both directions (equation 1).

    Arguments, shapes and errors are those of :class:`~convrnn.nn.LSTM`, and:

    Args:
        nonlinearity: The σ of equation 1: "tanh", "sigmoid" (as in the paper) or "relu".

    Example:
        >>> rnn = RNN(100, 256, nonlinearity="relu")
        >>> rnn(torch.randn(2, 44, 100), torch.tensor([44, 21])).shape
        torch.Size([2, 44, 256])
    """

    cell = RNN_CELL

    nonlinearity: str

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        *,
        bidirectional: bool = False,
        nonlinearity: Literal["tanh", "sigmoid", "relu"] = "tanh",
        learn_initial_state: bool = False,
        bias: bool = True,
        device: Device | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__(
            input_size,
            hidden_size,
            bidirectional=bidirectional,
            learn_initial_state=learn_initial_state,
            bias=bias,
            device=device,
            dtype=dtype,
            nonlinearity=nonlinearity,
        )


class GRU(_Recurrent[nn.GRU]):
    """Gated recurrent unit over whole sequences, in one or both directions.

    Arguments, shapes and errors are those of :class:`~convrnn.nn.LSTM`, and:

    Args:
        reset_after: Apply the reset gate to the recurrent product, as ``torch.nn.GRU`` does, instead of to the state
            before it, as the authors' code does.

    Example:
        >>> gru = GRU(100, 256, bidirectional=True, reset_after=True)
        >>> gru(torch.randn(2, 44, 100), torch.tensor([44, 21])).shape
        torch.Size([2, 44, 512])
    """

    cell = GRU_CELL

    reset_after: bool

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        *,
        bidirectional: bool = False,
        reset_after: bool = False,
        learn_initial_state: bool = False,
        bias: bool = True,
        device: Device | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__(
            input_size,
            hidden_size,
            bidirectional=bidirectional,
            learn_initial_state=learn_initial_state,
            bias=bias,
            device=device,
            dtype=dtype,
            reset_after=reset_after,
        )


class LSTM(_Recurrent[nn.LSTM]):
    """LSTM with peepholes over whole sequences, in one or both directions (equations 3 to 7).

    In a padded batch, ``lengths`` gives the end of each sequence; the backward direction starts at its last frame.

    Args:
        input_size: Number of values in a frame.
        hidden_size: Units of each direction.
        bidirectional: Also read the sequence backwards; the two hidden sequences are concatenated.
        peepholes: Connect the cell to the gates.
        learn_initial_state: Learn the state before the first frame; it starts at 0.
        bias: Add biases.
        device: Device of the parameters.
        dtype: Dtype of the parameters.

    Shape:
        - Input: ``[batch, frames, input_size]``, and optionally ``lengths``, int64 ``[batch]``.
        - Output: hidden states ``[batch, frames, hidden_size]``, or ``2 * hidden_size`` for two directions; zeros past
          each sequence's length.

    Raises:
        ValueError: for an invalid option, and for input of the wrong shape, dtype or length.

    Example:
        >>> lstm = LSTM(100, 256, bidirectional=True)
        >>> lstm(torch.randn(2, 44, 100), torch.tensor([44, 21])).shape
        torch.Size([2, 44, 512])
    """

    cell = LSTM_CELL

    peepholes: bool

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        *,
        bidirectional: bool = False,
        peepholes: bool = True,
        learn_initial_state: bool = False,
        bias: bool = True,
        device: Device | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__(
            input_size,
            hidden_size,
            bidirectional=bidirectional,
            learn_initial_state=learn_initial_state,
            bias=bias,
            device=device,
            dtype=dtype,
            peepholes=peepholes,
        )
