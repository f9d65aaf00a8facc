"""Chooses the columns of a table of the paper for given corpora."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from convrnn.errors import Argument, InputError
from convrnn.experiments.paper import TABLES, Column, PaperTable
from convrnn.features.registry import FEATURES

PAPER_TASKS: Mapping[str, tuple[str, ...]] = {
    kind: tuple(
        dict.fromkeys(column.task for table in TABLES.values() for column in table.columns if column.corpus == kind)
    )
    for kind in ("aibo", "agender")
}
"""The kinds of the paper's corpora to the tasks that it has on them."""


@dataclass(frozen=True, slots=True)
class Request:
    """A column to reproduce.

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
        tasks: label columns of other corpora; on the paper's corpora, do only these (by default all).
        setting: for other corpora, ``"emotion"`` or ``"paralinguistic"``; by default the table's, if it has only one.
        features: which to use; by default the table's. ``"egemaps-25ms"`` replaces the paper's eGeMAPS.

    Raises:
        InputError: if another corpus comes without a task or setting that it needs, and if no column is left.

    Example:
        >>> [request] = choose_columns(TABLES["table1"], ["demo"], tasks=["gender"])
        >>> request.column.task, request.column.setting, request.column.features
        ('gender', 'emotion', 'logmel')
    """
    others = [corpus for corpus in corpora if not is_the_papers(corpus)]
    known = {task for corpus in corpora if is_the_papers(corpus) for task in PAPER_TASKS[_kind(corpus)]}
    if not others and (unknown := [task for task in tasks if task not in known]):
        raise InputError(
            Argument("tasks", (unknown[0],)),
            f": unknown; tasks of {', '.join(corpora)}: {', '.join(sorted(known))}",
        )
    requests = []
    for corpus in corpora:
        if is_the_papers(corpus):
            columns = _own_columns(table, _kind(corpus), tasks, features)
        else:
            columns = _other_columns(table, corpus, tasks, setting, features, name_corpus=len(others) > 1)
        requests += [Request(column, corpus) for column in columns]
    if not requests:
        needs = " and ".join(f"{kind}:PATH" for kind in dict.fromkeys(column.corpus for column in table.columns))
        limits = [
            Argument(name, ",".join(values)) for name, values in (("tasks", tasks), ("features", features)) if values
        ]
        raise InputError(
            f"{table.name} has no column on {', '.join(corpora)}",
            *(part for word, limit in zip((" with ", " and "), limits, strict=False) for part in (word, limit)),
            f"; it needs {needs}, or another corpus with ",
            Argument("tasks"),
        )
    return requests


def missing_columns(table: PaperTable, requests: Sequence[Request]) -> list[Column]:
    """The paper's columns that are left out, if some of them are done."""
    done = [column for request in requests if (column := table.own(request.column)) is not None]
    return [column for column in table.columns if column not in done] if done else []


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
    # Tasks that this corpus does not have are meant for another one.
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
        raise InputError(Argument("tasks"), f": name the label column of {corpus} to use for {table.name}")
    if setting is None and len(table.settings) > 1:
        choices = " or ".join(table.settings)
        raise InputError(
            Argument("setting"), f": {table.name} has columns of both settings; choose {choices} for {corpus}"
        )
    columns = []
    for task in tasks:
        for name in features or table.features:
            parts = [corpus] if name_corpus else []
            parts += [task]
            parts += [FEATURES[name].title] if len(features or table.features) > 1 else []
            columns.append(Column(", ".join(parts), _kind(corpus), task, setting or table.settings[0], name))
    return columns
