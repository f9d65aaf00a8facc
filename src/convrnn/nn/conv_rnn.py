"""The convolutional recurrent layer: a small recurrent network over every window of frames."""

import inspect
from typing import Any, Literal, Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from convrnn.nn import torch_weights
from convrnn.nn.cells import CELLS, Cell, OptionValue
from convrnn.nn.init import register_parameters, reset_recurrent_
from convrnn.nn.options import Device, Padding, Reduce, flatten_frames, require_one_of, require_positive
from convrnn.ops import geometry
from convrnn.ops.checks import check_lengths


class ConvRNN(nn.Module):
    r"""Features of every window of frames, computed by a recurrent network that reads the window frame by frame.

    Section III-C of the paper. The features of a window of ``kernel_size`` frames are the last, the mean or the maximum
    of the network's hidden states h, of the cell states c of an LSTM, or of the outputs y:

    .. math::
        y_t &= W s_t + b_y & \quad (2) \\
        y_t &= W_{\rightarrow} \overrightarrow{s}_t + W_{\leftarrow} \overleftarrow{s}_t + b_y & \quad (8), (9)

    where s is h or c. Without a projection the two directions are concatenated, each with half of ``out_features``.

    Args:
        in_features: Number of values in a frame.
        out_features: Features of a window, the paper's n.
        kernel_size: Frames in a window, the paper's r1.
        stride: Frames between the starts of two windows, the paper's r2.
        rnn_type: "lstm" (equations 3 to 7), "gru", "rnn" (equation 1), or any other name in
            ``convrnn.nn.cells.CELLS``; or a custom :class:`~convrnn.nn.Cell`.
        sequence: Take features from the "hidden" states or, of an LSTM, the "cell" states. Default: "cell" for an
            LSTM, "hidden" otherwise.
        reduce: Over the window's frames: "last", "mean" or "max". Without a projection, "last" is each direction's
            own final state; with one it is the output of the window's last frame.
        projection: Apply a dense layer to the states of every frame, before the reduction.
        hidden_size: Units of the recurrent network; with a projection it can be any number. Default: ``out_features``,
            or half of it for two directions without a projection.
        num_layers: Recurrent layers stacked inside the window.
        bidirectional: Read every window in both directions.
        position_weights: One input matrix per frame position in the window, in the first layer (Extended CLSTM).
        learn_initial_state: Learn the state before the first frame; it starts at 0.
        padding: "valid", or "same": zeros around each sequence so that a window starts at every ``stride``-th frame.
        bias: Add biases.
        device: Device of the parameters.
        dtype: Dtype of the parameters.
        cell_options: Options specific to the cell: ``peepholes`` of "lstm" (see :class:`~convrnn.nn.CLSTM`),
            ``reset_after`` of "gru" (:class:`~convrnn.nn.CGRU`), ``nonlinearity`` of "rnn" (:class:`~convrnn.nn.CRNN`),
            or those of a custom cell.

    Shape:
        - Input: ``[batch, frames, in_features]``, or ``[batch, frames, *feature_shape]`` with as many values; and
          optionally ``lengths``, int64 ``[batch]``: the number of valid frames of each sequence.
        - Output: ``[batch, windows, out_features]`` with ``floor((frames - kernel_size) / stride) + 1`` windows.
          Windows that reach past a sequence's length are zeros.

    Raises:
        ValueError: for options that cannot be combined, and for input of the wrong shape, dtype or length.

    Example:
        >>> layer = ConvRNN(26, 100, kernel_size=5, stride=2, rnn_type="gru", reduce="max")
        >>> layer(torch.randn(8, 180, 26)).shape
        torch.Size([8, 88, 100])
    """

    weight_hh_l0: nn.Parameter
    weight_ho: nn.Parameter
    weight_ho_reverse: nn.Parameter
    bias_o: nn.Parameter

    def __init__(
        self,
        in_features: int,
        out_features: int,
        kernel_size: int,
        stride: int = 1,
        *,
        rnn_type: str | Cell = "lstm",
        sequence: Literal["hidden", "cell"] | None = None,
        reduce: Reduce = "last",
        projection: bool = False,
        hidden_size: int | None = None,
        num_layers: int = 1,
        bidirectional: bool = False,
        position_weights: bool = False,
        learn_initial_state: bool = False,
        padding: Padding = "valid",
        bias: bool = True,
        device: Device | None = None,
        dtype: torch.dtype | None = None,
        **cell_options: OptionValue | None,
    ) -> None:
        super().__init__()
        require_positive(in_features=in_features, out_features=out_features, kernel_size=kernel_size, stride=stride)
        require_positive(hidden_size=hidden_size, num_layers=num_layers)
        require_one_of("reduce", reduce, ("last", "mean", "max"))
        require_one_of("padding", padding, ("valid", "same"))
        require_one_of("sequence", sequence, (None, "hidden", "cell"))
        if not isinstance(rnn_type, Cell):
            require_one_of("rnn_type", rnn_type, tuple(CELLS))
        cell = rnn_type if isinstance(rnn_type, Cell) else CELLS[rnn_type]
        if sequence == "cell" and not cell.cell_states:
            raise ValueError(f"sequence is 'cell', but rnn_type {cell.name!r} has no cell states; use 'hidden'")
        options = cell.complete(cell_options)
        directions = 2 if bidirectional else 1
        if not projection:
            if out_features % directions:
                raise ValueError(
                    f"out_features is {out_features}; two directions without a projection need an even number"
                )
            if hidden_size not in (None, out_features // directions):
                raise ValueError(
                    f"hidden_size is {hidden_size}, but without a projection it must be {out_features // directions}, "
                    f"for out_features {out_features} in {directions} direction(s); projection=True allows any"
                )

        self.in_features = in_features
        self.out_features = out_features
        self.kernel_size = kernel_size
        self.stride = stride
        self.cell = cell
        self.rnn_type = cell.name
        self.sequence = sequence or ("cell" if cell.cell_states else "hidden")
        self.reduce = reduce
        self.projection = projection
        self.hidden_size = hidden_size or (out_features if projection else out_features // directions)
        self.num_layers = num_layers
        self.bidirectional = bidirectional
        self.position_weights = position_weights
        self.learn_initial_state = learn_initial_state
        self.padding = padding
        self.bias = bias
        for name, value in options.items():
            setattr(self, name, value)

        hidden = self.hidden_size
        shapes: dict[str, tuple[int, ...] | None] = {}
        for layer in range(num_layers):
            inputs = in_features if layer == 0 else directions * hidden
            own = cell.shapes(inputs, hidden, bias=bias, learn_initial_state=learn_initial_state, options=options)
            if position_weights and layer == 0:
                own["weight_ih"] = (kernel_size, *own["weight_ih"])
            shapes |= {name + suffix: own.get(name) for suffix in self._suffixes(layer) for name in cell.tensor_names}
        if projection:
            shapes["weight_ho"] = (out_features, hidden)
            shapes |= {"weight_ho_reverse": (out_features, hidden)} if bidirectional else {}
            shapes |= {"bias_o": (out_features,)} if bias else {}
        register_parameters(self, shapes, device, dtype)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Reinitialise: Glorot input weights and orthogonal recurrent weights, per gate; everything else zero."""
        reset_recurrent_(self, len(self.cell.gates))

    def output_lengths(self, lengths: geometry.Count) -> geometry.Count:
        """Number of windows of sequences with ``lengths`` frames (an integer or an int64 tensor).

        Example:
            >>> ConvRNN(26, 100, kernel_size=5, stride=2).output_lengths(180)
            88
        """
        if self.padding == "same":
            return geometry.num_windows_same(lengths, self.stride)
        return geometry.num_windows(lengths, self.kernel_size, self.stride)

    def forward(self, x: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Features of every window: ``[batch, frames, in_features]`` to ``[batch, windows, out_features]``."""
        x = flatten_frames(x, self.in_features, self.weight_hh_l0.dtype)
        windows = None
        if lengths is not None and (self.padding == "same" or self.projection or self.num_layers > 1):
            lengths = check_lengths(lengths, x)
            assert lengths is not None
            windows = self.output_lengths(lengths)
        if self.padding == "same":
            x, lengths = geometry.pad_same(x, lengths, self.kernel_size, self.stride)
        (batch, frames, _), stride = x.shape, self.stride
        for layer in range(self.num_layers - 1):
            states = self._states(x, lengths, layer, stride, sequence="hidden", reduce="none")
            # From here on every window is a separate sequence.
            x, lengths, stride = torch.cat(states, dim=-1).flatten(0, 1), None, 1
        y = self._features(x, lengths, stride)
        if self.num_layers > 1:
            y = y.view(batch, geometry.num_windows(frames, self.kernel_size, self.stride), self.out_features)
        # Of a single layer of states the operation itself leaves zeros past the lengths.
        return geometry.mask_frames(y, windows)

    def _features(self, x: Tensor, lengths: Tensor | None, stride: int) -> Tensor:
        """The top layer's states, projected and reduced."""
        layer = self.num_layers - 1
        if not self.projection:
            states = self._states(x, lengths, layer, stride, self.sequence, self.reduce)
            return torch.cat(states, dim=-1) if self.bidirectional else states[0]
        # The mean commutes with the projection, and in one direction the last frame is the last step; otherwise every
        # frame must be projected first.
        whole = self.reduce == "max" or (self.reduce == "last" and self.bidirectional)
        states = self._states(x, lengths, layer, stride, self.sequence, "none" if whole else self.reduce)
        if whole and self.reduce == "last":
            states = [s[:, :, -1] for s in states]
        y = F.linear(states[0], self.weight_ho, self.bias_o if self.bias else None)
        if self.bidirectional:
            y = y + F.linear(states[1], self.weight_ho_reverse)
        return y.amax(dim=2) if self.reduce == "max" else y

    def _states(
        self, x: Tensor, lengths: Tensor | None, layer: int, stride: int, sequence: str, reduce: str
    ) -> list[Tensor]:
        """One layer's states in each direction."""
        directions = [
            {name: getattr(self, name + suffix) for name in self.cell.tensor_names} for suffix in self._suffixes(layer)
        ]
        window: dict[str, Any] = {"kernel_size": self.kernel_size, "stride": stride, "sequence": sequence}
        window |= {"reduce": reduce, "lengths": lengths}
        if self.bidirectional:
            return self.cell.over_windows_both_ways(x, directions, self._cell_options(), **window)
        return [self.cell.over_windows(x, directions[0], self._cell_options(), **window, reverse=False)]

    def _cell_options(self) -> dict[str, Any]:
        return {option.name: getattr(self, option.name) for option in self.cell.options}

    def _suffixes(self, layer: int) -> tuple[str, ...]:
        return (f"_l{layer}", f"_l{layer}_reverse") if self.bidirectional else (f"_l{layer}",)

    def extra_repr(self) -> str:
        """The arguments that determine shapes and features, and others that differ from their defaults."""
        shown = [f"{self.in_features}, {self.out_features}, kernel_size={self.kernel_size}, stride={self.stride}"]
        if type(self) is ConvRNN:
            shown.append(f"rnn_type={self.rnn_type!r}")
        shown.append(f"sequence={self.sequence!r}, reduce={self.reduce!r}")
        if self.projection:
            shown.append(f"projection=True, hidden_size={self.hidden_size}")
        defaults = {name: p.default for name, p in inspect.signature(ConvRNN.__init__).parameters.items()}
        defaults |= {option.name: option.default for option in self.cell.options}
        names = ("num_layers", "bidirectional", "position_weights", *self._cell_options())
        names += ("learn_initial_state", "padding", "bias")
        shown += [f"{name}={getattr(self, name)!r}" for name in names if getattr(self, name) != defaults[name]]
        return ", ".join(shown)

    @classmethod
    def from_torch(
        cls,
        module: nn.LSTM | nn.GRU | nn.RNN,
        kernel_size: int,
        stride: int = 1,
        *,
        sequence: Literal["hidden", "cell"] = "hidden",
        reduce: Reduce = "last",
        padding: Padding = "valid",
        **others: object,
    ) -> Self:
        """A layer that applies PyTorch's ``module`` to every window, with a copy of its weights.

        Args:
            module: The module. Its layers and directions are kept; dropout between its layers is not.
            kernel_size: Frames in a window.
            stride: Frames between the starts of two windows.
            sequence: Take features from the "hidden" states (the module's output) or from an LSTM's "cell" states.
            reduce: As for the constructor.
            padding: As for the constructor.
            others: Not allowed: all other options of the constructor follow from the module.

        Raises:
            ValueError: if the module is not one of the three or projects its hidden state, if another option is given,
                or if this class has options that the module lacks.

        Example:
            >>> lstm, window = nn.LSTM(26, 100, batch_first=True), torch.randn(1, 5, 26)
            >>> layer = ConvRNN.from_torch(lstm, kernel_size=5)
            >>> torch.allclose(layer(window)[:, 0], lstm(window)[0][:, -1], atol=1e-6)
            True
        """
        if others:
            raise ValueError(
                f"{next(iter(others))} is fixed by the module; only sequence, reduce and padding can be given"
            )
        rnn_type = torch_weights.cell_of(module).name
        return torch_weights.layer_from_torch(
            cls,
            module,
            (module.input_size, (2 if module.bidirectional else 1) * module.hidden_size, kernel_size, stride),
            rnn_type=rnn_type,
            num_layers=module.num_layers,
            projection=False,
            position_weights=False,
            sequence=sequence,
            reduce=reduce,
            padding=padding,
        )

    def to_torch(self) -> nn.RNNBase:
        """PyTorch's own recurrent module (``batch_first=True``) with a copy of the weights, to run on single windows.

        Raises:
            ValueError: if the layer has what PyTorch's modules lack: peepholes or learned initial states that are not
                zero, a projection, position weights, "sigmoid", the reset gate before the product, another cell.

        Example:
            >>> from convrnn.nn import CGRU
            >>> layer, window = CGRU(26, 100, kernel_size=5, reset_after=True), torch.randn(1, 5, 26)
            >>> torch.allclose(layer(window)[:, 0], layer.to_torch()(window)[0][:, -1], atol=1e-6)
            True
        """
        for name in ("projection", "position_weights"):
            if getattr(self, name):
                torch_weights.refuse(name, value=True)
        return torch_weights.to_torch(self, self.cell, self.in_features, self.hidden_size, self.num_layers)
