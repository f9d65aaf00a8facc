"""A corpus: a table of utterances with labels for one or more tasks."""

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

import pandas as pd
from typing_extensions import override

from convrnn.corpora.labelled import LabelledCorpus
from convrnn.corpora.utterances import COLUMNS, Utterances, utterance_id
from convrnn.errors import InputError

FRAMES_COLUMN = "frames"
"""Column that names arrays of frames, in place of the column ``file``."""
TWO_SOURCES = "has both columns 'file' (recordings) and 'frames' (arrays of frames); rename or leave out one of them"
"""What is wrong with a table that has both columns."""


@dataclass(frozen=True, eq=False)
class Corpus(Utterances):
    """Utterances with labels for one or more tasks.

    Build one with :meth:`from_table`, and choose a task with :meth:`for_task`.

    Attributes:
        table: As in :class:`~convrnn.corpora.utterances.Utterances`, with one column of labels per task.
        tasks: The class names of each task, in the order of the class numbers.
        absent_tasks: Tasks that an incomplete corpus lacks, each with a sentence that says what is missing.

    Raises:
        ValueError: If the table does not have this form (a mistake in the code that made it, not the user's).
    """

    tasks: dict[str, tuple[str, ...]]
    absent_tasks: Mapping[str, str] = field(default_factory=dict, kw_only=True)

    @classmethod
    def from_table(
        cls, table: pd.DataFrame, *, name: str = "table", classes: Mapping[str, Sequence[str]] | None = None
    ) -> Self:
        """Builds a corpus from a table with one row per utterance.

        The other attributes (:attr:`synthetic`, :attr:`headerless_rate`, :attr:`hold_out`, :attr:`remarks`,
        :attr:`absent_tasks`) are set with :func:`dataclasses.replace`.

        Args:
            table: Columns ``file`` (paths, relative to the working directory or absolute) and ``speaker``, and
                optionally ``id`` (by default the file as given, followed by ``#start-end``), ``start`` and ``end``
                (seconds; None or NaN for the file's own), and ``partition`` (``"train"``, ``"validation"``, ``"test"``
                or None). ``person`` tells which names in ``speaker`` belong to one person; the first name is used.
                Every other column is a task; its labels are text, or None or NaN if missing. A column ``frames`` in
                place of ``file`` names ``.npy`` arrays ``[frames, features]`` that another program computed.
            name: Name of the corpus.
            classes: The classes of each task in order; classes without an example are left out. By default classes are
                sorted, numbers by value.

        Raises:
            ValueError: If a column is missing or has a value that is not allowed, the table has both ``file`` and
                ``frames``, or a speaker is two persons.

        Example:
            >>> corpus = Corpus.from_table(
            ...     pd.DataFrame({"file": ["a.wav", "b.wav"], "speaker": ["1", "2"], "grade": ["10", "9"]})
            ... )
            >>> corpus.tasks
            {'grade': ('9', '10')}
            >>> corpus.table["id"].tolist()
            ['a.wav', 'b.wav']
            >>> corpus.join_speakers([("2", "1")]).speakers
            ('2',)
        """
        if {"file", FRAMES_COLUMN} <= set(table.columns):
            raise ValueError(f"table {TWO_SOURCES}")
        holds_frames = names_frames(table.columns)
        if holds_frames:
            table = table.rename(columns={FRAMES_COLUMN: "file"})
        if missing := {"file", "speaker"} - set(table.columns):
            raise ValueError(f"table lacks the columns {sorted(missing)}")
        whole = table.assign(**{column: None for column in COLUMNS if column not in table.columns})
        if "id" not in table.columns:
            times = ([None if pd.isna(time) else time for time in whole[column]] for column in ("start", "end"))
            ids = [utterance_id(str(file), start, end) for file, start, end in zip(whole["file"], *times, strict=True)]
            whole["id"] = pd.Series(ids, whole.index, dtype=object)
        # As objects: pandas' own text type refuses file names that are not valid Unicode.
        whole["file"] = pd.Series([str(Path(file).absolute()) for file in whole["file"]], whole.index, dtype=object)
        tasks = {}
        for task in (column for column in table.columns if column not in (*COLUMNS, "person")):
            found = {str(label) for label in table[task].dropna()}
            order = (classes or {}).get(task) or sorted(found, key=_class_order)
            tasks[task] = tuple(name for name in order if name in found)
        corpus = cls(name, whole.drop(columns="person", errors="ignore"), tasks, holds_frames=holds_frames)
        return corpus if "person" not in table.columns else corpus.join_speakers(_names_of_persons(table))

    @override
    def _label_columns(self) -> Mapping[str, tuple[str, ...]]:
        return self.tasks

    def classes(self, task: str) -> tuple[str, ...]:
        """The class names of a task, in the order of the class numbers.

        Raises:
            InputError: If the corpus has no such task; the message lists its tasks, or says what is missing.
        """
        if task in self.absent_tasks:
            raise InputError(f"{self.name}: {self.absent_tasks[task]}")
        if task not in self.tasks:
            known = ", ".join(self.tasks) or "none"
            raise InputError(f"{self.name}: unknown task {task!r}; tasks of this corpus: {known}")
        return self.tasks[task]

    def for_task(self, task: str) -> LabelledCorpus:
        """The rows that have a label for a task.

        Raises:
            InputError: If the corpus has no such task, or if no row has a label for it.
        """
        classes = self.classes(task)
        labelled = self.table[self.table[task].notna()]
        if labelled.empty:
            raise InputError(f"{self.name}: no row has a label for the task {task!r}")
        return LabelledCorpus(
            self.name,
            labelled[list(COLUMNS)].assign(label=labelled[task]),
            task,
            classes,
            synthetic=self.synthetic,
            headerless_rate=self.headerless_rate,
            holds_frames=self.holds_frames,
            hold_out=self.hold_out,
            remarks=tuple(remark for remark in self.remarks if remark.task in (None, task)),
        )


def names_frames(columns: Collection[str]) -> bool:
    """Whether a table with these columns names arrays of frames instead of audio files.

    Example:
        >>> names_frames(["frames", "speaker"]), names_frames(["file", "speaker", "frames"])
        (True, False)
    """
    return FRAMES_COLUMN in columns and "file" not in columns


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
    """Sorts numbers by value, before any text."""
    number = is_number(label)
    return not number, float(label) if number else 0.0, label


def _names_of_persons(table: pd.DataFrame) -> list[tuple[str, str]]:
    """Pairs of names of the same person: the first name and another one."""
    persons: dict[str, str] = {}
    first: dict[str, str] = {}
    # A dictionary for its order: a table may have thousands of speakers.
    pairs: dict[tuple[str, str], None] = {}
    rows = table[table["person"].notna()]
    for speaker, person in zip(map(str, rows["speaker"]), map(str, rows["person"]), strict=True):
        if persons.setdefault(speaker, person) != person:
            raise ValueError(f"speaker {speaker!r} is two persons, {persons[speaker]!r} and {person!r}")
        if (name := first.setdefault(person, speaker)) != speaker:
            pairs[name, speaker] = None
    return list(pairs)
