"""The paper's named layers: :class:`~convrnn.nn.ConvRNN` with some of its options fixed."""

from typing import Literal

import torch

from convrnn.nn.conv_rnn import ConvRNN
from convrnn.nn.options import Device, Padding, Reduce


class CRNN(ConvRNN):
    """Convolutional layer with a simple recurrent network inside (equation 1, section III-C).

    Features come from the hidden states. The equation is that of :func:`convrnn.ops.windowed_rnn`; arguments and shapes
    are those of :class:`~convrnn.nn.ConvRNN`, and:

    Args:
        nonlinearity: The σ of equation 1: "tanh", "sigmoid" (as in the paper) or "relu".

    Example:
        >>> CRNN(26, 100, kernel_size=5, stride=2, nonlinearity="sigmoid")(torch.randn(8, 180, 26)).shape
        torch.Size([8, 88, 100])
    """

    nonlinearity: str

    def __init__(
        self,
        in_features: int,
        out_features: int,
        kernel_size: int,
        stride: int = 1,
        *,
        sequence: Literal["hidden"] = "hidden",
        reduce: Reduce = "last",
        projection: bool = False,
        hidden_size: int | None = None,
        num_layers: int = 1,
        bidirectional: bool = False,
        position_weights: bool = False,
        nonlinearity: Literal["tanh", "sigmoid", "relu"] = "tanh",
        learn_initial_state: bool = False,
        padding: Padding = "valid",
        bias: bool = True,
        device: Device | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__(
            in_features,
            out_features,
            kernel_size,
            stride,
            rnn_type="rnn",
            sequence=sequence,
            reduce=reduce,
            projection=projection,
            hidden_size=hidden_size,
            num_layers=num_layers,
            bidirectional=bidirectional,
            position_weights=position_weights,
            nonlinearity=nonlinearity,
            learn_initial_state=learn_initial_state,
            padding=padding,
            bias=bias,
            device=device,
            dtype=dtype,
        )


class CGRU(ConvRNN):
    """Convolutional layer with a gated recurrent unit inside, as in the authors' code.

    Features come from the hidden states. The equations are those of :func:`convrnn.ops.windowed_gru`; arguments and
    shapes are those of :class:`~convrnn.nn.ConvRNN`, and:

    Args:
        reset_after: Apply the reset gate to the recurrent product, as ``torch.nn.GRU`` does, instead of to the state
            before it, as the authors' code does.

    Example:
        >>> CGRU(26, 100, kernel_size=5, stride=2)(torch.randn(8, 180, 26)).shape
        torch.Size([8, 88, 100])
    """

    reset_after: bool

    def __init__(
        self,
        in_features: int,
        out_features: int,
        kernel_size: int,
        stride: int = 1,
        *,
        sequence: Literal["hidden"] = "hidden",
        reduce: Reduce = "last",
        projection: bool = False,
        hidden_size: int | None = None,
        num_layers: int = 1,
        bidirectional: bool = False,
        position_weights: bool = False,
        reset_after: bool = False,
        learn_initial_state: bool = False,
        padding: Padding = "valid",
        bias: bool = True,
        device: Device | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__(
            in_features,
            out_features,
            kernel_size,
            stride,
            rnn_type="gru",
            sequence=sequence,
            reduce=reduce,
            projection=projection,
            hidden_size=hidden_size,
            num_layers=num_layers,
            bidirectional=bidirectional,
            position_weights=position_weights,
            reset_after=reset_after,
            learn_initial_state=learn_initial_state,
            padding=padding,
            bias=bias,
            device=device,
            dtype=dtype,
        )


class CLSTM(ConvRNN):
    """Convolutional layer with an LSTM with peepholes inside (equations 3 to 7, section III-C).

    Features come from the cell states unless ``sequence="hidden"``. The equations are those of
    :func:`convrnn.ops.windowed_lstm`; arguments and shapes are those of :class:`~convrnn.nn.ConvRNN`, and:

    Args:
        peepholes: Connect the cell to the gates.

    Example:
        >>> layer = CLSTM(26, 100, kernel_size=5, stride=2)
        >>> lengths = torch.tensor([180, 95])
        >>> layer(torch.randn(2, 180, 26), lengths).shape, layer.output_lengths(lengths)
        (torch.Size([2, 88, 100]), tensor([88, 46]))
    """

    peepholes: bool

    def __init__(
        self,
        in_features: int,
        out_features: int,
        kernel_size: int,
        stride: int = 1,
        *,
        sequence: Literal["hidden", "cell"] = "cell",
        reduce: Reduce = "last",
        projection: bool = False,
        hidden_size: int | None = None,
        num_layers: int = 1,
        bidirectional: bool = False,
        position_weights: bool = False,
        peepholes: bool = True,
        learn_initial_state: bool = False,
        padding: Padding = "valid",
        bias: bool = True,
        device: Device | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__(
            in_features,
            out_features,
            kernel_size,
            stride,
            rnn_type="lstm",
            sequence=sequence,
            reduce=reduce,
            projection=projection,
            hidden_size=hidden_size,
            num_layers=num_layers,
            bidirectional=bidirectional,
            position_weights=position_weights,
            peepholes=peepholes,
            learn_initial_state=learn_initial_state,
            padding=padding,
            bias=bias,
            device=device,
            dtype=dtype,
        )


class ExtendedCLSTM(ConvRNN):
    """CLSTM with an input matrix for each frame position in the window (Extended CLSTM, section III-C).

    Arguments and shapes are those of :class:`~convrnn.nn.CLSTM`; ``position_weights`` is always true.

    Args:
        peepholes: Connect the cell to the gates.

    Example:
        >>> ExtendedCLSTM(26, 100, kernel_size=5, stride=2).weight_ih_l0.shape
        torch.Size([5, 400, 26])
    """

    peepholes: bool

    def __init__(
        self,
        in_features: int,
        out_features: int,
        kernel_size: int,
        stride: int = 1,
        *,
        sequence: Literal["hidden", "cell"] = "cell",
        reduce: Reduce = "last",
        projection: bool = False,
        hidden_size: int | None = None,
        num_layers: int = 1,
        bidirectional: bool = False,
        peepholes: bool = True,
        learn_initial_state: bool = False,
        padding: Padding = "valid",
        bias: bool = True,
        device: Device | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__(
            in_features,
            out_features,
            kernel_size,
            stride,
            rnn_type="lstm",
            sequence=sequence,
            reduce=reduce,
            projection=projection,
            hidden_size=hidden_size,
            num_layers=num_layers,
            bidirectional=bidirectional,
            position_weights=True,
            peepholes=peepholes,
            learn_initial_state=learn_initial_state,
            padding=padding,
            bias=bias,
            device=device,
            dtype=dtype,
        )


class CBLSTM(ConvRNN):
    """Convolutional layer with a bidirectional LSTM inside, whose states a dense layer combines (equations 8 and 9).

    Arguments and shapes are those of :class:`~convrnn.nn.CLSTM`; ``bidirectional`` and ``projection`` are always true.

    Args:
        hidden_size: Units of each direction. Default: ``out_features``.
        peepholes: Connect the cell to the gates.

    Example:
        >>> CBLSTM(26, 100, kernel_size=5, stride=2, reduce="max")(torch.randn(8, 180, 26)).shape
        torch.Size([8, 88, 100])
    """

    peepholes: bool

    def __init__(
        self,
        in_features: int,
        out_features: int,
        kernel_size: int,
        stride: int = 1,
        *,
        sequence: Literal["hidden", "cell"] = "cell",
        reduce: Reduce = "last",
        hidden_size: int | None = None,
        num_layers: int = 1,
        position_weights: bool = False,
        peepholes: bool = True,
        learn_initial_state: bool = False,
        padding: Padding = "valid",
        bias: bool = True,
        device: Device | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__(
            in_features,
            out_features,
            kernel_size,
            stride,
            rnn_type="lstm",
            sequence=sequence,
            reduce=reduce,
            projection=True,
            hidden_size=hidden_size,
            num_layers=num_layers,
            bidirectional=True,
            position_weights=position_weights,
            peepholes=peepholes,
            learn_initial_state=learn_initial_state,
            padding=padding,
            bias=bias,
            device=device,
            dtype=dtype,
        )
