"""Selects the rows of a corpus for an experiment, and checks them before any training."""

import shlex
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

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
from convrnn.corpora.labelled import LabelledCorpus
from convrnn.corpora.registry import CORPORA, corpus_forms, open_corpus
from convrnn.corpora.splits import Split
from convrnn.errors import Argument, InputError
from convrnn.experiments.arguments import check_list, pairs_of_names
from convrnn.experiments.progress import Progress
from convrnn.experiments.resources import Resources

MOST_SHOWN = 20
"""Errors of one kind that are reported one by one."""


@dataclass(frozen=True, slots=True)
class RowOptions:
    """The user's options for the rows of a corpus.

    Attributes:
        same_speaker: pairs of names of one person each.
        drop_duplicates: whether to leave out copies of recordings.
        accept: kinds of errors that are accepted.
        several: whether there are several corpora; a pair then applies to those that have both names.
    """

    same_speaker: tuple[tuple[str, str], ...] = ()
    drop_duplicates: bool = False
    accept: tuple[str, ...] = ()
    several: bool = False

    @classmethod
    def of(
        cls, same_speaker: Iterable[str], accept: Iterable[str], *, drop_duplicates: bool, several: bool = False
    ) -> Self:
        """The options as the user gives them, with pairs as ``"A=B"``.

        Raises:
            InputError: for anything else, and for a kind of error that cannot be accepted.
        """
        check_list("same_speaker", same_speaker)
        check_list("accept", accept)
        kinds = tuple(accept)
        check_acceptable(kinds)
        return cls(tuple(pairs_of_names("same_speaker", same_speaker)), drop_duplicates, kinds, several)

    def pairs(self, corpus: Corpus) -> list[tuple[str, str]]:
        """The pairs that apply to a corpus."""
        known = set(corpus.speakers)
        return [pair for pair in self.same_speaker if not self.several or known.issuperset(pair)]


def open_rows(
    corpus: str | Corpus, task: str, chosen: RowOptions, resources: Resources
) -> tuple[LabelledCorpus, Provisos]:
    """The labelled rows of a corpus; warns about anything unusual in it.

    Args:
        corpus: a corpus, or a name for :func:`~convrnn.corpora.registry.open_corpus`.
        task: rows without a label for it are left out.
        chosen: the user's options for the rows.
        resources: cache, processes and progress.

    Returns:
        The rows, and what was done to them.

    Raises:
        InputError: for an unknown or unreadable corpus, and for an unknown task or speaker.
    """
    progress = resources.progress
    whole = open_named(corpus, progress) if isinstance(corpus, str) else corpus
    labelled = len(whole.for_task(task))
    for remark in whole.remarks:
        if remark.task in (None, task):
            progress.warning(f"{whole.name}: {remark.message}")
    if without := len(whole) - labelled:
        progress.note(f"{whole.name}: {without} of {len(whole)} rows have no label for {task} and are left out")
    return use_rows(whole, task, chosen, resources)


def named_corpus(argument: str, corpus: str | Path | Corpus) -> str | Corpus:
    """A corpus or its name; the path of a CSV table becomes its name ``csv:PATH``.

    Args:
        argument: the argument's name, for the error.
        corpus: what was given.

    Raises:
        InputError: for anything else, such as the path of a folder, which may be that of several kinds of corpora.

    Example:
        >>> named_corpus("corpus", Path("speech.csv"))
        'csv:speech.csv'
    """
    if isinstance(corpus, str | Corpus):
        return corpus
    if isinstance(corpus, Path) and corpus.suffix.lower() == ".csv":
        return f"csv:{corpus}"
    found = f"the path {corpus}" if isinstance(corpus, Path) else f"a {type(corpus).__name__}"
    raise InputError(
        Argument(argument),
        f": a Corpus, the Path of a .csv file or a name is expected, not {found}; names: {', '.join(corpus_forms())}",
    )


def open_named(spec: str, progress: Progress) -> Corpus:
    """Open a corpus by its name, and show progress if it has to be synthesised first.

    Raises:
        InputError: for an unknown or unreadable corpus.
    """
    with progress.counting("synthesis") as count:
        return open_corpus(spec, on_progress=count)


def use_rows(corpus: Corpus, task: str, chosen: RowOptions, resources: Resources) -> tuple[LabelledCorpus, Provisos]:
    """The rows with a label for the task, with speakers joined and copies left out as the user wants.

    Raises:
        InputError: for an unknown task or speaker.
    """
    progress = resources.progress
    with progress.counting("looking for copies") as count:
        rows, provisos = rows_to_use(
            corpus,
            task,
            same_speaker=chosen.pairs(corpus),
            without_copies=chosen.drop_duplicates,
            cache_dir=resources.cache_dir,
            jobs=resources.jobs,
            on_progress=count,
        )
    for sentence in provisos.sentences():
        progress.note(sentence)
    if chosen.drop_duplicates and not provisos.dropped:
        progress.note(f"{corpus.name}: there are no copies to leave out")
    return rows, provisos


def check_rows(
    data: LabelledCorpus, splits: Sequence[Split], chosen: RowOptions, provisos: Provisos, resources: Resources
) -> Provisos:
    """Check the rows, and stop at errors that would make results wrong unless the user accepts them.

    Args:
        data: the rows.
        splits: the folds that will be used.
        chosen: the user's options, with the errors that are accepted.
        provisos: what was done to the rows.
        resources: cache, processes and progress.

    Returns:
        What was done to the rows, with the errors that were accepted.

    Raises:
        UnsoundCorpusError: after the errors have been reported.
    """
    with resources.progress.counting("checking recordings") as count:
        report = check_corpus(
            data, splits=splits, cache_dir=resources.cache_dir, jobs=resources.jobs, on_progress=count
        )
    return accept_or_stop(report, data, chosen, provisos, resources.progress)


def accept_or_stop(
    report: CheckReport, data: LabelledCorpus, chosen: RowOptions, provisos: Provisos, progress: Progress
) -> Provisos:
    """Report the findings, and stop at errors that the user does not accept.

    Raises:
        UnsoundCorpusError: after the errors have been reported.
    """
    try:
        accepted = require_sound(report, chosen.accept)
    except UnsoundCorpusError as error:
        if len(error.defects) > 1:
            _tell_errors(error.defects, _what_tells_more(data, chosen, provisos, "--all"), progress)
        raise
    told = {remark.kind for remark in data.remarks}
    if warnings := [defect for defect in report.warnings if defect.kind not in told]:
        progress.warning(f"{data.name}: {count_kinds(warnings)}; {_what_tells_more(data, chosen, provisos)} lists them")
    if accepted:
        progress.warning(Provisos().accepting(accepted).sentences()[0])
    return provisos.accepting(accepted)


def _what_tells_more(data: LabelledCorpus, chosen: RowOptions, provisos: Provisos, *options: str) -> str:
    """The command that lists all findings, or the function if no command can open the corpus."""
    if data.name.partition(":")[0] not in CORPORA:
        return "convrnn.corpora.check.check_corpus"
    pairs = [word for pair in provisos.joined for word in ("--same-speaker", "=".join(pair))]
    copies = ["--drop-duplicates"] if chosen.drop_duplicates else []
    return f"`{shlex.join(['convrnn', 'check', data.name, '--task', data.task, *pairs, *copies, *options])}`"


def _tell_errors(defects: Sequence[Defect], more: str, progress: Progress) -> None:
    """Report the errors, but of each kind no more than fit on a screen."""
    for kind, count in Counter(defect.kind for defect in defects).items():
        own = [defect for defect in defects if defect.kind == kind]
        for defect in own[:MOST_SHOWN]:
            progress.error(defect.message)
        if count > MOST_SHOWN:
            progress.note(f"… and {count - MOST_SHOWN} more of the kind {kind}; {more} lists them")
