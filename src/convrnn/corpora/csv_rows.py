"""The rows of a CSV table, and all its defects at once."""

import csv
import io
import itertools
import math
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from convrnn.corpora.corpus import is_number
from convrnn.corpora.names import some
from convrnn.errors import InputError
from convrnn.files import read_regular

MOST_BYTES = 2**28
"""Maximum size of a table in bytes, enough for several million rows."""

Column = str | tuple[str, ...]
"""A column's name, or several of which one is enough."""

_DECIMAL_COMMA = re.compile(r"\d*,\d+")


@dataclass(frozen=True, slots=True)
class CsvDefect:
    """One thing that is wrong with a CSV table.

    Attributes:
        line: Line number, from 1.
        column: The column's name; None if the defect concerns the whole line.
        message: One sentence that names file, line and column.
    """

    line: int
    column: str | None
    message: str


class CsvError(InputError):
    """A CSV table has defects; the message describes the first and gives the number of others.

    Attributes:
        defects: All defects, in the order of lines.
    """

    def __init__(self, message: str, defects: Sequence[CsvDefect] = ()) -> None:
        super().__init__(message)
        self.defects = tuple(defects)


@dataclass(frozen=True, slots=True)
class Row:
    """One row of a CSV table.

    Attributes:
        where: File and line, for messages.
        line: Number of its first line, from 1.
        values: Text of each cell by column name, without surrounding white space.
    """

    where: str
    line: int
    values: dict[str, str]

    def filled(self, column: str) -> str:
        """The text of a cell that must not be empty.

        Raises:
            InputError: If it is empty.
        """
        if not self.values[column]:
            raise InputError(f"{self.where}: column {column!r} is empty")
        return self.values[column]

    def times(self) -> tuple[float | None, float | None]:
        """``start`` and ``end`` in seconds; None where the cell is empty or the table has no such column.

        Raises:
            InputError: If a time is not a number of seconds, or the end is not after the start.
        """
        start, end = self.seconds("start"), self.seconds("end")
        if end is not None and end <= (start or 0.0):
            raise InputError(
                f"{self.where}: column 'end' has {self.values['end']!r}, which is not after the start {start or 0.0}"
            )
        return start, end

    def seconds(self, column: str) -> float | None:
        """A time in seconds; None where the cell is empty or the table has no such column.

        Raises:
            InputError: If it is not a number of seconds.
        """
        value = self.values.get(column, "")
        if not value:
            return None
        seconds = float(value) if is_number(value) else math.nan
        if not seconds >= 0:
            if _DECIMAL_COMMA.fullmatch(value):
                point = value.replace(",", ".")
                raise InputError(
                    f"{self.where}: column {column!r} has {value!r} with a decimal comma; write a point: {point}"
                )
            raise InputError(f"{self.where}: column {column!r} has {value!r}; allowed: seconds, zero or more")
        return seconds


def read_rows(path: Path, *, required: Sequence[Column]) -> tuple[list[str], list[Row]]:
    """The rows of a CSV table whose first line names the columns, in any order.

    Commas, semicolons or tabs separate the values; the encoding is UTF-8. Empty lines are skipped.

    Args:
        path: The CSV file.
        required: Columns that the table must have; of names in a tuple, at least one.

    Returns:
        The names of the columns, and the rows, at least one.

    Raises:
        InputError: If the file is missing, unreadable or empty.
        CsvError: If it is not CSV, a column is missing or repeated, or a line has more or fewer values than there are
            columns. The error holds all such defects, each in a sentence that names the file and the line.
    """
    header, rows, defects = read_valid_rows(path, required)
    raise_all(path, defects)
    return header, rows


def read_valid_rows(path: Path, required: Sequence[Column]) -> tuple[list[str], list[Row], list[CsvDefect]]:
    """Like :func:`read_rows`, but leaves out invalid lines and also returns their defects.

    Raises:
        InputError: If the file is missing, unreadable or empty.
        CsvError: If a column is missing or repeated.
    """
    needed = [(column,) if isinstance(column, str) else column for column in required]
    text = _text(path)
    first = next((line for line in text.splitlines() if line.strip()), "")
    if not first:
        names = ", ".join(names[0] for names in needed)
        raise InputError(f"{path}: is empty; the first line must name the columns, among them {names}")
    delimiter = max(",;\t", key=first.count)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
    header: list[str] = []
    rows: list[Row] = []
    defects: list[CsvDefect] = []
    line = 1
    try:
        for cells in reader:
            cells = [cell.strip() for cell in cells]
            where = f"{path}, line {line}"
            if any(cells):
                if not header:
                    header = cells
                    raise_all(path, _header_defects(path, line, header, needed))
                elif len(cells) != len(header):
                    message = f"{where}: {len(cells)} values, but the first line names {len(header)} columns"
                    hint = _comma_hint(cells, header) if delimiter == "," else ""
                    defects.append(CsvDefect(line, None, message + hint))
                else:
                    rows.append(Row(where, line, dict(zip(header, cells, strict=True))))
            # A quoted value may hold line breaks; a row has the number of its first line.
            line = reader.line_num + 1
    except csv.Error as error:
        defects.append(CsvDefect(line, None, f"{path}, line {line}: is not valid CSV ({error})"))
    if not rows and not defects:
        raise InputError(f"{path}: has no rows below its column names")
    return header, rows, defects


def _text(path: Path) -> str:
    try:
        # utf-8-sig drops the byte order mark that spreadsheet programs write.
        return read_regular(path, MOST_BYTES).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: is not UTF-8 text (byte {error.start}); save it as CSV in UTF-8") from error


def raise_all(path: Path, defects: Sequence[CsvDefect]) -> None:
    """Raises a CsvError with the defects, if there are any."""
    if not defects:
        return
    ordered = sorted(defects, key=lambda defect: defect.line)
    message, more = ordered[0].message, len(ordered) - 1
    if more:
        others = "one more defect" if more == 1 else f"{more} more defects"
        message += f"; the table has {others}, and convrnn check csv:{path} --all lists them"
    raise CsvError(message, ordered)


def _comma_hint(cells: Sequence[str], header: Sequence[str]) -> str:
    """Advice on a line with too many values, if numbers such as 0,5 may be the reason."""
    neighbours = any(a.isdigit() and b.isdigit() for a, b in itertools.pairwise(cells))
    if len(cells) < len(header) or not neighbours or not {"start", "end"} & set(header):
        return ""
    return "; if numbers have a decimal comma, write a point"


def _header_defects(path: Path, line: int, header: list[str], needed: Sequence[tuple[str, ...]]) -> list[CsvDefect]:
    found = some([name for name in header if name])
    missing = [names[0] for names in needed if not set(names) & set(header)]
    twice = [name for name, count in Counter(header).items() if count > 1 and name]
    return [
        *(CsvDefect(line, name, f"{path}: column {name!r} is missing; found: {found}") for name in missing),
        *(CsvDefect(line, name, f"{path}: column {name!r} appears more than once; found: {found}") for name in twice),
    ]
