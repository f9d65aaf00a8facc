"""Utterances with their speakers: the base class of a corpus and of its labelled rows."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Self

import pandas as pd

from convrnn.corpora.joining import Groups
from convrnn.corpora.names import some
from convrnn.errors import InputError
from convrnn.features.extract import Segment
from convrnn.plain_text import encodable

PARTITIONS = ("train", "validation", "test")
COLUMNS = ("id", "file", "start", "end", "speaker", "partition")
"""Columns that every table of utterances has, besides its labels."""


@dataclass(frozen=True, slots=True)
class HoldOut:
    """A corpus's own rule for taking validation speakers from its training partition.

    Attributes:
        groups: Group of each speaker.
        per_group: Number of speakers that :func:`~convrnn.corpora.splits.make_splits` draws from each group.
    """

    groups: Mapping[str, str]
    per_group: int


@dataclass(frozen=True, slots=True)
class Remark:
    """An oddity of a corpus's files that does not prevent its use.

    Attributes:
        kind: A fixed word such as ``"unlisted-file"``.
        message: One sentence that names what was found.
        task: The task that it concerns; None for all.
    """

    kind: str
    message: str
    task: str | None = None


@dataclass(frozen=True, slots=True)
class TaskLabels:
    """The labels of one task.

    Attributes:
        task: Its name.
        classes: The class names, in the order of the class numbers.
        of_rows: The label of every row of a table, None if it is missing.
    """

    task: str
    classes: tuple[str, ...]
    of_rows: list[str | None]


@dataclass(frozen=True, eq=False)
class Utterances:
    """Utterances with their speakers, each a recording or an array of frames.

    The base of :class:`~convrnn.corpora.corpus.Corpus` and :class:`~convrnn.corpora.labelled.LabelledCorpus`. The
    constructor checks the table, puts its columns in order and numbers its rows from 0.

    Attributes:
        name: The corpus as the user gave it, such as ``"csv:data.csv"``.
        table: One row per utterance. Columns: ``id`` (unique text: the file as listed, followed by ``#start-end``
            where a segment is given), ``file`` (absolute path), ``start`` and ``end`` (seconds; NaN for the file's own
            start or end), ``speaker``, ``partition`` (``"train"``, ``"validation"``, ``"test"`` or None), and columns
            of labels as text, None where one is missing.
        synthetic: Whether the speech is synthetic.
        headerless_rate: Sample rate in Hz of audio files without a header, which are then 16-bit PCM; None if every
            file has one.
        holds_frames: Whether the files are ``.npy`` arrays of frames instead of audio
            (:mod:`~convrnn.features.frames`), which are used whole.
        hold_out: The corpus's own rule for validation speakers; None for the default one.
        remarks: What a user of the corpus should know.

    Raises:
        ValueError: If the table does not have this form (a mistake in the code that made it, not the user's).
    """

    name: str
    table: pd.DataFrame
    synthetic: bool = field(default=False, kw_only=True)
    headerless_rate: int | None = field(default=None, kw_only=True)
    holds_frames: bool = field(default=False, kw_only=True)
    hold_out: HoldOut | None = field(default=None, kw_only=True)
    remarks: tuple[Remark, ...] = field(default=(), kw_only=True)

    def __post_init__(self) -> None:
        labels = self._label_columns()
        missing = [column for column in (*COLUMNS, *labels) if column not in self.table.columns]
        if missing:
            raise ValueError(f"table lacks the columns {missing}")
        columns: dict[str, pd.Series] = {}
        for column in (*COLUMNS, *labels):
            values = self.table[column].tolist()
            if column in ("start", "end"):
                columns[column] = pd.Series(values, dtype="float64")
            else:
                # Object columns keep None as None in every pandas version; its text type turns None into NaN.
                columns[column] = pd.Series([None if pd.isna(value) else str(value) for value in values], dtype=object)
        table = pd.DataFrame(columns)
        for column in ("id", "file", "speaker"):
            if table[column].isna().any():
                raise ValueError(f"table has rows without {column!r}")
        for column in ("start", "end") if self.holds_frames else ():
            if table[column].notna().any():
                raise ValueError(f"column {column!r} has times, but arrays of frames are used whole; leave it out")
        if not table["id"].is_unique:
            raise ValueError(f"table repeats the ids {sorted(set(table['id'][table['id'].duplicated()]))[:3]}")
        for column, allowed in (("partition", PARTITIONS), *labels.items()):
            if unknown := set(table[column].dropna()) - set(allowed):
                raise ValueError(f"column {column!r} has {sorted(unknown)[:3]}; allowed: {', '.join(allowed)}")
        object.__setattr__(self, "table", table)
        object.__setattr__(self, "name", encodable(self.name))

    def _label_columns(self) -> Mapping[str, tuple[str, ...]]:
        """Columns of labels to the labels allowed there."""
        return {}

    def task_labels(self) -> list[TaskLabels]:
        """The labels of every task."""
        return [TaskLabels(task, names, self.table[task].tolist()) for task, names in self._label_columns().items()]

    def __len__(self) -> int:
        return len(self.table)

    @property
    def speakers(self) -> tuple[str, ...]:
        """Every speaker once, sorted."""
        return tuple(sorted(set(self.table["speaker"])))

    def segments(self) -> list[Segment]:
        """The file of every row with its times, in table order."""
        return [
            Segment(file, None if pd.isna(start) else start, None if pd.isna(end) else end, self.headerless_rate)
            for file, start, end in zip(
                self.table["file"].tolist(), self.table["start"].tolist(), self.table["end"].tolist(), strict=True
            )
        ]

    def keep(self, rows: Sequence[bool]) -> Self:
        """The selected rows, renumbered; the classes stay the same.

        Args:
            rows: Whether to keep each row.
        """
        return self if all(rows) else replace(self, table=self.table[list(rows)])

    def join_speakers(self, pairs: Sequence[tuple[str, str]]) -> Self:
        """The same rows, with one name for each person who has several.

        Args:
            pairs: Pairs of names of the same person. The first name is kept; pairs that share a name are one person.

        Raises:
            InputError: If no speaker has one of the names.
        """
        known = set(self.speakers)
        for name in (name for pair in pairs for name in pair):
            if name not in known:
                raise InputError(f"{self.name}: no speaker is called {name!r}; speakers: {some(sorted(known), 10)}")
        people = Groups(pairs)
        speakers = [people.of(speaker) for speaker in self.table["speaker"].tolist()]
        return replace(self, table=self.table.assign(speaker=pd.Series(speakers, dtype=object)))


def utterance_id(file: str, start: float | None = None, end: float | None = None) -> str:
    """The name of an utterance in tables and messages.

    Example:
        >>> utterance_id("a.wav"), utterance_id("a.wav", 0.5, 2.0), utterance_id("a.wav", end=2.0)
        ('a.wav', 'a.wav#0.5-2.0', 'a.wav#-2.0')
    """
    if start is None and end is None:
        return file
    return f"{file}#{'' if start is None else start}-{'' if end is None else end}"
