"""A picture of what a recogniser says over time."""

from pathlib import Path

import numpy as np

from convrnn.files import make_folder, writing
from examples.speech_recognition.corpus import ALPHABET
from examples.speech_recognition.recogniser import Recogniser

LEAST = 0.3
"""Characters that are never this probable are not drawn."""


def draw_posteriors(recogniser: Recogniser, file: Path, out: Path) -> None:
    """Draws the features of a recording, and below them the probability of each character over time.

    Args:
        recogniser: A trained recogniser.
        file: The recording.
        out: The picture; its ending gives the format.

    Raises:
        InputError: The recording cannot be read, or the picture cannot be written.
    """
    from matplotlib.figure import Figure

    features = recogniser.features(file)
    probabilities = np.exp(recogniser.log_probabilities(features))
    front_end = recogniser.model.front_end
    seconds = recogniser.config.features.shift_ms / 1000
    # An output stands in the middle of the frames that its window sees.
    times = (np.arange(len(probabilities)) * front_end.frame_stride + (front_end.receptive_field - 1) / 2) * seconds
    figure = Figure(figsize=(9, 4.5), layout="constrained")
    above, below = figure.subplots(2, sharex=True, height_ratios=(1, 1.4))
    above.imshow(
        features.T,
        origin="lower",
        aspect="auto",
        cmap="magma",
        extent=(0, len(features) * seconds, 0, features.shape[1]),
    )
    above.set_ylabel("mel band")
    above.set_title(recogniser.transcribe(file))
    below.plot(times, probabilities[:, 0], color="0.8", linewidth=1, label="blank")
    for character, curve in zip(ALPHABET, probabilities[:, 1:].T, strict=True):
        if curve.max() < LEAST:
            continue
        if character == " ":
            below.plot(times, curve, color="0.5", linestyle=":", label="space")
            continue
        (line,) = below.plot(times, curve)
        peaks = (curve >= LEAST) & (curve >= np.roll(curve, 1)) & (curve > np.roll(curve, -1))
        for time, height in zip(times[peaks], curve[peaks], strict=True):
            below.annotate(
                character, (time, height), (0, 3), textcoords="offset points", ha="center", color=line.get_color()
            )
    below.legend(loc="upper left", bbox_to_anchor=(1, 1), frameon=False)
    below.set_xlabel("time [s]")
    below.set_ylabel("probability")
    below.set_ylim(0, 1.15)
    with writing(out.parent):
        make_folder(out.parent)
        figure.savefig(out, dpi=100)
