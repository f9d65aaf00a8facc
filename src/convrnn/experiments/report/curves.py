"""The geometry of the web page's learning curves."""

from collections.abc import Sequence
from dataclasses import dataclass

from convrnn.experiments.outcomes import ModelResult, Run
from convrnn.experiments.report.axis import WIDTH, Axis, Dot
from convrnn.training.epochs import EpochReport, read_metrics

_LEFT, _RIGHT = 38, 8
_TOP, _BOTTOM, _CURVES_HEIGHT = 8, 34, 210

MOST_LINES = 100
"""Largest number of runs of one model that are drawn; of more, evenly spaced ones."""


@dataclass(frozen=True, slots=True)
class Curves:
    """Learning curves of one model.

    Attributes:
        caption: the model, and how many of its runs are drawn if not all.
        summary: the drawing in words.
        width: in units, as is the height.
        height: in units.
        left: left edge of the area of the lines.
        right: its right edge.
        top: its upper edge.
        bottom: its lower edge.
        x: epochs.
        y: misclassified validation utterances in percent.
        lines: the points of each run's line, as in SVG.
        bests: the selected epoch of each run.
    """

    caption: str
    summary: str
    width: int
    height: int
    left: int
    right: int
    top: int
    bottom: int
    x: Axis
    y: Axis
    lines: tuple[str, ...]
    bests: tuple[Dot, ...]


def curves(models: Sequence[tuple[str, ModelResult]]) -> list[Curves]:
    """Learning curves of all models of a column that have run directories, on the same axes.

    Args:
        models: headings and results.

    Raises:
        InputError: the epochs of a run cannot be read.
    """
    read = [
        (heading, found.runs, [(run, read_metrics(run.result.directory)) for run in _some(found.runs)])
        for heading, found in models
        if found.runs
    ]
    reports = [report for _, _, drawn in read for _, epochs in drawn for report in epochs]
    if not reports:
        return []
    rates = [_rate(report) for report in reports]
    # Some margin, so that a flat line has an axis too.
    low, high = max(min(rates) - 1, 0), min(max(rates) + 1, 100)
    last = max(report.epoch for report in reports)
    # A single epoch lies in the middle.
    first_epoch, last_epoch = (1, last) if last > 1 else (0.5, 1.5)
    bottom = _CURVES_HEIGHT - _BOTTOM
    x = Axis.over(first_epoch, last_epoch, _LEFT + 4, WIDTH - _RIGHT - 4, smallest_step=1)
    y = Axis.over(low, high, bottom, _TOP)
    return [
        Curves(
            caption=heading if len(drawn) == len(runs) else f"{heading} ({_told(len(drawn), len(runs))})",
            summary=f"Learning curves of {heading}: misclassified validation utterances over epochs, "
            f"{_told(len(drawn), len(runs))}; {_bests_told(runs)} % misclassified there.",
            width=WIDTH,
            height=_CURVES_HEIGHT,
            left=_LEFT,
            right=WIDTH - _RIGHT,
            top=_TOP,
            bottom=bottom,
            x=x,
            y=y,
            lines=tuple(
                " ".join(f"{x.place(report.epoch):g},{y.place(_rate(report)):g}" for report in epochs)
                for _, epochs in drawn
            ),
            bests=tuple(_best(run, epochs[run.result.best_epoch - 1], x, y) for run, epochs in drawn),
        )
        for heading, runs, drawn in read
    ]


def _some(runs: Sequence[Run]) -> Sequence[Run]:
    """At most :data:`MOST_LINES` of the runs, evenly spaced."""
    return runs[:: -(-len(runs) // MOST_LINES)]


def _best(run: Run, report: EpochReport, x: Axis, y: Axis) -> Dot:
    told = f"epoch {report.epoch}, {_rate(report):.1f} % misclassified"
    return Dot(x.place(report.epoch), y.place(_rate(report)), f"seed {run.spec.seed}, {run.spec.split.name}: {told}")


def _told(drawn: int, runs: int) -> str:
    """``"6 runs"``, ``"84 of 2,500 runs"``."""
    return f"{'' if drawn == runs else f'{drawn:,} of '}{runs:,} run{'s' if runs > 1 else ''}"


def _bests_told(runs: Sequence[Run]) -> str:
    epochs = [run.result.best_epoch for run in runs]
    rates = [100 * run.result.validation_misclassification for run in runs]
    return f"best epoch {_range(min(epochs), max(epochs))}, {_range(f'{min(rates):.1f}', f'{max(rates):.1f}')}"


def _rate(report: EpochReport) -> float:
    return 100 * report.validation_misclassification


def _range(low: object, high: object) -> str:
    return f"{low}" if low == high else f"{low} to {high}"
