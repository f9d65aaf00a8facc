"""The table as all formats show it: lines and columns with the measured and the paper's values."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from convrnn.experiments.paper import Group
from convrnn.experiments.report.numbers import p_value, percent, signed
from convrnn.experiments.results import REFERENCE, Results, mean_of
from convrnn.experiments.statistics import PairedTest

AVERAGE = "Average"
"""Heading of the column of averages."""


@dataclass(frozen=True, slots=True)
class Figure:
    """A mean in percent with its deviation.

    Attributes:
        mean: UA recall in percent.
        std: standard deviation over seeds; None for one seed and for averages.
        best: whether no model has a higher one in the column, at the table's precision.
    """

    mean: float
    std: float | None = None
    best: bool = False

    def __str__(self) -> str:
        return percent(self.mean) + ("" if self.std is None else f" ± {percent(self.std)}")


@dataclass(frozen=True, slots=True)
class Place:
    """A cell of the table.

    Attributes:
        paper: the paper's value.
        ours: what was measured.
        difference: ours minus the paper's.
        interval: 95 % interval of ours.
        test: ours against the standard convolution's.
        corrected_p: its p-value after Holm's correction.
    """

    paper: Figure | None = None
    ours: Figure | None = None
    difference: float | None = None
    interval: tuple[float, float] | None = None
    test: PairedTest | None = None
    corrected_p: float | None = None


@dataclass(frozen=True, slots=True)
class Line:
    """One line of the table.

    Attributes:
        heading: its name in the paper.
        kind: ``"model"``; ``"challenge"`` for the challenges' baselines; ``"group"`` for an average of models.
        places: one per heading of the layout.
    """

    heading: str
    kind: Literal["model", "challenge", "group"]
    places: tuple[Place, ...]


@dataclass(frozen=True, slots=True)
class Heading:
    """The heading of a column.

    Attributes:
        text: its name in the paper.
        paper: whether the paper has values in it.
        ours: whether there are measured ones.
    """

    text: str
    paper: bool
    ours: bool


@dataclass(frozen=True, slots=True)
class Layout:
    """The whole table.

    Attributes:
        headings: the columns from left to right.
        lines: from top to bottom.
        tested: whether models are tested against the standard convolutional layer.
        averaged: whether the last column holds averages.
        measured_name: the heading of measured values: ``"ours"`` if the paper's are next to them.
    """

    headings: tuple[Heading, ...]
    lines: tuple[Line, ...]
    tested: bool
    averaged: bool
    measured_name: str

    @property
    def compared(self) -> bool:
        """Whether a column has the paper's values and measured ones."""
        return any(heading.paper and heading.ours for heading in self.headings)

    def grid(self) -> tuple[list[str], list[list[str]]]:
        """Header and rows of text for a terminal: the columns that were done, with the paper's values."""
        shown = [(number, heading) for number, heading in enumerate(self.headings) if heading.ours]
        header = ["model"]
        for _, heading in shown:
            header.append(heading.text)
            header += ["paper", "difference"] if heading.paper else []
            header += ["p"] if self.tested else []
        rows = []
        for line in self.lines:
            row = [line.heading]
            for number, heading in shown:
                place = line.places[number]
                row.append("" if place.ours is None else str(place.ours))
                if heading.paper:
                    row.append("" if place.paper is None else str(place.paper))
                    row.append("" if place.difference is None else signed(place.difference))
                if self.tested:
                    row.append("" if place.corrected_p is None else p_value(place.corrected_p))
            if any(row[1:]):
                rows.append(row)
        return header, rows


def lay_out(results: Results) -> Layout:
    """Put results into the paper's layout.

    Averages are means of the models' means, as in the paper. In the last column, ours exist if at least two columns
    were done, and are compared with the paper's if exactly the paper's columns were done.

    Args:
        results: a table of the paper or a comparison.
    """
    columns, count = results.columns, len(results.rows)
    groups = () if results.paper is None else results.paper.groups
    averaged = results.paper is not None and results.paper.average
    headings = [Heading(column.column.heading, column.in_paper, column.done is not None) for column in columns]
    comparable = [True] * len(columns)
    if results.paper is not None and averaged:
        several = sum(heading.ours for heading in headings) > 1
        all_done = all(heading.ours for heading in headings)
        comparable.append(all_done and len(headings) == len(results.paper.columns))
        headings.append(Heading(AVERAGE, paper=True, ours=several))
    entries = [[column.entries[number] for column in columns] for number in range(count)]
    models = [row.front_end for row in results.rows]

    def completed(means: list[list[float | None]], used: list[bool]) -> list[list[float | None]]:
        if averaged:
            means = _with_last_column(means, used)
        return [*means, *_group_means(groups, models, means)]

    paper = completed(
        [[None if entry.paper is None else entry.paper.mean for entry in line] for line in entries],
        [heading.paper for heading in headings],
    )
    ours = completed(
        [[None if entry.measured is None else entry.measured.mean for entry in line] for line in entries],
        [heading.ours for heading in headings],
    )

    def place(line: int, column: int) -> Place:
        its, found = paper[line][column], ours[line][column]
        difference = None if its is None or found is None or not comparable[column] else found - its
        if line >= count:
            return Place(_figure(its), _figure(found), difference)
        bests = [_best([row[column] for row in values[:count]]) for values in (paper, ours)]
        if column >= len(columns):
            return Place(_figure(its, None, bests[0]), _figure(found, None, bests[1]), difference)
        entry = entries[line][column]
        return Place(
            _figure(its, None if entry.paper is None else entry.paper.std, bests[0]),
            _figure(found, None if entry.measured is None else entry.measured.std, bests[1]),
            difference,
            None if entry.measured is None else entry.measured.interval,
            entry.test,
            entry.corrected_p,
        )

    def places(line: int) -> tuple[Place, ...]:
        return tuple(place(line, column) for column in range(len(headings)))

    lines = [Line(row.heading, "model", places(number)) for number, row in enumerate(results.rows)]
    if results.paper is not None:
        challenge = [Place(_figure(column.challenge)) for column in columns] + [Place()] * averaged
        lines.append(Line("challenge's baseline", "challenge", tuple(challenge)))
    lines += [Line(group.heading, "group", places(number)) for number, group in enumerate(groups, start=count)]
    tested = REFERENCE in models and len(models) > 1 and any(heading.ours for heading in headings)
    return Layout(tuple(headings), tuple(lines), tested, averaged, "UA recall" if results.paper is None else "ours")


def _with_last_column(means: Sequence[Sequence[float | None]], used: Sequence[bool]) -> list[list[float | None]]:
    """The models' means with their mean over the columns that have values."""
    *columns, last = used
    return [
        [*line, mean_of([mean for mean, its in zip(line, columns, strict=True) if its]) if last else None]
        for line in means
    ]


def _group_means(
    groups: Sequence[Group], models: Sequence[str], means: Sequence[Sequence[float | None]]
) -> list[list[float | None]]:
    """The last lines: means over groups of models."""
    return [
        [mean_of(column) for column in zip(*(means[models.index(model)] for model in group.front_ends), strict=True)]
        for group in groups
    ]


def _figure(mean: float | None, std: float | None = None, best: float | None = None) -> Figure | None:
    if mean is None:
        return None
    return Figure(mean, std, best is not None and percent(mean) == percent(best))


def _best(means: Sequence[float | None]) -> float | None:
    return max((mean for mean in means if mean is not None), default=None)
