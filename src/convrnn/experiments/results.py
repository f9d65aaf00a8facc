"""The results of a comparison or of a table of the paper: every number, from which all pages are written."""

import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Self

from convrnn.experiments.outcomes import ModelResult, Outcome
from convrnn.experiments.paper import CHALLENGE, Column, PaperTable, Row, Value
from convrnn.experiments.statistics import PairedTest, holm

if TYPE_CHECKING:
    import pandas as pd

    from convrnn.experiments.summary import Summary

REFERENCE = "conv"
"""The front end that all other models are tested against, the standard convolutional layer."""


@dataclass(frozen=True, slots=True, eq=False)
class Experiment:
    """All models on one corpus and task: what a column of the table is computed from.

    Attributes:
        column: what the models are trained on.
        corpus: the corpus's name as the user gave it.
        synthetic: whether the corpus is synthetic speech.
        classes: class names in the order of the confusion matrices.
        caption: what a reader needs to know to judge the numbers.
        outcomes: of every model, seed and fold.
        provisos: what was changed in the corpus and which of its errors were accepted, as sentences; the caption ends
            with them.
    """

    column: Column
    corpus: str
    synthetic: bool
    classes: tuple[str, ...]
    caption: str
    outcomes: tuple[Outcome, ...]
    provisos: tuple[str, ...] = ()

    @property
    def models(self) -> tuple[str, ...]:
        """The models in the order in which they first appear."""
        return tuple(dict.fromkeys(outcome.model for outcome in self.outcomes))


@dataclass(frozen=True, slots=True, eq=False)
class Entry:
    """A cell of the table: one model in one column.

    Attributes:
        row: the model.
        paper: the paper's value; None in a column that is not the paper's.
        measured: what was measured; None in a column of the paper that was not done, or for a model without outcome.
        test: the paired test against the standard convolutional layer in the same column; None if there is none,
            for that layer itself, and where :func:`~convrnn.experiments.statistics.paired_test` gives none.
        corrected_p: the test's p after Holm's correction over all tests of the table.
    """

    row: Row
    paper: Value | None
    measured: ModelResult | None
    test: PairedTest | None = None
    corrected_p: float | None = None

    @property
    def difference(self) -> float | None:
        """Measured mean minus the paper's, in percent; None if one is missing."""
        return None if self.paper is None or self.measured is None else self.measured.mean - self.paper.mean


@dataclass(frozen=True, slots=True, eq=False)
class ResultColumn:
    """All models in one column.

    Attributes:
        column: the paper's, or another.
        done: what it was computed from; None for a column of the paper that was not done.
        in_paper: whether the paper has it.
        entries: one per row of the table.
    """

    column: Column
    done: Experiment | None
    in_paper: bool
    entries: tuple[Entry, ...]

    @property
    def challenge(self) -> float | None:
        """UA recall of the challenge's baseline in percent, for columns of the paper."""
        return CHALLENGE.get(self.column.task) if self.in_paper else None

    @property
    def measured(self) -> list[tuple[str, ModelResult]]:
        """Heading and result of each model that was measured."""
        return [(entry.row.heading, entry.measured) for entry in self.entries if entry.measured is not None]


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Results:
    """A table of models by columns with all its numbers: a comparison, or a repetition of a table of the paper.

    Attributes:
        rows: the models from top to bottom.
        columns: the paper's columns in its order, done or not, then the others.
        paper: the paper's table; None for a comparison.
        commands: the command lines that requested its runs, in their order; an empty one for a call from Python.
    """

    rows: tuple[Row, ...]
    columns: tuple[ResultColumn, ...]
    paper: PaperTable | None = None
    commands: tuple[tuple[str, ...], ...] = ()

    @classmethod
    def of(
        cls,
        experiments: Sequence[Experiment],
        *,
        paper: PaperTable | None = None,
        commands: Sequence[tuple[str, ...]] = (),
    ) -> Self:
        """Compute every number: means, intervals, tests.

        Args:
            experiments: one per column.
            paper: the paper's table to compare with; its models are the rows. By default the rows are the models of the
                experiments, in the order in which they first appear.
            commands: the command lines that requested its runs.

        Raises:
            ValueError: for a class without test example, whose recall does not exist, and for no experiment without the
                paper's table.
        """
        if paper is None:
            if not experiments:
                raise ValueError("a comparison needs an experiment")
            models = dict.fromkeys(model for experiment in experiments for model in experiment.models)
            rows = tuple(Row(model, model) for model in models)
            columns = [_column(rows, experiment.column, experiment, None) for experiment in experiments]
        else:
            rows = paper.rows
            columns = list(_beside_the_paper(paper, experiments))
        return cls(rows, _corrected(columns), paper, tuple(commands))

    def __repr__(self) -> str:
        return (
            f"Results({self.title}; {len(self.rows)} models, {len(self.done)} of {len(self.columns)} columns measured)"
        )

    @property
    def name(self) -> str:
        """The name of its report's files: ``"table1"``, or ``"report"`` for a comparison."""
        return "report" if self.paper is None else self.paper.name

    @property
    def title(self) -> str:
        """Its heading."""
        if self.paper is None:
            return f"Comparison of models on {'; '.join(column.column.heading for column in self.columns)}"
        return f"Table {self.paper.number}: {self.paper.title}"

    @property
    def single(self) -> bool:
        """Whether it is a comparison on one corpus and task, whose only column needs no heading."""
        return self.paper is None and len(self.columns) == 1

    @property
    def done(self) -> list[tuple[ResultColumn, Experiment]]:
        """The columns that were done, each with what it was computed from."""
        return [(column, column.done) for column in self.columns if column.done is not None]

    @property
    def measured(self) -> list[ModelResult]:
        """Every result of a model, column by column."""
        return [found for column in self.columns for _, found in column.measured]

    @property
    def table(self) -> "pd.DataFrame":
        """A row per model and column with every number, unrounded; NaN for a number that does not exist.

        Its columns are those of the report's CSV, :data:`convrnn.experiments.report.long_csv.COLUMNS`. For example,
        ``ua_recall_std`` is NaN for a model with one seed.
        """
        import pandas as pd

        from convrnn.experiments.report.long_csv import NUMBERS, columns_of, records

        table = pd.DataFrame(records(self), columns=columns_of(self))
        return table.astype({name: float for name in NUMBERS if name in table and table[name].hasnans})

    def summary(self) -> "Summary":
        """The short table of results with one column: a line per model, as in ``table.csv``.

        The results of :func:`~convrnn.experiments.comparison.compare` are such. If there are several columns, as in a
        table of the paper, use :attr:`table`.

        Raises:
            ValueError: for any other number of measured columns than one.
        """
        from convrnn.experiments.summary import Summary

        return Summary.of(self)

    def to_json(self) -> str:
        """Every number as JSON, in percent or seconds; null if there is none."""
        from convrnn.experiments.report.document import to_json

        return to_json(self)

    def report(self, folder: str | Path) -> None:
        """Write the report: a web page, Markdown, CSV and LaTeX.

        The files are ``<name>.html``, ``.md``, ``.csv`` and ``.tex``. If there are too many classes or speakers for a
        page, it shows some of them, and ``<name>.classes.csv`` or ``<name>.speakers.csv`` has them all. A comparison
        of one column also gets ``table.csv``, ``table.md`` and a picture ``confusion-<model>.png`` per model.

        Args:
            folder: made if it does not exist. Each file is written completely or not at all.

        Raises:
            InputError: a file cannot be written, or the learning curves of a run cannot be read.
        """
        from convrnn.experiments.report.document import save

        save(self, Path(folder))


def _beside_the_paper(table: PaperTable, experiments: Sequence[Experiment]) -> Iterator[ResultColumn]:
    """The paper's columns in its order, done or not, then the others."""
    for own in table.columns:
        same = [experiment for experiment in experiments if table.own(experiment.column) == own]
        for experiment in same:
            yield _column(table.rows, experiment.column, experiment, table)
        if not same:
            yield _column(table.rows, own, None, table)
    for experiment in experiments:
        if table.own(experiment.column) is None:
            yield _column(table.rows, experiment.column, experiment, table)


def _column(
    rows: Sequence[Row], column: Column, experiment: Experiment | None, table: PaperTable | None
) -> ResultColumn:
    by_model: dict[str, list[Outcome]] = {}
    for outcome in () if experiment is None else experiment.outcomes:
        by_model.setdefault(outcome.model, []).append(outcome)
    measured = {
        row: ModelResult.of(by_model[row.front_end], experiment.classes)
        for row in rows
        if experiment is not None and row.front_end in by_model
    }
    reference = next((found for row, found in measured.items() if row.front_end == REFERENCE), None)
    entries = []
    for row in rows:
        found = measured.get(row)
        test = None
        if found is not None and reference is not None and found is not reference:
            test = found.tested_against(reference)
        entries.append(Entry(row, None if table is None else table.value(row, column), found, test))
    return ResultColumn(column, experiment, table is not None and table.own(column) is not None, tuple(entries))


def _corrected(columns: Sequence[ResultColumn]) -> tuple[ResultColumn, ...]:
    """The columns with p-values corrected over all of them."""
    corrected = iter(holm([entry.test.p for column in columns for entry in column.entries if entry.test is not None]))
    return tuple(
        replace(
            column,
            entries=tuple(
                entry if entry.test is None else replace(entry, corrected_p=next(corrected)) for entry in column.entries
            ),
        )
        for column in columns
    )


def mean_of(values: Sequence[float | None]) -> float | None:
    """The mean; None if there is no value or one is missing.

    Example:
        >>> mean_of([1.0, 2.0]), mean_of([1.0, None]), mean_of([])
        (1.5, None, None)
    """
    known = [value for value in values if value is not None]
    return statistics.fmean(known) if known and len(known) == len(values) else None
