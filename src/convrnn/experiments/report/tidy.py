"""The report as CSV: one line per model and column."""

import statistics
from collections.abc import Mapping, Sequence
from types import MappingProxyType

from convrnn.experiments.cells import Cell, CellColumn
from convrnn.experiments.paper import PaperTable
from convrnn.plain_text import csv_table

COLUMNS: Mapping[str, str] = MappingProxyType(
    {
        "table": "the table's name",
        "column": "what the paper calls the column",
        "corpus": "the corpus as the user named it; its kind for a column that was not done",
        "task": "label column",
        "setting": "emotion (section IV-A) or paralinguistic (IV-B)",
        "features": "logmel, egemaps or egemaps-25ms",
        "synthetic": "true for synthetic speech, false for recordings, empty for a column that was not done",
        "provisos": "what was done to the corpus and which of its errors were let through; most often empty",
        "model": "name of the front end",
        "paper_mean": "the paper's UA recall in percent; empty in a column that is not the paper's, as is the next",
        "paper_std": "its standard deviation",
        "ua_recall_mean": "UA recall in percent, mean over seeds; empty where nothing was done, as is all that follows",
        "ua_recall_std": "its standard deviation over seeds (ddof = 1); empty for one seed",
        "seeds": "number of seeds",
        "interval_low": "95 % interval of the mean over the speakers; empty where there is none",
        "interval_high": "its upper limit",
        "difference": "mean minus the paper's",
        "conv_difference": "mean minus the standard convolutional layer's; empty for itself and where none is tested",
        "conv_low": "95 % interval of that",
        "conv_high": "its upper limit",
        "conv_p": "p-value of the paired test",
        "conv_p_holm": "the same after Holm's correction over the table's comparisons",
        "accuracy": "in percent, mean over seeds",
        "parameters": "trained numbers of the model",
        "seconds": "training time of all folds of a seed, mean over seeds",
        "best_epoch": "selected epoch, median over the runs",
    }
)
"""The columns of the CSV in their order, and what each holds."""


def tidy(table: PaperTable, columns: Sequence[CellColumn]) -> str:
    """CSV text with :data:`COLUMNS`; percent to four decimals, p-values to six digits."""
    lines: list[Mapping[str, str]] = []
    for column in columns:
        what = {
            "table": table.name,
            "column": column.column.heading,
            "corpus": column.column.corpus if column.done is None else column.done.corpus,
            "task": column.column.task,
            "setting": column.column.setting,
            "features": column.column.features,
            "synthetic": "" if column.done is None else str(column.done.synthetic).lower(),
            "provisos": "" if column.done is None else " ".join(column.done.provisos),
        }
        lines += [what | _cell(cell) for cell in column.cells]
    return csv_table([COLUMNS, *([line.get(name, "") for name in COLUMNS] for line in lines)])


def _cell(cell: Cell) -> dict[str, str]:
    line = {"model": cell.row.front_end}
    if cell.paper is not None:
        line |= {"paper_mean": f"{cell.paper.mean:.2f}", "paper_std": f"{cell.paper.std:.2f}"}
    if (found := cell.measured) is not None:
        line |= {
            "ua_recall_mean": f"{found.mean:.4f}",
            "ua_recall_std": _or_empty(found.std),
            "seeds": str(len(found.seeds)),
            "difference": _or_empty(cell.difference),
            "accuracy": f"{found.accuracy:.4f}",
            "parameters": str(found.parameters),
            "seconds": f"{statistics.fmean(found.seconds):.1f}",
            "best_epoch": f"{statistics.median(found.best_epochs):g}",
        }
        if found.interval is not None:
            line |= {"interval_low": f"{found.interval[0]:.4f}", "interval_high": f"{found.interval[1]:.4f}"}
    if cell.comparison is not None and cell.corrected_p is not None:
        line |= {
            "conv_difference": f"{cell.comparison.difference:.4f}",
            "conv_low": f"{cell.comparison.low:.4f}",
            "conv_high": f"{cell.comparison.high:.4f}",
            "conv_p": f"{cell.comparison.p:.6g}",
            "conv_p_holm": f"{cell.corrected_p:.6g}",
        }
    return line


def _or_empty(value: float | None) -> str:
    return "" if value is None else f"{value:.4f}"
