"""Escapes users' text for CSV and Markdown, so that other programs show it unchanged and never execute it."""

import csv
import io
import re
from collections.abc import Iterable

_FORMULA = re.compile(r"'*[=+\-@\t\r\n＝＋－＠]")
"""Start of a cell that a spreadsheet takes for a formula, even after apostrophes."""

_NUMBER = re.compile(r"'*[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)

_MARKDOWN = re.compile(r"[\\`*_\[\]<>|~$]|&(?=#?\w+;)|^[#+=-]")
"""Characters with a meaning in Markdown or in HTML within it."""


def encodable(text: str) -> str:
    r"""Text that can be encoded as UTF-8; bytes of a file name that are not UTF-8 are escaped.

    Example:
        >>> import os
        >>> print(encodable(os.fsdecode(b"a\xff.csv")))
        a\udcff.csv
    """
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def csv_cell(text: str) -> str:
    """Text for a CSV cell, with an apostrophe in front if a spreadsheet would take it for a formula.

    Numbers, including negative ones, are not changed. :func:`of_csv_cell` is the inverse.

    Example:
        >>> [csv_cell(text) for text in ("anger", "=1+1", "-5", "-x", "'=1", "'tis")]
        ['anger', "'=1+1", '-5', "'-x", "''=1", "'tis"]
    """
    return f"'{text}" if _is_formula(text) else text


def of_csv_cell(cell: str) -> str:
    """The text of a cell made by :func:`csv_cell`.

    Example:
        >>> [of_csv_cell(cell) for cell in ("'=1+1", "''=1", "'tis", "=1")]
        ['=1+1', "'=1", "'tis", '=1']
    """
    return cell[1:] if cell.startswith("'") and _is_formula(cell) else cell


def _is_formula(text: str) -> bool:
    return bool(_FORMULA.match(text)) and not _NUMBER.fullmatch(text)


def csv_table(rows: Iterable[Iterable[object]]) -> str:
    r"""Rows as CSV, with text escaped by :func:`csv_cell`.

    Example:
        >>> csv_table([["name", "share"], ["=A1", 0.5]])
        "name,share\n'=A1,0.5\n"
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerows([csv_cell(cell) if isinstance(cell, str) else cell for cell in row] for row in rows)
    return text.getvalue()


def markdown(text: str) -> str:
    r"""Text on one line, escaped for Markdown.

    Example:
        >>> markdown("a|b <script>")
        'a\\|b \\<script\\>'
    """
    return _MARKDOWN.sub(r"\\\g<0>", " ".join(text.split()))
