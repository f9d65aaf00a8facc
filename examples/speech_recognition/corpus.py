"""Recordings and their transcripts, read from a CSV table and divided by speakers."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from convrnn.corpora.assign import assign_speakers
from convrnn.corpora.csv_table import PARTITION_ALIASES, Row, read_rows
from convrnn.corpora.splits import Split
from convrnn.errors import InputError
from convrnn.features.audio import check_audio_file
from convrnn.features.extract import Segment
from convrnn.files import file_hash

ALPHABET = " 'ABCDEFGHIJKLMNOPQRSTUVWXYZ"
"""The characters of a transcript. The model's output 0 is CTC's blank; output i + 1 is character i."""

VALIDATION_SHARE = 0.1
"""Share of the training speakers that is held out for validation where the corpus names none."""


@dataclass(frozen=True)
class Utterance:
    """A recording and what is said in it.

    Attributes:
        where: File and line of the table, for messages.
        segment: The audio.
        speaker: Who speaks.
        text: The transcript, words of :data:`ALPHABET` with one space between them.
    """

    where: str
    segment: Segment
    speaker: str
    text: str


@dataclass(frozen=True)
class Corpus:
    """The utterances of the three sides, disjoint by speaker, in the order of the table."""

    train: Sequence[Utterance]
    validation: Sequence[Utterance]
    test: Sequence[Utterance]

    def fingerprint(self) -> str:
        """A hash of all audio, transcripts and sides: 16 hexadecimal digits.

        Raises:
            InputError: An audio file is missing or cannot be read.
        """
        content = [
            [side, file_hash(check_audio_file(it.segment.file)), it.segment.start, it.segment.end, it.text]
            for side in ("train", "validation", "test")
            for it in getattr(self, side)
        ]
        return hashlib.sha256(json.dumps(content).encode()).hexdigest()[:16]


def read_corpus(path: Path) -> Corpus:
    """Reads a corpus and holds out validation speakers.

    The table has the columns ``file`` (relative to the table), ``speaker``, ``partition`` and ``text``, and optionally
    ``start`` and ``end`` in seconds. If no row has the partition "validation", a tenth of the training speakers, at
    least one, is held out; who they are depends on the names of the speakers alone.

    Args:
        path: The table, or a folder with ``corpus.csv``.

    Raises:
        InputError: The table is missing or not as described, a transcript has a character outside :data:`ALPHABET`, or
            a side has no speaker or shares one with another.
    """
    table = path / "corpus.csv" if path.is_dir() else path
    _, rows = read_rows(table, required=("file", "speaker", "partition", "text"))
    sides: dict[str, list[Utterance]] = {"train": [], "validation": [], "test": []}
    for row in rows:
        sides[_partition(row)].append(_utterance(row, table.parent))
    if not sides["validation"]:
        held_out = _validation_speakers(table, sides["train"])
        sides["validation"] = [it for it in sides["train"] if it.speaker in held_out]
        sides["train"] = [it for it in sides["train"] if it.speaker not in held_out]
    try:
        Split("partitions", **{side: tuple(it.speaker for it in members) for side, members in sides.items()})
    except InputError as error:
        raise InputError(f"{table}: {error}") from None
    return Corpus(**sides)


def _partition(row: Row) -> str:
    value = row.filled("partition")
    if value.lower() not in PARTITION_ALIASES:
        raise InputError(f"{row.where}: column 'partition' has {value!r}; allowed: train, validation, test")
    return PARTITION_ALIASES[value.lower()]


def _utterance(row: Row, folder: Path) -> Utterance:
    text = " ".join(row.filled("text").upper().split())
    if unknown := sorted(set(text) - set(ALPHABET)):
        raise InputError(
            f"{row.where}: column 'text' has the character {unknown[0]!r}; allowed: letters A to Z, apostrophe, space"
        )
    segment = Segment(str(folder / row.filled("file")), *row.times())
    return Utterance(row.where, segment, row.filled("speaker"), text)


def _validation_speakers(table: Path, train: Sequence[Utterance]) -> set[str]:
    counts: dict[str, list[int]] = {}
    for utterance in train:
        counts.setdefault(utterance.speaker, [0])[0] += 1
    if len(counts) < 2:
        raise InputError(
            f"{table}: the partition 'train' has {len(counts)} speaker(s), so none is left for validation; at least "
            "two are needed"
        )
    held = max(1, round(VALIDATION_SHARE * len(counts)))
    _, validation = assign_speakers(counts, [len(counts) - held, held], np.random.default_rng(0))
    return set(validation)
