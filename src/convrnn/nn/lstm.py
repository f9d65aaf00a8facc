"""The LSTM with peepholes over whole sequences."""

from typing import Any, Self

import torch
from torch import Tensor, nn

from convrnn import ops
from convrnn.nn import exchange
from convrnn.nn.init import glorot_, orthogonal_
from convrnn.nn.options import flatten_frames, require_positive


class LSTM(nn.Module):
    """LSTM with peepholes over whole sequences, in one or both directions (equations 3 to 7).

    Padded batches are handled through ``lengths``; the backward direction starts at each sequence's own last frame.

    Args:
        input_size: Values in a frame.
        hidden_size: Units of each direction.
        bidirectional: Also read the sequence backwards; the two hidden sequences stand side by side.
        peepholes: Connect the cell to the gates.
        learn_initial_state: Learn the state before the first frame; it starts at 0.
        bias: Add biases.
        device: Where the parameters lie.
        dtype: Their dtype.

    Shape:
        - Input: ``[batch, frames, input_size]``, and optionally ``lengths``, int64 ``[batch]``.
        - Output: hidden states ``[batch, frames, hidden_size]``, or ``2 * hidden_size`` for two directions; zeros past
          each sequence's length.

    Raises:
        ValueError: for options or input that do not fit.

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
        device: torch.device | str | None = None,
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
        shapes: dict[str, tuple[int, ...]] = {}
        for suffix in self._suffixes():
            shapes[f"weight_ih{suffix}"] = (4 * hidden_size, input_size)
            shapes[f"weight_hh{suffix}"] = (4 * hidden_size, hidden_size)
            shapes |= {f"bias{suffix}": (4 * hidden_size,)} if bias else {}
            shapes |= {f"weight_peephole{suffix}": (3, hidden_size)} if peepholes else {}
            if learn_initial_state:
                shapes |= {f"initial_hidden{suffix}": (hidden_size,), f"initial_cell{suffix}": (hidden_size,)}
        for name, shape in shapes.items():
            self.register_parameter(name, nn.Parameter(torch.empty(shape, device=device, dtype=dtype)))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw new parameters: Glorot input and orthogonal recurrent weights, per gate; everything else 0."""
        for name, parameter in self.named_parameters():
            if name.startswith("weight_ih"):
                glorot_(parameter, gates=4)
            elif name.startswith("weight_hh"):
                orthogonal_(parameter, gates=4)
            else:
                nn.init.zeros_(parameter)

    def forward(self, x: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Hidden states: ``[batch, frames, input_size]`` to ``[batch, frames, directions * hidden_size]``."""
        x = flatten_frames(x, self.input_size, self.weight_hh_l0.dtype)
        names = ("weight_ih", "weight_hh", "bias", "weight_peephole", "initial_hidden", "initial_cell")
        hidden = []
        for suffix in self._suffixes():
            parameters: list[Any] = [getattr(self, name + suffix, None) for name in names]
            hidden.append(ops.lstm_hidden(x, *parameters, lengths=lengths, reverse=suffix.endswith("_reverse")))
        return torch.cat(hidden, dim=-1)

    @classmethod
    def from_torch(cls, module: nn.LSTM) -> Self:
        """An LSTM without peepholes and with a copy of the weights of PyTorch's ``module``, which has one layer.

        Raises:
            ValueError: for another module, one with more layers, or one that projects its hidden state.

        Example:
            >>> lstm, x = nn.LSTM(26, 100, batch_first=True), torch.randn(2, 50, 26)
            >>> torch.allclose(LSTM.from_torch(lstm)(x), lstm(x)[0], atol=1e-6)
            True
        """
        if exchange.rnn_type_of(module) != "lstm":
            raise ValueError(f"module is a {type(module).__name__}; it must be a torch.nn.LSTM")
        if module.num_layers > 1:
            raise ValueError(f"module has num_layers={module.num_layers}; only one layer can be taken over")
        options = exchange.factory_options(module)
        layer = cls(module.input_size, module.hidden_size, peepholes=False, **options)
        exchange.copy_from_torch(layer, module)
        return layer

    def to_torch(self) -> nn.LSTM:
        """PyTorch's own LSTM (``batch_first=True``) with a copy of the weights.

        Raises:
            ValueError: where peepholes or learned initial states are not zero, which PyTorch's LSTM does not have.

        Example:
            >>> layer, x = LSTM(26, 100, bidirectional=True), torch.randn(2, 50, 26)
            >>> torch.allclose(layer.to_torch()(x)[0], layer(x), atol=1e-6)
            True
        """
        exchange.require_plain(self)
        module = nn.LSTM(
            self.input_size,
            self.hidden_size,
            bias=self.bias,
            batch_first=True,
            bidirectional=self.bidirectional,
            device=self.weight_hh_l0.device,
            dtype=self.weight_hh_l0.dtype,
        )
        exchange.copy_to_torch(self, module)
        return module

    def _suffixes(self) -> tuple[str, ...]:
        return ("_l0", "_l0_reverse") if self.bidirectional else ("_l0",)

    def extra_repr(self) -> str:
        """The arguments."""
        return (
            f"{self.input_size}, {self.hidden_size}, bidirectional={self.bidirectional}, peepholes={self.peepholes}, "
            f"learn_initial_state={self.learn_initial_state}, bias={self.bias}"
        )
