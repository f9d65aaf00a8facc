"""The paper's layers by their names: thin names over :class:`~convrnn.nn.ConvRNN`."""

from typing import Any, ClassVar, Literal, TypedDict, Unpack

import torch

from convrnn.nn.conv_rnn import ConvRNN


class _Options(TypedDict, total=False):
    reduce: Literal["last", "mean", "max"]
    hidden_size: int | None
    num_layers: int
    learn_initial_state: bool
    padding: Literal["valid", "same"]
    bias: bool
    device: torch.device | str | None
    dtype: torch.dtype | None


class _OneOrTwoDirections(_Options, total=False):
    projection: bool
    bidirectional: bool
    position_weights: bool


class _SimpleOptions(_OneOrTwoDirections, total=False):
    sequence: Literal["hidden"]
    nonlinearity: Literal["tanh", "sigmoid", "relu"]


class _GRUOptions(_OneOrTwoDirections, total=False):
    sequence: Literal["hidden"]
    reset_after: bool


class _LSTMOptions(_OneOrTwoDirections, total=False):
    sequence: Literal["hidden", "cell"]
    peepholes: bool


class _ExtendedOptions(_Options, total=False):
    sequence: Literal["hidden", "cell"]
    peepholes: bool
    projection: bool
    bidirectional: bool


class _BidirectionalOptions(_Options, total=False):
    sequence: Literal["hidden", "cell"]
    peepholes: bool
    position_weights: bool


class CRNN(ConvRNN):
    """Convolutional layer with a simple recurrent network inside (equation 1, section III-C).

    Takes :class:`~convrnn.nn.ConvRNN`'s arguments; features come from the hidden states. ``nonlinearity`` is "tanh",
    "sigmoid" (the paper's equation) or "relu".

    Example:
        >>> CRNN(26, 100, kernel_size=5, stride=2, nonlinearity="sigmoid")(torch.randn(8, 180, 26)).shape
        torch.Size([8, 88, 100])
    """

    _fixed: ClassVar[dict[str, Any]] = {"rnn_type": "rnn"}

    def __init__(
        self, in_features: int, out_features: int, kernel_size: int, stride: int = 1, **options: Unpack[_SimpleOptions]
    ) -> None:
        super().__init__(in_features, out_features, kernel_size, stride, **self._arguments(options))


class CGRU(ConvRNN):
    """Convolutional layer with a gated recurrent network inside, as in the authors' code.

    Takes :class:`~convrnn.nn.ConvRNN`'s arguments; features come from the hidden states.

    Example:
        >>> CGRU(26, 100, kernel_size=5, stride=2)(torch.randn(8, 180, 26)).shape
        torch.Size([8, 88, 100])
    """

    _fixed: ClassVar[dict[str, Any]] = {"rnn_type": "gru"}

    def __init__(
        self, in_features: int, out_features: int, kernel_size: int, stride: int = 1, **options: Unpack[_GRUOptions]
    ) -> None:
        super().__init__(in_features, out_features, kernel_size, stride, **self._arguments(options))


class CLSTM(ConvRNN):
    """Convolutional layer with an LSTM with peepholes inside (equations 3 to 7, section III-C).

    Takes :class:`~convrnn.nn.ConvRNN`'s arguments; features come from the cell states unless ``sequence="hidden"``.

    Example:
        >>> layer = CLSTM(26, 100, kernel_size=5, stride=2)
        >>> lengths = torch.tensor([180, 95])
        >>> layer(torch.randn(2, 180, 26), lengths).shape, layer.output_lengths(lengths)
        (torch.Size([2, 88, 100]), tensor([88, 46]))
    """

    _fixed: ClassVar[dict[str, Any]] = {"rnn_type": "lstm"}

    def __init__(
        self, in_features: int, out_features: int, kernel_size: int, stride: int = 1, **options: Unpack[_LSTMOptions]
    ) -> None:
        super().__init__(in_features, out_features, kernel_size, stride, **self._arguments(options))


class ExtendedCLSTM(ConvRNN):
    """CLSTM with its own input matrices for each frame position in the window (Extended CLSTM, section III-C).

    Takes :class:`~convrnn.nn.CLSTM`'s arguments.

    Example:
        >>> ExtendedCLSTM(26, 100, kernel_size=5, stride=2).weight_ih_l0.shape
        torch.Size([5, 400, 26])
    """

    _fixed: ClassVar[dict[str, Any]] = {"rnn_type": "lstm", "position_weights": True}

    def __init__(
        self,
        in_features: int,
        out_features: int,
        kernel_size: int,
        stride: int = 1,
        **options: Unpack[_ExtendedOptions],
    ) -> None:
        super().__init__(in_features, out_features, kernel_size, stride, **self._arguments(options))


class CBLSTM(ConvRNN):
    """Convolutional layer with a bidirectional LSTM inside, whose states a dense layer combines (equations 8 and 9).

    Takes :class:`~convrnn.nn.CLSTM`'s arguments. Each direction has ``hidden_size`` units, by default ``out_features``.

    Example:
        >>> CBLSTM(26, 100, kernel_size=5, stride=2, reduce="max")(torch.randn(8, 180, 26)).shape
        torch.Size([8, 88, 100])
    """

    _fixed: ClassVar[dict[str, Any]] = {"rnn_type": "lstm", "bidirectional": True, "projection": True}

    def __init__(
        self,
        in_features: int,
        out_features: int,
        kernel_size: int,
        stride: int = 1,
        **options: Unpack[_BidirectionalOptions],
    ) -> None:
        super().__init__(in_features, out_features, kernel_size, stride, **self._arguments(options))
