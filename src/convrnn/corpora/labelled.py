"""The rows of a corpus that have a label for one task: what models are trained and tested on."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import PurePath

import numpy as np
from numpy.typing import NDArray
from typing_extensions import override

from convrnn.corpora.names import is_there, similar_file
from convrnn.corpora.utterances import TaskLabels, Utterances
from convrnn.errors import InputError
from convrnn.features.base import Features
from convrnn.features.frames import FramesConfig, frames_shape
from convrnn.features.logmel import LogMelConfig
from convrnn.files import check_file, file_hash

HIGHEST_DEFAULT_RATE = 16_000
"""Sample rate in Hz at which features are computed if all files have a higher one."""


@dataclass(frozen=True, eq=False)
class LabelledCorpus(Utterances):
    """The rows of a corpus that have a label for one task.

    :meth:`Corpus.for_task <convrnn.corpora.corpus.Corpus.for_task>` makes one.

    Attributes:
        table: As in :class:`~convrnn.corpora.utterances.Utterances`, with one column ``label``.
        task: Name of the task.
        classes: The class names, in the order of the class numbers.

    Raises:
        ValueError: If a row has no label, or one that is not among the classes.

    Example:
        >>> import pandas as pd
        >>> from convrnn.corpora.corpus import Corpus
        >>> table = pd.DataFrame({"file": ["a.wav", "b.wav"], "speaker": ["1", "2"], "mood": ["sad", "glad"]})
        >>> corpus = Corpus.from_table(table).for_task("mood")
        >>> corpus.classes, corpus.labels, corpus.class_indices.tolist()
        (('glad', 'sad'), ['sad', 'glad'], [1, 0])
    """

    task: str
    classes: tuple[str, ...]

    @override
    def __post_init__(self) -> None:
        super().__post_init__()
        if self.table["label"].isna().any():
            raise ValueError("table has rows without 'label'")

    @override
    def _label_columns(self) -> Mapping[str, tuple[str, ...]]:
        return {"label": self.classes}

    @override
    def task_labels(self) -> list[TaskLabels]:
        return [TaskLabels(self.task, self.classes, self.table["label"].tolist())]

    @property
    def labels(self) -> list[str]:
        """The label of every row, in table order."""
        return list(self.table["label"])

    @property
    def class_indices(self) -> NDArray[np.int64]:
        """The class number of every row, int64 ``[rows]``."""
        number = {name: index for index, name in enumerate(self.classes)}
        return np.array([number[label] for label in self.labels], dtype=np.int64)

    @property
    def default_split(self) -> str:
        """The default kind of split: ``"partitions"`` if it has any, else ``"random"``."""
        return "partitions" if self.table["partition"].notna().any() else "random"

    @property
    def default_features(self) -> Features:
        """Log mel filter-bank energies at :attr:`sample_rate`; for a corpus of frames, these as they are.

        Raises:
            InputError: If a file is missing or unreadable.
        """
        if not self.holds_frames:
            return LogMelConfig(sample_rate=self.sample_rate)
        self._check_files()
        # The check of a corpus refuses arrays of several widths.
        return FramesConfig(width=frames_shape(self.table["file"].iloc[0])[1])

    @property
    def sample_rate(self) -> int:
        """The default sample rate of features in Hz: the lowest rate of the files, at most 16 kHz.

        A model of speech gains nothing from bands above 8 kHz, and files with a higher rate often hold nothing there.

        Raises:
            InputError: As :attr:`lowest_rate`.
        """
        return min(self.lowest_rate, HIGHEST_DEFAULT_RATE)

    @cached_property
    def lowest_rate(self) -> int:
        """The lowest sample rate among the files, in Hz.

        Raises:
            InputError: If a file is missing or unreadable.
        """
        self._check_files()
        return min(segment.info().sample_rate for segment in {s.file: s for s in self.segments()}.values())

    @cached_property
    def fingerprint(self) -> str:
        """:meth:`compute_fingerprint`, computed once."""
        return self.compute_fingerprint()

    def compute_fingerprint(self) -> str:
        """A hash of everything in these rows that results depend on, computed from the current files.

        It covers, in order, ids, speakers, partitions, labels, start and end, and the bytes of the files, with
        the rate of files without a header; and the order of the classes. The location of the files does not matter.

        Returns:
            64 hexadecimal digits.

        Raises:
            InputError: If a file cannot be read.
        """
        self._check_files()
        digests = {file: file_hash(file) for file in sorted(set(self.table["file"]))}
        head: list[object] = [self.task, self.classes]
        if self.headerless_rate is not None:
            head.append(self.headerless_rate)
        total = hashlib.sha256(json.dumps(head).encode())
        for row, segment in zip(self.table.to_dict("records"), self.segments(), strict=True):
            identity = row["id"]
            if PurePath(identity).is_absolute():
                identity = PurePath(identity).name
            fields = [identity, row["speaker"], row["partition"], row["label"], segment.start, segment.end]
            total.update(json.dumps([*fields, digests[segment.file]]).encode())
        return total.hexdigest()

    def _check_files(self) -> None:
        """Raises an InputError that names the first missing or empty file, and how many there are."""
        what = "array of frames" if self.holds_frames else "audio file"
        files = list(dict.fromkeys(self.table["file"]))
        faults = []
        for file in files:
            try:
                check_file(file, what)
            except InputError as fault:
                there = "" if is_there(file) else similar_file(file)
                faults.append(InputError(f"{fault}{there}"))
        if len(faults) == 1:
            raise faults[0]
        if faults:
            kind = "arrays" if self.holds_frames else "audio files"
            raise InputError(
                f"{faults[0]}; {len(faults)} of the {len(files)} {kind} of {self.name} are missing or empty: copy "
                "them, or remove them from its list"
            ) from faults[0]
