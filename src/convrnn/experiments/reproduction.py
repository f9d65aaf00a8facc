"""A table of the paper, done again: which runs it needs, and what they found."""

from dataclasses import dataclass

from convrnn.experiments.compare import FinishedRun, GridRun
from convrnn.experiments.paper import Column, PaperTable, Row


@dataclass(frozen=True, slots=True)
class ColumnRuns:
    """All models on one column.

    Attributes:
        column: what they are trained on.
        corpus: the corpus's name as the user gave it.
        synthetic: whether the corpus is synthetic speech.
        classes: class names in the order of the confusion matrices.
        caption: what a reader has to know to judge the numbers.
        runs: every model, seed and fold.
        finished: what each of them found, in the same order.
        provisos: what was done to the corpus and let through, as sentences; the caption ends with them.
    """

    column: Column
    corpus: str
    synthetic: bool
    classes: tuple[str, ...]
    caption: str
    runs: tuple[GridRun, ...]
    finished: tuple[FinishedRun, ...]
    provisos: tuple[str, ...] = ()

    def of(self, row: Row) -> list[tuple[GridRun, FinishedRun]]:
        """The runs of one model, seed by seed and fold by fold."""
        pairs = zip(self.runs, self.finished, strict=True)
        own = [pair for pair in pairs if pair[0].spec.model_name == row.front_end]
        return sorted(own, key=lambda pair: (pair[0].spec.seed, pair[0].fold))


@dataclass(frozen=True, slots=True)
class Reproduction:
    """A table of the paper beside what was measured here.

    Attributes:
        table: the paper's. Its own columns are compared with; columns on other corpora stand alone.
        columns: what was done, from left to right.
        command: the command line that did it.
    """

    table: PaperTable
    columns: tuple[ColumnRuns, ...]
    command: tuple[str, ...]
