"""The results of a comparison or of a table of the paper: every number, from which all pages are written."""

import statistics
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Self

import numpy as np
from numpy.typing import NDArray

from convrnn.experiments.paper import CHALLENGE, Column, PaperTable, Row, Value
from convrnn.experiments.statistics import PairedTest, Tally, bootstrap_interval, holm, paired_test
from convrnn.training.result import RunResult
from convrnn.training.spec import RunSpec

if TYPE_CHECKING:
    import pandas as pd

    from convrnn.experiments.summary import Summary

REFERENCE = "conv"
"""The front end that all other models are tested against, the standard convolutional layer."""


@dataclass(frozen=True, slots=True)
class Run:
    """The run directory behind an outcome.

    Attributes:
        spec: what was trained.
        result: what it found, and where it lies.
    """

    spec: RunSpec
    result: RunResult

    @property
    def what_ran(self) -> str:
        """The processor or GPU, the software versions and what computed the layers; with others, results may differ."""
        versions = ", ".join(f"{name} {version}" for name, version in self.result.versions.items())
        computed_by = f", computed by {self.result.computed_by}" if self.result.computed_by else ""
        return f"{self.result.device_name} with {versions}{computed_by}"


@dataclass(frozen=True, slots=True)
class Outcome:
    """The test predictions of one model with one seed on one fold.

    Attributes:
        model: the model's name.
        seed: the seed.
        fold: the split's position, from 0.
        speakers: speaker of each test utterance.
        truth: label of each, in the same order.
        prediction: predicted class of each.
        parameters: trained numbers of the model.
        seconds: training time.
        run: the run directory behind it; None for a model that has none, such as the linear SVM.
    """

    model: str
    seed: int
    fold: int
    speakers: tuple[str, ...]
    truth: tuple[str, ...]
    prediction: tuple[str, ...]
    parameters: int
    seconds: float
    run: Run | None = None


@dataclass(frozen=True, slots=True, eq=False)
class ModelResult:
    """The scores of one model in one column of the table.

    The test predictions of all folds of a seed are pooled before anything is computed, so that a fold with few examples
    of a class does not weigh as much as one with many. UA recall is the mean of the classes' recalls (section IV-A of
    the paper).

    Attributes:
        mean: UA recall in percent, mean over seeds.
        std: its standard deviation over seeds (ddof = 1); None for a single seed.
        interval: 95 % bootstrap interval of the mean over speakers; None where
            :func:`~convrnn.experiments.statistics.bootstrap_interval` gives none.
        accuracy: in percent, mean over seeds.
        tally: correct predictions by seed, speaker and class.
        confusion: counts ``[classes, classes]`` over all seeds and folds; rows are true classes.
        parameters: trained numbers of the model.
        seeds: in the order of ``tally`` and ``seconds``.
        seconds: training time of each seed, all folds.
        outcomes: seed by seed and fold by fold.
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
    outcomes: tuple[Outcome, ...]

    @classmethod
    def of(cls, outcomes: Iterable[Outcome], classes: Sequence[str]) -> Self:
        """Pool the outcomes of one model.

        Args:
            outcomes: at least one, in any order.
            classes: all classes; each has to occur in every seed's pooled test labels.

        Raises:
            ValueError: for a class without test example, whose recall does not exist, and for seeds that were not
                tested on the same utterances.

        Example:
            >>> speakers, truth = ("s", "s", "t", "t"), ("a", "a", "b", "b")
            >>> found = ModelResult.of(
            ...     [Outcome("m", 0, 0, speakers, truth, ("a", "a", "b", "a"), 10, 1.0),
            ...      Outcome("m", 1, 0, speakers, truth, ("a", "a", "b", "b"), 10, 3.0)], ("a", "b"))
            >>> found.mean, round(found.std, 2), found.accuracy, found.seconds
            (87.5, 17.68, 87.5, (1.0, 3.0))
        """
        ordered = sorted(outcomes, key=lambda outcome: (outcome.seed, outcome.fold))
        by_seed = {seed: list(folds) for seed, folds in groupby(ordered, key=lambda outcome: outcome.seed)}
        pooled = [
            (
                [speaker for fold in folds for speaker in fold.speakers],
                [label for fold in folds for label in fold.truth],
                [label for fold in folds for label in fold.prediction],
            )
            for folds in by_seed.values()
        ]
        recalls, accuracies = [], []
        confusion = np.zeros((len(classes), len(classes)), dtype=np.int64)
        for _, truth, prediction in pooled:
            counts = _confusion(truth, prediction, classes)
            if absent := [name for name, total in zip(classes, counts.sum(axis=1), strict=True) if total == 0]:
                names = ", ".join(absent)
                raise ValueError(f"{ordered[0].model}: no test example of class {names}, so its recall does not exist")
            recalls.append(100 * float((counts.diagonal() / counts.sum(axis=1)).mean()))
            accuracies.append(100 * float(counts.trace() / counts.sum()))
            confusion += counts
        tally = Tally.of(pooled, classes)
        return cls(
            mean=statistics.fmean(recalls),
            std=statistics.stdev(recalls) if len(recalls) > 1 else None,
            interval=bootstrap_interval(tally),
            accuracy=statistics.fmean(accuracies),
            tally=tally,
            confusion=confusion,
            parameters=ordered[0].parameters,
            seeds=tuple(by_seed),
            seconds=tuple(sum(fold.seconds for fold in folds) for folds in by_seed.values()),
            outcomes=tuple(ordered),
        )

    @property
    def runs(self) -> tuple[Run, ...]:
        """The run directories, seed by seed and fold by fold; empty for a model that has none."""
        return tuple(outcome.run for outcome in self.outcomes if outcome.run is not None)

    @property
    def best_epochs(self) -> tuple[int, ...]:
        """The selected epoch of each run."""
        return tuple(run.result.best_epoch for run in self.runs)

    @property
    def folds(self) -> int:
        """Number of folds."""
        return len({outcome.fold for outcome in self.outcomes})

    def tested_against(self, reference: Self) -> PairedTest | None:
        """The paired test against another model, over the seeds that both were run with.

        Returns:
            None where they share no seed, and where :func:`~convrnn.experiments.statistics.paired_test` gives none.
        """
        shared = [seed for seed in self.seeds if seed in reference.seeds]
        if not shared:
            return None
        ours, theirs = (it.tally.of_seeds([it.seeds.index(seed) for seed in shared]) for it in (self, reference))
        return paired_test(ours, theirs)


def _confusion(truth: Sequence[str], prediction: Sequence[str], classes: Sequence[str]) -> NDArray[np.int64]:
    number = {name: index for index, name in enumerate(classes)}
    places = [
        number[label] * len(classes) + number[predicted] for label, predicted in zip(truth, prediction, strict=True)
    ]
    return np.bincount(places, minlength=len(classes) ** 2).reshape(len(classes), len(classes))


@dataclass(frozen=True, slots=True, eq=False)
class Experiment:
    """All models on one corpus and task: what a column of the table is computed from.

    Attributes:
        column: what the models are trained on.
        corpus: the corpus's name as the user gave it.
        synthetic: whether the corpus is synthetic speech.
        classes: class names in the order of the confusion matrices.
        caption: what a reader has to know to judge the numbers.
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
    """Where a model and a column of the table meet.

    Attributes:
        row: the model.
        paper: what the paper has; None in a column that is not the paper's.
        measured: what was measured; None in a column of the paper that was not done, or for a model without outcome.
        test: the paired test against the standard convolutional layer in the same column; None where there is none,
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
        """Measured minus paper, of the means in percent; None where one is missing."""
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


@dataclass(frozen=True, slots=True, eq=False)
class Results:
    """A table of models by columns with all its numbers: a comparison, or a table of the paper done again.

    Attributes:
        rows: the models from top to bottom.
        columns: the paper's columns in its order, done or not, then the others.
        paper: the paper's table; None for a comparison of one's own.
        command: the command line that did it; empty if there was none.
    """

    rows: tuple[Row, ...]
    columns: tuple[ResultColumn, ...]
    paper: PaperTable | None = None
    command: tuple[str, ...] = ()

    @classmethod
    def of(
        cls, experiments: Sequence[Experiment], *, paper: PaperTable | None = None, command: Sequence[str] = ()
    ) -> Self:
        """Compute every number: means, intervals, tests.

        Args:
            experiments: one per column.
            paper: the paper's table to stand beside; its models are the rows. By default the rows are the models of the
                experiments, in the order in which they first appear.
            command: the command line that did it.

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
        return cls(rows, _corrected(columns), paper, tuple(command))

    @property
    def name(self) -> str:
        """What the files of its report are called: ``"table1"``, or ``"report"`` for a comparison."""
        return "report" if self.paper is None else self.paper.name

    @property
    def title(self) -> str:
        """What stands above it."""
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
        """One line per model and column with every number, unrounded; empty places are missing values.

        The columns are those of the report's CSV, :data:`convrnn.experiments.report.long_csv.COLUMNS`.
        """
        import pandas as pd

        from convrnn.experiments.report.long_csv import columns_of, records

        return pd.DataFrame(records(self), columns=columns_of(self))

    def summary(self) -> "Summary":
        """The short table of a comparison, a line per model.

        Raises:
            ValueError: for a table of more columns, or of none that was done.
        """
        from convrnn.experiments.summary import Summary

        return Summary.of(self)

    def to_json(self) -> str:
        """Every number as JSON, in percent or seconds; null if there is none."""
        from convrnn.experiments.report.document import to_json

        return to_json(self)

    def report(self, folder: str | Path) -> None:
        """Write the report: a web page, Markdown, CSV and LaTeX.

        The files are ``<name>.html``, ``.md``, ``.csv`` and ``.tex``. Where there are too many classes or speakers for
        a page, it shows some of them, and ``<name>.classes.csv`` or ``<name>.speakers.csv`` has them all. A comparison
        of one column also gets ``table.csv``, ``table.md`` and a picture ``confusion-<model>.png`` per model.

        Args:
            folder: made if it does not exist. Each file is written at once or not at all.

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
    """The mean; None where there is no value or one is missing.

    Example:
        >>> mean_of([1.0, 2.0]), mean_of([1.0, None]), mean_of([])
        (1.5, None, None)
    """
    known = [value for value in values if value is not None]
    return statistics.fmean(known) if known and len(known) == len(values) else None
