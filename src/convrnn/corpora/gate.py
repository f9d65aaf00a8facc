"""Decides whether a corpus is sound enough to train and test on, and records the errors that a user accepted."""

from collections import Counter
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from convrnn.corpora.check import CheckReport, Defect, check_corpus, drop_duplicates
from convrnn.corpora.corpus import Corpus
from convrnn.corpora.labelled import LabelledCorpus
from convrnn.corpora.splits import Split
from convrnn.errors import Argument, InputError

Progress = Callable[[int, int], None]

ACCEPTABLE = {
    "absent-class": "classes without an example",
    "conflicting-labels": "recordings with several labels",
    "shared-content": "recordings in two partitions",
    "shared-speaker": "pairs of speakers with the same recordings",
    "truncated": "truncated files",
}
"""Kinds of errors that a user may accept, because results are still possible, with their names in reports."""

OF_A_TEST = (
    *("missing-file", "foreign-format", "unreadable", "truncated", "zero-length", "too-short", "widths"),
    *("conflicting-labels", "silence", "constant", "clipping", "stereo", "resampled", "repeated-content"),
)
"""Kinds of errors and warnings that matter for testing a trained model, whatever it was trained on."""

LEAKS = ("shared-content", "shared-speaker")
"""Kinds of errors that mean a model is tested on its training data."""

_NAMED = 3
"""Maximum number of copies named in a message."""


class UnsoundCorpusError(InputError):
    """A corpus has errors that would make results wrong.

    Attributes:
        defects: The errors that were not accepted.
    """

    def __init__(self, defects: Sequence[Defect], *parts: str | Argument) -> None:
        super().__init__(*parts)
        self.defects = list(defects)


def require_sound(report: CheckReport, accept: Collection[str] = ()) -> list[Defect]:
    """Raises an error if a corpus has errors that are not accepted.

    Args:
        report: The result of the check.
        accept: Kinds of errors to accept, from :data:`ACCEPTABLE`.

    Returns:
        The errors that were accepted.

    Raises:
        UnsoundCorpusError: There are other errors.
        InputError: A kind in ``accept`` does not exist or cannot be accepted.

    Example:
        >>> wrong = [Defect("error", "truncated", "a.wav: is truncated")]
        >>> report = CheckReport("csv:data.csv", False, {}, {}, {}, {}, {}, wrong)
        >>> [defect.kind for defect in require_sound(report, accept=["truncated"])]
        ['truncated']
        >>> require_sound(report)
        Traceback (most recent call last):
        ...
        convrnn.corpora.gate.UnsoundCorpusError: a.wav: is truncated; to continue anyway, use accept=['truncated']
    """
    check_acceptable(accept)
    accepted = [defect for defect in report.errors if defect.kind in accept]
    refused = [defect for defect in report.errors if defect.kind not in accept]
    if not refused:
        return accepted
    kinds = dict.fromkeys(defect.kind for defect in refused)
    what = refused[0].message
    if len(refused) > 1:
        utterances = sum(report.utterances.values())
        what = f"{report.corpus}: {len(refused)} errors in {utterances} utterances: {count_kinds(refused)}"
    if all(kind in ACCEPTABLE for kind in kinds):
        raise UnsoundCorpusError(refused, what, "; to continue anyway, use ", Argument("accept", tuple(kinds)))
    raise UnsoundCorpusError(refused, what)


def check_acceptable(accept: Collection[str]) -> None:
    """Raises an error for kinds that cannot be accepted.

    Raises:
        InputError: A kind cannot be accepted; the message lists those that can.
    """
    for kind in accept:
        if kind not in ACCEPTABLE:
            raise InputError(
                Argument("accept", (kind,)), f": cannot be accepted; kinds that can: {', '.join(ACCEPTABLE)}"
            )


def count_kinds(defects: Sequence[Defect]) -> str:
    """The number of defects of each kind.

    Example:
        >>> count_kinds([Defect("warning", "silence", "a"), Defect("warning", "silence", "b")])
        'silence (2)'
    """
    return ", ".join(f"{kind} ({count})" for kind, count in Counter(defect.kind for defect in defects).items())


@dataclass(frozen=True, slots=True)
class Provisos:
    """What readers of results must know about the rows: what was changed, and which errors were accepted.

    Attributes:
        joined: Pairs of names of the same person.
        dropped: Ids of copies that were left out.
        accepted: Kinds of errors that were accepted, with the number of each.
    """

    joined: tuple[tuple[str, str], ...] = ()
    dropped: tuple[str, ...] = ()
    accepted: tuple[tuple[str, int], ...] = ()

    def accepting(self, defects: Sequence[Defect]) -> "Provisos":
        """A copy with the accepted errors."""
        return replace(self, accepted=tuple(Counter(defect.kind for defect in defects).items()))

    def sentences(self) -> list[str]:
        """One sentence for each attribute that is not empty.

        Example:
            >>> Provisos(joined=(("46", "53"),), accepted=(("truncated", 2),)).sentences()
            ['Joined as one speaker: 46 and 53.', 'Accepted errors of the corpus: truncated files (2).']
        """
        told = []
        if self.joined:
            told.append(f"Joined as one speaker: {', '.join(' and '.join(pair) for pair in self.joined)}.")
        if self.dropped:
            names = ", ".join(self.dropped[:_NAMED]) + (", …" if len(self.dropped) > _NAMED else "")
            told.append(f"Left out as copies of other recordings: {len(self.dropped)} ({names}).")
        if self.accepted:
            kinds = ", ".join(f"{ACCEPTABLE[kind]} ({count})" for kind, count in self.accepted)
            told.append(f"Accepted errors of the corpus: {kinds}.")
        return told

    def to_dict(self) -> dict[str, Any]:
        """The attributes as a dictionary for :func:`json.dumps`."""
        return {
            "joined_speakers": [list(pair) for pair in self.joined],
            "dropped_duplicates": list(self.dropped),
            "accepted_errors": dict(self.accepted),
        }


def rows_to_use(
    corpus: Corpus,
    task: str,
    *,
    same_speaker: Sequence[tuple[str, str]] = (),
    without_copies: bool = False,
    cache_dir: Path | None = None,
    jobs: int = 1,
    on_progress: Progress | None = None,
) -> tuple[LabelledCorpus, Provisos]:
    """The rows of a corpus that an experiment uses.

    Args:
        corpus: The corpus.
        task: The task; rows without a label for it are left out.
        same_speaker: Pairs of names of the same person.
        without_copies: Whether to leave out repeated recordings.
        cache_dir: Folder in which findings about audio files are cached; by default none.
        jobs: Number of processes that read audio.
        on_progress: Called with the number of files read and the total.

    Returns:
        The rows, and what was changed.

    Raises:
        InputError: The task or a name is unknown.
    """
    rows = corpus.join_speakers(same_speaker).for_task(task)
    dropped: list[str] = []
    if without_copies:
        # After selecting the task, so that no labelled row is dropped as a copy of an unlabelled one.
        rows, dropped = drop_duplicates(rows, cache_dir=cache_dir, jobs=jobs, on_progress=on_progress)
    return rows, Provisos(tuple(same_speaker), tuple(dropped))


def check_tested_rows(
    corpus: LabelledCorpus,
    tested: Collection[int],
    split: Split | None = None,
    *,
    cache_dir: Path | None = None,
    jobs: int = 1,
    on_progress: Progress | None = None,
) -> CheckReport:
    """Checks the rows that a trained model is to be tested on.

    Two groups of the checks of :func:`~convrnn.corpora.check.check_corpus` apply: those that make any test wrong
    (:data:`OF_A_TEST`: a file that cannot be read to its end, or different labels for the same audio) and, if the
    model's training speakers are known, those that mean testing on training data (:data:`LEAKS`). The other checks
    concern training: numbers of speakers, classes and partitions. A class without examples among the rows is not an
    error, but its recall, and therefore UA recall, is undefined.

    Args:
        corpus: The corpus.
        tested: Numbers of the rows to test on.
        split: The split that the model was trained on, if it was trained on this corpus.
        cache_dir: Folder in which findings about audio files are cached; by default none.
        jobs: Number of processes that read audio.
        on_progress: Called with the number of files read and the total.

    Returns:
        The counts of the tested rows, with the errors and warnings that matter.
    """
    speakers = corpus.table["speaker"].tolist()

    def check(rows: Collection[int], splits: list[Split] | None) -> CheckReport:
        used = replace(corpus, table=corpus.table.iloc[sorted(rows)].assign(partition=None))
        return check_corpus(used, splits=splits, cache_dir=cache_dir, jobs=jobs, on_progress=on_progress)

    report = check(tested, None)
    defects = [defect for defect in report.defects if defect.kind in OF_A_TEST]
    if split is not None:
        seen = {row for row, speaker in enumerate(speakers) if speaker in {*split.train, *split.validation}}
        if not seen.issuperset(tested):
            both = check(seen.union(tested), [split])
            defects = [defect for defect in both.errors if defect.kind in LEAKS] + defects
    return replace(report, defects=defects)
