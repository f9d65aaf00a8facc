"""The convolutional recurrent layers: a small recurrent network over every window of frames."""

import inspect
from collections.abc import Mapping
from typing import Any, ClassVar, Literal, Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from convrnn import ops
from convrnn.nn import exchange
from convrnn.nn.init import glorot_, orthogonal_
from convrnn.nn.options import flatten_frames, require_one_of, require_positive
from convrnn.ops import geometry

GATES = {"rnn": 1, "gru": 3, "lstm": 4}

_ONLY_OF = {"peepholes": "lstm", "nonlinearity": "rnn", "reset_after": "gru"}

_TENSORS = {
    "rnn": ("weight_ih", "weight_hh", "bias", "initial_hidden"),
    "gru": ("weight_ih", "weight_hh", "bias", "bias_hn", "initial_hidden"),
    "lstm": ("weight_ih", "weight_hh", "bias", "weight_peephole", "initial_hidden", "initial_cell"),
}


class ConvRNN(nn.Module):
    r"""Features of every window of frames, computed by a recurrent network that reads the window frame by frame.

    Section III-C of the paper. A window of ``kernel_size`` frames goes through the network; its features are the last,
    the mean or the maximum of the hidden states h, of an LSTM's cell states c, or of the outputs y:

    .. math::
        y_t &= W s_t + b_y & (2) \\
        y_t &= W_{\rightarrow} \overrightarrow{s}_t + W_{\leftarrow} \overleftarrow{s}_t + b_y & (8), (9)

    where s is h or c. Without a projection the two directions stand side by side, each with half of ``out_features``.

    Args:
        in_features: Values in a frame.
        out_features: Features of a window, the paper's n.
        kernel_size: Frames in a window, the paper's r1.
        stride: Frames between the starts of two windows, the paper's r2.
        rnn_type: "lstm" (equations 3 to 7), "gru" or "rnn" (equation 1).
        sequence: Take features from the "hidden" states or, of an LSTM, the "cell" states. Default: "cell" for an
            LSTM, "hidden" otherwise.
        reduce: Over the window's frames: "last", "mean" or "max". Without a projection, "last" is each direction's
            own final state; with one it is the output of the window's last frame.
        projection: Apply a dense layer to the states of every frame, before the reduction.
        hidden_size: Units of the recurrent network; free only with a projection. Default: ``out_features``, or half of
            it for two directions without a projection.
        num_layers: Recurrent layers stacked inside the window.
        bidirectional: Read every window in both directions.
        position_weights: One input matrix per frame position in the window, in the first layer (Extended CLSTM).
        peepholes: Connect the cell to the gates; only of an LSTM, where it is the default.
        nonlinearity: "tanh" (default), "sigmoid" (equation 1) or "relu"; only of rnn_type "rnn".
        reset_after: Let the reset gate act after the recurrent product, as ``torch.nn.GRU`` does, instead of before it
            as the authors' code does; only of rnn_type "gru".
        learn_initial_state: Learn the state before the first frame; it starts at 0.
        padding: "valid", or "same": zeros around each sequence so that a window starts at every ``stride``-th frame.
        bias: Add biases.
        device: Where the parameters lie.
        dtype: Their dtype.

    Shape:
        - Input: ``[batch, frames, in_features]``, or ``[batch, frames, *feature_shape]`` with as many values; and
          optionally ``lengths``, int64 ``[batch]``: the valid frames of each sequence.
        - Output: ``[batch, windows, out_features]`` with ``floor((frames - kernel_size) / stride) + 1`` windows.
          Windows that reach past a sequence's length are zeros.

    Raises:
        ValueError: for options that do not go together, and for input of another shape, dtype or length.

    Example:
        >>> layer = ConvRNN(26, 100, kernel_size=5, stride=2, rnn_type="gru", reduce="max")
        >>> layer(torch.randn(8, 180, 26)).shape
        torch.Size([8, 88, 100])
    """

    _fixed: ClassVar[dict[str, Any]] = {}
    __signature__: ClassVar[inspect.Signature]
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
        rnn_type: Literal["rnn", "gru", "lstm"] = "lstm",
        sequence: Literal["hidden", "cell"] | None = None,
        reduce: Literal["last", "mean", "max"] = "last",
        projection: bool = False,
        hidden_size: int | None = None,
        num_layers: int = 1,
        bidirectional: bool = False,
        position_weights: bool = False,
        peepholes: bool | None = None,
        nonlinearity: Literal["tanh", "sigmoid", "relu"] | None = None,
        reset_after: bool | None = None,
        learn_initial_state: bool = False,
        padding: Literal["valid", "same"] = "valid",
        bias: bool = True,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        require_positive(
            in_features=in_features,
            out_features=out_features,
            kernel_size=kernel_size,
            stride=stride,
            hidden_size=hidden_size,
            num_layers=num_layers,
        )
        require_one_of("rnn_type", rnn_type, tuple(GATES))
        require_one_of("reduce", reduce, ("last", "mean", "max"))
        require_one_of("padding", padding, ("valid", "same"))
        require_one_of("sequence", sequence, (None, "hidden", "cell"))
        require_one_of("nonlinearity", nonlinearity, (None, "tanh", "sigmoid", "relu"))
        if sequence == "cell" and rnn_type != "lstm":
            raise ValueError(f"sequence is 'cell', but rnn_type {rnn_type!r} has no cell states; use 'hidden'")
        for name, value in (("peepholes", peepholes), ("nonlinearity", nonlinearity), ("reset_after", reset_after)):
            owner = _ONLY_OF[name]
            if value and rnn_type != owner:
                raise ValueError(f"{name} is {value!r}, but rnn_type is {rnn_type!r}; only {owner!r} has it")
        directions = 2 if bidirectional else 1
        if not projection:
            if out_features % directions:
                raise ValueError(
                    f"out_features is {out_features}; two directions without a projection need an even number"
                )
            if hidden_size not in (None, out_features // directions):
                raise ValueError(
                    f"hidden_size is {hidden_size}, but without a projection it must be {out_features // directions}, "
                    f"for out_features {out_features} in {directions} direction(s); projection=True sets it free"
                )

        self.in_features = in_features
        self.out_features = out_features
        self.kernel_size = kernel_size
        self.stride = stride
        self.rnn_type = rnn_type
        self.sequence = sequence or ("cell" if rnn_type == "lstm" else "hidden")
        self.reduce = reduce
        self.projection = projection
        self.hidden_size = hidden_size or (out_features if projection else out_features // directions)
        self.num_layers = num_layers
        self.bidirectional = bidirectional
        self.position_weights = position_weights
        self.peepholes = rnn_type == "lstm" if peepholes is None else peepholes
        self.nonlinearity = nonlinearity or "tanh"
        self.reset_after = bool(reset_after)
        self.learn_initial_state = learn_initial_state
        self.padding = padding
        self.bias = bias

        gates, hidden = GATES[rnn_type], self.hidden_size
        shapes: dict[str, tuple[int, ...]] = {}
        for layer in range(num_layers):
            inputs = in_features if layer == 0 else directions * hidden
            positions = (kernel_size,) if position_weights and layer == 0 else ()
            for suffix in self._suffixes(layer):
                shapes[f"weight_ih{suffix}"] = (*positions, gates * hidden, inputs)
                shapes[f"weight_hh{suffix}"] = (gates * hidden, hidden)
                shapes |= {f"bias{suffix}": (gates * hidden,)} if bias else {}
                shapes |= {f"bias_hn{suffix}": (hidden,)} if bias and self.reset_after else {}
                shapes |= {f"weight_peephole{suffix}": (3, hidden)} if self.peepholes else {}
                shapes |= {f"initial_hidden{suffix}": (hidden,)} if learn_initial_state else {}
                shapes |= {f"initial_cell{suffix}": (hidden,)} if learn_initial_state and rnn_type == "lstm" else {}
        if projection:
            shapes["weight_ho"] = (out_features, hidden)
            shapes |= {"weight_ho_reverse": (out_features, hidden)} if bidirectional else {}
            shapes |= {"bias_o": (out_features,)} if bias else {}
        for name, shape in shapes.items():
            self.register_parameter(name, nn.Parameter(torch.empty(shape, device=device, dtype=dtype)))
        self.reset_parameters()

    def __init_subclass__(cls) -> None:
        """Give a named layer the signature that ``help`` and editors show: this one's without what the name fixes."""
        super().__init_subclass__()
        if "_fixed" not in vars(cls):
            return
        signature = inspect.signature(ConvRNN.__init__)
        others = {name for name, owner in _ONLY_OF.items() if cls._fixed.get("rnn_type", owner) != owner}
        shown = [p for name, p in signature.parameters.items() if name not in {"self", *cls._fixed, *others}]
        cls.__signature__ = signature.replace(parameters=shown, return_annotation=inspect.Signature.empty)

    @classmethod
    def _arguments(cls, options: Mapping[str, Any]) -> dict[str, Any]:
        """The options of a named layer with those that its name fixes."""
        for name in options:
            if name in cls._fixed:
                raise ValueError(f"{name} is given, but {cls.__name__} always has {name}={cls._fixed[name]!r}")
            if name not in inspect.signature(ConvRNN.__init__).parameters:
                raise TypeError(f"{cls.__name__} got an unexpected keyword argument {name!r}")
        return {**cls._fixed, **options}

    def reset_parameters(self) -> None:
        """Draw new parameters: Glorot input and orthogonal recurrent weights, per gate; everything else 0."""
        for name, parameter in self.named_parameters():
            if name.startswith("weight_ih"):
                glorot_(parameter, GATES[self.rnn_type])
            elif name.startswith("weight_hh"):
                orthogonal_(parameter, GATES[self.rnn_type])
            elif name.startswith("weight_ho"):
                glorot_(parameter)
            else:
                nn.init.zeros_(parameter)

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
        lengths = ops.check_lengths(lengths, x)
        windows = None if lengths is None else self.output_lengths(lengths)
        if self.padding == "same":
            x, lengths = geometry.pad_same(x, lengths, self.kernel_size, self.stride)
        stride = self.stride
        shape = (x.size(0), geometry.num_windows(x.size(1), self.kernel_size, stride), self.out_features)
        for layer in range(self.num_layers - 1):
            states = self._states(x, lengths, layer, stride, sequence="hidden", reduce="none")
            # From here on every window is a sequence of its own.
            x, lengths, stride = torch.cat(states, dim=-1).flatten(0, 1), None, 1
        y = self._features(x, lengths, stride)
        if self.num_layers > 1:
            y = y.view(shape)
        return geometry.mask_frames(y, windows)

    @classmethod
    def from_torch(cls, module: nn.LSTM | nn.GRU | nn.RNN, kernel_size: int, stride: int = 1, **options: Any) -> Self:  # noqa: ANN401
        """A layer that slides PyTorch's ``module`` over windows, with a copy of its weights.

        Args:
            module: Layers and directions are taken over; dropout between its layers is not.
            kernel_size: Frames in a window.
            stride: Frames between the starts of two windows.
            options: ``reduce``, ``padding`` and ``sequence`` as for the constructor. Features come from the hidden
                states, the module's output, unless ``sequence="cell"``.

        Raises:
            ValueError: for a module that is not one of the three or projects its hidden state, and for options that
                would need other weights.

        Example:
            >>> lstm, window = nn.LSTM(26, 100, batch_first=True), torch.randn(1, 5, 26)
            >>> layer = ConvRNN.from_torch(lstm, kernel_size=5)
            >>> torch.allclose(layer(window)[:, 0], lstm(window)[0][:, -1], atol=1e-6)
            True
        """
        rnn_type = exchange.rnn_type_of(module)
        if unknown := set(options) - {"reduce", "padding", "sequence"}:
            raise ValueError(f"{unknown.pop()} is fixed by the module; free are reduce, padding and sequence")
        arguments = exchange.factory_options(module) | {"num_layers": module.num_layers, "sequence": "hidden"} | options
        if rnn_type == "lstm":
            arguments["peepholes"] = False
        elif rnn_type == "gru":
            arguments["reset_after"] = True
        else:
            arguments["nonlinearity"] = module.nonlinearity
        arguments["rnn_type"] = rnn_type
        for name, value in cls._fixed.items():
            if arguments.pop(name, False) != value:
                raise ValueError(f"{cls.__name__} has {name}={value!r}, which this {type(module).__name__} has not")
        directions = 2 if module.bidirectional else 1
        layer = cls(module.input_size, directions * module.hidden_size, kernel_size, stride, **arguments)
        exchange.copy_from_torch(layer, module)
        return layer

    def to_torch(self) -> nn.RNNBase:
        """PyTorch's own recurrent module (``batch_first=True``) with a copy of the weights, to run on single windows.

        Raises:
            ValueError: where the layer has what PyTorch's modules lack: peepholes or learned initial states that are
                not zero, a projection, position weights, "sigmoid", or the reset gate before the product.

        Example:
            >>> from convrnn.nn import CGRU
            >>> layer, window = CGRU(26, 100, kernel_size=5, reset_after=True), torch.randn(1, 5, 26)
            >>> torch.allclose(layer(window)[:, 0], layer.to_torch()(window)[0][:, -1], atol=1e-6)
            True
        """
        for name, value, refused in (
            ("projection", self.projection, True),
            ("position_weights", self.position_weights, True),
            ("nonlinearity", self.nonlinearity, "sigmoid"),
            ("reset_after", self.rnn_type != "gru" or self.reset_after, False),
        ):
            if value == refused:
                raise ValueError(f"{name} is {value!r}, which PyTorch's recurrent modules do not have")
        exchange.require_plain(self)
        options = {"nonlinearity": self.nonlinearity} if self.rnn_type == "rnn" else {}
        module = exchange.TORCH_TYPES[self.rnn_type](
            self.in_features,
            self.hidden_size,
            self.num_layers,
            bias=self.bias,
            batch_first=True,
            bidirectional=self.bidirectional,
            device=self.weight_hh_l0.device,
            dtype=self.weight_hh_l0.dtype,
            **options,
        )
        exchange.copy_to_torch(self, module)
        return module

    def _features(self, x: Tensor, lengths: Tensor | None, stride: int) -> Tensor:
        """The top layer's states, projected and reduced."""
        layer = self.num_layers - 1
        if not self.projection:
            return torch.cat(self._states(x, lengths, layer, stride, self.sequence, self.reduce), dim=-1)
        # A mean commutes with the projection, and one direction's last frame is its last step; otherwise every frame
        # has to be projected first.
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
        states = []
        for suffix in self._suffixes(layer):
            # Typed by the operation's own checks: which tensors there are depends on the options.
            arguments: dict[str, Any] = {name: getattr(self, name + suffix, None) for name in _TENSORS[self.rnn_type]}
            arguments |= {"kernel_size": self.kernel_size, "stride": stride, "reduce": reduce, "lengths": lengths}
            arguments |= {"reverse": suffix.endswith("_reverse")}
            if self.rnn_type == "lstm":
                state = ops.windowed_lstm(x, **arguments, sequence=sequence)
            elif self.rnn_type == "gru":
                state = ops.windowed_gru(x, **arguments, reset_after=self.reset_after)
            else:
                state = ops.windowed_rnn(x, **arguments, nonlinearity=self.nonlinearity)
            states.append(state)
        return states

    def _suffixes(self, layer: int) -> tuple[str, ...]:
        return (f"_l{layer}", f"_l{layer}_reverse") if self.bidirectional else (f"_l{layer}",)

    def extra_repr(self) -> str:
        """The arguments that decide the shapes and the features, and others that differ from their defaults."""
        shown = [f"{self.in_features}, {self.out_features}, kernel_size={self.kernel_size}, stride={self.stride}"]
        if type(self) is ConvRNN:
            shown.append(f"rnn_type={self.rnn_type!r}")
        shown.append(f"sequence={self.sequence!r}, reduce={self.reduce!r}")
        if self.projection:
            shown.append(f"projection=True, hidden_size={self.hidden_size}")
        defaults = {
            "num_layers": 1,
            "bidirectional": False,
            "position_weights": False,
            "peepholes": self.rnn_type == "lstm",
            "nonlinearity": "tanh",
            "reset_after": False,
            "learn_initial_state": False,
            "padding": "valid",
            "bias": True,
        }
        shown += [f"{name}={getattr(self, name)!r}" for name, value in defaults.items() if getattr(self, name) != value]
        return ", ".join(shown)
