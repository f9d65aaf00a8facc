"""The FAU Aibo Emotion Corpus (Steidl 2009) of the Interspeech 2009 Emotion Challenge (section IV-A)."""

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path

import pandas as pd

from convrnn.corpora.corpus import Corpus, is_number
from convrnn.corpora.listing import audio_files, find_list, read_list, unlisted
from convrnn.corpora.names import some
from convrnn.corpora.published import differing_counts
from convrnn.corpora.utterances import Remark
from convrnn.errors import InputError

CLASSES: dict[str, tuple[str, ...]] = {"emotion2": ("NEG", "IDL"), "emotion5": ("A", "E", "N", "P", "R")}
"""Task to its classes."""

LABEL_FILES = {"emotion2": "chunk_labels_2cl_corpus.txt", "emotion5": "chunk_labels_5cl_corpus.txt"}
"""The file with the labels of each task; neither can be derived from the other."""

LABEL_FOLDER = Path("labels", "IS2009EmotionChallenge")

VALIDATION_SPEAKERS = ("Ohm_01", "Ohm_02", "Ohm_03", "Ohm_04", "Ohm_05")
"""The first five speakers of the training set (section IV-A)."""

SPEAKERS = {
    "Ohm": tuple(f"Ohm_{n:02}" for n in (*range(1, 9), 10, 11, 13, 14, 16, *range(18, 26), 27, 28, 29, 31, 32)),
    "Mont": tuple(f"Mont_{n:02}" for n in range(1, 26)),
}
"""The speakers of each school: Ohm is the training set with the validation speakers, Mont the test set."""

PUBLISHED_UTTERANCES = {"Ohm": 9959, "Mont": 8257}

PUBLISHED_CLASSES: dict[str, dict[str, tuple[int, ...]]] = {
    "emotion2": {"Ohm": (3358, 6601), "Mont": (2465, 5792)},
    "emotion5": {"Ohm": (881, 2093, 5590, 674, 721), "Mont": (611, 1508, 5377, 215, 546)},
}
"""Utterances of each class by task and school, in the order of :data:`CLASSES`."""

# Ohm_01_000_00: speaker 01 of the school Ohm, turn 000, chunk 00. Speaker numbers repeat between the schools.
_CHUNK = re.compile(r"(Ohm|Mont)_\d\d_\d+_\d+")


def open_aibo(path: Path | str, *, name: str | None = None) -> Corpus:
    """Opens FAU-Aibo with the labels of the Interspeech 2009 Emotion Challenge.

    18216 chunks of German children's speech by 51 speakers; two tasks, ``emotion2`` (``NEG``, ``IDL``) and
    ``emotion5`` (``A``, ``E``, ``N``, ``P``, ``R``). Partitions: ``test`` is the school Mont, ``validation`` the
    speakers Ohm_01 to Ohm_05, ``train`` the rest of the school Ohm. Speakers are named with their school. A
    chunk that is not in one of the two label files has no label for its task.

    Chunks without audio stay in the table. Anything else that is odd becomes a remark of the corpus.

    Args:
        path: The folder that holds ``wav/`` and ``labels/IS2009EmotionChallenge/``. The label files may also be in
            the folder itself or up to three folders deep, and the chunks anywhere below ``wav/``.
        name: Name of the corpus; by default ``aibo:PATH``.

    Raises:
        InputError: If the folder is not that of the corpus, both label files or all audio are missing, or a row of a
            label file is not valid.
    """
    path = Path(path)
    if not path.is_dir():
        raise InputError(f"aibo: {path} is not a folder; give the one that holds wav/ and {LABEL_FOLDER.as_posix()}/")
    labels: dict[str, dict[str, str]] = {}
    absent: dict[str, str] = {}
    for task, file_name in LABEL_FILES.items():
        file = find_list(path, file_name)
        if file is not None:
            labels[task] = _labels(file, task)
        else:
            absent[task] = f"task {task!r} needs {path / LABEL_FOLDER / file_name}, which does not exist"
    if not labels:
        raise InputError(
            f"aibo: {path} has neither {' nor '.join(LABEL_FILES.values())}; give the folder that holds wav/ and "
            f"{LABEL_FOLDER.as_posix()}/"
        )
    chunks = sorted(set().union(*labels.values()))
    audio = audio_files(path / "wav", {".wav"})
    # Of several files with one name, the one nearest to wav is used.
    file_of = {file.stem: file for file in reversed(audio)}
    if not any(chunk in file_of for chunk in chunks):
        raise InputError(
            f"aibo: {path / 'wav'} has none of the listed chunks, such as {chunks[0]}.wav; copy them there"
        )
    files = [file_of.get(chunk, path / "wav" / f"{chunk}.wav") for chunk in chunks]
    speakers = [_speaker(chunk) for chunk in chunks]
    table = pd.DataFrame(
        {
            "id": chunks,
            "file": files,
            "speaker": speakers,
            "partition": [_partition(speaker) for speaker in speakers],
            **{task: [label_of.get(chunk) for chunk in chunks] for task, label_of in labels.items()},
        },
        dtype=object,
    )
    return replace(
        Corpus.from_table(table, name=name or f"aibo:{path}", classes=CLASSES),
        absent_tasks=absent,
        remarks=(
            *(Remark("missing-list", sentence, task) for task, sentence in absent.items()),
            *unlisted(audio, files),
            *_differences(chunks, labels),
        ),
    )


def _labels(file: Path, task: str) -> dict[str, str]:
    """The label of each chunk."""
    labels = {}
    for row in read_list(file, ("chunk", "label", "agreement")):
        chunk, label, agreement = row.values
        if not _CHUNK.fullmatch(chunk):
            raise row.refuse("the chunk", chunk, "School_speaker_turn_chunk, such as Ohm_01_000_00 or Mont_01_000_00")
        if label not in CLASSES[task]:
            raise row.refuse("the label", label, ", ".join(CLASSES[task]))
        if not (is_number(agreement) and 0 <= float(agreement) <= 1):
            raise row.refuse("the agreement", agreement, "0 to 1")
        labels[chunk] = label
    return labels


def _speaker(chunk: str) -> str:
    """The first two parts of a chunk's name."""
    return "_".join(chunk.split("_")[:2])


def _school(name: str) -> str:
    """The first part of a speaker's or chunk's name."""
    return name.partition("_")[0]


def _partition(speaker: str) -> str:
    if speaker in VALIDATION_SPEAKERS:
        return "validation"
    return "train" if _school(speaker) == "Ohm" else "test"


def _differences(chunks: Iterable[str], labels: Mapping[str, Mapping[str, str]]) -> list[Remark]:
    """Remarks on counts and speakers that differ from the published ones."""
    remarks = differing_counts("utterances", Counter(map(_school, chunks)), PUBLISHED_UTTERANCES)
    found = set(map(_speaker, chunks))
    published = {speaker for speakers in SPEAKERS.values() for speaker in speakers}
    if found != published:
        there = Counter(map(_school, found))
        told = " and ".join(f"{there[school]} instead of {len(SPEAKERS[school])} of {school}" for school in SPEAKERS)
        for which, speakers in (("missing", published - found), ("unknown", found - published)):
            told += f"; {which}: {some(sorted(speakers))}" if speakers else ""
        remarks.append(Remark("published-speakers", f"speakers differ from the published ones: {told}"))
    for task, label_of in labels.items():
        remarks += differing_counts(
            "classes",
            Counter(f"{_school(chunk)} {label}" for chunk, label in label_of.items()),
            {
                f"{school} {label}": count
                for school, counts in PUBLISHED_CLASSES[task].items()
                for label, count in zip(CLASSES[task], counts, strict=True)
            },
            task=task,
        )
    return remarks
