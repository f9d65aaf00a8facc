"""Where the lines and dots of the web page's pictures lie; its template draws them in the page's own colours."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Self

from convrnn.experiments.cells import Measured
from convrnn.experiments.report.layout import percent
from convrnn.training.epochs import EpochReport, read_metrics

WIDTH = 340
"""Width of every picture in its own units; about the pixels of a phone."""

_LEFT, _RIGHT = 38, 8
_TOP, _BOTTOM, _CURVES_HEIGHT = 8, 34, 210
_STRIP_TOP, _STRIP_ROW, _STRIP_BOTTOM = 6, 50, 38
_DOT_ROWS = 7


@dataclass(frozen=True, slots=True)
class Tick:
    """A labelled place on an axis, in the picture's units."""

    at: float
    text: str


@dataclass(frozen=True, slots=True)
class Axis:
    """Where values lie.

    Attributes:
        ticks: round values within the picture.
        place: the position of a value in the picture's units.
    """

    ticks: tuple[Tick, ...]
    place: Callable[[float], float]

    @classmethod
    def over(cls, low: float, high: float, start: float, end: float, *, smallest_step: float = 0.0) -> Self:
        """An axis from ``low`` at ``start`` to ``high`` at ``end``, with at most eight ticks.

        Example:
            >>> [(tick.text, tick.at) for tick in Axis.over(0, 100, 0, 10).ticks]
            [('0', 0.0), ('20', 2.0), ('40', 4.0), ('60', 6.0), ('80', 8.0), ('100', 10.0)]
        """

        def place(value: float) -> float:
            return round(start + (value - low) / (high - low) * (end - start), 1)

        step = max(_round_step((high - low) / 7), smallest_step)
        first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
        ticks = tuple(Tick(place(number * step), f"{number * step:g}") for number in range(first, last + 1))
        return cls(ticks, place)


def _round_step(rough: float) -> float:
    """The smallest of 1, 2, 5, 10, … times a power of ten that is not below."""
    power = 10.0 ** math.floor(math.log10(rough))
    return next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough * (1 - 1e-9))


@dataclass(frozen=True, slots=True)
class Dot:
    """A marked place with what it stands for."""

    x: float
    y: float
    text: str


@dataclass(frozen=True, slots=True)
class Curves:
    """Learning curves of one model.

    Attributes:
        heading: the model.
        summary: the picture in words.
        width: in units, as is the height.
        height: in units.
        left: where the area of the lines begins; it ends at ``right``, ``top`` and ``bottom``.
        right: its right edge.
        top: its upper edge.
        bottom: its lower edge.
        x: epochs.
        y: misclassified validation utterances in percent.
        lines: of each run the corners, as SVG has them.
        bests: the selected epoch of each run.
    """

    heading: str
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


def curves(models: Sequence[tuple[str, Measured]]) -> list[Curves]:
    """Learning curves of all models of a column, on the same axes.

    Args:
        models: headings and what was measured.

    Raises:
        InputError: the epochs of a run cannot be read.
    """
    read = [
        [
            (f"seed {run.spec.seed}, {run.spec.split.name}", read_metrics(finished.result.directory))
            for run, finished in found.runs
        ]
        for _, found in models
    ]
    reports = [report for runs in read for _, epochs in runs for report in epochs]
    rates = [_rate(report) for report in reports]
    # A little more than there is, so that a flat line has an axis too.
    low, high = max(min(rates) - 1, 0), min(max(rates) + 1, 100)
    most = max(report.epoch for report in reports)
    bottom = _CURVES_HEIGHT - _BOTTOM
    x = Axis.over(1, max(most, 2), _LEFT + 4, WIDTH - _RIGHT - 4, smallest_step=1)
    y = Axis.over(low, high, bottom, _TOP)
    pictures = []
    for (heading, found), runs in zip(models, read, strict=True):
        bests = [(name, epochs[best - 1]) for (name, epochs), best in zip(runs, found.best_epochs, strict=True)]
        chosen = sorted(found.best_epochs)
        pictures.append(
            Curves(
                heading=heading,
                summary=f"Learning curves of {heading}: misclassified validation utterances over epochs, "
                f"{len(runs)} run{'s' if len(runs) > 1 else ''}; best epoch {_range(chosen[0], chosen[-1])}, "
                f"{_range(*_limits([_rate(report) for _, report in bests]))} % misclassified there.",
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
                    for _, epochs in runs
                ),
                bests=tuple(
                    Dot(
                        x.place(report.epoch),
                        y.place(_rate(report)),
                        f"{name}: epoch {report.epoch}, {_rate(report):.1f} % misclassified",
                    )
                    for name, report in bests
                ),
            )
        )
    return pictures


def _rate(report: EpochReport) -> float:
    return 100 * report.validation_misclassification


def _limits(values: Sequence[float]) -> tuple[str, str]:
    return f"{min(values):.1f}", f"{max(values):.1f}"


def _range(low: object, high: object) -> str:
    return f"{low}" if low == high else f"{low} to {high}"


@dataclass(frozen=True, slots=True)
class StripRow:
    """One model in a picture of speakers.

    Attributes:
        heading: the model.
        top: where its row begins.
        middle: the height of its dots' middle.
        dots: the speakers.
        mean: where its UA recall lies.
        interval: where its 95 % interval begins and ends.
        text: UA recall and interval in words.
    """

    heading: str
    top: float
    middle: float
    dots: tuple[Dot, ...]
    mean: float
    interval: tuple[float, float] | None
    text: str


@dataclass(frozen=True, slots=True)
class Strip:
    """Recall of every speaker under every model.

    Attributes:
        summary: the picture in words.
        width: in units, as is the height.
        height: in units.
        left: left end of the axis.
        right: right end.
        bottom: where the axis is.
        x: recall in percent.
        rows: one per model.
    """

    summary: str
    width: int
    height: int
    left: int
    right: int
    bottom: int
    x: Axis
    rows: tuple[StripRow, ...]


def strip(models: Sequence[tuple[str, Measured]]) -> Strip:
    """A row of dots per model: speakers' recalls, with the model's UA recall and its interval.

    Args:
        models: headings and what was measured.
    """
    left, right = 12, WIDTH - 12
    x = Axis.over(0, 100, left, right)
    bottom = _STRIP_TOP + _STRIP_ROW * len(models)
    rows = []
    for number, (heading, found) in enumerate(models):
        top = _STRIP_TOP + _STRIP_ROW * number
        middle = top + 31
        dots = tuple(
            # Speakers next to each other in the list come to lie apart, so that equal recalls do not hide each other.
            Dot(x.place(recall), middle + 2.5 * (3 * index % _DOT_ROWS - _DOT_ROWS // 2), f"{speaker}: {recall:.1f} %")
            for index, (speaker, recall) in enumerate(
                zip(found.tally.speakers, found.tally.speaker_recalls, strict=True)
            )
        )
        text = f"UA recall {percent(found.mean)} %"
        interval = None
        if found.interval is not None:
            low, high = found.interval
            interval = (x.place(low), x.place(high))
            text += f", 95 % interval {percent(low)} to {percent(high)} %"
        rows.append(StripRow(heading, top, middle, dots, x.place(found.mean), interval, text))
    speakers = len(models[0][1].tally.speakers)
    return Strip(
        summary=f"Recall of {speakers} test speaker{'s' if speakers > 1 else ''} under each model, as dots. "
        + " ".join(f"{row.heading}: {row.text}." for row in rows),
        width=WIDTH,
        height=bottom + _STRIP_BOTTOM,
        left=left,
        right=right,
        bottom=bottom,
        x=x,
        rows=tuple(rows),
    )
