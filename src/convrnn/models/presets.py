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
"""The settings of :func:`preset`: sections IV-A and IV-B."""

_WINDOW: dict[str, Any] = {"out_features": 100, "kernel_size": 5, "stride": 2}

# Arguments of the feature layer beside the window; without "reduce", the setting decides it. Cell states are always
# requested explicitly, so that two names of one model have equal configs.
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
"""The front ends of :func:`preset`."""


def takes_waveform(front_end: str, frame_length: int) -> bool:
    """Whether a front end can be put on the raw waveform (section V) in frames of ``frame_length`` samples.

    The baseline has no front end. Extended CLSTM has one matrix per frame of the window, so a frame must be more than a
    sample.

    Example:
        >>> takes_waveform("extended-clstm", 1), takes_waveform("extended-clstm", 16)
        (False, True)
    """
    position_weights = _RECURRENT_FRONT_ENDS.get(front_end, {}).get("position_weights", False)
    return front_end != "baseline" and not (position_weights and frame_length == 1)


def preset(
    front_end: str,
    setting: str,
    *,
    in_features: int,
    num_classes: int,
    waveform_window: tuple[int, int] | None = None,
) -> SequenceClassifierConfig:
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
        in_features: Number of values in a frame.
        num_classes: Number of classes.
        waveform_window: For frames of the raw waveform (section V): length and shift, in frames, of the windows of one
            more layer below the others. It has 100 features too, but no pooling.

    Raises:
        InputError: The front end or setting is unknown, or the front end cannot take the waveform
            (:func:`takes_waveform`).

    Example:
        >>> config = preset("clstm", "emotion", in_features=26, num_classes=5)
        >>> len(config.front_end), config.front_end[0].features.reduce, config.last_frames
        (2, 'last', 4)
    """
    if front_end not in FRONT_ENDS:
        raise InputError(f"model {front_end!r} does not exist; choose from {', '.join(FRONT_ENDS)}")
    if setting not in SETTINGS:
        raise InputError(f"setting {setting!r} does not exist; choose from {', '.join(SETTINGS)}")
    if waveform_window is not None and not takes_waveform(front_end, in_features):
        raise InputError(
            f"model {front_end!r} cannot take the raw waveform in frames of {in_features} "
            f"sample{'s' if in_features > 1 else ''}; these can: "
            f"{', '.join(name for name in FRONT_ENDS if takes_waveform(name, in_features))}"
        )
    emotion = setting == "emotion"
    features: ConvFeaturesConfig | ConvRNNConfig
    if front_end == "conv":
        features = ConvFeaturesConfig(**_WINDOW)
    else:
        arguments = {"reduce": "last" if emotion else "max"} | _RECURRENT_FRONT_ENDS.get(front_end, {})
        features = ConvRNNConfig(**_WINDOW, learn_initial_state=True, **arguments)
    layer = FrontEndLayerConfig(features=features, pool=MaxPoolConfig(kernel_size=2, stride=2))
    layers = (layer,) * (0 if front_end == "baseline" else 2 if emotion else 1)
    if waveform_window is not None:
        kernel_size, stride = waveform_window
        lowest = {**features.model_dump(exclude_unset=True), "kernel_size": kernel_size, "stride": stride}
        layers = (FrontEndLayerConfig(features=type(features)(**lowest)), *layers)
    return SequenceClassifierConfig(
        in_features=in_features,
        num_classes=num_classes,
        front_end=layers,
        recurrent=RecurrentConfig(bidirectional=not emotion),
        last_frames=4 if emotion else None,
    )
