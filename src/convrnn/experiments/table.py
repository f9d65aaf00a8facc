"""From predictions to the comparison's table: folds pooled per seed, then mean ± standard deviation over seeds."""

import json
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from convrnn import plain_text
from convrnn.files import write_atomically
from convrnn.training.metrics import Scores

COLUMNS = ("model", "ua_recall_mean", "ua_recall_std", "accuracy", "parameters", "seconds", "seeds")
"""The columns of ``table.csv``, in this order; recall and accuracy are in percent."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one run leaves for the table: its predictions on its test set.

    Attributes:
        model: the row of the table that it belongs to.
        seed: the run's seed.
        fold: the split's position, from 0.
        truth: the label of each test utterance.
        prediction: the predicted class of each, in the same order.
        parameters: trained numbers of the model.
        seconds: training time.
    """

    model: str
    seed: int
    fold: int
    truth: tuple[str, ...]
    prediction: tuple[str, ...]
    parameters: int
    seconds: float


@dataclass(frozen=True, slots=True)
class Row:
    """One model's line of the table.

    Attributes:
        model: the model's name.
        ua_recall_mean: unweighted average recall in percent, mean over seeds.
        ua_recall_std: its standard deviation over seeds (ddof = 1) in percent; None for a single seed.
        accuracy: accuracy in percent, mean over seeds.
        parameters: trained numbers of the model.
        seconds: training time of all folds of one seed, mean over seeds.
        seeds: number of seeds.
        confusion: counts ``[classes, classes]`` over all seeds and folds; rows are true classes.
    """

    model: str
    ua_recall_mean: float
    ua_recall_std: float | None
    accuracy: float
    parameters: int
    seconds: float
    seeds: int
    confusion: NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Table:
    """The comparison's result: one row per model, in the order asked for, and a caption that says what was compared."""

    rows: tuple[Row, ...]
    classes: tuple[str, ...]
    caption: str

    def is_best(self, row: Row) -> bool:
        """Whether no other model has a higher UA recall, as far as the table shows digits."""
        return round(row.ua_recall_mean, 2) == max(round(other.ua_recall_mean, 2) for other in self.rows)

    def records(self) -> list[dict[str, str | float | int | None]]:
        """One dictionary per row with the keys of :data:`COLUMNS`, unrounded."""
        return [{column: getattr(row, column) for column in COLUMNS} for row in self.rows]

    def to_csv(self) -> str:
        """CSV text with :data:`COLUMNS`: percent to four decimals, seconds to one; an unknown deviation is empty."""
        rows = [
            [
                row.model,
                f"{row.ua_recall_mean:.4f}",
                "" if row.ua_recall_std is None else f"{row.ua_recall_std:.4f}",
                f"{row.accuracy:.4f}",
                row.parameters,
                f"{row.seconds:.1f}",
                row.seeds,
            ]
            for row in self.rows
        ]
        return plain_text.csv_table([COLUMNS, *rows])

    def to_markdown(self) -> str:
        """A Markdown table with the caption under it; the best UA recall is bold, as in the paper."""
        lines = [
            "| model | UA recall [%] | accuracy [%] | parameters | training time | seeds |",
            "|---|---:|---:|---:|---:|---:|",
        ]
        for row in self.rows:
            recall = format_recall(row)
            if self.is_best(row):
                recall = f"**{recall}**"
            lines.append(
                f"| {plain_text.markdown(row.model)} | {recall} | {row.accuracy:.1f} | {row.parameters:,} "
                f"| {format_seconds(row.seconds)} | {row.seeds} |"
            )
        return "\n".join([*lines, "", plain_text.markdown(self.caption), ""])

    def to_json(self) -> str:
        """The caption, the classes and the rows with their confusion matrices as JSON."""
        rows = [
            {**record, "confusion": row.confusion.tolist()}
            for record, row in zip(self.records(), self.rows, strict=True)
        ]
        return json.dumps({"caption": self.caption, "classes": self.classes, "rows": rows}, indent=2)

    def save(self, folder: Path) -> None:
        """Write ``table.csv`` and ``table.md`` into the folder, each at once or not at all."""
        write_atomically(folder / "table.csv", self.to_csv())
        write_atomically(folder / "table.md", self.to_markdown())


def summarise(outcomes: Iterable[Outcome], classes: Sequence[str]) -> list[Row]:
    """The rows of the table, in the order in which the models first appear.

    The test predictions of all folds of a seed are put together before anything is computed, so that a fold with few
    examples of a class does not weigh as much as one with many. UA recall is the mean of the classes' recalls (section
    IV-A of the paper).

    Args:
        outcomes: one per model, seed and fold.
        classes: all classes; each has to occur in every seed's pooled test labels.

    Example:
        >>> truth = ("a", "a", "b", "b")
        >>> runs = [Outcome("m", 0, 0, truth, ("a", "a", "b", "a"), 10, 1.0),
        ...         Outcome("m", 1, 0, truth, ("a", "a", "b", "b"), 10, 3.0)]
        >>> [row] = summarise(runs, ("a", "b"))
        >>> row.ua_recall_mean, round(row.ua_recall_std, 2), row.accuracy, row.seconds
        (87.5, 17.68, 87.5, 2.0)
    """
    by_model: dict[str, dict[int, list[Outcome]]] = {}
    for outcome in outcomes:
        by_model.setdefault(outcome.model, {}).setdefault(outcome.seed, []).append(outcome)
    return [_row(model, list(seeds.values()), classes) for model, seeds in by_model.items()]


def _row(model: str, seeds: list[list[Outcome]], classes: Sequence[str]) -> Row:
    number = {name: index for index, name in enumerate(classes)}
    recalls, accuracies = [], []
    confusion = np.zeros((len(classes), len(classes)), dtype=np.int64)
    for folds in seeds:
        truth = [number[label] for fold in folds for label in fold.truth]
        prediction = [number[label] for fold in folds for label in fold.prediction]
        scores = Scores.of(truth, prediction, len(classes))
        if scores.ua_recall is None:
            absent = ", ".join(name for name, recall in zip(classes, scores.recalls, strict=True) if recall is None)
            raise ValueError(f"{model}: no test example of class {absent}, so its recall does not exist")
        recalls.append(100 * scores.ua_recall)
        accuracies.append(100 * scores.accuracy)
        confusion += np.array(scores.confusion, dtype=np.int64)
    return Row(
        model=model,
        ua_recall_mean=statistics.fmean(recalls),
        ua_recall_std=statistics.stdev(recalls) if len(recalls) > 1 else None,
        accuracy=statistics.fmean(accuracies),
        parameters=seeds[0][0].parameters,
        seconds=statistics.fmean(sum(fold.seconds for fold in folds) for folds in seeds),
        seeds=len(seeds),
        confusion=confusion,
    )


def format_recall(row: Row) -> str:
    """``"70.59 ± 0.58"``, or ``"70.59"`` for a single seed, which has no deviation."""
    deviation = "" if row.ua_recall_std is None else f" ± {row.ua_recall_std:.2f}"
    return f"{row.ua_recall_mean:.2f}{deviation}"


def format_seconds(seconds: float) -> str:
    """A duration for people.

    Example:
        >>> format_seconds(4.32), format_seconds(250), format_seconds(7300)
        ('4.3 s', '4 min 10 s', '2 h 02 min')
    """
    if round(seconds, 1) < 60:
        return f"{seconds:.1f} s"
    if round(seconds) < 3600:
        return f"{round(seconds) // 60} min {round(seconds) % 60:02d} s"
    minutes = round(seconds / 60)
    return f"{minutes // 60} h {minutes % 60:02d} min"
