"""The short table of a comparison: one line per model."""

import json
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray

from convrnn import plain_text
from convrnn.experiments.report.numbers import format_seconds
from convrnn.experiments.results import Results
from convrnn.files import write_atomically

COLUMNS = ("model", "ua_recall_mean", "ua_recall_std", "accuracy", "parameters", "seconds", "seeds")
"""The columns of ``table.csv``, in this order; recall and accuracy are in percent."""

HEADER = ("model", "UA recall [%]", "accuracy [%]", "parameters", "training time", "seeds")
"""The headings of the columns in tables for people."""


@dataclass(frozen=True, slots=True)
class SummaryRow:
    """One model's line.

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

    @property
    def ua_recall(self) -> str:
        """Mean and standard deviation as text, such as ``"70.59 ± 0.58"``."""
        deviation = "" if self.ua_recall_std is None else f" ± {self.ua_recall_std:.2f}"
        return f"{self.ua_recall_mean:.2f}{deviation}"

    def texts(self) -> list[str]:
        """The fields as text, in the order of :data:`HEADER`."""
        return [
            self.model,
            self.ua_recall,
            f"{self.accuracy:.1f}",
            f"{self.parameters:,}",
            format_seconds(self.seconds),
            str(self.seeds),
        ]


@dataclass(frozen=True, slots=True)
class Summary:
    """One line per model, in the requested order, and a caption that says what was compared.

    Attributes:
        rows: the models.
        classes: class names in the order of the confusion matrices.
        caption: what a reader needs to know to judge the numbers.
    """

    rows: tuple[SummaryRow, ...]
    classes: tuple[str, ...]
    caption: str

    @classmethod
    def of(cls, results: Results) -> Self:
        """The summary of a comparison.

        Raises:
            ValueError: for any other number of measured columns than one.
        """
        if len(results.done) != 1:
            raise ValueError(
                f"a summary needs one measured column, not {len(results.done)}; use the table of the results"
            )
        [(column, experiment)] = results.done
        rows = tuple(
            SummaryRow(
                model=heading,
                ua_recall_mean=found.mean,
                ua_recall_std=found.std,
                accuracy=found.accuracy,
                parameters=found.parameters,
                seconds=statistics.fmean(found.seconds),
                seeds=len(found.seeds),
                confusion=found.confusion,
            )
            for heading, found in column.measured
        )
        return cls(rows, experiment.classes, experiment.caption)

    def is_best(self, row: SummaryRow) -> bool:
        """Whether no other model has a higher UA recall, at the table's precision."""
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
        lines = [_markdown_row(HEADER), "|---|" + "---:|" * (len(HEADER) - 1)]
        for row in self.rows:
            model, recall, *others = row.texts()
            recall = f"**{recall}**" if self.is_best(row) else recall
            lines.append(_markdown_row([plain_text.markdown(model), recall, *others]))
        return "\n".join([*lines, "", plain_text.markdown(self.caption), ""])

    def to_json(self) -> str:
        """The caption, the classes and the rows with their confusion matrices as JSON."""
        rows = [
            {**record, "confusion": row.confusion.tolist()}
            for record, row in zip(self.records(), self.rows, strict=True)
        ]
        return json.dumps({"caption": self.caption, "classes": self.classes, "rows": rows}, indent=2)

    def save(self, folder: Path) -> None:
        """Write ``table.csv`` and ``table.md`` into the folder, each completely or not at all.

        Raises:
            InputError: if they cannot be written.
        """
        write_atomically(folder / "table.csv", self.to_csv())
        write_atomically(folder / "table.md", self.to_markdown())


def _markdown_row(entries: Sequence[str]) -> str:
    return f"| {' | '.join(entries)} |"
