"""The geometry of the web page's recalls of speakers or classes: a dot each, or a histogram if there are many."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from convrnn.experiments.outcomes import ModelResult
from convrnn.experiments.report.axis import WIDTH, Axis, Dot
from convrnn.experiments.report.numbers import percent

MOST_DOTS = 400
"""Largest number of speakers or classes that are drawn one by one."""

_TOP, _ROW, _BOTTOM = 6, 50, 38
_DOT_ROWS = 7
_BINS = 50
_HIGHEST = 26
"""Height of the longest bar."""


@dataclass(frozen=True, slots=True)
class StripRow:
    """One model's row.

    Attributes:
        heading: the model.
        top: upper edge of its row.
        middle: vertical centre of its dots.
        dots: one per speaker or class; empty if bars are drawn.
        bars: left edge, top, width and height of each bar of a histogram; empty if dots are drawn.
        mean: position of its UA recall.
        interval: positions of the limits of its 95 % interval.
        text: UA recall and interval in words.
    """

    heading: str
    top: float
    middle: float
    dots: tuple[Dot, ...]
    bars: tuple[tuple[float, float, float, float], ...]
    mean: float
    interval: tuple[float, float] | None
    text: str


@dataclass(frozen=True, slots=True)
class Strip:
    """Recall of every speaker, or of every class, under every model.

    Attributes:
        summary: the drawing in words.
        width: in units, as is the height.
        height: in units.
        left: left end of the axis.
        right: right end.
        bottom: position of the axis.
        x: recall in percent.
        rows: one per model.
        drawn_as: ``"dot"``: one each; ``"bar"``: as a histogram.
    """

    summary: str
    width: int
    height: int
    left: int
    right: int
    bottom: int
    x: Axis
    rows: tuple[StripRow, ...]
    drawn_as: Literal["dot", "bar"]


def speaker_strip(models: Sequence[tuple[str, ModelResult]]) -> Strip:
    """Recalls of the test speakers, with each model's UA recall and its interval.

    Args:
        models: headings and results, at least one.
    """
    speakers = models[0][1].tally.speakers
    return _strip(models, "test speaker", speakers, [found.tally.speaker_recalls.tolist() for _, found in models])


def class_strip(models: Sequence[tuple[str, ModelResult]], classes: Sequence[str]) -> Strip:
    """Recalls of the classes, mean over seeds, with each model's UA recall and its interval.

    Args:
        models: headings and results, at least one.
        classes: their names.
    """
    return _strip(models, "class", classes, [found.tally.recalls.mean(axis=0).tolist() for _, found in models])


def _strip(
    models: Sequence[tuple[str, ModelResult]], what: str, names: Sequence[str], recalls: Sequence[Sequence[float]]
) -> Strip:
    left, right = 12, WIDTH - 12
    x = Axis.over(0, 100, left, right)
    bottom = _TOP + _ROW * len(models)
    one_by_one = len(names) <= MOST_DOTS
    counts = [np.histogram(own, bins=_BINS, range=(0, 100))[0].tolist() for own in recalls]
    most = max(max(own) for own in counts)
    rows = []
    for number, ((heading, found), own) in enumerate(zip(models, recalls, strict=True)):
        top = _TOP + _ROW * number
        middle = top + 31
        text = f"UA recall {percent(found.mean)} %"
        interval = None
        if found.interval is not None:
            low, high = found.interval
            interval = (x.place(low), x.place(high))
            text += f", 95 % interval {percent(low)} to {percent(high)} %"
        dots = _dots(names, own, x, middle) if one_by_one else ()
        bars = () if one_by_one else _bars(counts[number], most, x, top + _ROW - 4)
        rows.append(StripRow(heading, top, middle, dots, bars, x.place(found.mean), interval, text))
    plural = what if len(names) == 1 else "classes" if what == "class" else f"{what}s"
    return Strip(
        summary=f"Recall of {len(names)} {plural} under each model, as {'dots' if one_by_one else 'a histogram'}. "
        + " ".join(f"{row.heading}: {row.text}." for row in rows),
        width=WIDTH,
        height=bottom + _BOTTOM,
        left=left,
        right=right,
        bottom=bottom,
        x=x,
        rows=tuple(rows),
        drawn_as="dot" if one_by_one else "bar",
    )


def _dots(names: Sequence[str], recalls: Sequence[float], x: Axis, middle: float) -> tuple[Dot, ...]:
    return tuple(
        # Neighbours in the list get different heights, so that equal recalls do not hide each other.
        Dot(x.place(recall), middle + 2.5 * (3 * index % _DOT_ROWS - _DOT_ROWS // 2), f"{name}: {recall:.1f} %")
        for index, (name, recall) in enumerate(zip(names, recalls, strict=True))
    )


def _bars(counts: Sequence[int], most: int, x: Axis, foot: float) -> tuple[tuple[float, float, float, float], ...]:
    edges = [x.place(100 * number / _BINS) for number in range(_BINS + 1)]
    heights = [round(_HIGHEST * count / most, 1) for count in counts]
    return tuple(
        (edges[number], round(foot - height, 1), round(edges[number + 1] - edges[number] - 0.5, 1), height)
        for number, height in enumerate(heights)
        if counts[number]
    )
