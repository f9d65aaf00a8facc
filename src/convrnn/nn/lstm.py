"""The LSTM with peepholes over whole sequences."""

from typing import Any, Self

import torch
from torch import Tensor, nn

from convrnn import ops
from convrnn.nn import torch_weights
from convrnn.nn.cells import LSTM_CELL
from convrnn.nn.init import reset_recurrent_
from convrnn.nn.options import Device, flatten_frames, require_positive


class LSTM(nn.Module):
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

    weight_hh_l0: nn.Parameter

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
        super().__init__()
        require_positive(input_size=input_size, hidden_size=hidden_size)
        self.input_size = input_size
        self.hidden_size = hidden_size
        self.bidirectional = bidirectional
        self.peepholes = peepholes
        self.learn_initial_state = learn_initial_state
        self.bias = bias
        shapes = LSTM_CELL.shapes(
            input_size,
            hidden_size,
            bias=bias,
            learn_initial_state=learn_initial_state,
            options={"peepholes": peepholes},
        )
        for suffix in self._suffixes():
            for name, shape in shapes.items():
                parameter = nn.Parameter(torch.empty(shape, device=device, dtype=dtype))
                self.register_parameter(name + suffix, parameter)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Reinitialise: Glorot input weights and orthogonal recurrent weights, per gate; everything else zero."""
        reset_recurrent_(self, len(LSTM_CELL.gates))

    def forward(self, x: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Hidden states: ``[batch, frames, input_size]`` to ``[batch, frames, directions * hidden_size]``."""
        x = flatten_frames(x, self.input_size, self.weight_hh_l0.dtype)
        hidden = []
        for suffix in self._suffixes():
            parameters: list[Any] = [getattr(self, name + suffix, None) for name in LSTM_CELL.tensor_names]
            hidden.append(ops.lstm_hidden(x, *parameters, lengths=lengths, reverse=suffix.endswith("_reverse")))
        return torch.cat(hidden, dim=-1)

    @classmethod
    def from_torch(cls, module: nn.LSTM) -> Self:
        """An LSTM without peepholes, with a copy of the weights of PyTorch's single-layer ``module``.

        Raises:
            ValueError: if the module is not an LSTM, has more than one layer or projects its hidden state.

        Example:
            >>> lstm, x = nn.LSTM(26, 100, batch_first=True), torch.randn(2, 50, 26)
            >>> torch.allclose(LSTM.from_torch(lstm)(x), lstm(x)[0], atol=1e-6)
            True
        """
        if torch_weights.cell_of(module) is not LSTM_CELL:
            raise ValueError(f"module is a {type(module).__name__}; it must be a torch.nn.LSTM")
        if module.num_layers > 1:
            raise ValueError(f"module has num_layers={module.num_layers}; only modules with one layer can be converted")
        return torch_weights.layer_from_torch(cls, module, (module.input_size, module.hidden_size))

    def to_torch(self) -> nn.LSTM:
        """PyTorch's own LSTM (``batch_first=True``) with a copy of the weights.

        Raises:
            ValueError: if peepholes or learned initial states, which PyTorch's LSTM lacks, are not zero.

        Example:
            >>> layer, x = LSTM(26, 100, bidirectional=True), torch.randn(2, 50, 26)
            >>> torch.allclose(layer.to_torch()(x)[0], layer(x), atol=1e-6)
            True
        """
        module = torch_weights.to_torch(self, LSTM_CELL, self.input_size, self.hidden_size)
        assert isinstance(module, nn.LSTM)
        return module

    def _suffixes(self) -> tuple[str, ...]:
        return ("_l0", "_l0_reverse") if self.bidirectional else ("_l0",)

    def extra_repr(self) -> str:
        """The arguments."""
        return (
            f"{self.input_size}, {self.hidden_size}, bidirectional={self.bidirectional}, peepholes={self.peepholes}, "
            f"learn_initial_state={self.learn_initial_state}, bias={self.bias}"
        )
