"""Pictures of a comparison."""

import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import NDArray

from convrnn.experiments.probe import probe_name
from convrnn.experiments.table import Table
from convrnn.experiments.yardstick import NAME
from convrnn.files import write_atomically, writing
from convrnn.models.presets import FRONT_ENDS

MOST_WITH_NUMBERS = 40
"""Classes of which the cells still have room for numbers; drawing them takes time with the square of the classes."""

_LARGE_INCHES = (12.0, 10.5)
_MOST_NAMED = 60
_LONGEST_NAME = 40


def confusion_figure(confusion: NDArray[np.int64], classes: Sequence[str], title: str) -> Figure:
    """A confusion matrix: each cell shows the share of its row (the true class) in percent and the count under it.

    With more than :data:`MOST_WITH_NUMBERS` classes the picture has one size and colours alone, and names some of them.

    Args:
        confusion: counts ``[classes, classes]``, rows are true classes.
        classes: names of the rows and columns.
        title: what stands above the picture; long lines are wrapped.
    """
    count = len(classes)
    totals = confusion.sum(axis=1, keepdims=True)
    shares = 100 * confusion / np.maximum(totals, 1)
    names = [name if len(name) <= _LONGEST_NAME else name[: _LONGEST_NAME - 1] + "…" for name in classes]
    longest = max(len(name) for name in names)
    large = count > MOST_WITH_NUMBERS
    figure = Figure(figsize=_LARGE_INCHES if large else _inches(count, longest), dpi=150)
    figure.set_layout_engine("constrained")
    axes = figure.subplots()
    image = axes.imshow(shares, cmap="Blues", vmin=0, vmax=100)
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
    # Wrapping does not know parse_math.
    axes.set_title(title.replace("$", r"\$"), fontsize=11, wrap=True)
    figure.colorbar(image, ax=axes, label="share of the true class [%]", shrink=0.8)
    return figure


def _inches(count: int, longest: int) -> tuple[float, float]:
    """Size of a picture with numbers."""
    cell = 0.95
    return max(4.6, cell * count + 1.6 + 0.09 * longest), max(3.4, cell * count + 1.3)


def _write_numbers(axes: Axes, confusion: NDArray[np.int64], shares: NDArray[np.float64]) -> None:
    for true, predicted in np.ndindex(*confusion.shape):
        share = shares[true, predicted]
        for lower, text, size in ((-0.1, f"{share:.0f} %", 11), (0.24, f"{confusion[true, predicted]}", 8)):
            color = "white" if share > 55 else "black"
            axes.text(predicted, true + lower, text, ha="center", va="center", color=color, fontsize=size)


def save_figure(figure: Figure, path: Path) -> None:
    """Write the figure as a PNG, at once or not at all."""
    buffer = io.BytesIO()
    FigureCanvasAgg(figure)
    figure.savefig(buffer, format="png")
    write_atomically(path, buffer.getvalue())


def save_pictures(folder: Path, table: Table, what: str) -> None:
    """Write one confusion matrix per row of a table, and remove those of models that it does not have.

    Args:
        folder: where they go, as ``confusion-<model>.png``.
        table: the table.
        what: what the models are compared on, for the titles.

    Raises:
        InputError: if the folder cannot be written.
    """
    written = set()
    for row in table.rows:
        seeds = f"{row.seeds} seed{'s' if row.seeds > 1 else ''}"
        title = f"{row.model} on {what}\nUA recall {row.ua_recall_mean:.1f} %, {seeds}"
        path = folder / _picture(row.model)
        save_figure(confusion_figure(row.confusion, table.classes, title), path)
        written.add(path)
    rows = [NAME, *FRONT_ENDS, *map(probe_name, FRONT_ENDS)]
    with writing(folder):
        for path in {folder / _picture(model) for model in rows} - written:
            path.unlink(missing_ok=True)


def _picture(model: str) -> str:
    return f"confusion-{model.lower().replace(' ', '-')}.png"
