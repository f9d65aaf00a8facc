"""A corpus of drawn mouths in the form of GRID, to try everything on without real clips."""

import csv
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from convrnn.errors import InputError
from convrnn.files import make_folder, writing
from examples.video.clips import FRAME_RATE, Frames
from examples.video.grid import COLUMNS, TABLE

KINDS = {
    "command": ("bin", "lay", "place", "set"),
    "colour": ("blue", "green", "red", "white"),
    "letter": ("a", "b", "o", "w"),
    "digit": ("one", "two", "three", "four"),
}
"""The words of a sentence, one of each kind."""

FEWEST, MOST = 10, 4**4
"""Numbers of sentences."""

HEIGHT, WIDTH = 64, 128
PAUSE = 3
"""Frames with a closed mouth before, between and after the words."""


def draw_corpus(folder: Path, sentences: int = 60, seed: int = 0) -> None:
    """Writes clips of drawn mouths and ``words.csv``: 60 % of the sentences are for training, 20 % for validation.

    Each word is a sequence of three shapes of the mouth, always the same ones. The place of the mouth, the length of a
    word and noise vary.

    Args:
        folder: A new folder.
        sentences: Number of clips, 10 to 256, all different.
        seed: For everything that varies.

    Raises:
        InputError: There are too few or too many sentences, or the folder has a corpus or cannot be written.
    """
    if not FEWEST <= sentences <= MOST:
        raise InputError(f"the number of sentences is {sentences}; it must be from {FEWEST} to {MOST}")
    rng = np.random.default_rng(seed)
    fours = rng.permutation(MOST // 4)
    rows = [COLUMNS]
    with writing(folder):
        make_folder(folder / "video")
        if (folder / TABLE).exists():
            raise InputError(f"{folder}: has a {TABLE} already; choose another folder")
        for number in range(sentences):
            # Four sentences in a row have all words, and so do those of the training.
            places = (fours[number // 4] // (1, 4, 16) % 4 + number) % 4
            said = [words[place] for words, place in zip(KINDS.values(), (number % 4, *places), strict=True)]
            name, done = "".join(said), number / sentences
            partition = "train" if done < 0.6 else "validation" if done < 0.8 else "test"
            frames, spans = draw_clip(said, rng)
            write_clip(folder / "video" / f"{name}.mp4", frames)
            for kind, word, span in zip(KINDS, said, spans, strict=True):
                start, end = (f"{frame / FRAME_RATE:.2f}" for frame in span)
                rows.append((f"video/{name}.mp4", name, partition, kind, word, start, end))
        with (folder / TABLE).open("w", newline="", encoding="utf-8") as file:
            csv.writer(file, lineterminator="\n").writerows(rows)


def draw_clip(words: list[str], rng: np.random.Generator) -> tuple[Frames, list[tuple[int, int]]]:
    """Frames of a mouth that says some words, and first frame and end of each word."""
    shapes, spans = [np.zeros((PAUSE, 2))], []
    frames = PAUSE
    for word in words:
        length = int(rng.integers(6, 10))
        knots = np.vstack([np.zeros(2), _shapes(word), np.zeros(2)])
        times = np.linspace(0, len(knots) - 1, length + 2)[1:-1]
        shapes += [
            np.stack([np.interp(times, range(len(knots)), knots[:, side]) for side in (0, 1)], 1),
            np.zeros((PAUSE, 2)),
        ]
        spans.append((frames, frames + length))
        frames += length + PAUSE
    centre = np.array([HEIGHT / 2, WIDTH / 2]) + rng.uniform(-2, 2, 2)
    return np.stack([_mouth(open_, wide, centre, rng) for open_, wide in np.vstack(shapes)]), spans


def write_clip(path: Path, frames: Frames, rate: int = FRAME_RATE) -> None:
    """Encodes grey frames as a video file.

    Args:
        path: The format follows from its ending.
        frames: Height and width must be even.
        rate: Frames per second.
    """
    import av

    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=rate, options={"crf": "20"})
        stream.height, stream.width = frames.shape[1:]
        stream.pix_fmt = "yuv420p"
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="gray").reformat(format="yuv420p")))
        container.mux(stream.encode())


def _shapes(word: str) -> NDArray[np.float64]:
    """Three shapes ``[3, 2]``: how far the mouth is open, 0 to 1, and how much wider than at rest, -1 to 1."""
    rng = np.random.default_rng(list(word.encode()))
    return np.stack([rng.uniform(0, 1, 3), rng.uniform(-1, 1, 3)], axis=1)


def _mouth(open_: float, wide: float, centre: NDArray[np.float64], rng: np.random.Generator) -> Frames:
    """One frame: lips as an ellipse on skin, the open mouth as a darker one in it."""
    y, x = np.mgrid[:HEIGHT, :WIDTH].astype(np.float64)
    y, x = y - centre[0], x - centre[1]
    frame = 190 - 25 * (x / WIDTH) ** 2 - 0.3 * y
    half = 20 + 6 * wide
    for high, across, colour in ((5 + 8 * open_, half, 120), (0.5 + 7 * open_, half - 4, 40)):
        # A soft edge, one pixel wide.
        inside = np.clip((1 - np.sqrt((y / high) ** 2 + (x / across) ** 2)) * high + 0.5, 0, 1)
        frame += inside * (colour - frame)
    noisy: Frames = np.clip(frame + rng.normal(0, 3, frame.shape), 0, 255).astype(np.uint8)
    return noisy
