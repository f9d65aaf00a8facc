"""The parts of a classifier as typed, serialisable data."""

from typing import TYPE_CHECKING, Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from convrnn.nn.cells import CELLS
from convrnn.nn.options import Padding, Reduce, require_one_of
from convrnn.ops.geometry import receptive_field

MOST_CLASSES = 2**16
"""Maximum number of classes: ten times the speakers of VoxCeleb2, the largest set of speech labels."""

MOST_VALUES = 2**23
"""Maximum number of values, frames times features, that one output of the front end depends on: 53 minutes of 26
log-mel bands. Shorter utterances are padded to that size, so without a limit a small model could fill the memory."""

Width = Annotated[int, Field(ge=1, le=2**20)]
"""Values of a frame or units of a layer: at most the pixels of a one-megapixel picture."""

Frames = Annotated[int, Field(ge=1, le=2**16)]
"""Frames of a window: at most four seconds of a 16 kHz waveform, sample by sample."""

Layers = Annotated[int, Field(ge=1, le=32)]
"""Stacked recurrent layers; more than eight are rarely trained."""

MOST_FRONT_END_LAYERS = 32

Name = Annotated[str, Field(max_length=4096)]
"""Name of a class, a task or a model."""

CorpusName = Annotated[str, Field(max_length=5000)]
"""A corpus as given to the commands: its kind and a path of up to 4096 bytes."""

Classes = Annotated[tuple[Name, ...], Field(max_length=MOST_CLASSES)]

if TYPE_CHECKING:
    RNNType = str
else:
    RNNType = Literal[*CELLS]


class _Config(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class ConvFeaturesConfig(_Config):
    """A :class:`convrnn.nn.ConvFeatures` layer; its input width follows from the layer before it."""

    kind: Literal["conv"] = "conv"
    out_features: Width
    kernel_size: Frames
    stride: Frames = 1
    nonlinearity: Literal["relu", "sigmoid", "tanh"] = "relu"
    padding: Padding = "valid"


class ConvRNNConfig(_Config):
    """A :class:`convrnn.nn.ConvRNN` layer; the fields are its arguments, among them the options of its cell.

    Every config has the options of the first three cells, None where they are not given, because hashes of earlier runs
    include them. Options of other cells are included if they are given.
    """

    model_config = ConfigDict(extra="allow")

    kind: Literal["convrnn"] = "convrnn"
    out_features: Width
    kernel_size: Frames
    stride: Frames = 1
    rnn_type: RNNType = "lstm"
    sequence: Literal["hidden", "cell"] | None = None
    reduce: Reduce = "last"
    projection: bool = False
    hidden_size: Width | None = None
    num_layers: Layers = 1
    bidirectional: bool = False
    position_weights: bool = False
    peepholes: bool | None = None
    nonlinearity: Literal["tanh", "sigmoid", "relu"] | None = None
    reset_after: bool | None = None
    learn_initial_state: bool = False
    padding: Padding = "valid"

    @model_validator(mode="after")
    def _check_cell_options(self) -> Self:
        own = {option.name: option for option in CELLS[self.rnn_type].options}
        for name, value in (self.__pydantic_extra__ or {}).items():
            if name not in own:
                raise ValueError(f"{name} is not an option of rnn_type {self.rnn_type!r}")
            require_one_of(name, value, own[name].allowed)
        return self


class MaxPoolConfig(_Config):
    """A :class:`convrnn.nn.MaxPool` layer."""

    kernel_size: Frames
    stride: Frames


class FrontEndLayerConfig(_Config):
    """One layer of the front end: features of windows, then pooling."""

    features: Annotated[ConvFeaturesConfig | ConvRNNConfig, Field(discriminator="kind")]
    pool: MaxPoolConfig | None = None


FrontEndLayers = Annotated[tuple[FrontEndLayerConfig, ...], Field(max_length=MOST_FRONT_END_LAYERS)]


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
    front_end: FrontEndLayers = ()
    recurrent: RecurrentConfig = RecurrentConfig()
    dense_features: Width = 400
    last_frames: Frames | None = None
    """Average the softmax outputs of this many last frames; None averages all."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        _check_receptive_field(self.in_features, self.front_end)
        return self


class FrameModelConfig(_Config):
    """A whole :class:`convrnn.models.FrameModel`.

    Example:
        >>> config = FrameModelConfig(in_features=40, num_outputs=29, num_layers=3, dropout=0.3)
        >>> FrameModelConfig.model_validate_json(config.model_dump_json()) == config
        True
    """

    in_features: Width
    num_outputs: Width
    front_end: FrontEndLayers = ()
    recurrent: RecurrentConfig = RecurrentConfig(bidirectional=True)
    """Each of the stacked LSTMs."""
    num_layers: Layers = 2
    """Number of stacked LSTMs."""
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Probability with which a hidden state is set to zero before the next layer reads it, during training only."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        _check_receptive_field(self.in_features, self.front_end)
        return self


def _check_receptive_field(in_features: int, front_end: FrontEndLayers) -> None:
    windows = (part for layer in front_end for part in (layer.features, layer.pool) if part is not None)
    seen, _ = receptive_field((part.kernel_size, part.stride) for part in windows)
    if seen * in_features > MOST_VALUES:
        raise ValueError(
            f"one output of the front end depends on {seen} frames of {in_features} features, more than {MOST_VALUES} "
            "values"
        )
