"""The report as CSV: one line per model and column, and the recalls of all classes and speakers."""

import statistics
from collections.abc import Iterator, Mapping
from types import MappingProxyType

from convrnn.experiments.results import Entry, Results
from convrnn.features.registry import FEATURES
from convrnn.plain_text import csv_table

COLUMNS: Mapping[str, str] = MappingProxyType(
    {
        "table": "the table's name",
        "column": "its heading",
        "corpus": "the corpus as the user named it; its kind for a column that was not done",
        "task": "label column",
        "setting": "emotion (section IV-A) or paralinguistic (IV-B)",
        "features": f"{', '.join(FEATURES)} or frames",
        "synthetic": "true for synthetic speech, false for recordings, empty for a column that was not done",
        "provisos": "what was done to the corpus and which of its errors were accepted; usually empty",
        "model": "name of the front end, or of the linear SVM",
        "paper_mean": "the paper's UA recall in percent; empty in a column that is not the paper's, as is the next",
        "paper_std": "its standard deviation",
        "ua_recall_mean": "UA recall in percent, mean over seeds; empty if nothing was done, as is all that follows",
        "ua_recall_std": "its standard deviation over seeds (ddof = 1); empty for one seed",
        "seeds": "number of seeds",
        "interval_low": "lower limit of the 95 % interval of the mean over the speakers; empty if there is none",
        "interval_high": "its upper limit",
        "difference": "mean minus the paper's",
        "conv_difference": "mean minus the standard convolutional layer's; empty for itself and if nothing is tested",
        "conv_low": "lower limit of the 95 % interval of the difference",
        "conv_high": "its upper limit",
        "conv_p": "p-value of the paired test",
        "conv_p_holm": "the same after Holm's correction over the table's comparisons",
        "accuracy": "in percent, mean over seeds",
        "parameters": "trained numbers of the model",
        "seconds": "training time of all folds of a seed, mean over seeds",
        "best_epoch": "selected epoch, median over the runs; empty for a model without a network",
    }
)
"""The columns of the CSV in their order, and what each holds."""

_TEXTS = ("table", "column", "corpus", "task", "setting", "features", "synthetic", "provisos", "model")

_OF_THE_PAPER = ("table", "paper_mean", "paper_std", "difference")
"""Columns that a comparison does not have."""

NUMBERS = tuple(name for name in COLUMNS if name not in _TEXTS)
"""Those that hold numbers."""

_FORMATS = {"paper_mean": ".2f", "paper_std": ".2f", "conv_p": ".6g", "conv_p_holm": ".6g", "seconds": ".1f"}
"""Formats of the numbers that are not percentages with four decimals."""


def columns_of(results: Results) -> list[str]:
    """Those of :data:`COLUMNS` that a table has: all, or for a comparison those that are not about the paper."""
    return [name for name in COLUMNS if results.paper is not None or name not in _OF_THE_PAPER]


def records(results: Results) -> list[dict[str, object]]:
    """One dictionary per model and column with unrounded values; values that do not exist are missing or None."""
    lines: list[dict[str, object]] = []
    for column in results.columns:
        what: dict[str, object] = {
            "table": results.name,
            "column": column.column.heading,
            "corpus": column.column.corpus if column.done is None else column.done.corpus,
            "task": column.column.task,
            "setting": column.column.setting,
            "features": column.column.features,
        }
        if column.done is not None:
            what |= {"synthetic": column.done.synthetic, "provisos": " ".join(column.done.provisos)}
        lines += [what | _entry(entry) for entry in column.entries]
    return lines


def _entry(entry: Entry) -> dict[str, object]:
    line: dict[str, object] = {"model": entry.row.front_end}
    if entry.paper is not None:
        line |= {"paper_mean": entry.paper.mean, "paper_std": entry.paper.std}
    if (found := entry.measured) is not None:
        line |= {
            "ua_recall_mean": found.mean,
            "ua_recall_std": found.std,
            "seeds": len(found.seeds),
            "difference": entry.difference,
            "accuracy": found.accuracy,
            "parameters": found.parameters,
            "seconds": statistics.fmean(found.seconds),
        }
        if found.runs:
            line["best_epoch"] = float(statistics.median(found.best_epochs))
        if found.interval is not None:
            line["interval_low"], line["interval_high"] = found.interval
    if entry.test is not None:
        line |= {
            "conv_difference": entry.test.difference,
            "conv_low": entry.test.low,
            "conv_high": entry.test.high,
            "conv_p": entry.test.p,
            "conv_p_holm": entry.corrected_p,
        }
    return line


def long_csv(results: Results) -> str:
    """CSV text with :data:`COLUMNS`; percent to four decimals, p-values to six digits."""
    columns = columns_of(results)
    return csv_table([columns, *([_text(name, line.get(name)) for name in columns] for line in records(results))])


def _text(name: str, value: object) -> str:
    match value:
        case None:
            return ""
        case bool():
            return str(value).lower()
        case float():
            return format(value, "g" if name == "best_epoch" else _FORMATS.get(name, ".4f"))
        case _:
            return str(value)


def classes_csv(results: Results) -> str:
    """The recall of every class: a line per column, model and class; percent to four decimals."""
    return csv_table([["column", "model", "class", "utterances", "recall_mean", "recall_std"], *_classes(results)])


def _classes(results: Results) -> Iterator[list[object]]:
    for column, experiment in results.done:
        for entry in column.entries:
            if (found := entry.measured) is None:
                continue
            recalls = found.tally.recalls
            means = recalls.mean(axis=0).tolist()
            stds = recalls.std(axis=0, ddof=1).tolist() if len(recalls) > 1 else [None] * len(means)
            totals = found.tally.totals.sum(axis=0).tolist()
            for name, total, mean, std in zip(experiment.classes, totals, means, stds, strict=True):
                recall = [_text("recall_mean", mean), _text("recall_std", std)]
                yield [column.column.heading, entry.row.front_end, name, total, *recall]


def speakers_csv(results: Results) -> str:
    """The recall of every test speaker: a line per column, model and speaker; percent to four decimals."""
    return csv_table([["column", "model", "speaker", "utterances", "recall"], *_speakers(results)])


def _speakers(results: Results) -> Iterator[list[object]]:
    for column, _ in results.done:
        for entry in column.entries:
            if (found := entry.measured) is None:
                continue
            totals = found.tally.totals.sum(axis=1).tolist()
            recalls = found.tally.speaker_recalls.tolist()
            for name, total, recall in zip(found.tally.speakers, totals, recalls, strict=True):
                yield [column.column.heading, entry.row.front_end, name, total, _text("recall", recall)]
