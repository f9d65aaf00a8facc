"""The learning curves of a run as an image."""

import io
from collections.abc import Sequence

from convrnn.training.epochs import EpochReport

_TRAIN, _VALIDATION, _BEST = "#4477AA", "#EE6677", "#555555"


def draw_curves(epochs: Sequence[EpochReport], title: str = "") -> bytes:
    """Plots training and validation loss and misclassification rate over the epochs, with the best epoch marked.

    Args:
        epochs: The finished epochs of a run, in order, at least one.
        title: Title above the plots.

    Returns:
        A PNG image of 1350 x 600 pixels.

    Raises:
        ValueError: There is no epoch.
    """
    # Takes half a second to import, which the start of a run should not pay.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    if not epochs:
        raise ValueError("learning curves need at least one epoch")
    figure = Figure(figsize=(9, 4), dpi=150, layout="constrained")
    FigureCanvasAgg(figure)
    numbers = [epoch.epoch for epoch in epochs]
    best = max((epoch for epoch in epochs if epoch.is_best), key=lambda epoch: epoch.epoch)
    left, right = figure.subplots(1, 2)
    panels = (
        (left, "cross-entropy", [e.train_loss for e in epochs], [e.validation_loss for e in epochs]),
        (
            right,
            "misclassified [%]",
            [100 * e.train_misclassification for e in epochs],
            [100 * e.validation_misclassification for e in epochs],
        ),
    )
    for axes, label, train, validation in panels:
        axes.plot(numbers, train, color=_TRAIN, marker="o", markersize=3, clip_on=False, label="training")
        axes.plot(numbers, validation, color=_VALIDATION, marker="s", markersize=3, clip_on=False, label="validation")
        axes.axvline(best.epoch, color=_BEST, linestyle=":", linewidth=1.2, label=f"best epoch ({best.epoch})")
        axes.set_xlabel("epoch")
        axes.set_ylabel(label)
        axes.set_ylim(0, 1.1 * max(*train, *validation, 1e-3))
        axes.set_xlim(0.5, max(numbers) + 0.5)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
        axes.grid(visible=True, alpha=0.3)
        axes.spines[["top", "right"]].set_visible(False)
    best_rate = 100 * best.validation_misclassification
    right.plot([best.epoch], [best_rate], marker="s", markersize=8, markerfacecolor="none", color=_BEST, clip_on=False)
    late, low = best.epoch > 0.8 * max(numbers), best_rate < 0.15 * right.get_ylim()[1]
    right.annotate(
        f"{best_rate:.1f} %",
        (best.epoch, best_rate),
        xytext=(-8 if late else 8, 8 if low else -8),
        textcoords="offset points",
        ha="right" if late else "left",
        va="bottom" if low else "top",
        color=_BEST,
    )
    figure.legend(*left.get_legend_handles_labels(), loc="outside lower center", ncols=3, frameon=False)
    if title:
        figure.suptitle(title, fontsize=10, parse_math=False)
    buffer = io.BytesIO()
    # Without metadata the same numbers give the same bytes under every version of matplotlib.
    figure.savefig(buffer, format="png", metadata={"Software": None})
    return buffer.getvalue()
