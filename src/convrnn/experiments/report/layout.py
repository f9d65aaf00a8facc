"""The table as all formats show it: the paper's lines and columns, each place with the paper's value and ours."""

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import ROUND_HALF_UP, Decimal
from typing import Literal

from convrnn.experiments.cells import REFERENCE, CellColumn, mean_of
from convrnn.experiments.paper import PaperTable
from convrnn.experiments.statistics import Comparison

AVERAGE = "Average"
"""Heading of the column of averages."""


@dataclass(frozen=True, slots=True)
class Figure:
    """A mean in percent with what belongs to it.

    Attributes:
        mean: UA recall in percent.
        std: standard deviation over seeds; None for one seed and for averages.
        best: whether no model has a higher one in the column, as far as the table shows digits.
    """

    mean: float
    std: float | None = None
    best: bool = False

    def __str__(self) -> str:
        return percent(self.mean) + ("" if self.std is None else f" ± {percent(self.std)}")


@dataclass(frozen=True, slots=True)
class Place:
    """Where a line and a column meet.

    Attributes:
        paper: the paper's value.
        ours: what was measured.
        difference: ours minus the paper's.
        interval: 95 % interval of ours.
        comparison: ours beside the standard convolution's.
        corrected_p: its p-value after Holm's correction.
    """

    paper: Figure | None = None
    ours: Figure | None = None
    difference: float | None = None
    interval: tuple[float, float] | None = None
    comparison: Comparison | None = None
    corrected_p: float | None = None


@dataclass(frozen=True, slots=True)
class Line:
    """One line of the table.

    Attributes:
        heading: what the paper calls it.
        kind: ``"model"``; ``"challenge"`` for the challenges' baselines; ``"group"`` for an average of models.
        places: one per heading of the layout.
    """

    heading: str
    kind: Literal["model", "challenge", "group"]
    places: tuple[Place, ...]


@dataclass(frozen=True, slots=True)
class Heading:
    """What stands above a column.

    Attributes:
        text: what the paper calls it.
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
        tested: whether models are compared with the standard convolutional layer.
        averaged: whether the last column holds averages.
    """

    headings: tuple[Heading, ...]
    lines: tuple[Line, ...]
    tested: bool
    averaged: bool


def lay_out(table: PaperTable, columns: Sequence[CellColumn]) -> Layout:
    """Put cells into the paper's layout.

    Averages are means of the cells' means, as in the paper. Ours in the last column need two columns that were done,
    and are compared with the paper's only where exactly its columns were done.

    Args:
        table: the paper's.
        columns: what :func:`~convrnn.experiments.cells.cells_of` gave for it.
    """
    headings = [Heading(column.column.heading, column.own, column.done is not None) for column in columns]
    comparable = [True] * len(columns)
    if table.average:
        several = sum(heading.ours for heading in headings) > 1
        comparable.append(all(heading.ours for heading in headings) and len(headings) == len(table.columns))
        headings.append(Heading(AVERAGE, paper=True, ours=several))
    cells = [[column.cells[number] for column in columns] for number in range(len(table.rows))]
    paper = _with_averages(
        table,
        [[None if cell.paper is None else cell.paper.mean for cell in line] for line in cells],
        [heading.paper for heading in headings],
    )
    ours = _with_averages(
        table,
        [[None if cell.measured is None else cell.measured.mean for cell in line] for line in cells],
        [heading.ours for heading in headings],
    )

    def place(line: int, column: int) -> Place:
        its, found = paper[line][column], ours[line][column]
        difference = None if its is None or found is None or not comparable[column] else found - its
        if line >= len(table.rows):
            return Place(_figure(its), _figure(found), difference)
        bests = [_best([row[column] for row in values[: len(table.rows)]]) for values in (paper, ours)]
        if column >= len(columns):
            return Place(_figure(its, None, bests[0]), _figure(found, None, bests[1]), difference)
        cell = cells[line][column]
        return Place(
            _figure(its, None if cell.paper is None else cell.paper.std, bests[0]),
            _figure(found, None if cell.measured is None else cell.measured.std, bests[1]),
            difference,
            None if cell.measured is None else cell.measured.interval,
            cell.comparison,
            cell.corrected_p,
        )

    def places(line: int) -> tuple[Place, ...]:
        return tuple(place(line, column) for column in range(len(headings)))

    models = [Line(row.heading, "model", places(number)) for number, row in enumerate(table.rows)]
    challenge = [Place(_figure(column.challenge)) for column in columns] + [Place()] * (len(headings) - len(columns))
    groups = [
        Line(group.heading, "group", places(number)) for number, group in enumerate(table.groups, start=len(table.rows))
    ]
    tested = any(row.front_end == REFERENCE for row in table.rows) and any(heading.ours for heading in headings)
    return Layout(
        tuple(headings),
        (*models, Line("challenge's baseline", "challenge", tuple(challenge)), *groups),
        tested,
        table.average,
    )


def _with_averages(
    table: PaperTable, means: Sequence[Sequence[float | None]], used: Sequence[bool]
) -> list[list[float | None]]:
    """Means of the models with the last column and the last lines, if the table has any."""
    width = len(means[0])
    lines = [list(line) for line in means]
    if table.average:
        for line in lines:
            averaged = [mean for mean, its in zip(line, used[:width], strict=True) if its]
            line.append(mean_of(averaged) if used[width] else None)
    numbers = {row.front_end: number for number, row in enumerate(table.rows)}
    for group in table.groups:
        members = [lines[numbers[front_end]] for front_end in group.front_ends]
        lines.append([mean_of(column) for column in zip(*members, strict=True)])
    return lines


def _figure(mean: float | None, std: float | None = None, best: float | None = None) -> Figure | None:
    if mean is None:
        return None
    return Figure(mean, std, best is not None and percent(mean) == percent(best))


def _best(means: Sequence[float | None]) -> float | None:
    return max((mean for mean in means if mean is not None), default=None)


def percent(value: float) -> str:
    """Two digits, halves away from 0 as the paper's averages have them.

    Example:
        >>> percent(57.615), percent((70.04 + 70.15) / 2)
        ('57.62', '70.10')
    """
    # What a sum of decimal numbers lacks in its last bits must not decide.
    return str(Decimal(f"{value:.9f}").quantize(Decimal("0.01"), ROUND_HALF_UP))


def signed(value: float) -> str:
    """A difference with its sign, a true minus, and none where it rounds to 0.

    Example:
        >>> signed(0.5), signed(-1.234), signed(-0.001)
        ('+0.50', '−1.23', '0.00')
    """
    text = percent(abs(value))
    if float(text) == 0:
        return text
    return ("−" if value < 0 else "+") + text


def p_value(value: float) -> str:
    """A p-value as tables print it.

    Example:
        >>> p_value(0.04321), p_value(0.0002), p_value(1.0), p_value(0.9999)
        ('0.043', '< 0.001', '1', '1')
    """
    if value < 0.001:
        return "< 0.001"
    return "1" if value >= 0.9995 else f"{value:.3f}"
