"""Pictures of confusion matrices, as files and in the web page."""

import io
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import PowerNorm
from matplotlib.figure import Figure
from numpy.typing import NDArray

from convrnn.experiments.probe import probe_name
from convrnn.experiments.results import ResultColumn
from convrnn.experiments.svm_baseline import NAME
from convrnn.files import write_atomically, writing
from convrnn.models.presets import FRONT_ENDS

MOST_WITH_NUMBERS = 40
"""With more classes the cells have no numbers, which would be too small to read and take minutes to draw."""

_LARGE_INCHES = (12.0, 10.5)
_CELL, _MOST_INCHES = 0.95, 18.0
_MOST_NAMED = 60
_LONGEST_NAME = 40


def confusion_figure(confusion: NDArray[np.int64], classes: Sequence[str], title: str) -> Figure:
    """A confusion matrix: each cell shows the share of its row (the true class) in percent and the count under it.

    With more than :data:`MOST_WITH_NUMBERS` classes the picture has a fixed size and no numbers; its colours show the
    square root of the shares, and only some of the classes are named.

    Args:
        confusion: counts ``[classes, classes]``, rows are true classes.
        classes: names of the rows and columns.
        title: text above the picture, with long lines wrapped; empty for none.
    """
    count = len(classes)
    shares = 100 * shares_of(confusion)
    names = [name if len(name) <= _LONGEST_NAME else name[: _LONGEST_NAME - 1] + "…" for name in classes]
    longest = max(len(name) for name in names)
    large = count > MOST_WITH_NUMBERS
    figure = Figure(figsize=_LARGE_INCHES if large else _inches(count, longest), dpi=150)
    figure.set_layout_engine("constrained")
    axes = figure.subplots()
    # Among many classes most mistakes are shares of a few percent, which the square root makes visible.
    norm = PowerNorm(0.5 if large else 1, vmin=0, vmax=100)
    image = axes.imshow(shares, cmap="Blues", norm=norm, interpolation="nearest" if large else None)
    if not large:
        _write_numbers(axes, confusion, shares)
    slanted = longest * count > 40
    named = range(0, count, -(-count // _MOST_NAMED))
    some = [names[place] for place in named]
    size = 6 if large else None
    axes.set_xticks(
        named,
        some,
        rotation=(90 if large else 45) if slanted else 0,
        ha="right" if slanted else "center",
        va="center" if large else "top",
        rotation_mode="anchor",
        fontsize=size,
        parse_math=False,
    )
    axes.set_yticks(named, some, fontsize=size, parse_math=False)
    axes.set_xlabel("predicted class")
    axes.set_ylabel("true class")
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    # Wrapped text ignores parse_math.
    axes.set_title(title.replace("$", r"\$"), fontsize=11, wrap=True)
    figure.colorbar(image, ax=axes, label="share of the true class [%]", shrink=0.8)
    return figure


def _inches(count: int, longest: int) -> tuple[float, float]:
    """Size of a picture with numbers."""
    side = _cell(count) * count
    return max(4.6, side + 1.6 + 0.09 * longest), max(3.4, side + 1.3)


def _cell(count: int) -> float:
    """Inches of a cell with numbers: smaller ones where the matrix would get too large."""
    return min(_CELL, _MOST_INCHES / count)


def _write_numbers(axes: Axes, confusion: NDArray[np.int64], shares: NDArray[np.float64]) -> None:
    scale = _cell(len(confusion)) / _CELL
    for true, predicted in np.ndindex(*confusion.shape):
        share = shares[true, predicted]
        color = "white" if share > 55 else "black"
        for lower, written, size in ((-0.1, f"{share:.0f} %", 11), (0.24, f"{confusion[true, predicted]}", 8)):
            text = axes.text(predicted, true + lower, written, ha="center", va="center", color=color)
            text.set_fontsize(size * scale)
            # It is within the axes, and measuring thousands of texts takes seconds.
            text.set_in_layout(False)


def png(figure: Figure) -> bytes:
    """The figure as PNG; the same figure gives the same bytes."""
    buffer = io.BytesIO()
    FigureCanvasAgg(figure)
    # Without metadata, which would name the version of matplotlib.
    figure.savefig(buffer, format="png", metadata={"Software": None})
    return buffer.getvalue()


def shares_of(confusion: NDArray[np.int64]) -> NDArray[np.float64]:
    """The share of each predicted class among each true class, 0 to 1; 0 for a class without example.

    Example:
        >>> shares_of(np.array([[3, 1], [0, 0]])).tolist()
        [[0.75, 0.25], [0.0, 0.0]]
    """
    return np.asarray(confusion / np.maximum(confusion.sum(axis=1, keepdims=True), 1))


def largest_confusions(confusion: NDArray[np.int64], most: int) -> list[tuple[int, int]]:
    """The most frequent confusions: pairs of true and predicted class, by the share of the true class.

    Args:
        confusion: counts ``[classes, classes]``, rows are true classes.
        most: how many pairs at most.

    Example:
        >>> largest_confusions(np.array([[3, 1, 0], [0, 4, 0], [5, 0, 5]]), 2)
        [(2, 0), (0, 1)]
    """
    wrong = shares_of(confusion)
    np.fill_diagonal(wrong, 0)
    order = np.argsort(-wrong, axis=None, kind="stable")[:most]
    pairs = [divmod(int(place), len(confusion)) for place in order]
    return [pair for pair in pairs if wrong[pair] > 0]


def pictures_of(column: ResultColumn, classes: Sequence[str], what: str) -> dict[str, bytes]:
    """A confusion matrix per model of a column, as PNG.

    Args:
        column: all models on one task.
        classes: names of the classes.
        what: what the models are compared on, for the titles; empty to omit it.

    Returns:
        The headings of the models to their pictures.
    """
    pictures = {}
    for heading, found in column.measured:
        seeds = f"{len(found.seeds)} seed{'s' if len(found.seeds) > 1 else ''}"
        title = f"{heading}{f' on {what}' if what else ''}\nUA recall {found.mean:.1f} %, {seeds}"
        pictures[heading] = png(confusion_figure(found.confusion, classes, title))
    return pictures


def save_pictures(folder: Path, pictures: Mapping[str, bytes]) -> None:
    """Write pictures of confusion matrices, and remove those of models that are not among them.

    Args:
        folder: where they go, as ``confusion-<model>.png``.
        pictures: names of models to their pictures.

    Raises:
        InputError: if the folder cannot be written.
    """
    for model, picture in pictures.items():
        write_atomically(folder / _file_name(model), picture)
    models = [NAME, *FRONT_ENDS, *map(probe_name, FRONT_ENDS)]
    with writing(folder):
        for name in set(map(_file_name, models)) - set(map(_file_name, pictures)):
            (folder / name).unlink(missing_ok=True)


def _file_name(model: str) -> str:
    return f"confusion-{model.lower().replace(' ', '-')}.png"
