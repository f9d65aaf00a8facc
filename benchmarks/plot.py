"""The plots of the results: the peers' times relative to ours, and the fitted lines."""

from collections.abc import Sequence
from pathlib import Path

from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchmarks.compare import Comparison
from benchmarks.peers import NATIVE, REFERENCE
from benchmarks.scaling import Curve
from benchmarks.settings import PASSES

SUFFIXES = (".svg", ".png", ".pdf")
"""File formats that can be written."""

COLORS = {"forward": "#0b7285", "training": "#e8590c"}
MARKERS = {NATIVE.name: "o", REFERENCE.name: "s"}


def _bars(axes: Axes, comparisons: Sequence[Comparison]) -> None:
    """Ratios of every peer, one bar for each pass; the whiskers are the quartiles."""
    names = list(dict.fromkeys(entry.name for comparison in comparisons for entry in comparison.entries))
    height = 0.38
    for comparison in comparisons:
        mode = str(comparison.case["pass"])
        offset = (list(PASSES).index(mode) - 0.5) * height
        for entry in comparison.entries:
            if entry.ratio is None:
                continue
            place, median = names.index(entry.name) + offset, entry.ratio.median
            whiskers = [[median - entry.ratio.low], [entry.ratio.high - median]]
            axes.barh(place, median, height, xerr=whiskers, color=COLORS[mode], ecolor="#5b6770")
            axes.text(entry.ratio.high, place, f"  {median:.2f}", va="center", fontsize=8)
    axes.set_yticks(range(len(names)), names)
    axes.invert_yaxis()
    axes.axvline(1, color="#1f2933", linewidth=0.8)
    axes.margins(x=0.1)
    for mode in PASSES:
        axes.barh(0, 0, color=COLORS[mode], label=mode)
    axes.legend(loc="lower right", bbox_to_anchor=(1, 1), ncols=2, frameon=False)  # above the bars
    case = comparisons[0].case
    axes.set_title(f"{case['windows']} windows, {case['features']} features, threads: {case['threads']}", fontsize=10)
    axes.set_xlabel("time over that of convrnn native with the same peepholes (shorter is faster)")
    axes.spines[["top", "right"]].set_visible(False)


def _lines(axes: Axes, curves: Sequence[Curve]) -> None:
    """Medians as points, with quartiles as whiskers, and the fitted lines."""
    for curve in curves:
        medians = [spread.median for spread in curve.milliseconds]
        whiskers = [
            [spread.median - spread.low for spread in curve.milliseconds],
            [spread.high - spread.median for spread in curve.milliseconds],
        ]
        color, marker = COLORS[curve.mode], MARKERS[curve.peer]
        fill = color if marker == "o" else "none"
        axes.errorbar(curve.x, medians, whiskers, fmt=marker, color=color, mfc=fill, markersize=4, linewidth=0.8)
        ends = (min(curve.x), max(curve.x))
        fitted = [curve.line.intercept + curve.line.slope * x for x in ends]
        label = f"{curve.peer}, {curve.mode}"
        axes.plot(ends, fitted, color=color, linewidth=1, linestyle="-" if marker == "o" else ":", label=label)
    axes.set_xlabel(curves[0].sweep + (" (thousands)" if curves[0].unit == "1000 windows" else ""))
    axes.set_ylabel("ms")
    axes.set_xlim(left=0)
    axes.set_ylim(bottom=0)
    fits = [f"{c.mode} {c.line.r_squared:.3f}" for c in curves if c.peer == NATIVE.name]
    axes.set_title("R² of native: " + ", ".join(fits), fontsize=8)
    axes.spines[["top", "right"]].set_visible(False)


def draw(comparisons: Sequence[Comparison], curves: Sequence[Curve], path: Path) -> None:
    """Plot the results into a file; without any, nothing is written.

    Args:
        comparisons: One case of the section "windowed", forward and training; may be empty.
        curves: The curves of the section "scaling"; may be empty.
        path: The file, in the format of its suffix, one of ``SUFFIXES``.
    """
    if not comparisons and not curves:
        return
    sweeps = list(dict.fromkeys(curve.sweep for curve in curves))
    figure = Figure(figsize=(12, (4 if comparisons else 0) + (4 if curves else 0)), dpi=150, layout="constrained")
    parts = figure.subfigures(2 if comparisons and curves else 1, 1, squeeze=False)[:, 0]
    if comparisons:
        _bars(parts[0].subplots(), comparisons)
    if curves:
        panels = parts[-1].subplots(1, len(sweeps), squeeze=False)[0]
        for axes, sweep in zip(panels, sweeps, strict=True):
            _lines(axes, [curve for curve in curves if curve.sweep == sweep])
        # One legend above all panels: inside one, it would cover the lines.
        legend: dict[str, Artist] = {}
        for axes in panels:
            handles, labels = axes.get_legend_handles_labels()
            legend |= dict(zip(labels, handles, strict=True))
        parts[-1].legend(legend.values(), legend, loc="outside upper center", ncols=4, frameon=False, fontsize=8)
    figure.savefig(path)
