"""The rows of a corpus that a command is about: as the user wants them, and checked before any work."""

import shlex
from collections import Counter as Kinds
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from convrnn.cli import options
from convrnn.cli.console import Counter, say, tell_error, warn
from convrnn.cli.prepare import open_with_progress
from convrnn.corpora.check import CheckReport, Defect, check_corpus
from convrnn.corpora.corpus import Corpus
from convrnn.corpora.gate import (
    Provisos,
    UnsoundCorpusError,
    check_acceptable,
    count_kinds,
    require_sound,
    rows_to_use,
)
from convrnn.corpora.splits import Split

MOST_SHOWN = 20
"""Errors of one kind that are told one by one."""


@dataclass(frozen=True, slots=True)
class RowOptions:
    """What the user says of a corpus's rows.

    Attributes:
        same_speaker: pairs of names that one person goes by.
        drop_duplicates: whether copies of recordings are left out.
        accept: kinds of errors that are let through.
        several: whether they are said of several corpora; a pair is then one of those that have both names.
    """

    same_speaker: tuple[tuple[str, str], ...] = ()
    drop_duplicates: bool = False
    accept: tuple[str, ...] = ()
    several: bool = False

    @classmethod
    def of(
        cls, same_speaker: list[str] | None, accept: list[str] | None, *, drop_duplicates: bool, several: bool = False
    ) -> Self:
        """The options as they were given.

        Raises:
            InputError: for a pair or a kind that cannot be.
        """
        check_acceptable(accept or ())
        pairs = options.pairs_of_names("--same-speaker", same_speaker or ())
        return cls(tuple(pairs), drop_duplicates, tuple(accept or ()), several)

    def pairs(self, corpus: Corpus) -> list[tuple[str, str]]:
        """The pairs that are meant for a corpus."""
        known = set(corpus.speakers)
        return [pair for pair in self.same_speaker if not self.several or known.issuperset(pair)]


def open_task(spec: str, task: str, chosen: RowOptions, cache: Path, jobs: int) -> tuple[Corpus, Provisos]:
    """The rows of a corpus that an experiment is about; says what is odd about the corpus.

    Args:
        spec: the corpus, as the user names it.
        task: rows without a label for it are left out.
        chosen: what the user says of the rows.
        cache: the cache folder.
        jobs: processes that listen.

    Raises:
        InputError: for an unknown or unreadable corpus, and for an unknown task or speaker.
    """
    corpus = open_with_progress(spec)
    labelled = len(corpus.for_task(task))
    for remark in corpus.remarks:
        if remark.task in (None, task):
            warn(f"{spec}: {remark.message}")
    if without := len(corpus) - labelled:
        say(f"{spec}: {without} of {len(corpus)} rows have no label for {task} and are left out")
    return use_rows(corpus, task, chosen, cache, jobs)


def use_rows(corpus: Corpus, task: str, chosen: RowOptions, cache: Path, jobs: int) -> tuple[Corpus, Provisos]:
    """The rows with a label for the task, speakers joined and copies left out as the user says.

    Raises:
        InputError: for an unknown task or speaker.
    """
    with Counter("looking for copies") as counter:
        rows, provisos = rows_to_use(
            corpus,
            task,
            same_speaker=chosen.pairs(corpus),
            without_copies=chosen.drop_duplicates,
            cache_dir=cache,
            jobs=jobs,
            on_progress=counter,
        )
    for sentence in provisos.sentences():
        say(sentence)
    if chosen.drop_duplicates and not provisos.dropped:
        say(f"{corpus.name}: there are no copies to leave out")
    return rows, provisos


def check_rows(
    corpus: Corpus, task: str, splits: Sequence[Split], chosen: RowOptions, provisos: Provisos, cache: Path, jobs: int
) -> Provisos:
    """Stop before rows that would make results wrong, unless the user lets them through.

    Args:
        corpus: the rows.
        task: the label column.
        splits: what is going to be trained on.
        chosen: what the user lets through.
        provisos: what was done to the rows.
        cache: the cache folder, where what was heard is kept.
        jobs: processes that listen.

    Returns:
        What was done to the rows, with what was let through.

    Raises:
        UnsoundCorpusError: after the errors have been told.
    """
    with Counter("listening") as counter:
        report = check_corpus(corpus, task, splits=splits, cache_dir=cache, jobs=jobs, on_progress=counter)
    return let_through(report, corpus, task, chosen, provisos)


def let_through(report: CheckReport, corpus: Corpus, task: str, chosen: RowOptions, provisos: Provisos) -> Provisos:
    """Tell what was found, and stop if there is an error that the user does not let through.

    Raises:
        UnsoundCorpusError: after the errors have been told.
    """
    command = _check_command(corpus, task, chosen, provisos)
    try:
        accepted = require_sound(report, chosen.accept)
    except UnsoundCorpusError as error:
        if len(error.defects) > 1:
            _tell_errors(error.defects, command)
        raise
    told = {remark.kind for remark in corpus.remarks}
    if warnings := [defect for defect in report.warnings if defect.kind not in told]:
        warn(f"{corpus.name}: {count_kinds(warnings)}; `{command}` tells of each")
    if accepted:
        warn(Provisos().accepting(accepted).sentences()[0])
    return provisos.accepting(accepted)


def _check_command(corpus: Corpus, task: str, chosen: RowOptions, provisos: Provisos) -> str:
    """The command that tells more of the same rows."""
    pairs = [word for pair in provisos.joined for word in ("--same-speaker", "=".join(pair))]
    copies = ["--drop-duplicates"] if chosen.drop_duplicates else []
    return shlex.join(["convrnn", "check", corpus.name, "--task", task, *pairs, *copies])


def _tell_errors(defects: Sequence[Defect], command: str) -> None:
    """The errors, of each kind no more than fit on a screen."""
    for kind, count in Kinds(defect.kind for defect in defects).items():
        own = [defect for defect in defects if defect.kind == kind]
        for defect in own[:MOST_SHOWN]:
            tell_error(defect.message)
        if count > MOST_SHOWN:
            say(f"… and {count - MOST_SHOWN} more of the kind {kind}; `{command} --all` lists them")
