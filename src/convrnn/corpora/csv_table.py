"""Your own corpus: a CSV table."""

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

import pandas as pd

from convrnn.corpora.corpus import FRAMES_COLUMN, TWO_SOURCES, Corpus, is_number, names_frames
from convrnn.corpora.csv_rows import CsvDefect, CsvError, Row, raise_all, read_rows, read_valid_rows
from convrnn.corpora.names import some
from convrnn.corpora.utterances import COLUMNS, utterance_id
from convrnn.errors import InputError

__all__ = ["CsvDefect", "CsvError", "Row", "open_csv", "read_rows"]

MAX_NUMERIC_CLASSES = 50
"""A column of numbers with more distinct values than this is a measurement, not a task."""

PARTITION_ALIASES = {
    "train": "train",
    "validation": "validation",
    "valid": "validation",
    "val": "validation",
    "devel": "validation",
    "dev": "validation",
    "test": "test",
}


PERSON_COLUMN = "person"

_Value = TypeVar("_Value")


def open_csv(path: Path | str, *, name: str | None = None) -> Corpus:
    """Opens a table of labelled audio, or of labelled frames.

    The format is that of :func:`read_rows`. Values are text, so speaker ``0001`` stays ``0001``.

    - ``file``: audio file, relative to the CSV or absolute.
    - ``speaker``: who speaks.
    - ``partition`` (optional): ``train``, ``validation`` (also ``valid``, ``val``, ``devel``, ``dev``) or ``test``, in
      any case; or empty.
    - ``start``, ``end`` (optional): the utterance within the file, in seconds; empty means the file's own.
    - ``person`` (optional): which names in ``speaker`` belong to one person; the first name is used.
    - ``frames`` in place of ``file``: a ``.npy`` array ``[frames, features]`` that another program computed, such as
      speech embeddings (:func:`~convrnn.features.frames.read_frames`); ``start`` and ``end`` must then be empty.
    - every other column, except ``id``, is a task, and its values are the classes. An empty value is a missing label.
      Columns that can only be measurements or texts are left out: numbers with more than 50 distinct values, and
      other columns with more than 50 distinct values that hardly repeat (fewer than two rows per value).

    Whether the files exist is not checked here, but by :func:`~convrnn.corpora.check.check_corpus`.

    Args:
        path: The CSV file.
        name: Name of the corpus; by default ``csv:PATH``.

    Raises:
        InputError: If the file is missing, unreadable or empty.
        CsvError: If a column is missing or repeated, there are both ``file`` and ``frames``, no column is left for a
            task, a value is missing or not allowed, two rows give the same segment of the same file, or a speaker is
            two persons. The error holds all such defects, each in a sentence that names the CSV file, the line and the
            column.
    """
    path = Path(path)
    header, rows, defects = read_valid_rows(path, required=(("file", FRAMES_COLUMN), "speaker"))
    if {"file", FRAMES_COLUMN} <= set(header):
        raise_all(path, [CsvDefect(1, FRAMES_COLUMN, f"{path}: {TWO_SOURCES}"), *defects])
    source = FRAMES_COLUMN if names_frames(header) else "file"
    utterances = _Utterances(path, source, defects)
    for row in rows:
        utterances.add(row)
    tasks = _task_columns(path, header, source, rows, defects)
    raise_all(path, defects)
    labels = {task: [row.values[task] or None for row in rows] for task in tasks}
    table = pd.DataFrame(utterances.columns | labels, dtype=object).rename(columns={"file": source})
    return Corpus.from_table(table, name=name or f"csv:{path}").join_speakers(utterances.same_speakers)


class _Utterances:
    """The columns of a corpus, filled row by row; the defects of a row are added to ``defects``."""

    def __init__(self, path: Path, source: str, defects: list[CsvDefect]) -> None:
        self.columns: dict[str, list[object]] = {column: [] for column in COLUMNS}
        self.same_speakers: list[tuple[str, str]] = []
        self._path, self._source, self._defects = path, source, defects
        self._folder = Path(os.path.normpath(path.parent.absolute()))
        self._lines: dict[tuple[str, float | None, float | None], int] = {}
        self._persons: dict[str, tuple[str, int]] = {}
        self._first_speaker: dict[str, str] = {}

    def add(self, row: Row) -> None:
        before = len(self._defects)
        listed = self._read(row, self._source, lambda: row.filled(self._source), "")
        speaker = self._read(row, "speaker", lambda: row.filled("speaker"), "")
        start = self._read(row, "start", lambda: self._time(row, "start"), None)
        end = self._read(row, "end", lambda: self._time(row, "end"), None)
        partition = self._read(row, "partition", lambda: _partition(row), None)
        # Joining keeps an absolute path as it is.
        file = Path(os.path.normpath(self._folder / listed))
        if len(self._defects) == before:
            self._read(row, "end", row.times, (start, end))
            self._refuse_second(row, utterance_id(listed, start, end), (str(file), start, end))
        self._join(row, speaker)
        if Path(listed).is_absolute() and file.is_relative_to(self._folder):
            # A table with absolute paths should give the same corpus after its folder has moved.
            listed = file.relative_to(self._folder).as_posix()
        row_of = (utterance_id(listed, start, end), file, start, end, speaker, partition)
        for column, value in zip(COLUMNS, row_of, strict=True):
            self.columns[column].append(value)

    def _time(self, row: Row, column: str) -> float | None:
        if self._source == FRAMES_COLUMN and row.values.get(column):
            raise InputError(f"{row.where}: column {column!r} must be empty, since arrays of frames are used whole")
        return row.seconds(column)

    def _refuse_second(self, row: Row, identity: str, segment: tuple[str, float | None, float | None]) -> None:
        if (first := self._lines.setdefault(segment, row.line)) != row.line:
            where = f"{self._path}, lines {first} and {row.line}"
            self._tell(row, self._source, f"{where}: both give {identity}; an utterance may be listed only once")

    def _join(self, row: Row, speaker: str) -> None:
        person = row.values.get(PERSON_COLUMN, "")
        if not person or not speaker:
            return
        other, line = self._persons.setdefault(speaker, (person, row.line))
        if other != person:
            where = f"{self._path}, lines {line} and {row.line}"
            told = f"speaker {speaker!r} is two persons, {other!r} and {person!r}; a speaker must be one person"
            self._tell(row, PERSON_COLUMN, f"{where}: {told}")
        first = self._first_speaker.setdefault(person, speaker)
        if first != speaker:
            self.same_speakers.append((first, speaker))

    def _read(self, row: Row, column: str, value: Callable[[], _Value], otherwise: _Value) -> _Value:
        try:
            return value()
        except InputError as error:
            self._tell(row, column, str(error))
            return otherwise

    def _tell(self, row: Row, column: str, message: str) -> None:
        self._defects.append(CsvDefect(row.line, column, message))


def _task_columns(path: Path, header: list[str], source: str, rows: list[Row], defects: list[CsvDefect]) -> list[str]:
    others = {*COLUMNS, PERSON_COLUMN, source, ""}
    candidates = [column for column in header if column not in others]
    if not candidates:
        found = some([name for name in header if name])
        defects.append(CsvDefect(1, None, f"{path}: has no label column; found: {found}"))
        return []
    tasks = [column for column in candidates if can_be_task([row.values[column] for row in rows if row.values[column]])]
    if not tasks:
        message = (
            f"{path}: no column can be a task; {', '.join(candidates)} have more than {MAX_NUMERIC_CLASSES} distinct "
            "values each"
        )
        defects.append(CsvDefect(1, None, message))
    return tasks


def can_be_task(labels: Sequence[str]) -> bool:
    """Whether labels can be classes, and not only measurements or texts.

    Measurements are numbers with more than :data:`MAX_NUMERIC_CLASSES` distinct values; texts are other labels with
    more distinct values than that which hardly repeat (fewer than two for each).

    Example:
        >>> can_be_task(["joy", "anger"]), can_be_task([f"{number / 7}" for number in range(100)])
        (True, False)
    """
    distinct = set(labels)
    few = len(distinct) <= MAX_NUMERIC_CLASSES
    return few or (not all(map(is_number, distinct)) and len(labels) >= 2 * len(distinct))


def _partition(row: Row) -> str | None:
    value = row.values.get("partition", "")
    if not value:
        return None
    if value.lower() not in PARTITION_ALIASES:
        raise InputError(f"{row.where}: column 'partition' has {value!r}; allowed: train, validation, test")
    return PARTITION_ALIASES[value.lower()]
