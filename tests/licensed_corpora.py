"""Small copies of the folder layout of the two licensed corpora, with noise and tones instead of speech."""

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import soundfile

AIBO_LABELS = ("A", "E", "N", "P", "R")
AIBO_SPEAKERS = (*(f"Ohm_{n:02}" for n in (1, 2, 3, 4, 5, 6, 7, 8)), "Mont_01", "Mont_02")
FIVE = "chunk_labels_5cl_corpus.txt"
TWO = "chunk_labels_2cl_corpus.txt"
LABEL_FOLDER = Path("labels", "IS2009EmotionChallenge")
TRAIN = "trainSampleList_train.txt"
DEVEL = "trainSampleList_devel.txt"
AGES = {"1": 9, "2": 20, "3": 20, "4": 40, "5": 40, "6": 70, "7": 70}
LETTERS = {"1": "x", "2": "f", "3": "m", "4": "f", "5": "m", "6": "f", "7": "m"}


def kinds(corpus):
    """The kinds of a corpus's remarks."""
    return [remark.kind for remark in corpus.remarks]


def message(corpus, kind):
    """The message of a corpus's only remark of this kind."""
    [remark] = [remark for remark in corpus.remarks if remark.kind == kind]
    return remark.message


def noise(name: str, samples: int, low: int = -9000) -> np.ndarray:
    """Noise as int16 ``[samples]``, decided by the name."""
    return np.random.default_rng(list(name.encode())).integers(low, 9000, samples, dtype=np.int16)


def aibo_rows() -> dict[str, list[tuple[str, str, str]]]:
    """Rows of chunk, label and agreement by label file: every speaker has every label of both files."""
    chunks = [
        (f"{speaker}_{turn:03}_00", label, "NEG" if (turn + place) % 2 else "IDL")
        for place, speaker in enumerate(AIBO_SPEAKERS)
        for turn, label in enumerate(AIBO_LABELS)
    ]
    return {
        FIVE: [(chunk, five, "0.6") for chunk, five, _ in chunks],
        TWO: [(chunk, two, "1") for chunk, _, two in chunks],
    }


def write_aibo(
    root: Path,
    rows: dict[str, list[tuple[str, str, str]]] | None = None,
    *,
    labels: Path = LABEL_FOLDER,
    wav: str = "wav",
    end: str = "\n",
    audio: Iterable[str] | None = None,
) -> Path:
    """Writes a small FAU-Aibo.

    Args:
        root: Its folder, which is created.
        rows: The rows by label file; by default :func:`aibo_rows`.
        labels: Folder of the label files below root.
        wav: Folder of the audio below root.
        end: Ends a line.
        audio: Chunks that have audio, 0.4 s at 16 kHz; by default all.
    """
    rows = aibo_rows() if rows is None else rows
    for folder in (root / labels, root / wav):
        folder.mkdir(parents=True, exist_ok=True)
    for name, listed in rows.items():
        (root / labels / name).write_bytes("".join(" ".join(row) + end for row in listed).encode())
    chunks = {row[0] for listed in rows.values() for row in listed} if audio is None else audio
    for chunk in sorted(chunks):
        soundfile.write(root / wav / f"{chunk}.wav", noise(chunk, 6400), 16000)
    return root


def agender_rows(
    train: int = 3, devel: int = 1, files: int = 1, samples: int = 3200
) -> dict[str, list[tuple[str, str, str, str, str]]]:
    """Rows of path, bytes, speaker, age and gender by list, with the given numbers of speakers per group and files."""
    numbers = {TRAIN: range(1, train + 1), DEVEL: range(501, 501 + devel)}
    return {
        name: [
            (
                f"wav_traindevel/{group}{number:03}/1/a1{group}{number:03}s{file}.raw",
                str(2 * samples),
                f"{group}{number:03}",
                str(AGES[group]),
                LETTERS[group],
            )
            for group in AGES
            for number in some_numbers
            for file in range(files)
        ]
        for name, some_numbers in numbers.items()
    }


def write_agender(
    root: Path,
    rows: dict[str, list[tuple[str, str, str, str, str]]] | None = None,
    *,
    lists: Path = Path(),
    base: Path = Path(),
    end: str = "\n",
    audio: Sequence[str] | None = None,
) -> Path:
    """Writes a small aGender of headerless files with the listed sizes.

    Args:
        root: Its folder, which is created.
        rows: The rows by list; by default :func:`agender_rows`.
        lists: Folder of the lists below root.
        base: Folder that the paths are relative to, below root.
        end: Ends a line.
        audio: Listed paths that have audio; by default all.
    """
    rows = agender_rows() if rows is None else rows
    (root / lists).mkdir(parents=True, exist_ok=True)
    for name, listed in rows.items():
        (root / lists / name).write_bytes("".join(" ".join(row) + end for row in listed).encode())
        for row in listed:
            if audio is None or row[0] in audio:
                file = root / base / row[0]
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_bytes(noise(row[0], int(row[1]) // 2).astype("<i2").tobytes())
    return root
