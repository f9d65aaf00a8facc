"""Which columns a table of the paper has on given corpora, and the runs that fill them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from convrnn.corpora.corpus import Corpus
from convrnn.errors import InputError
from convrnn.experiments.paper import TABLES, Column, PaperTable
from convrnn.features.config import FeatureConfig
from convrnn.features.extract import Segment

PAPER_TASKS: Mapping[str, tuple[str, ...]] = {
    kind: tuple(
        dict.fromkeys(column.task for table in TABLES.values() for column in table.columns if column.corpus == kind)
    )
    for kind in ("aibo", "agender")
}
"""The kinds of the paper's corpora to the tasks that it has on them."""

_FEATURES = {"logmel": "log mel filter-banks", "egemaps": "eGeMAPS", "egemaps-25ms": "eGeMAPS, 25 ms"}


@dataclass(frozen=True, slots=True)
class Request:
    """One column to be done.

    Attributes:
        column: what its models are trained on.
        corpus: the corpus as the user named it, such as ``"aibo:PATH"``.
    """

    column: Column
    corpus: str


def choose_columns(
    table: PaperTable,
    corpora: Sequence[str],
    *,
    tasks: Sequence[str] = (),
    setting: str | None = None,
    features: Sequence[str] = (),
) -> list[Request]:
    """The columns that a table has on some corpora.

    On FAU-Aibo and aGender these are the paper's own. On any other corpus, the table's models are trained on each of
    ``tasks`` with each of the table's features, in the table's setting.

    Args:
        table: the paper's table.
        corpora: as the user named them, ``"kind:PATH"`` or ``"demo"``.
        tasks: label columns of other corpora; of the paper's corpora, those that are to be done (by default all).
        setting: for other corpora, ``"emotion"`` or ``"paralinguistic"``; by default the table's, if it has only one.
        features: which to use; by default the table's. ``"egemaps-25ms"`` takes the place of the paper's eGeMAPS.

    Raises:
        InputError: where a corpus of another kind comes without a task or the setting is left open, and where nothing
            is left to be done.

    Example:
        >>> [request] = choose_columns(TABLES["table1"], ["demo"], tasks=["gender"])
        >>> request.column.task, request.column.setting, request.column.features
        ('gender', 'emotion', 'logmel')
    """
    others = [corpus for corpus in corpora if not is_the_papers(corpus)]
    known = {task for corpus in corpora if is_the_papers(corpus) for task in PAPER_TASKS[_kind(corpus)]}
    if not others and (unknown := [task for task in tasks if task not in known]):
        raise InputError(f"--task {unknown[0]}: unknown; tasks of {', '.join(corpora)}: {', '.join(sorted(known))}")
    requests = []
    for corpus in corpora:
        if is_the_papers(corpus):
            columns = _own_columns(table, _kind(corpus), tasks, features)
        else:
            columns = _other_columns(table, corpus, tasks, setting, features, name_corpus=len(others) > 1)
        requests += [Request(column, corpus) for column in columns]
    if not requests:
        needs = " and ".join(f"{kind}:PATH" for kind in dict.fromkeys(column.corpus for column in table.columns))
        given = (("--task", tasks), ("--features", features))
        limits = " and ".join(f"{option} {','.join(names)}" for option, names in given if names)
        raise InputError(
            f"{table.name} has no column on {', '.join(corpora)}{f' with {limits}' if limits else ''}; it needs "
            f"{needs}, or another corpus with --task"
        )
    return requests


def missing_columns(table: PaperTable, requests: Sequence[Request]) -> list[Column]:
    """The paper's columns that are not done, where some of them are."""
    done = [column for request in requests if (column := table.own(request.column)) is not None]
    return [column for column in table.columns if column not in done] if done else []


def frame_counts(corpus: Corpus, features: FeatureConfig) -> list[int]:
    """About how many frames each row has, from the lengths that the audio files' headers tell.

    Raises:
        InputError: for a file that is missing or unreadable.
    """

    def seconds(segment: Segment) -> float:
        end = segment.info().duration if segment.end is None else segment.end
        return end - (segment.start or 0.0)

    return [max(1, round(1000 * seconds(segment) / features.shift_ms)) for segment in corpus.segments()]


def is_the_papers(corpus: str) -> bool:
    """Whether a corpus, as the user named it, is FAU-Aibo or aGender.

    Example:
        >>> is_the_papers("aibo:data/FAUAibo"), is_the_papers("csv:aibo.csv")
        (True, False)
    """
    return _kind(corpus) in PAPER_TASKS


def _kind(corpus: str) -> str:
    return corpus.partition(":")[0]


def _own_columns(table: PaperTable, kind: str, tasks: Sequence[str], features: Sequence[str]) -> list[Column]:
    """The paper's columns on one of its corpora."""
    # Tasks that the corpus does not have are meant for another one.
    wanted = [task for task in tasks if task in PAPER_TASKS[kind]] or PAPER_TASKS[kind]
    columns = []
    for column in table.columns:
        if column.corpus != kind or column.task not in wanted:
            continue
        for name in features or (column.features,):
            same = replace(column, features=name)
            if table.own(same) is column:
                heading = column.heading if name == column.features else f"{column.heading}, 25 ms"
                columns.append(replace(same, heading=heading))
    return columns


def _other_columns(
    table: PaperTable,
    corpus: str,
    tasks: Sequence[str],
    setting: str | None,
    features: Sequence[str],
    *,
    name_corpus: bool,
) -> list[Column]:
    """The table's models on a corpus that is not the paper's."""
    if not tasks:
        raise InputError(f"--task: name the label column of {corpus} that {table.name} is to be done on")
    if setting is None and len(table.settings) > 1:
        raise InputError(
            f"--setting: {table.name} has columns of both settings; choose {' or '.join(table.settings)} for {corpus}"
        )
    columns = []
    for task in tasks:
        for name in features or table.features:
            parts = [corpus] if name_corpus else []
            parts += [task]
            parts += [_FEATURES[name]] if len(features or table.features) > 1 else []
            columns.append(Column(", ".join(parts), _kind(corpus), task, setting or table.settings[0], name))
    return columns
