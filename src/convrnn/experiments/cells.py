"""The numbers behind a reproduced table: one cell per model and column, from which every format is written."""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from typing import Self

import numpy as np
from numpy.typing import NDArray

from convrnn.experiments.compare import FinishedRun, GridRun, outcomes
from convrnn.experiments.paper import CHALLENGE, Column, PaperTable, Row, Value
from convrnn.experiments.reproduction import ColumnRuns, Reproduction
from convrnn.experiments.statistics import Comparison, Tally, bootstrap_interval, holm, paired_test
from convrnn.experiments.table import summarise

REFERENCE = "conv"
"""The front end that all others are tested against, the standard convolutional layer."""


@dataclass(frozen=True, slots=True, eq=False)
class Measured:
    """What one model reached in one column.

    Attributes:
        mean: UA recall in percent, folds pooled per seed, mean over seeds.
        std: its standard deviation over seeds (ddof = 1); None for a single seed.
        interval: 95 % bootstrap interval of the mean over speakers; None where a class has a single test speaker.
        accuracy: in percent, mean over seeds.
        tally: what was right, by seed, speaker and class.
        confusion: counts ``[classes, classes]`` over all seeds and folds; rows are true classes.
        parameters: trained numbers of the model.
        seeds: in the order of ``tally``, ``seconds``.
        seconds: training time of each seed, all folds.
        runs: seed by seed and fold by fold.
    """

    mean: float
    std: float | None
    interval: tuple[float, float] | None
    accuracy: float
    tally: Tally
    confusion: NDArray[np.int64]
    parameters: int
    seeds: tuple[int, ...]
    seconds: tuple[float, ...]
    runs: tuple[tuple[GridRun, FinishedRun], ...]

    @classmethod
    def of(cls, runs: Sequence[tuple[GridRun, FinishedRun]], classes: Sequence[str]) -> Self:
        """Pool one model's runs.

        Args:
            runs: sorted by seed and fold, at least one.
            classes: all classes.

        Raises:
            ValueError: for a class without test example, whose recall does not exist.
        """
        grid, finished = zip(*runs, strict=True)
        [row] = summarise(outcomes(grid, finished), classes)
        by_seed = {
            seed: [found for _, found in folds] for seed, folds in groupby(runs, key=lambda pair: pair[0].spec.seed)
        }
        tally = Tally.of(
            [
                (
                    [speaker for fold in folds for speaker in fold.speakers],
                    [label for fold in folds for label in fold.truth],
                    [label for fold in folds for label in fold.prediction],
                )
                for folds in by_seed.values()
            ],
            classes,
        )
        return cls(
            mean=row.ua_recall_mean,
            std=row.ua_recall_std,
            interval=bootstrap_interval(tally),
            accuracy=row.accuracy,
            tally=tally,
            confusion=row.confusion,
            parameters=row.parameters,
            seeds=tuple(by_seed),
            seconds=tuple(sum(fold.result.seconds for fold in folds) for folds in by_seed.values()),
            runs=tuple(runs),
        )

    @property
    def best_epochs(self) -> tuple[int, ...]:
        """The selected epoch of each run."""
        return tuple(finished.result.best_epoch for _, finished in self.runs)


@dataclass(frozen=True, slots=True, eq=False)
class Cell:
    """One place of the table.

    Attributes:
        row: the model.
        paper: what the paper has; None in a column that is not the paper's.
        measured: what was measured; None in a column of the paper that was not done, or for a model without runs.
        comparison: with the standard convolutional layer in the same column; None where there is none, for that layer
            itself, and where :func:`~convrnn.experiments.statistics.paired_test` gives none.
        corrected_p: the comparison's p after Holm's correction over all comparisons of the table.
    """

    row: Row
    paper: Value | None
    measured: Measured | None
    comparison: Comparison | None = None
    corrected_p: float | None = None

    @property
    def difference(self) -> float | None:
        """Measured minus paper, of the means in percent; None where one is missing."""
        return None if self.paper is None or self.measured is None else self.measured.mean - self.paper.mean


@dataclass(frozen=True, slots=True, eq=False)
class CellColumn:
    """All models in one column.

    Attributes:
        column: the paper's, or another.
        done: its runs; None for a column of the paper that was not done.
        own: whether the paper has it.
        cells: one per row of the table.
    """

    column: Column
    done: ColumnRuns | None
    own: bool
    cells: tuple[Cell, ...]

    @property
    def challenge(self) -> float | None:
        """UA recall of the challenge's baseline in percent, for columns of the paper."""
        return CHALLENGE.get(self.column.task) if self.own else None


def cells_of(reproduction: Reproduction) -> tuple[CellColumn, ...]:
    """Every number of a reproduced table.

    Args:
        reproduction: the table and its runs.

    Returns:
        The paper's columns in its order, done or not, then the others.

    Raises:
        ValueError: for a class without test example.
    """
    table = reproduction.table
    done = [(runs.column, runs) for runs in reproduction.columns]
    others = [_column(table, column, runs) for column, runs in done if table.own(column) is None]
    columns = []
    for own in table.columns:
        same = [_column(table, column, runs) for column, runs in done if table.own(column) == own]
        columns += same or [_column(table, own, None)]
    return _corrected((*columns, *others))


def _column(table: PaperTable, column: Column, runs: ColumnRuns | None) -> CellColumn:
    measured = {row: Measured.of(own, runs.classes) for row in table.rows if runs is not None and (own := runs.of(row))}
    reference = next((found for row, found in measured.items() if row.front_end == REFERENCE), None)
    cells = []
    for row in table.rows:
        found = measured.get(row)
        comparison = None
        if found is not None and reference is not None and found is not reference:
            comparison = paired_test(found.tally, reference.tally)
        cells.append(Cell(row, table.value(row, column), found, comparison))
    return CellColumn(column, runs, table.own(column) is not None, tuple(cells))


def _corrected(columns: Sequence[CellColumn]) -> tuple[CellColumn, ...]:
    """The columns with p-values corrected over all of them."""
    corrected = iter(
        holm([cell.comparison.p for column in columns for cell in column.cells if cell.comparison is not None])
    )
    return tuple(
        replace(
            column,
            cells=tuple(
                cell if cell.comparison is None else replace(cell, corrected_p=next(corrected)) for cell in column.cells
            ),
        )
        for column in columns
    )


def mean_of(values: Sequence[float | None]) -> float | None:
    """The mean; None where there is no value or one is missing.

    Example:
        >>> mean_of([1.0, 2.0]), mean_of([1.0, None]), mean_of([])
        (1.5, None, None)
    """
    known = [value for value in values if value is not None]
    return statistics.fmean(known) if known and len(known) == len(values) else None
