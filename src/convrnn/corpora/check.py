"""What a corpus holds and what is wrong with it, before any training."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

import numpy as np
import pandas as pd

from convrnn.corpora.corpus import PARTITIONS, Corpus, is_number
from convrnn.corpora.recording import Recording, listen
from convrnn.corpora.splits import VALIDATION_SHARE

Severity = Literal["error", "warning"]

NO_PARTITION = "none"
"""The name, in the tables, of rows that have no partition."""


@dataclass(frozen=True, slots=True)
class Defect:
    """One thing that is wrong.

    Attributes:
        severity: ``"error"`` where results would be wrong or a run would stop, else ``"warning"``.
        kind: A fixed word such as ``"silence"``, by which defects can be grouped.
        message: One sentence that names the utterance, speaker or class.
    """

    severity: Severity
    kind: str
    message: str


@dataclass(frozen=True, slots=True)
class CheckReport:
    """What :func:`check_corpus` found, as plain data.

    In every table ``partition`` is ``"train"``, ``"validation"``, ``"test"`` or ``"none"``, and only those that occur
    are there.

    Attributes:
        corpus: The corpus as the user gave it.
        synthetic: True where no person spoke.
        utterances: Partition to number of rows.
        speakers: Partition to number of speakers.
        seconds: Partition to the duration of its readable utterances: ``total``, ``min``, ``median``, ``max``.
        sample_rates: Hz to number of files, from low to high.
        classes: Task to class to partition to number of rows.
        defects: Errors first, each in table order.
    """

    corpus: str
    synthetic: bool
    utterances: dict[str, int]
    speakers: dict[str, int]
    seconds: dict[str, dict[str, float]]
    sample_rates: dict[int, int]
    classes: dict[str, dict[str, dict[str, int]]]
    defects: list[Defect]

    @property
    def errors(self) -> list[Defect]:
        """The defects that would make results wrong."""
        return [defect for defect in self.defects if defect.severity == "error"]

    @property
    def warnings(self) -> list[Defect]:
        """The other defects."""
        return [defect for defect in self.defects if defect.severity == "warning"]

    def to_dict(self) -> dict[str, Any]:
        """The report as dictionaries, lists, text and numbers, ready for :func:`json.dumps`."""
        return asdict(self)


def check_corpus(
    corpus: Corpus, task: str | None = None, *, on_progress: Callable[[int, int], None] | None = None
) -> CheckReport:
    """Count what a corpus holds, listen to every utterance once, and list every defect.

    ================== ======== ==================================================================================
    kind               severity meaning
    ================== ======== ==================================================================================
    missing-file       error    no such file
    unreadable         error    not audio, broken off, holds NaN or infinite samples, segment outside the file
    truncated          error    a WAV file ends before its header says so
    zero-length        error    no samples
    too-short          error    less than one frame of 25 ms
    silence            warning  all samples are equal
    clipping           warning  three neighbouring samples, or 0.1 % of all, at full scale
    shared-content     error    the same samples, or overlapping parts of one file, in two partitions
    repeated-content   warning  the same samples twice within a partition
    conflicting-labels error    the same samples twice, with different labels
    speaker-overlap    error    a speaker in two partitions
    too-few-speakers   error    fewer than three speakers
    absent-partition   error    no train or no test, but other partitions
    no-validation      warning  no validation, but train and test, and the corpus has no rule for it of its own: 20 %
                                of the training speakers will be held out
    no-partition       warning  the row has no partition, but others have
    missing-label      warning  the row has no label; it is left out of that task
    few-classes        error    fewer than two classes have examples
    absent-class       error    a class without example in train or test (a warning for validation)
    single-speaker     warning  a class that one speaker alone has
    sample-rates       warning  files have several; features are computed at the lowest
    missing-list       warning  a file of the corpus that gives the labels of a task is not there
    unlisted-file      warning  audio files that no list of the corpus names
    listed-size        warning  audio files that have not the size that the corpus's list gives
    speaker-group      warning  speakers whose age or gender does not fit the group that their number tells
    published-…        warning  ``utterances``, ``speakers`` or ``classes`` are not as many as were published
    ================== ======== ==================================================================================

    Silence, clipping and content are those of the utterance, mixed down to mono; content is compared after decoding,
    so a copy in another lossless format is found.

    Args:
        corpus: What to check.
        task: The task to check labels of; by default every task. Then columns that may never have been meant as
            classes cause warnings only: those with numbers alone (ages, grades) and, beside other tasks, those with one
            value.
        on_progress: Called with files listened to so far and files in all.

    Raises:
        InputError: If the corpus has no such task.
    """
    tasks = list(corpus.tasks) if task is None else [task]
    for name in tasks:
        corpus.classes(name)
    recordings = listen(corpus, on_progress)
    files = {recording.file: recording.sample_rate for recording in recordings if recording.sample_rate}
    rates = {rate: list(files.values()).count(rate) for rate in sorted(set(files.values()))}
    table = corpus.table
    partitions = [NO_PARTITION if side is None else side for side in table["partition"].tolist()]
    present = [side for side in (*PARTITIONS, NO_PARTITION) if side in partitions]
    defects = [
        *(Defect(severity, kind, message) for one in recordings for severity, kind, message in one.faults),
        *_content_defects(corpus, tasks, partitions, recordings),
        *_overlap_defects(corpus, partitions),
        *_speaker_defects(corpus, partitions),
        *_rate_defects(list(rates)),
        *(Defect("warning", r.kind, r.message) for r in corpus.remarks if task is None or r.task in (None, task)),
    ]
    for name in tasks:
        found = _class_defects(corpus, name, partitions)
        if task is None:
            found = [_as_told_unasked(defect, corpus, name) for defect in found]
        defects += found
    sides = pd.Series(partitions, dtype=object)
    return CheckReport(
        corpus=corpus.name,
        synthetic=corpus.synthetic,
        utterances={side: partitions.count(side) for side in present},
        speakers={side: int(table["speaker"][sides == side].nunique()) for side in present},
        seconds=_durations(present, partitions, recordings),
        sample_rates=rates,
        classes={
            name: {
                label: {side: int(((table[name] == label) & (sides == side)).sum()) for side in present}
                for label in corpus.tasks[name]
            }
            for name in tasks
        },
        defects=sorted(defects, key=lambda defect: defect.severity != "error"),
    )


def _as_told_unasked(defect: Defect, corpus: Corpus, task: str) -> Defect:
    """The defect of a task that nobody asked for by name."""
    numbers = all(map(is_number, corpus.tasks[task]))
    constant = len(corpus.tasks[task]) < 2 and any(len(classes) > 1 for classes in corpus.tasks.values())
    return replace(defect, severity="warning") if numbers or constant else defect


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


def _content_defects(
    corpus: Corpus, tasks: Sequence[str], partitions: Sequence[str], recordings: Sequence[Recording]
) -> list[Defect]:
    """The same decoded samples in more than one row."""
    groups: dict[str, list[int]] = {}
    for row, recording in enumerate(recordings):
        if recording.digest is not None:
            groups.setdefault(recording.digest, []).append(row)
    ids = corpus.table["id"].tolist()
    defects = []
    for rows in groups.values():
        if len(rows) < 2:
            continue
        names = ", ".join(f"{ids[row]} ({partitions[row]})" for row in rows)
        sides = {partitions[row] for row in rows}
        if len(sides) > 1:
            defects.append(Defect("error", "shared-content", f"the same audio is in several partitions: {names}"))
        else:
            defects.append(Defect("warning", "repeated-content", f"the same audio is there {len(rows)} times: {names}"))
        for task in tasks:
            labels = {corpus.table[task][row] for row in rows} - {None}
            if len(labels) > 1:
                told = ", ".join(f"{ids[row]} is {corpus.table[task][row]}" for row in rows)
                defects.append(Defect("error", "conflicting-labels", f"the same audio has several labels: {told}"))
    return defects


def _overlap_defects(corpus: Corpus, partitions: Sequence[str]) -> list[Defect]:
    """Parts of one file that share some of their time, in different partitions."""
    spans: dict[str, list[tuple[float, float, int]]] = {}
    for row, segment in enumerate(corpus.segments()):
        end = float("inf") if segment.end is None else segment.end
        spans.setdefault(segment.file, []).append((segment.start or 0.0, end, row))
    ids = corpus.table["id"].tolist()
    defects = []
    for parts in spans.values():
        # The furthest end so far of each partition: neighbours alone would miss a long part over several short ones.
        reach: dict[str, tuple[float, int]] = {}
        for start, end, row in sorted(parts):
            for side, (other_end, other) in reach.items():
                if side != partitions[row] and other_end > start:
                    message = (
                        f"overlapping parts of one file are in {side} and {partitions[row]}: {ids[other]}, {ids[row]}"
                    )
                    defects.append(Defect("error", "shared-content", message))
            reach[partitions[row]] = max(reach.get(partitions[row], (end, row)), (end, row))
    return defects


def _speaker_defects(corpus: Corpus, partitions: Sequence[str]) -> list[Defect]:
    sides: dict[str, dict[str, int]] = {}
    for speaker, side in zip(corpus.table["speaker"].tolist(), partitions, strict=True):
        counts = sides.setdefault(speaker, {})
        counts[side] = counts.get(side, 0) + 1
    defects = []
    for speaker, counts in sides.items():
        named = {side: count for side, count in counts.items() if side != NO_PARTITION}
        if len(named) > 1:
            told = ", ".join(f"{count} utterance{'s' if count > 1 else ''} in {side}" for side, count in named.items())
            defects.append(Defect("error", "speaker-overlap", f"speaker {speaker!r} is in several partitions: {told}"))
    if len(sides) < 3:
        speakers = f"{len(sides)} speaker{'s' if len(sides) > 1 else ''}"
        message = f"the corpus has {speakers}; train, validation and test need one each at least"
        defects.append(Defect("error", "too-few-speakers", message))
    given = set(partitions) - {NO_PARTITION}
    if given:
        defects += [
            Defect("error", "absent-partition", f"no utterance is in the partition {side}, but others have one")
            for side in ("train", "test")
            if side not in given
        ]
        if given == {"train", "test"} and corpus.hold_out is None:
            message = (
                f"no utterance is in the partition validation, so {100 * VALIDATION_SHARE:.0f} % of the training "
                "speakers will be held out for it"
            )
            defects.append(Defect("warning", "no-validation", message))
        defects += [
            Defect("warning", "no-partition", f"{identity} has no partition, but others have")
            for identity, side in zip(corpus.table["id"].tolist(), partitions, strict=True)
            if side == NO_PARTITION
        ]
    return defects


def _rate_defects(rates: Sequence[int]) -> list[Defect]:
    if len(rates) < 2:
        return []
    message = (
        f"files have {len(rates)} sample rates, {rates[0]} to {rates[-1]} Hz: features are computed at the lowest, and "
        "the other files are resampled to it"
    )
    return [Defect("warning", "sample-rates", message)]


def _class_defects(corpus: Corpus, task: str, partitions: Sequence[str]) -> list[Defect]:
    labels: list[str | None] = corpus.table[task].tolist()
    ids, speakers = corpus.table["id"].tolist(), corpus.table["speaker"].tolist()
    defects = [
        Defect("warning", "missing-label", f"{identity} has no label for the task {task!r}; it is left out there")
        for identity, label in zip(ids, labels, strict=True)
        if label is None
    ]
    if len(set(labels) - {None}) < 2:
        found = ", ".join(corpus.tasks[task]) or "none"
        defects.append(Defect("error", "few-classes", f"task {task!r} needs two classes at least; found: {found}"))
    for side in PARTITIONS:
        if side not in partitions:
            continue
        held = {label for label, own in zip(labels, partitions, strict=True) if own == side}
        absent = [name for name in corpus.tasks[task] if name not in held]
        if absent:
            severity: Severity = "warning" if side == "validation" else "error"
            message = f"task {task!r}: no example in {side} of {', '.join(map(repr, absent))}"
            defects.append(Defect(severity, "absent-class", message))
    for name in corpus.tasks[task]:
        owners = {speaker for speaker, label in zip(speakers, labels, strict=True) if label == name}
        if len(owners) == 1:
            message = f"task {task!r}: class {name!r} has one speaker only, {owners.pop()!r}"
            defects.append(Defect("warning", "single-speaker", message))
    return defects
