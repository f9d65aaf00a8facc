"""A corpus of one's own: a CSV table."""

import csv
import io
import math
import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from convrnn.corpora.corpus import RESERVED_COLUMNS, Corpus, is_number, utterance_id
from convrnn.errors import InputError

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


@dataclass(frozen=True, slots=True)
class Row:
    """One row of a CSV table.

    Attributes:
        where: file and line, for messages.
        line: the line where it begins, from 1.
        values: column name to the text of the cell, without white space around it.
    """

    where: str
    line: int
    values: dict[str, str]

    def filled(self, column: str) -> str:
        """The text of a cell that must not be empty.

        Raises:
            InputError: If it is.
        """
        if not self.values[column]:
            raise InputError(f"{self.where}: column {column!r} is empty")
        return self.values[column]

    def times(self) -> tuple[float | None, float | None]:
        """``start`` and ``end`` in seconds; None where the cell is empty or the table has no such column.

        Raises:
            InputError: If one is not a number of seconds, or the end is not after the start.
        """
        start, end = self._seconds("start"), self._seconds("end")
        if end is not None and end <= (start or 0.0):
            raise InputError(
                f"{self.where}: column 'end' has {self.values['end']!r}, which is not after the start {start or 0.0}"
            )
        return start, end

    def _seconds(self, column: str) -> float | None:
        value = self.values.get(column, "")
        if not value:
            return None
        seconds = float(value) if is_number(value) else math.nan
        if not seconds >= 0:
            raise InputError(f"{self.where}: column {column!r} has {value!r}; allowed: seconds, zero or more")
        return seconds


def open_csv(path: Path | str, *, name: str | None = None) -> Corpus:
    """Open a table of labelled audio.

    The table is read as :func:`read_rows` says; values are text, so speaker ``0001`` stays ``0001``.

    - ``file``: audio file, relative to the CSV or absolute.
    - ``speaker``: who speaks.
    - ``partition`` (optional): ``train``, ``validation`` (also ``valid``, ``val``, ``devel``, ``dev``) or ``test``, in
      any case; or empty.
    - ``start``, ``end`` (optional): the utterance within the file, in seconds; empty means the file's own.
    - every other column, except ``id``, is a task, and its values are the classes. An empty value is a missing label.
      Left out are columns that can only be measurements or texts: numbers with more than 50 distinct values, and
      other columns with more than 50 distinct values that hardly repeat (fewer than two rows per value).

    Whether the audio files exist is not looked at here; :func:`~convrnn.corpora.check.check_corpus` does.

    Args:
        path: The CSV file.
        name: What to call the corpus; by default ``csv:PATH``.

    Raises:
        InputError: If the file is missing, unreadable or empty, a column is missing or doubled, no column is left for
            a task, a value is missing or not allowed, or two rows give the same segment of the same file. The sentence
            names the CSV, the line and the column.
    """
    path = Path(path)
    header, rows = read_rows(path, required=("file", "speaker"))
    tasks = _task_columns(path, header, rows)
    files: list[Path] = []
    ids: list[str] = []
    speakers: list[str] = []
    starts: list[float | None] = []
    ends: list[float | None] = []
    partitions: list[str | None] = []
    lines: dict[tuple[str, float | None, float | None], int] = {}
    folder = Path(os.path.normpath(path.parent.absolute()))
    for row in rows:
        listed = row.filled("file")
        # Joining keeps an absolute path as it is.
        file = Path(os.path.normpath(folder / listed))
        speakers.append(row.filled("speaker"))
        start, end = row.times()
        if (first := lines.setdefault((str(file), start, end), row.line)) != row.line:
            raise InputError(
                f"{path}, lines {first} and {row.line}: both give {utterance_id(listed, start, end)}; "
                "an utterance may be listed once"
            )
        if Path(listed).is_absolute() and file.is_relative_to(folder):
            # So that a table with absolute paths gives the same corpus after its folder has moved.
            listed = file.relative_to(folder).as_posix()
        ids.append(utterance_id(listed, start, end))
        files.append(file)
        starts.append(start)
        ends.append(end)
        partitions.append(_partition(row))
    return Corpus.from_columns(
        name or f"csv:{path}",
        ids=ids,
        files=files,
        speakers=speakers,
        labels={task: [row.values[task] or None for row in rows] for task in tasks},
        partitions=partitions,
        starts=starts,
        ends=ends,
    )


def read_rows(path: Path, *, required: Sequence[str]) -> tuple[list[str], list[Row]]:
    """The rows of a CSV table whose first line names the columns, in any order.

    Commas, semicolons or tabs separate the values; the encoding is UTF-8. Empty lines are skipped.

    Args:
        path: The CSV file.
        required: Columns that it must have.

    Returns:
        The names of the columns, and the rows, at least one.

    Raises:
        InputError: If the file is missing, unreadable, empty or not CSV, a column is missing or doubled, or a line has
            not as many values as there are columns. The sentence names the file and the line.
    """
    try:
        # utf-8-sig drops the byte order mark that spreadsheet programs write.
        text = path.read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: is not UTF-8 text (byte {error.start}); save it as CSV in UTF-8") from error
    first = next((line for line in text.splitlines() if line.strip()), "")
    if not first:
        raise InputError(f"{path}: is empty; the first line must name the columns, among them {', '.join(required)}")
    delimiter = max(",;\t", key=first.count)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
    header: list[str] = []
    rows: list[Row] = []
    line = 1
    try:
        for cells in reader:
            cells = [cell.strip() for cell in cells]
            if any(cells):
                if not header:
                    header = _checked_header(path, cells, required)
                elif len(cells) != len(header):
                    raise InputError(
                        f"{path}, line {line}: {len(cells)} values, but the first line names {len(header)} columns"
                    )
                else:
                    rows.append(Row(f"{path}, line {line}", line, dict(zip(header, cells, strict=True))))
            # A quoted value may hold line breaks: a row's line is where it begins.
            line = reader.line_num + 1
    except csv.Error as error:
        raise InputError(f"{path}, line {line}: is not valid CSV ({error})") from error
    if not rows:
        raise InputError(f"{path}: has no rows below its column names")
    return header, rows


def _checked_header(path: Path, header: list[str], required: Sequence[str]) -> list[str]:
    found = ", ".join(name for name in header if name)
    for column in required:
        if column not in header:
            raise InputError(f"{path}: column {column!r} is missing; found: {found}")
    doubled = [name for name, count in Counter(header).items() if count > 1 and name]
    if doubled:
        raise InputError(f"{path}: column {doubled[0]!r} appears more than once; found: {found}")
    return header


def _task_columns(path: Path, header: list[str], rows: list[Row]) -> list[str]:
    candidates = [column for column in header if column and column not in RESERVED_COLUMNS]
    if not candidates:
        raise InputError(f"{path}: has no label column; found: {', '.join(name for name in header if name)}")
    tasks = []
    for column in candidates:
        values = [row.values[column] for row in rows if row.values[column]]
        distinct = set(values)
        few = len(distinct) <= MAX_NUMERIC_CLASSES
        if few or (not all(map(is_number, distinct)) and len(values) >= 2 * len(distinct)):
            tasks.append(column)
    if not tasks:
        raise InputError(
            f"{path}: no column can be a task; {', '.join(candidates)} have more than {MAX_NUMERIC_CLASSES} distinct "
            "values each"
        )
    return tasks


def _partition(row: Row) -> str | None:
    value = row.values.get("partition", "")
    if not value:
        return None
    if value.lower() not in PARTITION_ALIASES:
        raise InputError(f"{row.where}: column 'partition' has {value!r}; allowed: train, validation, test")
    return PARTITION_ALIASES[value.lower()]
