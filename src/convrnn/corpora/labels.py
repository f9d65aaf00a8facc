"""Checks of the labels of a task."""

import re
from collections import Counter
from collections.abc import Sequence

from convrnn.corpora.names import difference, folded, some, with_rows
from convrnn.corpora.report import NO_PARTITION, Defect, Severity
from convrnn.corpora.splits import Split
from convrnn.corpora.utterances import PARTITIONS, TaskLabels, Utterances

_DECIMAL_COMMA = re.compile(r"[+-]?\d+,\d+")


def label_defects(corpus: Utterances, labels: TaskLabels, splits: Sequence[Split] | None = None) -> list[Defect]:
    """The defects of a task's labels.

    Args:
        corpus: The corpus.
        labels: The labels of its rows.
        splits: The splits to be used; None if the partition column divides the rows.
    """
    task = labels.task
    speakers_of: dict[str, set[str]] = {name: set() for name in labels.classes}
    for speaker, label in zip(corpus.table["speaker"].tolist(), labels.of_rows, strict=True):
        if label is not None:
            speakers_of[label].add(speaker)
    held = [name for name, speakers in speakers_of.items() if speakers]
    defects = [
        Defect("warning", "missing-label", f"{identity} has no label for task {task!r} and is left out of it")
        for identity, label in zip(corpus.table["id"].tolist(), labels.of_rows, strict=True)
        if label is None
    ]
    if len(held) < 2:
        message = f"task {task!r} needs at least two classes; found: {some(held) or 'none'}"
        defects.append(Defect("error", "few-classes", message))
    if splits is None:
        defects += _absent_from_partitions(corpus, labels)
    else:
        defects += _absent_from_splits(task, speakers_of, splits)
    for name, speakers in speakers_of.items():
        if len(speakers) == 1:
            message = f"task {task!r}: class {name!r} has only one speaker, {next(iter(speakers))!r}"
            defects.append(Defect("warning", "single-speaker", message))
    return defects + _forms(task, labels.of_rows)


def _absent_from_partitions(corpus: Utterances, labels: TaskLabels) -> list[Defect]:
    partitions = [NO_PARTITION if side is None else side for side in corpus.table["partition"].tolist()]
    held: dict[str, set[str | None]] = {}
    for label, side in zip(labels.of_rows, partitions, strict=True):
        held.setdefault(side, set()).add(label)
    defects = []
    for side in PARTITIONS:
        absent = [name for name in labels.classes if name not in held.get(side, labels.classes)]
        if absent:
            severity: Severity = "warning" if side == "validation" else "error"
            message = f"task {labels.task!r}: no example of {_quoted(absent)} in {side}"
            defects.append(Defect(severity, "absent-class", message))
    return defects


def _absent_from_splits(task: str, speakers_of: dict[str, set[str]], splits: Sequence[Split]) -> list[Defect]:
    """Since folds are pooled, a class must be in the test set of one of them, and in the training set of each."""
    defects = []
    for side in PARTITIONS:
        absent: dict[str, list[str]] = {}
        for split in splits:
            own = set(getattr(split, side))
            for name, speakers in speakers_of.items():
                if own.isdisjoint(speakers):
                    absent.setdefault(name, []).append(split.name)
        if side == "test":
            absent = {name: where for name, where in absent.items() if len(where) == len(splits)}
        severity: Severity = "warning" if side == "validation" else "error"
        for name, where in absent.items():
            places = "any split" if len(where) == len(splits) > 1 else f"split {some(where, 3)}"
            message = f"task {task!r}: no example of {name!r} in {side} of {places}"
            defects.append(Defect(severity, "absent-class", message))
    return defects


def _forms(task: str, labels: Sequence[str | None]) -> list[Defect]:
    """Classes that look like one, and text that looks like a number."""
    counts = Counter(label for label in labels if label is not None)
    alike: dict[str, list[str]] = {}
    for name in counts:
        alike.setdefault(folded(name), []).append(name)
    defects = []
    for names in alike.values():
        if len(names) > 1:
            told = with_rows(names, counts)
            message = f"task {task!r}: classes differ only in {difference(*names[:2])}: {told}"
            defects.append(Defect("warning", "label-forms", message))
    commas = [name for name in counts if _DECIMAL_COMMA.fullmatch(name)]
    if commas:
        message = (
            f"task {task!r}: labels with a decimal comma, such as {commas[0]!r}, are read as text; write a point "
            "if they are numbers"
        )
        defects.append(Defect("warning", "decimal-comma", message))
    return defects


def _quoted(names: Sequence[str]) -> str:
    return some([repr(name) for name in names])
