"""The one table that every corpus becomes."""

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path, PurePath
from typing import Self

import pandas as pd

from convrnn.corpora.joining import Groups
from convrnn.corpora.names import is_there, similar_file
from convrnn.errors import InputError
from convrnn.features.audio import check_audio_file
from convrnn.features.extract import Segment
from convrnn.files import file_hash
from convrnn.plain_text import encodable

PARTITIONS = ("train", "validation", "test")
MOST_BY_DEFAULT = 16_000
"""Hz at which features are computed where all files have more."""
RESERVED_COLUMNS = ("id", "file", "start", "end", "speaker", "partition")


@dataclass(frozen=True, slots=True)
class HoldOut:
    """How a corpus takes its validation speakers out of its training partition, where it has a rule of its own.

    Attributes:
        groups: Speaker to group.
        per_group: Speakers that :func:`~convrnn.corpora.splits.make_splits` draws from each group.
    """

    groups: Mapping[str, str]
    per_group: int


@dataclass(frozen=True, slots=True)
class Remark:
    """Something odd in how a corpus lies on the disk that does not keep it from being used.

    Attributes:
        kind: A fixed word such as ``"unlisted-file"``.
        message: One sentence that names what was found.
        task: The one task that it concerns; None for all.
    """

    kind: str
    message: str
    task: str | None = None


@dataclass(frozen=True, eq=False)
class Corpus:
    """Labelled utterances with their speakers.

    Build one with :meth:`from_columns`; the constructor itself only checks and tidies the table it is given.

    Attributes:
        name: The corpus as the user gave it, such as ``"csv:data.csv"``.
        table: One row per utterance, numbered from 0. Columns: ``id`` (unique text: the file as listed, followed by
            ``#start-end`` where a segment is given), ``file`` (absolute path), ``start`` and ``end`` (seconds; NaN
            means the file's own start or end), ``speaker``, ``partition`` (``"train"``, ``"validation"``, ``"test"``
            or None), then one column per task with the label as text, None where it is missing.
        tasks: Task name to its class names, in the order that the class numbers follow.
        synthetic: True where no person spoke.
        headerless_rate: Hz of audio files that have no header and are then 16-bit PCM; None where all must have one.
        hold_out: The corpus's own rule for validation speakers; None for the common one.
        absent_tasks: Tasks that the corpus would have if it were complete, to a sentence that says what is missing.
        remarks: What its user should know.

    Raises:
        ValueError: If the table does not have this form (a mistake of the adapter, not of the user).
    """

    name: str
    table: pd.DataFrame
    tasks: dict[str, tuple[str, ...]]
    synthetic: bool = False
    headerless_rate: int | None = None
    hold_out: HoldOut | None = None
    absent_tasks: Mapping[str, str] = field(default_factory=dict)
    remarks: tuple[Remark, ...] = ()

    def __post_init__(self) -> None:
        missing = [column for column in (*RESERVED_COLUMNS, *self.tasks) if column not in self.table.columns]
        if missing:
            raise ValueError(f"table lacks the columns {missing}")
        columns: dict[str, pd.Series] = {}
        for column in (*RESERVED_COLUMNS, *self.tasks):
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
        if not table["id"].is_unique:
            raise ValueError(f"table repeats the ids {sorted(set(table['id'][table['id'].duplicated()]))[:3]}")
        for column, allowed in (("partition", PARTITIONS), *self.tasks.items()):
            if unknown := set(table[column].dropna()) - set(allowed):
                raise ValueError(f"column {column!r} has {sorted(unknown)[:3]}; allowed: {', '.join(allowed)}")
        object.__setattr__(self, "table", table)
        object.__setattr__(self, "name", encodable(self.name))

    @classmethod
    def from_columns(
        cls,
        name: str,
        *,
        files: Sequence[str | Path],
        speakers: Sequence[str],
        labels: Mapping[str, Sequence[str | None]],
        ids: Sequence[str] | None = None,
        partitions: Sequence[str | None] | None = None,
        starts: Sequence[float | None] | None = None,
        ends: Sequence[float | None] | None = None,
        classes: Mapping[str, Sequence[str]] | None = None,
        synthetic: bool = False,
        headerless_rate: int | None = None,
        hold_out: HoldOut | None = None,
        absent_tasks: Mapping[str, str] | None = None,
        remarks: Sequence[Remark] = (),
    ) -> Self:
        """Build a corpus from columns of equal length.

        Args:
            name: The corpus as the user gave it.
            files: Audio files; made absolute.
            speakers: The speaker of each.
            labels: Task name to one label (or None) per file.
            ids: What to call each utterance; by default the file as given, followed by ``#start-end``.
            partitions: ``"train"``, ``"validation"``, ``"test"`` or None for each; by default None.
            starts: Seconds, None for the file's start.
            ends: Seconds, None for the file's end.
            classes: The order of a task's classes; classes without an example are left out. By default sorted, and
                numbers by their value.
            synthetic: True where no person spoke.
            headerless_rate: See :class:`Corpus`, as for the others.
            hold_out: By default the common rule.
            absent_tasks: By default none.
            remarks: By default none.

        Example:
            >>> corpus = Corpus.from_columns(
            ...     "two", files=["a.wav", "b.wav"], speakers=["1", "2"], labels={"grade": ["10", "9"]}
            ... )
            >>> corpus.tasks
            {'grade': ('9', '10')}
            >>> corpus.table["id"].tolist()
            ['a.wav', 'b.wav']
        """
        count = len(files)
        starts = [None] * count if starts is None else starts
        ends = [None] * count if ends is None else ends
        if ids is None:
            ids = [utterance_id(str(f), s, e) for f, s, e in zip(files, starts, ends, strict=True)]
        columns: dict[str, Sequence[object]] = {
            "id": ids,
            "file": [str(Path(file).absolute()) for file in files],
            "start": starts,
            "end": ends,
            "speaker": speakers,
            "partition": [None] * count if partitions is None else partitions,
            **labels,
        }
        table = pd.DataFrame({column: pd.Series(list(values), dtype=object) for column, values in columns.items()})
        tasks = {}
        for task, values in labels.items():
            found = {value for value in values if value is not None}
            order = (classes or {}).get(task)
            tasks[task] = tuple(c for c in order if c in found) if order else tuple(sorted(found, key=_class_order))
        return cls(
            name,
            table,
            tasks,
            synthetic,
            headerless_rate=headerless_rate,
            hold_out=hold_out,
            absent_tasks=dict(absent_tasks or {}),
            remarks=tuple(remarks),
        )

    def __len__(self) -> int:
        return len(self.table)

    @property
    def speakers(self) -> tuple[str, ...]:
        """Every speaker once, sorted."""
        return tuple(sorted(set(self.table["speaker"])))

    def segments(self) -> list[Segment]:
        """The audio of every row, in table order."""
        return [
            Segment(file, None if pd.isna(start) else start, None if pd.isna(end) else end, self.headerless_rate)
            for file, start, end in zip(
                self.table["file"].tolist(), self.table["start"].tolist(), self.table["end"].tolist(), strict=True
            )
        ]

    def classes(self, task: str) -> tuple[str, ...]:
        """The class names of a task, in the order of the class numbers.

        Raises:
            InputError: If the corpus has no such task; the message names those it has, or what is missing for it.
        """
        if task in self.absent_tasks:
            raise InputError(f"{self.name}: {self.absent_tasks[task]}")
        if task not in self.tasks:
            known = ", ".join(self.tasks) or "none"
            raise InputError(f"{self.name}: unknown task {task!r}; tasks of this corpus: {known}")
        return self.tasks[task]

    def labels(self, task: str) -> list[str]:
        """The label of every row, in table order.

        Raises:
            InputError: If the corpus has no such task, or if a row has no label (:meth:`for_task` drops such rows).
        """
        self.classes(task)
        values: list[str | None] = self.table[task].tolist()
        labels = [value for value in values if value is not None]
        if len(labels) < len(values):
            utterance = self.table["id"][values.index(None)]
            raise InputError(f"{self.name}: {utterance} has no label for the task {task!r}")
        return labels

    def for_task(self, task: str) -> "Corpus":
        """The corpus without the rows that have no label for ``task``.

        Raises:
            InputError: If the corpus has no such task, or if no row has a label for it.
        """
        self.classes(task)
        labelled = self.table[task].notna()
        if not labelled.any():
            raise InputError(f"{self.name}: no row has a label for the task {task!r}")
        return self if labelled.all() else replace(self, table=self.table[labelled])

    def keep(self, rows: Sequence[bool]) -> "Corpus":
        """The corpus with those rows alone, numbered anew; classes stay as they are."""
        return self if all(rows) else replace(self, table=self.table[list(rows)])

    def join_speakers(self, pairs: Sequence[tuple[str, str]]) -> "Corpus":
        """The corpus with one name for each person who has several.

        Args:
            pairs: Two speakers who are one person each; the first name stays, and pairs that share a name make one
                person.

        Raises:
            InputError: If the corpus has no speaker of a name.

        Example:
            >>> corpus = Corpus.from_columns("two", files=["a.wav", "b.wav"], speakers=["46", "53"], labels={})
            >>> corpus.join_speakers([("46", "53")]).speakers
            ('46',)
        """
        known = set(self.speakers)
        for name in (name for pair in pairs for name in pair):
            if name not in known:
                raise InputError(f"{self.name}: no speaker is called {name!r}; speakers: {some(sorted(known), 10)}")
        people = Groups(pairs)
        speakers = [people.of(speaker) for speaker in self.table["speaker"].tolist()]
        return replace(self, table=self.table.assign(speaker=speakers))

    def sample_rate(self, task: str) -> int:
        """The rate that features are computed at unless another is given: :meth:`lowest_rate`, at most 16 kHz.

        A model of speech gains nothing from bands above 8 kHz, and files of a higher rate are often no more than
        speech of a lower one.

        Raises:
            InputError: As :meth:`lowest_rate`.
        """
        return min(self.lowest_rate(task), MOST_BY_DEFAULT)

    def lowest_rate(self, task: str) -> int:
        """The lowest sample rate among the files with a label for ``task``, in Hz; others are not used anyway.

        Raises:
            InputError: If the task is unknown, no row has a label for it, or a file is missing or unreadable.
        """
        return self.for_task(task)._lowest_rate

    @cached_property
    def _lowest_rate(self) -> int:
        self._check_files()
        return min(segment.info().sample_rate for segment in {s.file: s for s in self.segments()}.values())

    def _check_files(self) -> None:
        """Raise an InputError that names the first missing or empty audio file, and how many there are."""
        files = list(dict.fromkeys(self.table["file"]))
        faults = []
        for file in files:
            try:
                check_audio_file(file)
            except InputError as fault:
                there = "" if is_there(file) else similar_file(file)
                faults.append(InputError(f"{fault}{there}"))
        if len(faults) == 1:
            raise faults[0]
        if faults:
            raise InputError(
                f"{faults[0]}; {len(faults)} of the {len(files)} audio files of {self.name} are missing or empty: copy "
                "them, or take them out of its list"
            ) from faults[0]

    def fingerprint(self, task: str) -> str:
        """A hash of everything in the corpus that results for ``task`` depend on.

        Covers the labelled rows in order: ids, speakers, partitions, labels, start and end, and the bytes of the audio
        files, with the rate of headerless ones; and the order of the classes. Where the corpus lies on the disk does
        not matter.

        Raises:
            InputError: If the task is unknown or a file cannot be read.
        """
        corpus = self.for_task(task)
        corpus._check_files()
        digests = {file: file_hash(file) for file in sorted(set(corpus.table["file"]))}
        head: list[object] = [task, corpus.tasks[task]]
        if corpus.headerless_rate is not None:
            head.append(corpus.headerless_rate)
        total = hashlib.sha256(json.dumps(head).encode())
        for row, segment in zip(corpus.table.to_dict("records"), corpus.segments(), strict=True):
            identity = row["id"]
            if PurePath(identity).is_absolute():
                identity = PurePath(identity).name
            fields = [identity, row["speaker"], row["partition"], row[task], segment.start, segment.end]
            total.update(json.dumps([*fields, digests[segment.file]]).encode())
        return total.hexdigest()


def utterance_id(file: str, start: float | None = None, end: float | None = None) -> str:
    """What an utterance is called in tables and messages.

    Example:
        >>> utterance_id("a.wav"), utterance_id("a.wav", 0.5, 2.0), utterance_id("a.wav", end=2.0)
        ('a.wav', 'a.wav#0.5-2.0', 'a.wav#-2.0')
    """
    if start is None and end is None:
        return file
    return f"{file}#{'' if start is None else start}-{'' if end is None else end}"


def some(names: Sequence[str], most: int = 20) -> str:
    """Names in a sentence, of many only the first.

    Example:
        >>> some(["a", "b"]), some(["x"] * 50, 2)
        ('a, b', 'x, x and 48 more')
    """
    more = len(names) - most
    return ", ".join(names[:most]) + (f" and {more} more" if more > 0 else "")


def is_number(text: str) -> bool:
    """Whether a label or cell is a finite number.

    Example:
        >>> is_number("07"), is_number("1e3"), is_number("seven"), is_number("nan")
        (True, True, False, False)
    """
    try:
        return math.isfinite(float(text))
    except ValueError:
        return False


def _class_order(label: str) -> tuple[bool, float, str]:
    """Sort numbers by value, before any text."""
    number = is_number(label)
    return not number, float(label) if number else 0.0, label
