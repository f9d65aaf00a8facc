"""What a classifier is made of, as typed, serialisable data."""

from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from convrnn.ops.geometry import receptive_field

MOST_CLASSES = 2**16
"""Classes at most: ten times the speakers of VoxCeleb2, the largest set of labels that speech is sorted by."""

MOST_VALUES = 2**23
"""Values that one output of the front end may see, frames times features: 53 minutes of 26 log mel bands. Shorter
utterances are filled up to it, and no weight vouches for that memory."""

Width = Annotated[int, Field(ge=1, le=2**20)]
"""Values of a frame or units of a layer: up to those of a picture of a megapixel."""

Frames = Annotated[int, Field(ge=1, le=2**16)]
"""Frames of a window: four seconds of waveform at 16 kHz, sample by sample, are fewer."""

Layers = Annotated[int, Field(ge=1, le=32)]
"""Recurrent layers on each other; more than eight are hardly ever trained."""

MOST_FRONT_END_LAYERS = 32

Name = Annotated[str, Field(max_length=4096)]
"""What a class, a task or a model is called."""

CorpusName = Annotated[str, Field(max_length=5000)]
"""A corpus as it is given to commands: its kind and a path, which may have 4096 bytes."""

Classes = Annotated[tuple[Name, ...], Field(max_length=MOST_CLASSES)]


class _Config(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class ConvFeaturesConfig(_Config):
    """A :class:`convrnn.nn.ConvFeatures` layer; the input width follows from what stands before it."""

    kind: Literal["conv"] = "conv"
    out_features: Width
    kernel_size: Frames
    stride: Frames = 1
    nonlinearity: Literal["relu", "sigmoid", "tanh"] = "relu"
    padding: Literal["valid", "same"] = "valid"


class ConvRNNConfig(_Config):
    """A :class:`convrnn.nn.ConvRNN` layer; the fields are its arguments."""

    kind: Literal["convrnn"] = "convrnn"
    out_features: Width
    kernel_size: Frames
    stride: Frames = 1
    rnn_type: Literal["rnn", "gru", "lstm"] = "lstm"
    sequence: Literal["hidden", "cell"] | None = None
    reduce: Literal["last", "mean", "max"] = "last"
    projection: bool = False
    hidden_size: Width | None = None
    num_layers: Layers = 1
    bidirectional: bool = False
    position_weights: bool = False
    peepholes: bool | None = None
    nonlinearity: Literal["tanh", "sigmoid", "relu"] | None = None
    reset_after: bool | None = None
    learn_initial_state: bool = False
    padding: Literal["valid", "same"] = "valid"


class MaxPoolConfig(_Config):
    """A :class:`convrnn.nn.MaxPool` layer."""

    kernel_size: Frames
    stride: Frames


class FrontEndLayerConfig(_Config):
    """One layer of the front end: features of windows, then pooling."""

    features: Annotated[ConvFeaturesConfig | ConvRNNConfig, Field(discriminator="kind")]
    pool: MaxPoolConfig | None = None


class RecurrentConfig(_Config):
    """The :class:`convrnn.nn.LSTM` that reads the front end's features."""

    hidden_size: Width = 256
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

    in_features: Width
    num_classes: Annotated[int, Field(ge=2, le=MOST_CLASSES)]
    front_end: Annotated[tuple[FrontEndLayerConfig, ...], Field(max_length=MOST_FRONT_END_LAYERS)] = ()
    recurrent: RecurrentConfig = RecurrentConfig()
    dense_features: Width = 400
    last_frames: Frames | None = None
    """Average the softmax outputs of this many last frames; None averages all."""

    @model_validator(mode="after")
    def _check_receptive_field(self) -> Self:
        windows = (part for layer in self.front_end for part in (layer.features, layer.pool) if part is not None)
        seen, _ = receptive_field((part.kernel_size, part.stride) for part in windows)
        if seen * self.in_features > MOST_VALUES:
            raise ValueError(
                f"one output of the front end sees {seen} frames of {self.in_features} features, more than "
                f"{MOST_VALUES} values"
            )
        return self
