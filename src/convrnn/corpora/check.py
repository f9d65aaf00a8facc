"""What a corpus holds and what is wrong with it, before any training."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from convrnn.corpora.content import content_defects, same_content
from convrnn.corpora.corpus import PARTITIONS, Corpus, is_number
from convrnn.corpora.labels import label_defects
from convrnn.corpora.recording import Recording, listen
from convrnn.corpora.report import NO_PARTITION, CheckReport, Defect, Severity
from convrnn.corpora.sides import by_splits, partition_column, used_rows
from convrnn.corpora.sound import sound_defects
from convrnn.corpora.speakers import speaker_defects
from convrnn.corpora.splits import Split

__all__ = ["NO_PARTITION", "CheckReport", "Defect", "Severity", "check_corpus", "drop_duplicates"]


def check_corpus(
    corpus: Corpus,
    task: str | None = None,
    *,
    splits: Sequence[Split] | None = None,
    cache_dir: Path | None = None,
    jobs: int = 1,
    on_progress: Callable[[int, int], None] | None = None,
) -> CheckReport:
    """Count what a corpus holds, listen to every utterance once, and list every defect.

    ================== ======== ==================================================================================
    kind               severity meaning
    ================== ======== ==================================================================================
    missing-file       error    no such file; a similar name that exists is told
    foreign-format     error    M4A, WMA, WebM and others that have to be converted
    unreadable         error    not audio, broken off, holds NaN or infinite samples, segment outside the file
    truncated          error    a WAV file ends before its header says so
    zero-length        error    no samples
    too-short          error    less than one frame of 25 ms
    silence            warning  all samples are equal
    clipping           warning  three neighbouring samples, or 0.1 % of all, at full scale
    stereo             warning  files with several channels, whose mean is taken
    duration           warning  ten times as long as the median, or as short
    sample-rates       warning  files have several; features are computed at the lowest, or 16 kHz
    shared-speaker     error    the same recordings under two speakers (a warning where no split parts the two)
    shared-content     error    the same recording in two partitions, or overlapping parts of one file on two sides
    repeated-content   warning  the same recording twice under one speaker, on one side
    conflicting-labels error    the same recording twice, with different labels
    speaker-overlap    error    a speaker in two partitions
    speaker-forms      warning  speakers whose names differ in case, Unicode form or spaces only
    too-few-speakers   error    fewer than three speakers
    absent-partition   error    no train or no test, but other partitions
    no-validation      warning  no validation, but train and test, and the corpus has no rule for it of its own: 20 %
                                of the training speakers will be held out
    no-partition       warning  the row has no partition, but others have
    missing-label      warning  the row has no label; it is left out of that task
    few-classes        error    fewer than two classes have examples
    absent-class       error    a class without example in train or test (a warning for validation)
    single-speaker     warning  a class that one speaker alone has
    label-forms        warning  classes that differ in case, Unicode form or spaces only
    decimal-comma      warning  labels such as 0,5, which are no numbers
    missing-list       warning  a file of the corpus that gives the labels of a task is not there
    unlisted-file      warning  audio files that no list of the corpus names
    listed-size        warning  audio files that have not the size that the corpus's list gives
    speaker-group      warning  speakers whose age or gender does not fit the group that their number tells
    published-…        warning  ``utterances``, ``speakers`` or ``classes`` are not as many as were published
    ================== ======== ==================================================================================

    The sides are the corpus's partitions, or with ``splits`` those of each split; then partitions and missing labels
    are not looked at, and since the tests of all splits are pooled, a class has to be in one of them at least, and in
    every split's train.

    Silence, clipping and content are those of the utterance, mixed down to mono. The same recording is found through
    containers and codecs, gain, resampling and silence around it; :mod:`~convrnn.corpora.fingerprint` says how, what
    that costs and what it cannot find.

    Args:
        corpus: What to check.
        task: The task to check labels of; by default every task. Then columns that may never have been meant as
            classes cause warnings only: those with numbers alone (ages, grades) and, beside other tasks, those with one
            value.
        splits: The splits that are to be used. Then only rows that they use are looked at, and their sides, not the
            partition column, decide what is shared between sets and which classes are absent.
        cache_dir: Where what was heard is kept, so that checking again costs little; by default nowhere.
        jobs: Processes that listen.
        on_progress: Called with files listened to so far and files in all.

    Raises:
        InputError: If the corpus has no such task.
    """
    tasks = list(corpus.tasks) if task is None else [task]
    for name in tasks:
        corpus.classes(name)
    if splits is not None:
        corpus = used_rows(corpus, task, splits)
    divisions = [partition_column(corpus)] if splits is None else by_splits(corpus, splits)
    recordings = listen(corpus, cache_dir=cache_dir, jobs=jobs, on_progress=on_progress)
    defects = [
        *sound_defects(corpus, recordings),
        *content_defects(corpus, tasks, divisions, same_content(corpus, recordings)),
        *speaker_defects(corpus, by_partition=splits is None),
        *(Defect("warning", r.kind, r.message) for r in corpus.remarks if task is None or r.task in (None, task)),
    ]
    for name in tasks:
        found = label_defects(corpus, name, splits)
        if task is None:
            found = [_as_told_unasked(defect, corpus, name) for defect in found]
        defects += found
    return CheckReport(
        corpus=corpus.name,
        synthetic=corpus.synthetic,
        **_counts(corpus, tasks, recordings),
        defects=sorted(defects, key=lambda defect: defect.severity != "error"),
    )


def drop_duplicates(
    corpus: Corpus,
    task: str | None = None,
    *,
    cache_dir: Path | None = None,
    jobs: int = 1,
    on_progress: Callable[[int, int], None] | None = None,
) -> tuple[Corpus, list[str]]:
    """Leave out every recording that an earlier row of the corpus holds already.

    Copies that contradict the earlier row's label stay, so that :func:`check_corpus` goes on telling of them: which of
    the two is right only a person can say.

    Args:
        corpus: Whose audio to listen to.
        task: The task whose labels must agree; by default every task.
        cache_dir: As for :func:`check_corpus`, like the others.
        jobs: Processes.
        on_progress: Called with files listened to so far and files in all.

    Returns:
        The corpus without the copies, and the ids of the rows left out, in table order.

    Raises:
        InputError: If the corpus has no such task.
    """
    tasks = list(corpus.tasks) if task is None else [task]
    for name in tasks:
        corpus.classes(name)
    recordings = listen(corpus, cache_dir=cache_dir, jobs=jobs, on_progress=on_progress)
    labels = [corpus.table[name].tolist() for name in tasks]
    left_out: set[int] = set()
    for first, *later in same_content(corpus, recordings):
        for row in later:
            if all(own[row] == own[first] or None in (own[row], own[first]) for own in labels):
                left_out.add(row)
    ids = corpus.table["id"].tolist()
    return corpus.keep([row not in left_out for row in range(len(ids))]), [ids[row] for row in sorted(left_out)]


def _as_told_unasked(defect: Defect, corpus: Corpus, task: str) -> Defect:
    """The defect of a task that nobody asked for by name."""
    numbers = all(map(is_number, corpus.tasks[task]))
    constant = len(corpus.tasks[task]) < 2 and any(len(classes) > 1 for classes in corpus.tasks.values())
    return replace(defect, severity="warning") if numbers or constant else defect


def _counts(corpus: Corpus, tasks: Sequence[str], recordings: Sequence[Recording]) -> dict[str, Any]:
    """The tables of a report."""
    partitions = [NO_PARTITION if side is None else side for side in corpus.table["partition"].tolist()]
    rows = Counter(partitions)
    present = [side for side in (*PARTITIONS, NO_PARTITION) if side in rows]
    speakers = Counter(side for _, side in {*zip(corpus.table["speaker"].tolist(), partitions, strict=True)})
    labels = {name: Counter(zip(corpus.table[name].tolist(), partitions, strict=True)) for name in tasks}
    rates = Counter({recording.file: recording.sample_rate for recording in recordings}.values())
    return {
        "utterances": {side: rows[side] for side in present},
        "speakers": {side: speakers[side] for side in present},
        "seconds": _durations(present, partitions, recordings),
        "sample_rates": {rate: rates[rate] for rate in sorted(rate for rate in rates if rate is not None)},
        "classes": {
            name: {label: {side: labels[name][label, side] for side in present} for label in corpus.tasks[name]}
            for name in tasks
        },
    }


def _durations(
    present: Sequence[str], partitions: Sequence[str], recordings: Sequence[Recording]
) -> dict[str, dict[str, float]]:
    durations = {}
    for side in present:
        values = [r.seconds for r, own in zip(recordings, partitions, strict=True) if own == side and r.seconds]
        if values:
            summary = {"total": sum(values), "min": min(values), "median": np.median(values), "max": max(values)}
            durations[side] = {name: round(float(value), 4) for name, value in summary.items()}
    return durations
