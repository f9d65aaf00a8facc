"""Draw the picture of the idea in the README: ``python docs/draw_idea.py`` writes ``idea.png``.

All data in it are real: the log-mel spectrogram of an utterance of the demo corpus, and what the package's own layers,
untrained and with a fixed seed, compute from it.
"""

from pathlib import Path

import matplotlib as mpl
import numpy as np
import torch
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch, Polygon, Rectangle
from numpy.typing import NDArray

from convrnn.cache import default_cache_dir
from convrnn.corpora.demo import open_demo
from convrnn.features.extract import extract_features
from convrnn.features.logmel import LogMelConfig
from convrnn.features.normalise import Normaliser
from convrnn.nn import CLSTM, ConvFeatures

FOLDER = Path(__file__).parent
UTTERANCE = "female03-01-calm.wav"
FIRST_FRAME, FRAMES = 4, 53
KERNEL, STRIDE, FEATURES = 5, 2, 12
SHOWN = 10  # the window in the two cards

WIDTH, HEIGHT = 900, 668  # the drawing's units are pixels of GitHub's README column
INK, MUTED, LINE, CARD = "#1f2933", "#5b6770", "#aab4bd", "#f6f8fa"
ACCENT, CONV, RECURRENT = "#e8590c", "#3b5bdb", "#0b7285"

Array = NDArray[np.float32]


def load_frames() -> Array:
    """A stretch of one utterance, normalised per speaker: ``[frames, bands]``."""
    corpus = open_demo(default_cache_dir())
    row = corpus.table["id"].tolist().index(UTTERANCE)
    config = LogMelConfig(sample_rate=corpus.for_task("gender").sample_rate)
    speaker = corpus.table["speaker"][row]
    rows = [i for i, other in enumerate(corpus.table["speaker"]) if other == speaker]
    features = [extract_features(corpus.segments()[i], config) for i in rows]
    normalised = Normaliser("speaker").transform(features, [speaker] * len(rows))
    return normalised[rows.index(row)][FIRST_FRAME : FIRST_FRAME + FRAMES]


def compute(frames: Array) -> tuple[Array, Array, Array]:
    """Features of all windows by both layers, ``[windows, features]``, and the shown window's cell states by frame."""
    torch.manual_seed(4)
    x = torch.from_numpy(frames)[None]
    convolution = ConvFeatures(frames.shape[1], FEATURES, KERNEL, STRIDE)
    recurrent = CLSTM(frames.shape[1], FEATURES, KERNEL, STRIDE)
    window = x[:, SHOWN * STRIDE : SHOWN * STRIDE + KERNEL]
    states = []
    for length in range(1, KERNEL + 1):
        # The last state of a window cut short is the state in that frame.
        shorter = CLSTM(frames.shape[1], FEATURES, length)
        shorter.load_state_dict(recurrent.state_dict())
        states.append(shorter(window[:, :length])[0, 0])
    with torch.no_grad():
        maps = convolution(x)[0].numpy(), recurrent(x)[0].numpy()
    cells = torch.stack(states).detach().numpy()
    np.testing.assert_allclose(cells[-1], maps[1][SHOWN], atol=1e-6)
    return maps[0], maps[1], cells


class Sheet:
    """A page measured in pixels, origin at the lower left."""

    def __init__(self) -> None:
        self.figure = plt.figure(figsize=(WIDTH / 100, HEIGHT / 100))
        self.axes: Axes = self.figure.add_axes((0, 0, 1, 1))
        self.axes.set_xlim(0, WIDTH)
        self.axes.set_ylim(0, HEIGHT)
        self.axes.set_axis_off()
        self.figure.patch.set_alpha(0)

    def text(self, x: float, y: float, text: str, size: float = 9.5, color: str = INK, **options: object) -> None:
        """Text centred at a point, unless told otherwise."""
        options = {"ha": "center", "va": "center", **options}
        self.axes.text(x, y, text, fontsize=size, color=color, zorder=8, **options)  # type: ignore[arg-type]

    def box(self, x: float, y: float, width: float, height: float, face: str, edge: str, radius: float = 8) -> None:
        """A rectangle with round corners."""
        style = f"round,pad=0,rounding_size={radius}"
        patch = FancyBboxPatch((x, y), width, height, boxstyle=style, fc=face, ec=edge, lw=1.0, zorder=1)
        self.axes.add_patch(patch)

    def frame(self, x: float, y: float, width: float, height: float, color: str = INK, weight: float = 0.8) -> None:
        """A bare outline."""
        self.axes.add_patch(Rectangle((x, y), width, height, fc="none", ec=color, lw=weight, zorder=6))

    def image(self, values: Array, x: float, y: float, width: float, height: float, colours: str, top: float) -> None:
        """Values ``[columns, rows]`` as a grid of cells; ``top`` is the value of the strongest colour."""
        low = 0.0 if colours == "Blues" else -top
        extent = (x, x + width, y, y + height)
        self.axes.imshow(
            values.T, origin="lower", extent=extent, aspect="auto", cmap=colours, vmin=low, vmax=top,
            interpolation="nearest", zorder=4,
        )  # fmt: skip
        self.axes.set_xlim(0, WIDTH)
        self.axes.set_ylim(0, HEIGHT)

    def arrow(self, start: tuple[float, float], end: tuple[float, float], color: str = MUTED) -> None:
        """An arrow from point to point."""
        arrow = FancyArrowPatch(
            start, end, arrowstyle="-|>", mutation_scale=9, lw=1.2, shrinkA=0, shrinkB=0, color=color, zorder=5
        )
        self.axes.add_patch(arrow)

    def zoom(self, corners: list[tuple[float, float]]) -> None:
        """A pale beam between a detail and its enlargement."""
        self.axes.add_patch(Polygon(corners, fc=ACCENT, ec="none", alpha=0.13, zorder=3))


def draw_sequence(sheet: Sheet, frames: Array) -> tuple[float, float]:
    """The spectrogram with its windows; returns the left and right edge of the shown one."""
    x, y, width, height = 66, 510, 794, 84
    step = width / FRAMES
    sheet.image(frames, x, y, width, height, "magma", 2.4)
    sheet.frame(x, y, width, height)
    sheet.text(48, y + height / 2, "26 log-mel\nbands", 9, MUTED, rotation=90)
    sheet.text(x + width, y - 13, "frames, one every 10 ms", 9, MUTED, ha="right")
    for offset, color in ((2, LINE), (1, LINE), (0, ACCENT)):
        left = x + (SHOWN + offset) * STRIDE * step
        level = y + height + 9 + 8 * offset
        sheet.axes.plot(
            [left + 1, left + 1, left + KERNEL * step - 1, left + KERNEL * step - 1],
            [level - 4, level, level, level - 4],
            color=color if offset == 0 else MUTED,
            lw=2 if offset == 0 else 1.2,
            solid_joinstyle="miter",
            zorder=6,
        )
    left, right = x + SHOWN * STRIDE * step, x + (SHOWN * STRIDE + KERNEL) * step
    sheet.frame(left, y, right - left, height, ACCENT, 2.2)
    sheet.text(left - 9, y + height + 10, "a window of 5 frames", 9.5, ACCENT, ha="right", weight="bold")
    sheet.text(right + 4 * step + 9, y + height + 24, "the next windows, at a stride of 2 frames", 9, MUTED, ha="left")
    return left, right


def draw_convolution(sheet: Sheet, window: Array, features: Array, shown: tuple[float, float]) -> None:
    """The left card: the window as one block through one affine map."""
    sheet.box(22, 196, 292, 270, CARD, LINE)
    sheet.text(168, 448, "standard convolution", 11.5, CONV, weight="bold")
    sheet.image(window, 46, 300, 80, 122, "magma", 2.4)
    sheet.frame(46, 300, 80, 122, ACCENT, 1.8)
    sheet.zoom([(shown[0], 510), (shown[1], 510), (126, 422), (46, 422)])
    sheet.text(86, 286, "the whole window", 9, MUTED)
    sheet.arrow((130, 361), (145, 361))
    sheet.box(147, 333, 94, 56, CONV, CONV)
    sheet.text(194, 361, "one affine\nmap + ReLU", 9, "white", weight="bold")
    sheet.arrow((243, 361), (260, 361))
    sheet.image(features[None], 263, 301, 22, 120, "Blues", float(features.max()))
    sheet.frame(263, 301, 22, 120)
    sheet.text(274, 286, "features", 9, MUTED)
    sheet.text(168, 244, r"$f(w) = \sigma(W w + b)$", 12)
    sheet.text(168, 218, "one affine map, then one non-linearity", 9, MUTED)


def draw_recurrent(sheet: Sheet, window: Array, cells: Array, shown: tuple[float, float]) -> None:
    """The right card: the window frame by frame through an LSTM."""
    sheet.box(330, 196, 548, 270, CARD, LINE)
    sheet.text(604, 448, "convolutional recurrent layer (CLSTM)", 11.5, RECURRENT, weight="bold")
    pitch, first, top = 70, 378, float(np.abs(cells).max())
    right = first + (KERNEL - 1) * pitch
    sheet.zoom([(shown[0], 510), (shown[1], 510), (right + 9, 426), (first - 9, 426)])
    for number in range(KERNEL):
        x = first + number * pitch
        sheet.image(window[number][None], x - 9, 358, 18, 68, "magma", 2.4)
        sheet.frame(x - 9, 358, 18, 68, ACCENT, 1.5)
        sheet.arrow((x, 355), (x, 338))
        sheet.box(x - 23, 306, 46, 31, RECURRENT, RECURRENT, 6)
        sheet.text(x, 321, "LSTM", 9.5, "white", weight="bold")
        sheet.arrow((x, 305), (x, 289))
        sheet.image(cells[number][None], x - 9, 222, 18, 66, "RdBu_r", top)
        sheet.frame(x - 9, 222, 18, 66)
        if number < KERNEL - 1:
            sheet.arrow((x + 24, 321), (x + pitch - 24, 321), RECURRENT)
    sheet.text((first + right) / 2, 208, "hidden or cell state in every frame", 9, MUTED)
    sheet.arrow((right + 14, 255), (right + 48, 255))
    reductions = {"last": cells[-1], "mean": cells.mean(axis=0), "max": cells.max(axis=0)}
    for number, (name, values) in enumerate(reductions.items()):
        x = 738 + 47 * number
        sheet.image(values[None], x - 11, 222, 22, 66, "RdBu_r", top)
        sheet.frame(x - 11, 222, 22, 66)
        sheet.text(x, 300, name, 10, RECURRENT, weight="bold")
        if number:
            sheet.text(x - 23.5, 255, "or", 9, MUTED)
    sheet.text(785, 208, "features", 9, MUTED)
    sheet.text(785, 366, "Each step reads a frame\nand remembers\nthe earlier ones.", 9, MUTED)


def draw_map(sheet: Sheet, values: Array, x: float, width: float, source: float, colours: str) -> None:
    """The features of all windows under a card, with the shown window marked and joined to its column above."""
    y, height = 62, 84
    sheet.image(values, x, y, width, height, colours, float(np.quantile(np.abs(values), 0.97)))
    sheet.frame(x, y, width, height)
    step = width / len(values)
    sheet.frame(x + SHOWN * step, y - 1, step, height + 2, ACCENT, 2.0)
    target = (x + (SHOWN + 0.5) * step, y + height + 3)
    sheet.axes.plot([source, source, target[0], target[0]], [196, 174, 174, 160], color=ACCENT, lw=1.2, zorder=5)
    sheet.arrow((target[0], 166), target, ACCENT)


def main() -> None:
    """Draw and save."""
    mpl.rcParams.update({"font.family": "DejaVu Sans", "mathtext.fontset": "dejavusans", "savefig.dpi": 200})
    frames = load_frames()
    convolution, recurrent, cells = compute(frames)
    window = frames[SHOWN * STRIDE : SHOWN * STRIDE + KERNEL]
    sheet = Sheet()
    sheet.box(3, 3, WIDTH - 6, HEIGHT - 6, "white", LINE, 14)
    sheet.text(WIDTH / 2, 646, "From a window of the sequence to features, in two ways", 13, weight="bold")
    shown = draw_sequence(sheet, frames)
    draw_convolution(sheet, window, convolution[SHOWN], shown)
    draw_recurrent(sheet, window, cells, shown)
    draw_map(sheet, convolution, 46, 244, 274, "Blues")
    draw_map(sheet, recurrent, 378, 470, 738, "RdBu_r")
    sheet.text(34, 104, "12 features", 9, MUTED, rotation=90)
    sheet.text(364, 104, "12 features", 9, MUTED, rotation=90)
    sheet.text(168, 46, f"features of all {len(convolution)} windows", 9, MUTED)
    sheet.text(613, 46, f"features of all {len(recurrent)} windows (last cell state)", 9, MUTED)
    note = "An utterance of the synthetic demo corpus; both layers untrained, with the same input and output sizes."
    sheet.text(WIDTH / 2, 22, note, 8.5, MUTED, style="italic")
    sheet.figure.savefig(FOLDER / "idea.png", metadata={"Software": None})


if __name__ == "__main__":
    main()
