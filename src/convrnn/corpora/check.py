"""Checks of a corpus before any training: what it holds, and its defects."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from convrnn.corpora.content import content_defects, same_content
from convrnn.corpora.corpus import Corpus, is_number
from convrnn.corpora.labelled import LabelledCorpus
from convrnn.corpora.labels import label_defects
from convrnn.corpora.recording import Recording, listen
from convrnn.corpora.report import NO_PARTITION, CheckReport, Defect, Severity
from convrnn.corpora.sides import by_splits, partition_column, used_rows
from convrnn.corpora.sound import sound_defects
from convrnn.corpora.speakers import speaker_defects
from convrnn.corpora.splits import Split
from convrnn.corpora.utterances import PARTITIONS, TaskLabels, Utterances

_Corpus = TypeVar("_Corpus", Corpus, LabelledCorpus)

__all__ = ["NO_PARTITION", "CheckReport", "Defect", "Severity", "check_corpus", "drop_duplicates"]


def check_corpus(
    corpus: Corpus | LabelledCorpus,
    task: str | None = None,
    *,
    splits: Sequence[Split] | None = None,
    cache_dir: Path | None = None,
    jobs: int = 1,
    on_progress: Callable[[int, int], None] | None = None,
) -> CheckReport:
    """Counts what a corpus holds, reads every utterance once, and lists every defect.

    ================== ======== ==================================================================================
    kind               severity meaning
    ================== ======== ==================================================================================
    missing-file       error    no such file; an existing file with a similar name is suggested
    foreign-format     error    M4A, WMA, WebM and other formats that must be converted
    unreadable         error    not audio or not an array of frames, cut off, holds NaN or infinite values, segment
                                outside the file
    truncated          error    a WAV file ends before its header says so
    zero-length        error    no samples or frames
    widths             error    arrays with different numbers of features per frame
    too-short          error    less than one frame of 25 ms
    silence            warning  all samples are equal
    constant           warning  all values of an array of frames are equal
    clipping           warning  three neighbouring samples, or 0.1 % of all, at full scale
    stereo             warning  files with several channels; their mean is used
    duration           warning  ten times longer or shorter than the median
    sample-rates       warning  files of several sample rates; features are computed at the lowest, or 16 kHz
    resampled          warning  files with next to nothing above half of a lower rate, although features reach higher
    shared-speaker     error    the same recordings under two speakers (a warning if no split separates the two)
    shared-content     error    the same recording in two partitions, or overlapping parts of one file on two sides
    repeated-content   warning  the same recording twice under one speaker, on one side
    conflicting-labels error    the same recording twice, with different labels
    speaker-overlap    error    a speaker in two partitions
    speaker-forms      warning  speakers whose names differ only in case, Unicode form or spaces
    too-few-speakers   error    fewer than three speakers
    absent-partition   error    there are partitions, but train or test is missing
    no-validation      warning  validation is missing, and the corpus has no rule for it: 20 % of the training
                                speakers will be held out
    no-partition       warning  a row without a partition, although other rows have one
    missing-label      warning  a row without a label for a task; it is left out of that task
    few-classes        error    fewer than two classes with examples
    absent-class       error    a class without examples in train or test (a warning for validation)
    single-speaker     warning  a class that only one speaker has
    label-forms        warning  classes that differ only in case, Unicode form or spaces
    decimal-comma      warning  labels such as 0,5, which are not numbers
    missing-list       warning  the corpus's file with the labels of a task is missing
    unlisted-file      warning  audio files that no list of the corpus names
    listed-size        warning  audio files whose size differs from that in the corpus's list
    speaker-group      warning  speakers whose age or gender does not match the group that their number stands for
    published-…        warning  the number of ``utterances``, ``speakers`` or ``classes`` differs from the published one
    ================== ======== ==================================================================================

    The sides are the corpus's partitions or, with ``splits``, those of each split; the partitions are then ignored.
    Since the test sets of all splits are pooled, a class must occur in at least one of them, and in the training set of
    every split.

    Arrays of frames (:mod:`~convrnn.features.frames`) are copies if all their values are equal; what concerns sound
    does not apply to them.

    Silence, clipping and content are judged on the utterance, mixed down to mono. Copies of a recording are found
    despite another container, codec, gain or sample rate and silence around them; :mod:`~convrnn.corpora.fingerprint`
    describes the method, its cost and its limits.

    Args:
        corpus: All rows of a corpus, or those with a label for one task.
        task: The task whose labels are checked, if the corpus is not labelled for one; by default every task. Columns
            that may not be meant as classes then cause only warnings: columns of numbers (ages, grades) and, if there
            are other tasks, columns with a single value.
        splits: The splits to be used. Only the rows of their speakers are then checked, and the sides of the splits,
            not the partition column, decide what is shared between sets and which classes are absent.
        cache_dir: Folder in which findings are cached, so that checking again is fast; by default none.
        jobs: Number of processes that read audio.
        on_progress: Called with the number of files read and the total.

    Raises:
        InputError: If the corpus has no such task.
    """
    if splits is not None:
        corpus = used_rows(corpus, splits)
    labels = _labels(corpus, task)
    if isinstance(corpus, LabelledCorpus):
        task = corpus.task
    divisions = [partition_column(corpus)] if splits is None else by_splits(corpus, splits)
    recordings = listen(corpus, cache_dir=cache_dir, jobs=jobs, on_progress=on_progress)
    defects = [
        *sound_defects(corpus, recordings),
        *content_defects(corpus, [own.of_rows for own in labels], divisions, same_content(corpus, recordings)),
        *speaker_defects(corpus, by_partition=splits is None),
        *(Defect("warning", r.kind, r.message) for r in corpus.remarks if task is None or r.task in (None, task)),
    ]
    for own in labels:
        found = label_defects(corpus, own, splits)
        if task is None:
            found = [_of_unrequested_task(defect, own, labels) for defect in found]
        defects += found
    return CheckReport(
        corpus=corpus.name,
        synthetic=corpus.synthetic,
        **_counts(corpus, labels, recordings),
        defects=sorted(defects, key=lambda defect: defect.severity != "error"),
    )


def drop_duplicates(
    corpus: _Corpus,
    task: str | None = None,
    *,
    cache_dir: Path | None = None,
    jobs: int = 1,
    on_progress: Callable[[int, int], None] | None = None,
) -> tuple[_Corpus, list[str]]:
    """Leaves out every row whose recording already occurs in an earlier row.

    Copies whose label differs from the earlier row's are kept, so that :func:`check_corpus` still reports them: only a
    person can decide which label is right.

    Args:
        corpus: The corpus.
        task: The task whose labels must agree, if the corpus is not labelled for one; by default every task.
        cache_dir: As for :func:`check_corpus`.
        jobs: Number of processes that read audio.
        on_progress: Called with the number of files read and the total.

    Returns:
        The corpus without the copies, and the ids of the rows left out, in table order.

    Raises:
        InputError: If the corpus has no such task.
    """
    labels = [own.of_rows for own in _labels(corpus, task)]
    recordings = listen(corpus, cache_dir=cache_dir, jobs=jobs, on_progress=on_progress)
    left_out: set[int] = set()
    for first, *later in same_content(corpus, recordings):
        for row in later:
            if all(own[row] == own[first] or None in (own[row], own[first]) for own in labels):
                left_out.add(row)
    ids = corpus.table["id"].tolist()
    return corpus.keep([row not in left_out for row in range(len(ids))]), [ids[row] for row in sorted(left_out)]


def _labels(corpus: Corpus | LabelledCorpus, task: str | None) -> list[TaskLabels]:
    """The labels to check: those of one task, or of all tasks."""
    if task is not None and isinstance(corpus, Corpus):
        corpus.classes(task)
    return [labels for labels in corpus.task_labels() if task in (None, labels.task)]


def _of_unrequested_task(defect: Defect, labels: TaskLabels, of_all: Sequence[TaskLabels]) -> Defect:
    """The defect as reported for a task that was not requested by name."""
    numbers = all(map(is_number, labels.classes))
    constant = len(labels.classes) < 2 and any(len(other.classes) > 1 for other in of_all)
    return replace(defect, severity="warning") if numbers or constant else defect


def _counts(corpus: Utterances, tasks: Sequence[TaskLabels], recordings: Sequence[Recording]) -> dict[str, Any]:
    """The tables of counts of a report."""
    partitions = [NO_PARTITION if side is None else side for side in corpus.table["partition"].tolist()]
    rows = Counter(partitions)
    present = [side for side in (*PARTITIONS, NO_PARTITION) if side in rows]
    speakers = Counter(side for _, side in {*zip(corpus.table["speaker"].tolist(), partitions, strict=True)})
    labels = {own.task: Counter(zip(own.of_rows, partitions, strict=True)) for own in tasks}
    rates = Counter({recording.file: recording.sample_rate for recording in recordings}.values())
    widths = Counter({recording.file: recording.num_features for recording in recordings}.values())
    return {
        "utterances": {side: rows[side] for side in present},
        "speakers": {side: speakers[side] for side in present},
        "seconds": _summaries(present, partitions, [recording.seconds for recording in recordings]),
        "sample_rates": {rate: rates[rate] for rate in sorted(rate for rate in rates if rate is not None)},
        "frames": _summaries(present, partitions, [recording.frames for recording in recordings]),
        "num_features": {width: widths[width] for width in sorted(width for width in widths if width is not None)},
        "classes": {
            own.task: {label: {side: labels[own.task][label, side] for side in present} for label in own.classes}
            for own in tasks
        },
    }


def _summaries(
    present: Sequence[str], partitions: Sequence[str], lengths: Sequence[float | None]
) -> dict[str, dict[str, float]]:
    """Total, minimum, median and maximum of the known lengths, by partition."""
    summaries = {}
    for side in present:
        values = [length for length, own in zip(lengths, partitions, strict=True) if own == side and length]
        if values:
            summary = {"total": sum(values), "min": min(values), "median": np.median(values), "max": max(values)}
            summaries[side] = {name: round(float(value), 4) for name, value in summary.items()}
    return summaries
