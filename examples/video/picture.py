"""A picture of a clip and of what a lip reader says along it."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from convrnn.errors import InputError
from convrnn.files import writing
from examples.video.clips import FRAME_RATE, read_clip
from examples.video.grid import Word
from examples.video.reader import LipReader

FORMATS = (".png", ".svg", ".pdf")

FRAMES = 12
"""Frames that are shown."""

ROWS, LEAST = 12, 0.1
"""Words that are shown at most, those with the highest probability at any time, and how high it must be."""


def draw(reader: LipReader, clip: Path, path: Path, words: Sequence[Word] = ()) -> None:
    """Draws frames of a clip and below them the probability of each word over time.

    Args:
        reader: A word at a time is read around each frame; of a reader of sentences, blanks are left out.
        clip: A video file.
        path: The picture; the format follows from its ending.
        words: What is said, to be written above the probabilities.

    Raises:
        InputError: The clip cannot be read or is not like those of the training, or the picture has another format or
            cannot be written.
    """
    from matplotlib.figure import Figure

    if path.suffix not in FORMATS:
        raise InputError(f"{path}: must end in {' or '.join(FORMATS)}")
    frames = read_clip(clip)
    probabilities = reader.over_time(frames, name=str(clip)).numpy()[:, -len(reader.config.classes) :]
    seconds = len(frames) / FRAME_RATE
    highest = probabilities.max(0)
    shown = np.argsort(-highest, kind="stable")[: max(min(ROWS, int((highest >= LEAST).sum())), 1)]
    shown = shown[np.argsort(probabilities[:, shown].argmax(0), kind="stable")]
    figure = Figure(figsize=(10, 2 + 0.28 * len(shown)), layout="constrained")
    strip, map_ = figure.subplots(2, 1, sharex=True, height_ratios=[1.0, 0.2 + 0.26 * len(shown)])
    step = seconds / FRAMES
    for number in range(FRAMES):
        frame = frames[int((number + 0.5) * step * FRAME_RATE)]
        strip.imshow(
            frame, cmap="gray", vmin=0, vmax=255, extent=(number * step, (number + 0.96) * step, 0, 1), aspect="auto"
        )
    strip.set_axis_off()
    image = map_.imshow(
        probabilities[:, shown].T,
        vmin=0,
        vmax=1,
        cmap="Blues",
        aspect="auto",
        interpolation="nearest",
        extent=(0, seconds, len(shown) - 0.5, -0.5),
    )
    map_.set_yticks(range(len(shown)), [reader.config.classes[place] for place in shown])
    map_.set_xlim(0, seconds)
    map_.set_xlabel("time [s]")
    for word in words:
        start, end = word.start / FRAME_RATE, word.end / FRAME_RATE
        map_.axvspan(start, end, ymin=1.01, ymax=1.03, color="black", clip_on=False)
        map_.text((start + end) / 2, -0.9, word.text, ha="center", va="bottom")
    figure.colorbar(image, ax=map_, label="probability", pad=0.01)
    with writing(path.parent):
        path.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(path, dpi=110)
