"""Databases in audformat, the format of audEERING's collection of speech databases.

A database is a folder with a header ``db.yaml`` and tables of labels, with one row for a file or a segment of it.
"""

import math
import os
import shutil
import tempfile
from collections.abc import Collection, Iterator, Mapping, Set
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from convrnn.corpora.corpus import Corpus
from convrnn.corpora.csv_table import can_be_task
from convrnn.corpora.names import some
from convrnn.corpora.utterances import COLUMNS, utterance_id
from convrnn.errors import InputError, one_sentence
from convrnn.files import read_regular

if TYPE_CHECKING:
    import audformat

HEADER = "db.yaml"
MOST_BYTES = 2**26
"""Maximum size of a header in bytes; those with the labels of a million speakers have about as many."""

SPEAKER = "speaker"
"""Name of the scheme or column that says who speaks."""

PARTITIONS = {"train": "train", "dev": "validation", "test": "test"}
"""The partition for each of audformat's types of splits; rows of tables with another one have none."""

_OF_DAMAGE = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    LookupError,
    OSError,
    RuntimeError,
    TypeError,
    ValueError,
)
"""What audformat, pandas and the parsers below them raise for damaged files."""

_Place = tuple[str, float | None, float | None]
"""File as listed, start and end in seconds."""


def open_audformat(path: Path | str, *, name: str | None = None) -> Corpus:
    """Opens a database in audformat.

    Rows of all tables that mean the same file, or the same segment of it, become one utterance.

    - The speaker is the column with the scheme ``speaker``, or else the column ``speaker``; a table without one takes
      it from the tables that have the same segment or the whole file.
    - A whole file that only names the speaker of its labelled segments is no utterance; what its tables say about the
      speaker goes to the segments.
    - The partition is that of the table's split, ``train``, ``dev`` or ``test``; a segment without one has that of its
      file.
    - Every other column whose scheme lists labels or has the type ``bool``, ``int`` or ``str``, or that has no scheme,
      is a task, unless it can only be a measurement or a text (:func:`~convrnn.corpora.csv_table.can_be_task`). Columns
      with the same name in several tables are one task.
      Classes are in the order of the scheme's labels, and have the names that the scheme gives them.
    - What the scheme ``speaker`` says about speakers, such as their gender, are tasks too.

    Nothing in the database is executed: tables are read from CSV or Parquet, never from pickles, and the header as
    plain YAML. Files are found relative to the folder.

    Args:
        path: The folder that holds ``db.yaml``.
        name: Name of the corpus; by default ``audformat:PATH``.

    Raises:
        InputError: If the package audformat is not installed; if there is no such database, or it cannot be read; if a
            table is there only as a pickle; if no table has a task, or no column says who speaks; if an utterance has
            no speaker, or two tables disagree about it.
    """
    folder = Path(path)
    tables = _tables(folder, _read_database(folder))
    rows: dict[_Place, _Row] = {}
    for table in tables:
        for place, values in table.rows(folder):
            rows.setdefault(place, _Row()).take(folder, place, table, values)
    speakers = _speakers(folder, rows)
    tasks = {task: classes for table in tables for task, classes in table.classes.items()}
    for task in list(tasks):
        found = [row.labels[task] for row in rows.values() if task in row.labels]
        if not found or not (tasks[task] or can_be_task(found)):
            del tasks[task]
    if not tasks:
        raise InputError(f"{folder}: no column of its tables can be a task")
    about = {task for table in tables for task in table.about}
    only_speaker = _give_to_segments(rows, speakers, tasks.keys(), about)
    columns: dict[str, list[object]] = {column: [] for column in (*COLUMNS, *tasks)}
    for place, row in sorted(rows.items(), key=lambda item: _in_order(item[0])):
        if place in only_speaker:
            continue
        file, start, end = place
        partition = row.partition or rows.get((file, None, None), row).partition
        fields = (utterance_id(file, start, end), folder / file, start, end, speakers[place], partition)
        for column, value in zip(COLUMNS, fields, strict=True):
            columns[column].append(value)
        for task in tasks:
            columns[task].append(row.labels.get(task))
    classes = {task: own for task, own in tasks.items() if own}
    return Corpus.from_table(pd.DataFrame(columns, dtype=object), name=name or f"audformat:{path}", classes=classes)


@dataclass(frozen=True, slots=True)
class _Table:
    """A table of the database.

    Attributes:
        name: Its name.
        partition: The partition of its rows.
        speaker: Its column that says who speaks; None if there is none.
        classes: Its tasks, with their classes in order; empty where the scheme does not list them.
        about: Those of its tasks that the speaker's scheme gives.
        labels: The values of all these columns, by file, start and end.
    """

    name: str
    partition: str | None
    speaker: str | None
    classes: Mapping[str, tuple[str, ...]]
    about: Collection[str]
    labels: pd.DataFrame

    def rows(self, folder: Path) -> Iterator[tuple[_Place, dict[str, str | None]]]:
        """File and times of each row, and its values as text.

        Raises:
            InputError: If a row has no file, or a label that is not one of its scheme; ``folder`` is named.
        """
        records = self.labels.astype(object).to_dict("records")
        for (file, start, end), record in zip(self.labels.index, records, strict=True):
            if pd.isna(file) or not file:
                raise InputError(f"{folder}: a row of the table {self.name!r} names no file")
            begin = None if pd.isna(start) else start.total_seconds()
            stop = None if pd.isna(end) else end.total_seconds()
            # A whole file, for audformat, is one from 0 to an unknown end.
            place = (file, None if stop is None and not begin else begin, stop)
            values = {str(name): _text(value) for name, value in record.items()}
            for task, classes in self.classes.items():
                if classes and values[task] is not None and values[task] not in classes:
                    raise InputError(
                        f"{folder}: {task} of {utterance_id(*place)} is {values[task]!r} in the table {self.name!r}, "
                        f"but its scheme has the labels {some(classes, 10)}"
                    )
            yield place, values


@dataclass(slots=True)
class _Row:
    """What the tables say about an utterance."""

    partition: str | None = None
    labels: dict[str, str] = field(default_factory=dict)

    def take(self, folder: Path, place: _Place, table: _Table, values: Mapping[str, str | None]) -> None:
        """Adds a table's row.

        Raises:
            InputError: If an earlier table has another label or partition.
        """
        named = {SPEAKER if column == table.speaker else column: value for column, value in values.items()}
        for column, value in named.items():
            if value is not None and self.labels.setdefault(column, value) != value:
                self._disagree(folder, place, table, column, self.labels[column], value)
        if table.partition is not None and self.partition not in (None, table.partition):
            self._disagree(folder, place, table, "partition", self.partition, table.partition)
        self.partition = table.partition or self.partition

    @staticmethod
    def _disagree(folder: Path, place: _Place, table: _Table, what: str, before: str | None, now: str) -> None:
        raise InputError(
            f"{folder}: {what} of {utterance_id(*place)} is {now!r} in the table {table.name!r}, but {before!r} in an "
            "earlier one"
        )


def _read_database(folder: Path) -> "audformat.Database":
    """The header, with the tables loaded."""
    try:
        import audformat
        import yaml
    except ModuleNotFoundError as error:
        raise InputError(
            f"audformat databases need the package {error.name}, which is not installed; run: pip install "
            "'convrnn[audformat]'"
        ) from None
    header = folder / HEADER
    if not header.is_file():
        raise InputError(f"{folder}: is not an audformat database; it must be a folder with {HEADER}")
    content = read_regular(header, MOST_BYTES)
    try:
        # audformat's own reader would run what the header asks for.
        keys = yaml.safe_load(content)
        # A header with one key is an old form: the name, and under it all others.
        if not isinstance(keys, dict) or (len(keys) == 1 and not isinstance(next(iter(keys.values())), dict)):
            raise InputError(f"{header}: is not the header of an audformat database, with keys name, source and usage")
        database = audformat.Database.load_header_from_yaml(keys)
        # It prefers pickles to tables, so it sees only the latter.
        with tempfile.TemporaryDirectory() as place:
            for file in sorted(folder.glob("db.*")):
                if file.suffix in (".csv", ".parquet"):
                    if os.name == "nt":  # where only an administrator can make a link
                        shutil.copyfile(file, Path(place) / file.name)
                    else:
                        (Path(place) / file.name).symlink_to(file.absolute())
            for table in [*database.misc_tables, *database.tables]:
                if not any((Path(place) / f"db.{table}{suffix}").exists() for suffix in (".csv", ".parquet")):
                    raise InputError(f"{folder}: the table {table!r} has no file db.{table}.csv or db.{table}.parquet")
                database[table].load(str(Path(place) / f"db.{table}"))
    except InputError:
        raise
    except (*_OF_DAMAGE, yaml.YAMLError) as error:
        raise _unreadable(folder, error) from None
    return database


def _text(value: Any) -> str | None:  # noqa: ANN401 - whatever a table holds
    if pd.isna(value):
        return None
    # Whole numbers become fractions where one of them is missing.
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


def _in_order(place: _Place) -> tuple[str, float, float]:
    """A key that sorts by file, and a whole file before its segments."""
    file, start, end = place
    return file, -1.0 if start is None else start, math.inf if end is None else end


def _unreadable(folder: Path, error: Exception) -> InputError:
    # The text of a KeyError is only the key.
    why = f"the key {error} is missing" if type(error) is KeyError else str(error)
    return InputError(f"{folder}: cannot be read as an audformat database ({one_sentence(why, 160)})")


def _tables(folder: Path, database: "audformat.Database") -> list[_Table]:
    """The tables with a task or the speaker."""
    found = []
    for name, table in database.tables.items():
        columns = table.columns
        speaker = next((own for own in columns if columns[own].scheme_id == SPEAKER), None)
        speaker = speaker or (SPEAKER if SPEAKER in columns else None)
        classes: dict[str, tuple[str, ...]] = {}
        of_speaker: list[str] = []
        values: dict[str, Any] = {}
        try:
            for own in columns:
                if own == speaker:
                    values[own] = table[own].get().tolist()
                    for about in _about_speakers(database, columns[own].scheme_id):
                        if about not in columns:
                            values[about], classes[about] = table[own].get(map=about).tolist(), ()
                            of_speaker.append(about)
                elif (names := _class_names(database, columns[own].scheme_id)) is not None:
                    values[own] = [names.get(value, value) for value in table[own].get()]
                    classes[own] = tuple(map(str, names.values()))
        except (KeyError, TypeError, ValueError) as error:
            raise _unreadable(folder, error) from None
        if values:
            import audformat

            split = database.splits[table.split_id].type if table.split_id else None
            labels = pd.DataFrame(values, index=audformat.utils.to_segmented_index(table.index), dtype=object)
            partition = None if split is None else PARTITIONS.get(split)
            found.append(_Table(name, partition, speaker, classes, of_speaker, labels))
    if not any(table.speaker for table in found):
        raise InputError(f"{folder}: no column says who speaks; one needs the scheme or the name {SPEAKER!r}")
    return found


def _class_names(database: "audformat.Database", scheme_id: str | None) -> dict[Any, Any] | None:
    """The names of a scheme's labels, in order; empty if it lists none; None if its values cannot be classes."""
    if scheme_id is None:
        return {}
    scheme = database.schemes[scheme_id]
    if isinstance(scheme.labels, dict):
        return {value: name if isinstance(name, str) else value for value, name in scheme.labels.items()}
    if scheme.labels is not None:
        return {value: value for value in scheme.labels_as_list}
    return {} if scheme.dtype in ("bool", "int", "str") else None


def _about_speakers(database: "audformat.Database", scheme_id: str | None) -> list[str]:
    """What the scheme of a column of speakers says about them besides their names."""
    labels = database.schemes[scheme_id].labels if scheme_id is not None else None
    if isinstance(labels, str):
        return list(database.misc_tables[labels].columns)
    if isinstance(labels, dict):
        return list(dict.fromkeys(about for own in labels.values() if isinstance(own, dict) for about in own))
    return []


def _speakers(folder: Path, rows: Mapping[_Place, _Row]) -> dict[_Place, str]:
    """The speaker of every utterance."""
    found = {place: row.labels.pop(SPEAKER, None) for place, row in rows.items()}
    speakers = {place: speaker or found.get((place[0], None, None)) for place, speaker in found.items()}
    if missing := [utterance_id(*place) for place, speaker in speakers.items() if not speaker]:
        raise InputError(
            f"{folder}: {len(missing)} of {len(rows)} utterances have no speaker: {some(missing, 3)}; every one needs "
            "one"
        )
    return {place: speaker for place, speaker in speakers.items() if speaker}


def _give_to_segments(
    rows: Mapping[_Place, _Row], speakers: Mapping[_Place, str], tasks: Set[str], about: Set[str]
) -> set[_Place]:
    """Gives what is known of the speaker of a whole file to its labelled segments, if the file has no label itself.

    Args:
        rows: All rows; the labels of segments are changed.
        speakers: The speaker of each row.
        tasks: Names of all tasks.
        about: Those that the speaker's scheme gives.

    Returns:
        The whole files that have only the speaker for their segments, and so are no utterances.
    """
    segments: dict[str, list[_Place]] = {}
    for place in rows:
        if place[1:] != (None, None):
            segments.setdefault(place[0], []).append(place)
    found: set[_Place] = set()
    for file, parts in segments.items():
        whole: _Place = (file, None, None)
        if whole not in rows or rows[whole].labels.keys() & (tasks - about):
            continue
        if any(rows[part].labels.keys() & tasks for part in parts):
            found.add(whole)
            for part in parts:
                if speakers[part] == speakers[whole]:
                    rows[part].labels = rows[whole].labels | rows[part].labels
    return found
