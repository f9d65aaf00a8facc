"""What a classifier is made of, as typed, serialisable data."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

Count = Annotated[int, Field(ge=1)]


class _Config(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class ConvFeaturesConfig(_Config):
    """A :class:`convrnn.nn.ConvFeatures` layer; the input width follows from what stands before it."""

    kind: Literal["conv"] = "conv"
    out_features: Count
    kernel_size: Count
    stride: Count = 1
    nonlinearity: Literal["relu", "sigmoid", "tanh"] = "relu"
    padding: Literal["valid", "same"] = "valid"


class ConvRNNConfig(_Config):
    """A :class:`convrnn.nn.ConvRNN` layer; the fields are its arguments."""

    kind: Literal["convrnn"] = "convrnn"
    out_features: Count
    kernel_size: Count
    stride: Count = 1
    rnn_type: Literal["rnn", "gru", "lstm"] = "lstm"
    sequence: Literal["hidden", "cell"] | None = None
    reduce: Literal["last", "mean", "max"] = "last"
    projection: bool = False
    hidden_size: Count | None = None
    num_layers: Count = 1
    bidirectional: bool = False
    position_weights: bool = False
    peepholes: bool | None = None
    nonlinearity: Literal["tanh", "sigmoid", "relu"] | None = None
    reset_after: bool | None = None
    learn_initial_state: bool = False
    padding: Literal["valid", "same"] = "valid"


class MaxPoolConfig(_Config):
    """A :class:`convrnn.nn.MaxPool` layer."""

    kernel_size: Count
    stride: Count


class FrontEndLayerConfig(_Config):
    """One layer of the front end: features of windows, then pooling."""

    features: Annotated[ConvFeaturesConfig | ConvRNNConfig, Field(discriminator="kind")]
    pool: MaxPoolConfig | None = None


class RecurrentConfig(_Config):
    """The :class:`convrnn.nn.LSTM` that reads the front end's features."""

    hidden_size: Count = 256
    bidirectional: bool = False
    peepholes: bool = True
    learn_initial_state: bool = True


class SequenceClassifierConfig(_Config):
    """A whole :class:`convrnn.models.SequenceClassifier`.

    Example:
        >>> config = SequenceClassifierConfig(in_features=26, num_classes=2)
        >>> SequenceClassifierConfig.model_validate_json(config.model_dump_json()) == config
        True
    """

    in_features: Count
    num_classes: Annotated[int, Field(ge=2)]
    front_end: tuple[FrontEndLayerConfig, ...] = ()
    recurrent: RecurrentConfig = RecurrentConfig()
    dense_features: Count = 400
    last_frames: Count | None = None
    """Average the softmax outputs of this many last frames; None averages all."""
