"""What has to hold of a corpus before anything is trained or tested on it, and what a reader is told if it does not."""

from collections import Counter
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from convrnn.corpora.check import CheckReport, Defect, check_corpus, drop_duplicates
from convrnn.corpora.corpus import Corpus
from convrnn.corpora.splits import Split
from convrnn.errors import InputError

Progress = Callable[[int, int], None]

ACCEPTABLE = {
    "absent-class": "classes without an example",
    "conflicting-labels": "recordings with several labels",
    "shared-content": "recordings in two partitions",
    "shared-speaker": "pairs of speakers with the same recordings",
    "truncated": "truncated files",
}
"""Kinds of errors that somebody may let through, since there are results in spite of them, to what results say."""

OF_A_TEST = (
    *("missing-file", "foreign-format", "unreadable", "truncated", "zero-length", "too-short", "conflicting-labels"),
    *("silence", "clipping", "stereo", "repeated-content"),
)
"""Kinds of errors and of warnings that concern the test of a trained model whatever it was trained on."""

LEAKS = ("shared-content", "shared-speaker")
"""Kinds of errors that show a trained model in the test what it has seen before."""

_NAMED = 3
"""Left out copies that a sentence names."""


class UnsoundCorpusError(InputError):
    """A corpus has errors that would make results wrong.

    Attributes:
        defects: All of them that were not let through.
    """

    def __init__(self, message: str, defects: Sequence[Defect]) -> None:
        super().__init__(message)
        self.defects = list(defects)


def require_sound(report: CheckReport, accept: Collection[str] = ()) -> list[Defect]:
    """Refuse a corpus with errors, but for those that somebody lets through.

    Args:
        report: What was found.
        accept: Kinds of errors, among :data:`ACCEPTABLE`, that are let through.

    Returns:
        The errors that were let through.

    Raises:
        UnsoundCorpusError: For any other error.
        InputError: For a kind that does not exist or cannot be let through.

    Example:
        >>> wrong = [Defect("error", "truncated", "a.wav: audio file is truncated")]
        >>> report = CheckReport("csv:data.csv", False, {}, {}, {}, {}, {}, wrong)
        >>> [defect.kind for defect in require_sound(report, accept=["truncated"])]
        ['truncated']
        >>> require_sound(report)
        Traceback (most recent call last):
        ...
        convrnn.corpora.gate.UnsoundCorpusError: a.wav: audio file is truncated; --accept truncated goes on all the same
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
        what += f"; {' '.join(f'--accept {kind}' for kind in kinds)} goes on all the same"
    raise UnsoundCorpusError(what, refused)


def check_acceptable(accept: Collection[str]) -> None:
    """Refuse kinds of errors that cannot be let through.

    Raises:
        InputError: Naming those that can.
    """
    for kind in accept:
        if kind not in ACCEPTABLE:
            raise InputError(f"--accept {kind}: cannot be let through; kinds that can: {', '.join(ACCEPTABLE)}")


def count_kinds(defects: Sequence[Defect]) -> str:
    """How many defects there are of each kind.

    Example:
        >>> count_kinds([Defect("warning", "silence", "a"), Defect("warning", "silence", "b")])
        'silence (2)'
    """
    return ", ".join(f"{kind} ({count})" for kind, count in Counter(defect.kind for defect in defects).items())


@dataclass(frozen=True, slots=True)
class Provisos:
    """What a reader has to know of the rows that results are about: what was done to them, and what was let through.

    Attributes:
        joined: Pairs of names that one person goes by.
        dropped: Ids of copies that were left out.
        accepted: Kinds of errors that were let through, to how many there were.
    """

    joined: tuple[tuple[str, str], ...] = ()
    dropped: tuple[str, ...] = ()
    accepted: tuple[tuple[str, int], ...] = ()

    def accepting(self, defects: Sequence[Defect]) -> "Provisos":
        """These, and the errors that were let through."""
        return replace(self, accepted=tuple(Counter(defect.kind for defect in defects).items()))

    def sentences(self) -> list[str]:
        """One sentence for each of the three that there is anything to say of.

        Example:
            >>> Provisos(joined=(("46", "53"),), accepted=(("truncated", 2),)).sentences()
            ['Joined as one speaker: 46 and 53.', 'Errors of the corpus that were let through: truncated files (2).']
        """
        told = []
        if self.joined:
            told.append(f"Joined as one speaker: {', '.join(' and '.join(pair) for pair in self.joined)}.")
        if self.dropped:
            names = ", ".join(self.dropped[:_NAMED]) + (", …" if len(self.dropped) > _NAMED else "")
            told.append(f"Left out as copies of other recordings: {len(self.dropped)} ({names}).")
        if self.accepted:
            kinds = ", ".join(f"{ACCEPTABLE[kind]} ({count})" for kind, count in self.accepted)
            told.append(f"Errors of the corpus that were let through: {kinds}.")
        return told

    def to_dict(self) -> dict[str, Any]:
        """The same, ready for :func:`json.dumps`."""
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
) -> tuple[Corpus, Provisos]:
    """The rows of a corpus that an experiment is about.

    Args:
        corpus: The corpus.
        task: Rows without a label for it are left out.
        same_speaker: Pairs of names that one person goes by.
        without_copies: Leave out recordings that stand there a second time.
        cache_dir: Where what was heard of files is kept.
        jobs: Processes that listen.
        on_progress: Called with files listened to so far and files in all.

    Returns:
        The rows, and what was done to them.

    Raises:
        InputError: For an unknown task or name.
    """
    rows = corpus.join_speakers(same_speaker).for_task(task)
    dropped: list[str] = []
    if without_copies:
        # Not before: a copy with a label must not go for one without.
        rows, dropped = drop_duplicates(rows, task, cache_dir=cache_dir, jobs=jobs, on_progress=on_progress)
    return rows, Provisos(tuple(same_speaker), tuple(dropped))


def check_tested_rows(
    corpus: Corpus,
    task: str,
    tested: Collection[int],
    split: Split | None = None,
    *,
    cache_dir: Path | None = None,
    jobs: int = 1,
    on_progress: Progress | None = None,
) -> CheckReport:
    """What is wrong with rows that a trained model is to be tested on.

    Of the rules of :func:`~convrnn.corpora.check.check_corpus`, those apply that make a test wrong by itself
    (:data:`OF_A_TEST`: every file can be read to its end, and the same audio has one label) and, where it is known what
    the model has learnt from, those by which it would be tested on what it has seen (:data:`LEAKS`). The others are
    about training: how many speakers, classes and partitions there are. A class without example among the rows is no
    error; its recall, and with it UA recall, is then told to be undefined.

    Args:
        corpus: The corpus.
        task: The label column.
        tested: Row numbers; those without a label are passed over.
        split: The split that the model was trained on, where this is the corpus that it was trained on.
        cache_dir: Where what was heard of files is kept.
        jobs: Processes that listen.
        on_progress: Called with files listened to so far and files in all.

    Returns:
        What the tested rows hold, with the errors and warnings that matter.
    """
    speakers = corpus.table["speaker"].tolist()

    def check(rows: Collection[int], splits: list[Split] | None) -> CheckReport:
        table = corpus.table.iloc[sorted(rows)].assign(partition=None)
        used = replace(corpus, table=table).for_task(task)
        return check_corpus(used, task, splits=splits, cache_dir=cache_dir, jobs=jobs, on_progress=on_progress)

    report = check(tested, None)
    defects = [defect for defect in report.defects if defect.kind in OF_A_TEST]
    if split is not None:
        seen = {row for row, speaker in enumerate(speakers) if speaker in {*split.train, *split.validation}}
        if not seen.issuperset(tested):
            both = check(seen.union(tested), [split])
            defects = [defect for defect in both.errors if defect.kind in LEAKS] + defects
    return replace(report, defects=defects)
