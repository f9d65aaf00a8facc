"""A corpus of one's own: a CSV table."""

import csv
import io
import math
import os
from collections import Counter
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
class _Row:
    line: int
    values: dict[str, str]


def open_csv(path: Path | str, *, name: str | None = None) -> Corpus:
    """Open a table of labelled audio.

    The first line names the columns, in any order; values are read as text, so speaker ``0001`` stays ``0001``.
    Commas, semicolons or tabs separate them; the encoding is UTF-8.

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
    header, rows = _read_rows(path)
    tasks = _task_columns(path, header, rows)
    files: list[Path] = []
    ids: list[str] = []
    starts: list[float | None] = []
    ends: list[float | None] = []
    partitions: list[str | None] = []
    lines: dict[tuple[str, float | None, float | None], int] = {}
    folder = Path(os.path.normpath(path.parent.absolute()))
    for row in rows:
        for column in ("file", "speaker"):
            if not row.values[column]:
                raise InputError(f"{path}, line {row.line}: column {column!r} is empty")
        # Joining keeps an absolute path as it is.
        file = Path(os.path.normpath(folder / row.values["file"]))
        start, end = _segment(path, row)
        if (first := lines.setdefault((str(file), start, end), row.line)) != row.line:
            raise InputError(
                f"{path}, lines {first} and {row.line}: both give {utterance_id(row.values['file'], start, end)}; "
                "an utterance may be listed once"
            )
        listed = row.values["file"]
        if Path(listed).is_absolute() and file.is_relative_to(folder):
            # So that a table with absolute paths gives the same corpus after its folder has moved.
            listed = file.relative_to(folder).as_posix()
        ids.append(utterance_id(listed, start, end))
        files.append(file)
        starts.append(start)
        ends.append(end)
        partitions.append(_partition(path, row))
    return Corpus.from_columns(
        name or f"csv:{path}",
        ids=ids,
        files=files,
        speakers=[row.values["speaker"] for row in rows],
        labels={task: [row.values[task] or None for row in rows] for task in tasks},
        partitions=partitions,
        starts=starts,
        ends=ends,
    )


def _read_rows(path: Path) -> tuple[list[str], list[_Row]]:
    try:
        # utf-8-sig drops the byte order mark that spreadsheet programs write.
        text = path.read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: is not UTF-8 text (byte {error.start}); save it as CSV in UTF-8") from error
    first = next((line for line in text.splitlines() if line.strip()), "")
    if not first:
        raise InputError(f"{path}: is empty; the first line must name the columns file, speaker and a label")
    delimiter = max(",;\t", key=first.count)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
    header: list[str] = []
    rows: list[_Row] = []
    line = 1
    try:
        for cells in reader:
            cells = [cell.strip() for cell in cells]
            if any(cells):
                if not header:
                    header = _checked_header(path, cells)
                elif len(cells) != len(header):
                    raise InputError(
                        f"{path}, line {line}: {len(cells)} values, but the first line names {len(header)} columns"
                    )
                else:
                    rows.append(_Row(line, dict(zip(header, cells, strict=True))))
            # A quoted value may hold line breaks: a row's line is where it begins.
            line = reader.line_num + 1
    except csv.Error as error:
        raise InputError(f"{path}, line {line}: is not valid CSV ({error})") from error
    if not rows:
        raise InputError(f"{path}: has no rows below its column names")
    return header, rows


def _checked_header(path: Path, header: list[str]) -> list[str]:
    found = ", ".join(name for name in header if name)
    for column in ("file", "speaker"):
        if column not in header:
            raise InputError(f"{path}: column {column!r} is missing; found: {found}")
    doubled = [name for name, count in Counter(header).items() if count > 1 and name]
    if doubled:
        raise InputError(f"{path}: column {doubled[0]!r} appears more than once; found: {found}")
    return header


def _task_columns(path: Path, header: list[str], rows: list[_Row]) -> list[str]:
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


def _partition(path: Path, row: _Row) -> str | None:
    value = row.values.get("partition", "")
    if not value:
        return None
    if value.lower() not in PARTITION_ALIASES:
        raise InputError(f"{path}, line {row.line}: column 'partition' has {value!r}; allowed: train, validation, test")
    return PARTITION_ALIASES[value.lower()]


def _segment(path: Path, row: _Row) -> tuple[float | None, float | None]:
    start, end = (_seconds(path, row, column) for column in ("start", "end"))
    if end is not None and end <= (start or 0.0):
        raise InputError(
            f"{path}, line {row.line}: column 'end' has {row.values['end']!r}, which is not after the start "
            f"{start or 0.0}"
        )
    return start, end


def _seconds(path: Path, row: _Row, column: str) -> float | None:
    value = row.values.get(column, "")
    if not value:
        return None
    seconds = float(value) if is_number(value) else math.nan
    if not seconds >= 0:
        raise InputError(f"{path}, line {row.line}: column {column!r} has {value!r}; allowed: seconds, zero or more")
    return seconds
