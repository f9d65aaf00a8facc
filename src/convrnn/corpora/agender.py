"""The aGender corpus (Burkhardt et al. 2010) of the Interspeech 2010 Paralinguistic Challenge (section IV-B)."""

import os
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pandas as pd

from convrnn.corpora.corpus import Corpus
from convrnn.corpora.listing import ListRow, audio_files, find_list, read_list, refuse_repeats, unlisted
from convrnn.corpora.names import some
from convrnn.corpora.published import differing_counts
from convrnn.corpora.riff import data_bytes
from convrnn.corpora.utterances import HoldOut, Remark
from convrnn.errors import InputError

LISTS = {"train": "trainSampleList_train.txt", "test": "trainSampleList_devel.txt"}
"""The list of each partition; the challenge's development set is the paper's test set."""

SAMPLE_RATE = 8000
"""Sample rate in Hz of the distributed files, which have no header."""

VALIDATION_SPEAKERS = 20
"""Number of training speakers of each group that are held out for validation (section IV-B)."""

COLUMNS = ("path", "bytes", "speaker", "age", "gender")
"""The columns of a list."""

CLASSES = {"age": ("child", "youth", "adult", "senior"), "gender": ("female", "male", "child")}


@dataclass(frozen=True, slots=True)
class Group:
    """One of the corpus's seven groups of speakers.

    Attributes:
        age: Class of the task ``age``.
        gender: Class of the task ``gender``.
        letter: Gender in the lists.
        youngest: Lowest age in years.
        oldest: Highest age in years.
    """

    age: str
    gender: str
    letter: str
    youngest: int
    oldest: int


GROUPS = {
    "1": Group("child", "child", "x", 0, 14),
    "2": Group("youth", "female", "f", 15, 24),
    "3": Group("youth", "male", "m", 15, 24),
    "4": Group("adult", "female", "f", 25, 54),
    "5": Group("adult", "male", "m", 25, 54),
    "6": Group("senior", "female", "f", 55, 120),
    "7": Group("senior", "male", "m", 55, 120),
}
"""The group for each first digit of a speaker's number."""

PUBLISHED_UTTERANCES = {
    "train": (4407, 4638, 4019, 4573, 4417, 4924, 5549),
    "test": (2397, 2722, 2170, 3361, 2512, 3561, 3826),
}
"""Utterances of each group by partition, in the order of :data:`GROUPS`."""

PUBLISHED_SPEAKERS = {"train": (68, 63, 55, 69, 66, 72, 78), "test": (38, 36, 33, 44, 41, 51, 56)}
"""Speakers of each group by partition, in the order of :data:`GROUPS`."""


_LETTERS = ("f", "m", "x")
_NUMBER = re.compile(r"[0-9]+")
_SPEAKER = re.compile(r"[1-7][0-9]*")


@dataclass(frozen=True, slots=True)
class _Utterance:
    """One row of a list. ``file`` is where its audio is or should be; ``there`` says whether it exists."""

    partition: str
    row: ListRow
    file: Path
    there: bool

    @property
    def listed(self) -> str:
        return self.row.values[0]

    @property
    def size(self) -> int:
        return int(self.row.values[1])

    @property
    def speaker(self) -> str:
        return self.row.values[2]

    @property
    def age(self) -> int:
        return int(self.row.values[3])

    @property
    def letter(self) -> str:
        return self.row.values[4]

    @property
    def group(self) -> Group:
        return GROUPS[self.speaker[0]]


def open_agender(path: Path | str, *, name: str | None = None) -> Corpus:
    """Opens aGender with the train and development lists of the Interspeech 2010 Paralinguistic Challenge.

    53076 utterances of German telephone speech by 770 speakers; two tasks, ``age`` (``child``, ``youth``, ``adult``,
    ``senior``) and ``gender`` (``female``, ``male``, ``child``). Both classes follow from the first digit of
    the speaker's number, which stands for one of seven groups, even if the listed age belongs to another group. The
    speaker is the one in the list; a few file names contradict it. The train list is the partition ``train``, the
    development list ``test``. For validation, 20 speakers of each group are drawn from ``train``.

    Audio files are 16-bit mono PCM at 8 kHz without a header, or have a header, whatever their extension; a listed
    ``.raw`` may be a ``.wav`` on disk, and vice versa. Utterances without audio stay in the table. Anything else
    that is odd becomes a remark of the corpus.

    Args:
        path: The folder that holds the two lists, directly or up to three folders deep. The paths in a list are
            relative to its folder, to ``path``, or to any folder below ``path`` that holds ``wav_traindevel``.
        name: Name of the corpus; by default ``agender:PATH``.

    Raises:
        InputError: If the folder is not that of the corpus, a list or all audio is missing, or a row of a list is not
            valid.
    """
    path = Path(path)
    wanted = f"give the one that holds {' and '.join(LISTS.values())}"
    if not path.is_dir():
        raise InputError(f"agender: {path} is not a folder; {wanted}")
    lists: dict[str, Path] = {}
    for partition, file_name in LISTS.items():
        file = find_list(path, file_name)
        if file is None:
            raise InputError(f"agender: {path} has no {file_name}; {wanted}")
        lists[partition] = file
    rows = {partition: _checked(read_list(file, COLUMNS)) for partition, file in lists.items()}
    refuse_repeats(row for listed in rows.values() for row in listed)
    audio = audio_files(path, {".raw", ".wav"})
    index = _AudioIndex(audio)
    utterances = [
        _Utterance(partition, row, file, there)
        for partition, listed in rows.items()
        for row, (file, there) in zip(listed, index.locate(listed, [lists[partition].parent, path]), strict=True)
    ]
    if not any(utterance.there for utterance in utterances):
        raise InputError(
            f"agender: {path} has none of the listed audio files, such as {utterances[0].listed}; copy them there"
        )
    train = {u.speaker: u.speaker[0] for u in utterances if u.partition == "train"}
    columns = ("id", "file", "speaker", "partition", "age", "gender")
    table = pd.DataFrame(
        [(u.listed, u.file, u.speaker, u.partition, u.group.age, u.group.gender) for u in utterances],
        columns=columns,
        dtype=object,
    )
    return replace(
        Corpus.from_table(table, name=name or f"agender:{path}", classes=CLASSES),
        headerless_rate=SAMPLE_RATE,
        hold_out=HoldOut(train, VALIDATION_SPEAKERS),
        remarks=(
            *unlisted(audio, [u.file for u in utterances]),
            *_other_sizes(utterances),
            *_other_groups(utterances),
            *_differences(utterances),
        ),
    )


def _checked(rows: list[ListRow]) -> list[ListRow]:
    """Returns the rows of a list if all their values are allowed."""
    for row in rows:
        _, size, speaker, age, letter = row.values
        if not _NUMBER.fullmatch(size):
            raise row.refuse("the number of bytes", size, "a whole number")
        if not _SPEAKER.fullmatch(speaker):
            raise row.refuse("the speaker", speaker, "a number whose first digit is 1 to 7")
        if not _NUMBER.fullmatch(age):
            raise row.refuse("the age", age, "whole years")
        if letter not in _LETTERS:
            raise row.refuse("the gender", letter, ", ".join(_LETTERS))
    return rows


class _AudioIndex:
    """Finds listed files among the existing ones, as strings, because joining 53076 paths is slow."""

    def __init__(self, files: Iterable[Path]) -> None:
        self._exact = {_place(file): file for file in files}
        self._by_stem = {_stem(place): file for place, file in reversed(self._exact.items())}
        folders = [Path(folder) for folder in {place.rpartition(os.sep)[0] for place in self._exact}]
        self._folders = sorted({folder for below in folders for folder in (below, *below.parents)})

    def locate(self, rows: Sequence[ListRow], bases: Sequence[Path]) -> list[tuple[Path, bool]]:
        """The path of each row's audio, and whether it exists.

        Args:
            rows: The rows of one list.
            bases: Folders that the listed paths may be relative to. Folders that hold the first folder of a listed
                path are tried as well; the folder under which most files exist is used.
        """
        listed = [os.path.normpath(row.values[0]) for row in rows]
        beginnings = {name.partition(os.sep)[0] for name in listed}
        holders = [folder.parent for folder in self._folders if folder.name in beginnings]
        found = {base: self._find(base, listed) for base in (*bases, *holders)}
        base = min(found, key=lambda base: found[base].count(None))
        return [
            (base / name, False) if file is None else (file, True)
            for name, file in zip(listed, found[base], strict=True)
        ]

    def _find(self, base: Path, listed: Iterable[str]) -> list[Path | None]:
        place = _place(base)
        places = [f"{place}{os.sep}{name}" for name in listed]
        return [self._exact.get(place) or self._by_stem.get(_stem(place)) for place in places]


def _place(path: Path) -> str:
    return os.path.normpath(path.absolute())


def _stem(place: str) -> str:
    """A path without its extension."""
    return place.rpartition(".")[0]


def _other_sizes(utterances: Iterable[_Utterance]) -> list[Remark]:
    """A remark on files whose size, without a header, differs from the listed one, if there are any."""
    other = []
    for utterance in utterances:
        if utterance.there:
            size = utterance.file.stat().st_size
            if size != utterance.size and data_bytes(utterance.file) != utterance.size:
                other.append((utterance, size))
    if not other:
        return []
    first, size = other[0]
    message = (
        f"audio files whose size, without a header, differs from the list: {len(other)}, the first is {first.file} "
        f"with {size} bytes instead of {first.size}; they may have been copied incompletely"
    )
    return [Remark("listed-size", message)]


def _other_groups(utterances: Iterable[_Utterance]) -> list[Remark]:
    """A remark on speakers whose age or gender is that of another group, if there are any."""
    told = {
        u.speaker: f"{u.speaker} ({u.group.age} {u.group.letter}, listed as {u.age} {u.letter})"
        for u in utterances
        if u.letter != u.group.letter or not u.group.youngest <= u.age <= u.group.oldest
    }
    if not told:
        return []
    message = (
        f"speakers whose listed age or gender contradicts the group in their number; the number is used: "
        f"{len(told)}, {some(sorted(told.values()))}"
    )
    return [Remark("speaker-group", message)]


def _differences(utterances: Sequence[_Utterance]) -> list[Remark]:
    """Remarks on counts that differ from the published ones."""
    by_group = Counter(f"{u.partition} group {u.speaker[0]}" for u in utterances)
    speakers = {(u.partition, u.speaker) for u in utterances}
    return [
        *differing_counts(
            "utterances",
            Counter(u.partition for u in utterances),
            {partition: sum(counts) for partition, counts in PUBLISHED_UTTERANCES.items()},
        ),
        *differing_counts(
            "speakers",
            Counter(partition for partition, _ in speakers)
            + Counter(f"{partition} group {speaker[0]}" for partition, speaker in speakers),
            {partition: sum(counts) for partition, counts in PUBLISHED_SPEAKERS.items()}
            | _by_group(PUBLISHED_SPEAKERS),
        ),
        *differing_counts("classes", by_group, _by_group(PUBLISHED_UTTERANCES)),
    ]


def _by_group(counts: Mapping[str, Sequence[int]]) -> dict[str, int]:
    """Counts under names such as ``train group 1``."""
    return {
        f"{partition} group {digit}": count
        for partition, row in counts.items()
        for digit, count in zip(GROUPS, row, strict=True)
    }
