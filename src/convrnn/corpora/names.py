"""Names in sentences, and names that differ only slightly from existing ones."""

import functools
import shlex
import unicodedata
from collections.abc import Mapping, Sequence
from pathlib import Path


def some(names: Sequence[str], most: int = 20) -> str:
    """Joins names for a sentence; of many, only the first are given.

    Example:
        >>> some(["a", "b"]), some(["x"] * 50, 2)
        ('a, b', 'x, x and 48 more')
    """
    more = len(names) - most
    return ", ".join(names[:most]) + (f" and {more} more" if more > 0 else "")


def with_rows(names: Sequence[str], rows: Mapping[str, int]) -> str:
    """Names with their numbers of rows, for a sentence.

    Example:
        >>> with_rows(["x", "X"], {"x": 5, "X": 1})
        "'x' (5 rows), 'X' (1 row)"
    """
    return some([f"{name!r} ({rows[name]} row{'' if rows[name] == 1 else 's'})" for name in names], 5)


def how_to_join(one: str, other: str) -> str:
    """The end of a sentence on two speakers who may be one person, for users of the commands and of Python.

    Example:
        >>> print(how_to_join("a", "b"))
        if they are one person, join them with --same-speaker a=b (in Python same_speaker=['a=b']), or a column person
    """
    pair = f"{one}={other}"
    option = f"--same-speaker {shlex.quote(pair)} (in Python same_speaker={[pair]})"
    return f"if they are one person, join them with {option}, or a column person"


def folded(name: str) -> str:
    r"""A form that is equal for names that differ only in case, Unicode form or spaces.

    Example:
        >>> folded("Joy ") == folded("joy"), folded("e\u0301") == folded("é"), folded("joy") == folded("joys")
        (True, True, False)
    """
    return " ".join(unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", name).casefold()).split())


def is_there(path: Path | str) -> bool:
    """Whether a path exists; False also for a name that is too long for any file.

    Example:
        >>> is_there("x" * 5000)
        False
    """
    try:
        return Path(path).exists()
    except OSError:
        return False


def similar_name(path: Path | str) -> Path | None:
    """An existing path that differs from the given one only in case, Unicode form or spaces; None if there is none.

    A name with é may be stored as one character (NFC) or as e and an accent (NFD, as on older Macs); both look alike.
    """
    path = Path(path)
    found = Path(path.anchor)
    for part in path.parts[1:] if path.anchor else path.parts:
        if is_there(found / part):
            found /= part
            continue
        try:
            names = _names(found, found.stat().st_mtime_ns)
        except OSError:
            return None
        if (name := names.get(folded(part))) is None:
            return None
        found /= name
    return None if found == path else found


def similar_file(path: Path | str) -> str:
    """The end of the sentence that a file does not exist: the similar name that does, if there is one."""
    path = Path(path)
    if (other := similar_name(path)) is None:
        return ""
    pairs = zip(path.parts, other.parts, strict=True)
    wrong, there = next((a, b) for a, b in pairs if a != b)
    which = difference(wrong, there)
    # Two Unicode forms look alike until they are spelled out.
    told, named = (ascii(there), ascii(wrong)) if which == "Unicode form" else (repr(there), repr(wrong))
    return f", but {told} does, which differs from {named} only in {which}; rename one of them"


def difference(name: str, other: str) -> str:
    r"""The way in which two such names differ.

    Example:
        >>> difference("Joy", "joy"), difference("e\u0301", "é")
        ('case', 'Unicode form')
    """
    if unicodedata.normalize("NFC", name) == unicodedata.normalize("NFC", other):
        return "Unicode form"
    if name.casefold() == other.casefold():
        return "case"
    return "case, Unicode form or spaces"


@functools.lru_cache(maxsize=256)
def _names(folder: Path, _changed: int) -> dict[str, str]:
    return {folded(entry.name): entry.name for entry in folder.iterdir()}
