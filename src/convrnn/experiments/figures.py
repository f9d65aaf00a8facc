"""Pictures of a comparison."""

import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import NDArray

from convrnn.files import write_atomically


def confusion_figure(confusion: NDArray[np.int64], classes: Sequence[str], title: str) -> Figure:
    """A confusion matrix: each cell shows the share of its row (the true class) in percent and the count under it.

    Args:
        confusion: counts ``[classes, classes]``, rows are true classes.
        classes: names of the rows and columns.
        title: what stands above the picture; long lines are wrapped.
    """
    count = len(classes)
    totals = confusion.sum(axis=1, keepdims=True)
    shares = 100 * confusion / np.maximum(totals, 1)
    cell = 0.95
    longest = max(len(name) for name in classes)
    figure = Figure(figsize=(max(4.6, cell * count + 1.6 + 0.09 * longest), max(3.4, cell * count + 1.3)), dpi=150)
    figure.set_layout_engine("constrained")
    axes = figure.subplots()
    image = axes.imshow(shares, cmap="Blues", vmin=0, vmax=100)
    for true in range(count):
        for predicted in range(count):
            share = shares[true, predicted]
            color = "white" if share > 55 else "black"
            axes.text(predicted, true - 0.1, f"{share:.0f} %", ha="center", va="center", color=color, fontsize=11)
            axes.text(
                predicted,
                true + 0.24,
                f"{confusion[true, predicted]}",
                ha="center",
                va="center",
                color=color,
                fontsize=8,
            )
    axes.set_xticks(
        range(count),
        classes,
        rotation=45 if longest * count > 40 else 0,
        ha="right" if longest * count > 40 else "center",
        rotation_mode="anchor",
    )
    axes.set_yticks(range(count), classes)
    axes.set_xlabel("predicted class")
    axes.set_ylabel("true class")
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    axes.set_title(title, fontsize=11, wrap=True)
    figure.colorbar(image, ax=axes, label="share of the true class [%]", shrink=0.8)
    return figure


def save_figure(figure: Figure, path: Path) -> None:
    """Write the figure as a PNG, at once or not at all."""
    buffer = io.BytesIO()
    FigureCanvasAgg(figure)
    figure.savefig(buffer, format="png")
    write_atomically(path, buffer.getvalue())
