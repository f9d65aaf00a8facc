"""The paper's models by name: front ends times the settings of sections IV-A and IV-B."""

from typing import Any, Literal, get_args

from convrnn.errors import InputError
from convrnn.models.config import (
    ConvFeaturesConfig,
    ConvRNNConfig,
    FrontEndLayerConfig,
    MaxPoolConfig,
    RecurrentConfig,
    SequenceClassifierConfig,
)
from convrnn.nn.cells import CELLS

Setting = Literal["emotion", "paralinguistic"]
SETTINGS: tuple[Setting, ...] = get_args(Setting)

_WINDOW: dict[str, Any] = {"out_features": 100, "kernel_size": 5, "stride": 2}

# Arguments of the feature layer beside the window; without "reduce", the setting decides it. Cell states are always
# asked for by name, so that two names of one model have equal configs.
_RECURRENT_FRONT_ENDS: dict[str, dict[str, Any]] = {
    **{
        f"c{name}": {"rnn_type": name} | ({"sequence": "cell"} if cell.cell_states else {})
        for name, cell in CELLS.items()
    },
    "extended-clstm": {"sequence": "cell", "position_weights": True},
    "cblstm": {"sequence": "cell", "bidirectional": True, "projection": True},
    # CBLSTM differs from CLSTM in two ways (section V); each of these has one of them.
    "clstm-projection": {"sequence": "cell", "projection": True},
    "cblstm-states": {"sequence": "cell", "bidirectional": True},
    **{
        f"clstm-{sequence}-{reduce}": {"sequence": sequence, "reduce": reduce}
        for sequence in ("hidden", "cell")
        for reduce in ("mean", "max", "last")
    },
}

FRONT_ENDS: tuple[str, ...] = ("baseline", "conv", *_RECURRENT_FRONT_ENDS)


def preset(front_end: str, setting: str, *, in_features: int, num_classes: int) -> SequenceClassifierConfig:
    """The paper's model with the named front end.

    Args:
        front_end: One of ``FRONT_ENDS``: "baseline" (none), "conv" (standard convolution), "crnn", "cgru", "clstm",
            "extended-clstm", "cblstm"; two models between CLSTM and CBLSTM, "clstm-projection" (one direction with a
            projection of its cell states) and "cblstm-states" (two directions of 50 features each, no projection); and
            the six CLSTM variants of Table IV, "clstm-cell-max" and so on. Every layer has windows of 5 frames with a
            shift of 2, 100 features, and max-pooling over 2 windows with a shift of 2.
        setting: "emotion" (section IV-A): two front-end layers, the state of each window's last frame, an LSTM, the
            last four frames averaged. "paralinguistic" (section IV-B): one layer, the maximum over the window, a
            bidirectional LSTM, all frames averaged.
        in_features: Values in a frame.
        num_classes: Number of classes.

    Raises:
        InputError: for an unknown front end or setting.

    Example:
        >>> config = preset("clstm", "emotion", in_features=26, num_classes=5)
        >>> len(config.front_end), config.front_end[0].features.reduce, config.last_frames
        (2, 'last', 4)
    """
    if front_end not in FRONT_ENDS:
        raise InputError(f"model {front_end!r} does not exist; choose from {', '.join(FRONT_ENDS)}")
    if setting not in SETTINGS:
        raise InputError(f"setting {setting!r} does not exist; choose from {', '.join(SETTINGS)}")
    emotion = setting == "emotion"
    features: ConvFeaturesConfig | ConvRNNConfig
    if front_end == "conv":
        features = ConvFeaturesConfig(**_WINDOW)
    else:
        arguments = {"reduce": "last" if emotion else "max"} | _RECURRENT_FRONT_ENDS.get(front_end, {})
        features = ConvRNNConfig(**_WINDOW, learn_initial_state=True, **arguments)
    layer = FrontEndLayerConfig(features=features, pool=MaxPoolConfig(kernel_size=2, stride=2))
    layers = 0 if front_end == "baseline" else 2 if emotion else 1
    return SequenceClassifierConfig(
        in_features=in_features,
        num_classes=num_classes,
        front_end=(layer,) * layers,
        recurrent=RecurrentConfig(bidirectional=not emotion),
        last_frames=4 if emotion else None,
    )
