"""Splits of speakers into train, validation and test; no speaker is ever in two of them."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from convrnn.corpora.assign import assign_speakers
from convrnn.corpora.labelled import LabelledCorpus
from convrnn.corpora.utterances import PARTITIONS, HoldOut, Utterances
from convrnn.errors import InputError
from convrnn.files import write_atomically, writing
from convrnn.json_files import read_json

KINDS = ("partitions", "random", "folds:K", "loso", "file:PATH")
VALIDATION_SHARE = 0.2
TEST_SHARE = 0.2
FORMAT_VERSION = 1


@dataclass(frozen=True)
class Split:
    """One division of a corpus's speakers.

    Attributes:
        name: Name in messages, run directories and tables: ``"partitions"``, ``"random"``, ``"fold-1-of-5"``,
            ``"loso-03"``.
        train: Training speakers, sorted, as are the others.
        validation: Validation speakers, by which the epoch is selected.
        test: Test speakers.

    Raises:
        InputError: If a side has no speaker or a speaker is on two sides.

    Example:
        >>> Split("mine", train=("b", "a"), validation=("c",), test=("d",)).train
        ('a', 'b')
        >>> Split("mine", train=("a", "b"), validation=("a",), test=("c",))
        Traceback (most recent call last):
        ...
        convrnn.errors.InputError: split 'mine': speaker 'a' is in train and in validation
    """

    name: str
    train: tuple[str, ...]
    validation: tuple[str, ...]
    test: tuple[str, ...]

    def __post_init__(self) -> None:
        sides: dict[str, str] = {}
        for side in PARTITIONS:
            speakers: tuple[str, ...] = tuple(sorted(set(getattr(self, side))))
            if not speakers:
                raise InputError(f"split {self.name!r}: {side} has no speaker")
            object.__setattr__(self, side, speakers)
            for speaker in speakers:
                if speaker in sides:
                    raise InputError(f"split {self.name!r}: speaker {speaker!r} is in {sides[speaker]} and in {side}")
                sides[speaker] = side

    @property
    def sides(self) -> dict[str, str]:
        """Maps every speaker to ``"train"``, ``"validation"`` or ``"test"``."""
        return {speaker: side for side in PARTITIONS for speaker in getattr(self, side)}

    def rows(self, corpus: Utterances) -> dict[str, list[int]]:
        """Row numbers of each side, in table order.

        Args:
            corpus: A corpus of exactly this split's speakers.

        Raises:
            InputError: If the corpus lacks a speaker of this split or has any other.
        """
        self.check_speakers(corpus)
        sides = self.sides
        rows: dict[str, list[int]] = {side: [] for side in PARTITIONS}
        for row, speaker in enumerate(corpus.table["speaker"].tolist()):
            rows[sides[speaker]].append(row)
        return rows

    def check_speakers(self, corpus: Utterances) -> None:
        """Raises an InputError unless the corpus has exactly the speakers of this split."""
        named, present = set(self.sides), set(corpus.speakers)
        if unknown := sorted(named - present):
            raise InputError(f"split {self.name!r} names speaker {unknown[0]!r}, who is not in {corpus.name}")
        if absent := sorted(present - named):
            raise InputError(f"split {self.name!r} does not name speaker {absent[0]!r} of {corpus.name}")

    def check_classes(self, corpus: LabelledCorpus) -> None:
        """Raises an InputError unless every class has a training example."""
        labels = corpus.labels
        rows = self.rows(corpus)
        trained = {labels[row] for row in rows["train"]}
        for name in corpus.classes:
            if name not in trained:
                held_out = {side: sum(labels[row] == name for row in rows[side]) for side in ("validation", "test")}
                found = " and ".join(f"{count} in {side}" for side, count in held_out.items() if count) or "none at all"
                raise InputError(
                    f"split {self.name!r}: class {name!r} of {corpus.task} has no training example ({found})"
                )


def make_splits(corpus: LabelledCorpus, kind: str, *, seed: int = 0) -> list[Split]:
    """Splits the speakers of a corpus.

    There is always a validation side: 20 % of the training speakers, rounded, at least one, and where possible at least
    one per class (which may take more, up to half of the training speakers). A corpus may define its own rule
    (:class:`~convrnn.corpora.utterances.HoldOut`), which is used with ``"partitions"``. The same corpus, kind and seed
    always give the same split, whatever the order of the rows.

    Args:
        corpus: The corpus; its classes are spread evenly.
        kind: ``"partitions"``, the corpus's own, with validation taken from the training speakers if it has none;
            ``"random"``, about 60, 20 and 20 % of the speakers, stratified by class; ``"folds:K"``, K splits in which
            each speaker is tested exactly once, stratified likewise; ``"loso"``, one split per speaker (leave one
            speaker out); ``"file:PATH"``, splits saved by :func:`save_splits`.
        seed: The split seed, the only source of randomness here.

    Raises:
        InputError: If the kind is unknown, the corpus has too few speakers, a class has no training example,
            the corpus has no usable partitions, or a saved split does not fit the corpus.
    """
    task, classes = corpus.task, corpus.classes
    if len(classes) < 2:
        raise InputError(f"{corpus.name}: task {task!r} has only one class, {classes[0]!r}; at least two are needed")
    if len(corpus.speakers) < 3:
        raise InputError(
            f"{corpus.name}: task {task!r} has only {len(corpus.speakers)} "
            f"speaker{'' if len(corpus.speakers) == 1 else 's'}; at least three are needed, one each "
            "for train, validation and test"
        )
    name, colon, argument = kind.partition(":")
    if kind == "partitions":
        splits = [_partitions(corpus, seed)]
    elif kind == "random":
        splits = [_random(corpus, seed)]
    elif kind == "loso":
        splits = _leave_out(corpus, {f"loso-{speaker}": (speaker,) for speaker in corpus.speakers}, seed)
    elif name == "folds" and colon:
        splits = _folds(corpus, argument, seed)
    elif name == "file" and argument:
        splits = load_splits(Path(argument).expanduser())
        for split in splits:
            split.check_speakers(corpus)
    else:
        raise InputError(f"unknown split {kind!r}; allowed: {', '.join(KINDS)}")
    for split in splits:
        split.check_classes(corpus)
    return splits


def save_splits(splits: Sequence[Split], path: Path | str) -> None:
    """Writes splits to a JSON file for ``file:PATH`` and :func:`load_splits`; missing folders are created.

    Raises:
        InputError: If the file cannot be written.
    """
    path = Path(path)
    text = json.dumps({"format_version": FORMAT_VERSION, "splits": [asdict(split) for split in splits]}, indent=1)
    with writing(path.parent):
        path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, text + "\n")


def load_splits(path: Path | str) -> list[Split]:
    """Reads splits that :func:`save_splits` wrote.

    Raises:
        InputError: If the file is missing, is not a split file, or holds a split with a speaker on two sides.
    """
    content = read_json(path)
    entries = content.get("splits") if isinstance(content, dict) else None
    if not isinstance(entries, list) or not entries or content.get("format_version") != FORMAT_VERSION:
        raise InputError(f"{path}: is not a split file of format {FORMAT_VERSION}: a list 'splits' is expected")
    splits = []
    for number, entry in enumerate(entries, start=1):
        if not isinstance(entry, dict) or set(entry) != {"name", *PARTITIONS} or not isinstance(entry["name"], str):
            raise InputError(f"{path}: split {number} must have name, {', '.join(PARTITIONS)} and nothing else")
        for side in PARTITIONS:
            if not isinstance(entry[side], list) or not all(isinstance(speaker, str) for speaker in entry[side]):
                raise InputError(f"{path}: split {number}: {side!r} must be a list of speakers, as text")
        try:
            splits.append(Split(entry["name"], **{side: tuple(entry[side]) for side in PARTITIONS}))
        except InputError as error:
            raise InputError(f"{path}: {error}") from error
    names = [split.name for split in splits]
    if len(set(names)) < len(names):
        raise InputError(f"{path}: two splits have the same name; names found: {', '.join(names)}")
    return splits


def _partitions(corpus: LabelledCorpus, seed: int) -> Split:
    table = corpus.table
    if table["partition"].isna().all():
        raise InputError(f"{corpus.name}: has no partitions; split by random, folds:K or loso")
    sides: dict[str, str] = {}
    for identity, speaker, side in zip(table["id"], table["speaker"], table["partition"], strict=True):
        if side is None:
            raise InputError(
                f"{corpus.name}: {identity} has no partition, although others have one; add it or remove the row"
            )
        if sides.setdefault(speaker, side) != side:
            raise InputError(
                f"{corpus.name}: speaker {speaker!r} is in the partitions {sides[speaker]} and {side}; "
                "a speaker may be in only one"
            )
    groups = {side: [s for s, found in sides.items() if found == side] for side in PARTITIONS}
    for side in ("train", "test"):
        if not groups[side]:
            raise InputError(f"{corpus.name}: the partition {side!r} has no speaker")
    if not groups["validation"]:
        if corpus.hold_out is None:
            groups["train"], groups["validation"] = _hold_out(corpus, groups["train"], [seed])
        else:
            groups["train"], groups["validation"] = _hold_out_of_groups(corpus, corpus.hold_out, groups["train"], seed)
    return Split("partitions", *(tuple(groups[side]) for side in PARTITIONS))


def _random(corpus: LabelledCorpus, seed: int) -> Split:
    counts = _class_counts(corpus)
    validation, test = (max(1, round(share * len(counts))) for share in (VALIDATION_SHARE, TEST_SHARE))
    sizes = [len(counts) - validation - test, validation, test]
    sides = assign_speakers(counts, sizes, np.random.default_rng([seed]), train=0)
    return Split("random", *(tuple(side) for side in sides))


def _folds(corpus: LabelledCorpus, argument: str, seed: int) -> list[Split]:
    counts = _class_counts(corpus)
    folds = int(argument) if argument.isascii() and argument.isdigit() else 0
    if not 2 <= folds <= len(counts):
        raise InputError(
            f"split 'folds:{argument}': the number of folds must be from 2 to {len(counts)}, the number of speakers in "
            f"{corpus.name}"
        )
    sizes = [len(counts) // folds + (fold < len(counts) % folds) for fold in range(folds)]
    tests = assign_speakers(counts, sizes, np.random.default_rng([seed]))
    return _leave_out(corpus, {f"fold-{k}-of-{folds}": tuple(t) for k, t in enumerate(tests, start=1)}, seed)


def _leave_out(corpus: LabelledCorpus, tests: dict[str, tuple[str, ...]], seed: int) -> list[Split]:
    splits = []
    for number, (name, test) in enumerate(tests.items()):
        rest = [speaker for speaker in corpus.speakers if speaker not in test]
        train, validation = _hold_out(corpus, rest, [seed, number])
        splits.append(Split(name, tuple(train), tuple(validation), test))
    return splits


def _hold_out(corpus: LabelledCorpus, speakers: Sequence[str], seed: Sequence[int]) -> tuple[list[str], list[str]]:
    """Divides training speakers into train and validation."""
    if len(speakers) < 2:
        raise InputError(
            f"{corpus.name}: only one training speaker, {speakers[0]!r}; another one is needed for validation"
        )
    every = _class_counts(corpus)
    counts = {speaker: every[speaker] for speaker in speakers}
    held = max(1, round(VALIDATION_SHARE * len(counts)))
    train, validation = assign_speakers(counts, [len(counts) - held, held], np.random.default_rng(seed), train=0)
    return train, validation


def _hold_out_of_groups(
    corpus: LabelledCorpus, rule: HoldOut, speakers: Sequence[str], seed: int
) -> tuple[list[str], list[str]]:
    """Divides training speakers into train and validation by the corpus's own rule.

    At most half of a group is held out, as for other corpora, so that a subset of the corpus can still be trained on.
    """
    members: dict[str, list[str]] = {}
    for speaker in sorted(speakers):
        members.setdefault(rule.groups[speaker], []).append(speaker)
    rng = np.random.default_rng([seed])
    validation: list[str] = []
    for group in sorted(members):
        held = min(rule.per_group, len(members[group]) // 2)
        validation += rng.permutation(members[group])[:held].tolist()
    if not validation:
        raise InputError(
            f"{corpus.name}: no group has two training speakers; groups: {', '.join(sorted(members))}; two are "
            "needed, one of them for validation"
        )
    return sorted(set(speakers) - set(validation)), validation


def _class_counts(corpus: LabelledCorpus) -> dict[str, list[int]]:
    """Utterances of each class, per speaker."""
    counts = {speaker: [0] * len(corpus.classes) for speaker in corpus.speakers}
    for speaker, index in zip(corpus.table["speaker"].tolist(), corpus.class_indices.tolist(), strict=True):
        counts[speaker][index] += 1
    return counts
