"""Text of users in tables that other programs open: shown there as it is, never run; and in any file."""

import csv
import io
import re
from collections.abc import Iterable

_FORMULA = re.compile(r"'*[=+\-@\t\r\n＝＋－＠]")
"""How a cell begins that a spreadsheet takes for a formula, also behind apostrophes of its own."""

_NUMBER = re.compile(r"'*[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)

_MARKDOWN = re.compile(r"[\\`*_\[\]<>|~$]|&(?=#?\w+;)|^[#+=-]")
"""What means something to Markdown, or to HTML within it."""


def encodable(text: str) -> str:
    r"""Text that UTF-8 can encode, which a file name that is not UTF-8 cannot be: its other bytes are told.

    Example:
        >>> import os
        >>> print(encodable(os.fsdecode(b"a\xff.csv")))
        a\udcff.csv
    """
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def csv_cell(text: str) -> str:
    """Text that a spreadsheet shows and does not run: with an apostrophe before what it would take for a formula.

    Numbers stay numbers, also negative ones. :func:`of_csv_cell` gives the text back.

    Example:
        >>> [csv_cell(text) for text in ("anger", "=1+1", "-5", "-x", "'=1", "'tis")]
        ['anger', "'=1+1", '-5', "'-x", "''=1", "'tis"]
    """
    return f"'{text}" if _is_formula(text) else text


def of_csv_cell(cell: str) -> str:
    """The text that :func:`csv_cell` made a cell of.

    Example:
        >>> [of_csv_cell(cell) for cell in ("'=1+1", "''=1", "'tis", "=1")]
        ['=1+1', "'=1", "'tis", '=1']
    """
    return cell[1:] if cell.startswith("'") and _is_formula(cell) else cell


def _is_formula(text: str) -> bool:
    return bool(_FORMULA.match(text)) and not _NUMBER.fullmatch(text)


def csv_table(rows: Iterable[Iterable[object]]) -> str:
    r"""Rows as CSV, texts as :func:`csv_cell` gives them.

    Example:
        >>> csv_table([["name", "share"], ["=A1", 0.5]])
        "name,share\n'=A1,0.5\n"
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerows([csv_cell(cell) if isinstance(cell, str) else cell for cell in row] for row in rows)
    return text.getvalue()


def markdown(text: str) -> str:
    r"""Text that Markdown shows as it is, in one line.

    Example:
        >>> markdown("a|b <script>")
        'a\\|b \\<script\\>'
    """
    return _MARKDOWN.sub(r"\\\g<0>", " ".join(text.split()))
