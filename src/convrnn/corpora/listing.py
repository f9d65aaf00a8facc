"""Lists in a corpus's folder, and the audio files that they name or leave out."""

import io
import os
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from convrnn.corpora.utterances import Remark
from convrnn.errors import InputError
from convrnn.files import read_regular

MOST_BYTES = 2**28
"""Maximum size of a list in bytes; the longest known one has 2 million."""

SEARCH_DEPTH = 3
"""How many levels of subfolders are searched for a list."""


@dataclass(frozen=True, slots=True)
class ListRow:
    """One row of a list.

    Attributes:
        where: File and line, for messages.
        values: Its columns.
    """

    where: str
    values: tuple[str, ...]

    def refuse(self, column: str, found: str, allowed: str) -> InputError:
        """The error to raise for a value that is not allowed."""
        return InputError(f"{self.where}: {column} is {found!r}; allowed: {allowed}")


def find_list(root: Path, name: str) -> Path | None:
    """Finds a file by name in a folder or its subfolders; of several, the one nearest to the folder.

    Args:
        root: The corpus's folder.
        name: The file's name.

    Raises:
        InputError: If a folder cannot be read, or two equally deep files have the name but different content.
    """
    folders = [root]
    for _ in range(SEARCH_DEPTH + 1):
        found = [folder / name for folder in folders if (folder / name).is_file()]
        if found:
            for other in found[1:]:
                if _content(other) != _content(found[0]):
                    raise InputError(f"{found[0]} and {other} differ; remove the one that is not part of the corpus")
            return found[0]
        folders = [child for folder in folders for child in _subfolders(folder)]
    return None


def read_list(path: Path, columns: Sequence[str]) -> list[ListRow]:
    """The rows of a text file without a header, its columns separated by white space. Empty lines are skipped.

    Args:
        path: The list, in UTF-8, with any line endings.
        columns: Names of the columns, for messages. The first column holds a unique name of an utterance.

    Returns:
        At least one row.

    Raises:
        InputError: If the file cannot be read, is in another encoding or empty, or if a row has another number of
            columns or names the same utterance as an earlier one.
    """
    try:
        text = _content(path).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: is not UTF-8 text (byte {error.start}); {_UNTOUCHED}") from error
    if "\0" in text:
        raise InputError(f"{path}: is not UTF-8 text (byte {text.index(chr(0))} is zero); {_UNTOUCHED}")
    rows = []
    for number, line in enumerate(io.StringIO(text, newline=None), start=1):
        values = tuple(line.split())
        if values and len(values) != len(columns):
            raise InputError(
                f"{path}, line {number}: {len(values)} columns, expected {len(columns)}: {', '.join(columns)}"
            )
        if values:
            rows.append(ListRow(f"{path}, line {number}", values))
    if not rows:
        raise InputError(f"{path}: is empty; copy it again from the corpus")
    refuse_repeats(rows)
    return rows


_UNTOUCHED = "use the corpus's own file as it was distributed"


def refuse_repeats(rows: Iterable[ListRow]) -> None:
    """Raises an InputError if a name occurs twice in the first column.

    Example:
        >>> refuse_repeats([ListRow("a.txt, line 1", ("x",)), ListRow("b.txt, line 7", ("x",))])
        Traceback (most recent call last):
        ...
        convrnn.errors.InputError: a.txt, line 1 and b.txt, line 7: both name x; an utterance may be listed only once
    """
    first: dict[str, str] = {}
    for row in rows:
        name = row.values[0]
        if (where := first.setdefault(name, row.where)) != row.where:
            raise InputError(f"{where} and {row.where}: both name {name}; an utterance may be listed only once")


def audio_files(folder: Path, suffixes: Collection[str]) -> list[Path]:
    """All files below a folder with one of the suffixes, in any case; those in the folder itself first.

    Hidden ones are left out, links to folders are followed.

    Args:
        folder: An existing folder; a missing one has no files.
        suffixes: Such as ``".wav"``, in lower case.

    Raises:
        InputError: If a folder cannot be read.
    """
    files: list[Path] = []
    seen: set[str] = set()
    for place, folders, names in os.walk(folder, followlinks=True, onerror=_refuse if folder.is_dir() else None):
        # A link to a folder above would be followed forever.
        if (real := os.path.realpath(place)) in seen:
            folders.clear()
            continue
        seen.add(real)
        folders[:] = sorted(name for name in folders if name[0] != ".")
        here = [Path(place, name) for name in sorted(names) if name[0] != "."]
        files += [file for file in here if file.suffix.lower() in suffixes]
    return sorted(files, key=lambda file: len(file.parts))


def unlisted(files: Iterable[Path], used: Iterable[Path]) -> list[Remark]:
    """A remark on files that belong to no row, if there are any.

    Example:
        >>> [remark] = unlisted([Path("a.wav"), Path("b.wav")], [Path("b.wav")])
        >>> remark.message
        '1 audio file is in no list and left out: a.wav'
    """
    known = set(used)
    left = [str(file) for file in files if file not in known]
    if not left:
        return []
    are = "file is" if len(left) == 1 else "files are"
    first = left[0] if len(left) == 1 else f"the first is {left[0]}"
    return [Remark("unlisted-file", f"{len(left)} audio {are} in no list and left out: {first}")]


def _subfolders(folder: Path) -> list[Path]:
    try:
        with os.scandir(folder) as entries:
            return sorted(folder / entry.name for entry in entries if entry.is_dir() and entry.name[0] != ".")
    except OSError as error:
        raise InputError(f"{folder}: cannot be read ({error.strerror})") from error


def _content(path: Path) -> bytes:
    return read_regular(path, MOST_BYTES)


def _refuse(error: OSError) -> None:
    raise InputError(f"{error.filename}: cannot be read ({error.strerror})") from error
