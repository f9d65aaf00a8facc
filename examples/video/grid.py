"""The table of a corpus in the form of GRID: which words are said in which frames of which clip."""

import csv
import hashlib
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from convrnn.errors import InputError
from examples.video.clips import Clips, frame_at

TABLE = "words.csv"
COLUMNS = ("file", "sentence", "partition", "kind", "word", "start", "end")
PARTITIONS = ("train", "validation", "test")
ALL_WORDS = "words"
"""The task of all kinds of words together."""


class Word(NamedTuple):
    """A word of a sentence.

    Attributes:
        row: Line of the table.
        kind: Its part in the sentence, for example "digit".
        text: The word.
        start: First frame.
        end: The frame after its last; at least ``start + 1``.
    """

    row: int
    kind: str
    text: str
    start: int
    end: int


@dataclass(frozen=True)
class Sentence:
    """A clip and its words, in order."""

    path: Path
    partition: str
    words: tuple[Word, ...]


class Example(NamedTuple):
    """Frames of a clip, and the classes of the words that are said in them.

    Attributes:
        clip: Position of the sentence in the corpus.
        start: First frame.
        end: The frame after its last.
        words: What is said, one word or a sentence.
        target: Class index of each word.
    """

    clip: int
    start: int
    end: int
    words: tuple[Word, ...]
    target: tuple[int, ...]

    @property
    def text(self) -> str:
        """The words as a text."""
        return " ".join(word.text for word in self.words)

    @property
    def kind(self) -> str:
        """The kind of a single word, or "sentence"."""
        return self.words[0].kind if len(self.words) == 1 else "sentence"


@dataclass(frozen=True)
class Corpus:
    """All sentences, and a digest of the table."""

    table: Path
    sentences: tuple[Sentence, ...]
    digest: str

    @property
    def tasks(self) -> tuple[str, ...]:
        """The kinds of words in the order of the first sentence, and "words" for all of them."""
        return (*dict.fromkeys(word.kind for word in self.sentences[0].words), ALL_WORDS)

    def classes(self, task: str) -> tuple[str, ...]:
        """The training words of a task, sorted.

        Raises:
            InputError: There is no such task, or it has fewer than two words.
        """
        if task not in self.tasks:
            raise InputError(f"task {task!r} does not exist; choose from {', '.join(self.tasks)}")
        said = (word for it in self.sentences if it.partition == "train" for word in it.words)
        words = tuple(sorted({word.text for word in said if task in (word.kind, ALL_WORDS)}))
        if len(words) < 2:
            raise InputError(f"{self.table}: task {task!r} has fewer than two training words")
        return words

    def word_examples(self, partition: str, task: str, clips: Clips, context: int) -> list[Example]:
        """Each word of a task with ``context`` frames before and after it, fewer at the ends of a clip.

        Raises:
            InputError: There is none, or one ends after its clip or is not among the training words.
        """
        index = {word: place for place, word in enumerate(self.classes(task))}
        examples = [
            Example(
                clip,
                max(word.start - context, 0),
                min(word.end + context, len(clips[clip])),
                (word,),
                self._target((word,), index, clip, clips),
            )
            for clip, sentence in enumerate(self.sentences)
            if sentence.partition == partition
            for word in sentence.words
            if task in (word.kind, ALL_WORDS)
        ]
        if not examples:
            raise InputError(f"{self.table}: no row of task {task!r} has partition {partition!r}")
        return examples

    def sentence_examples(self, partition: str, clips: Clips) -> list[Example]:
        """Each whole clip with all its words.

        Raises:
            InputError: As for words, or a clip has fewer than two frames for each word.
        """
        index = {word: place for place, word in enumerate(self.classes(ALL_WORDS))}
        return [
            Example(clip, 0, len(clips[clip]), sentence.words, self._target(sentence.words, index, clip, clips))
            for clip, sentence in enumerate(self.sentences)
            if sentence.partition == partition
        ]

    def words_of(self, clip: Path) -> tuple[Word, ...]:
        """What is said in a clip.

        Raises:
            InputError: The table does not have the clip.
        """
        for sentence in self.sentences:
            if sentence.path.resolve() == clip.resolve():
                return sentence.words
        raise InputError(f"{self.table}: has no row for {clip}")

    def _target(self, words: tuple[Word, ...], index: dict[str, int], clip: int, clips: Clips) -> tuple[int, ...]:
        for word in words:
            if word.text not in index:
                raise InputError(f"{self.table}: row {word.row}: {word.text!r} is not among the training words")
            if word.end > len(clips[clip]):
                raise InputError(
                    f"{self.table}: row {word.row}: {word.text!r} ends at frame {word.end}, but "
                    f"{self.sentences[clip].path.name} has {len(clips[clip])} frames"
                )
        if len(words) > 1 and 2 * len(words) > len(clips[clip]):
            raise InputError(
                f"{self.sentences[clip].path}: has {len(clips[clip])} frames, too few for {len(words)} words"
            )
        return tuple(index[word.text] for word in words)


def read_corpus(path: Path) -> Corpus:
    """Reads a table with the columns file, sentence, partition, kind, word, start, end.

    Files are relative to the table; start and end are in seconds, and a time's frame is floor(25 · seconds). Words with
    the same file are one sentence, in the order of the rows.

    Args:
        path: The table, or the folder with ``words.csv``.

    Raises:
        InputError: The table or a clip is missing, a column is missing, a value is not allowed, a partition has no
            sentence, or a sentence is in two partitions.
    """
    table = path / TABLE if path.is_dir() else path
    try:
        content = table.read_bytes()
        rows = list(csv.DictReader(content.decode("utf-8-sig").splitlines()))
    except FileNotFoundError:
        raise InputError(f"{table}: file does not exist") from None
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{table}: cannot be read as a table ({error})") from None
    if not rows:
        raise InputError(f"{table}: has no rows")
    if missing := [name for name in COLUMNS if name not in rows[0]]:
        raise InputError(f"{table}: column {missing[0]!r} is missing; needed are {', '.join(COLUMNS)}")
    words: defaultdict[tuple[str, str], list[Word]] = defaultdict(list)
    homes: dict[str, str] = {}
    for number, row in enumerate(rows, start=2):
        where = f"{table}: row {number}"
        if None in row.values() or None in row:
            raise InputError(f"{where}: must have as many values as the first row has columns")
        if len(row["word"].split()) != 1:
            raise InputError(f"{where}: {row['word']!r} is not one word")
        if row["partition"] not in PARTITIONS:
            raise InputError(f"{where}: partition is {row['partition']!r}; choose from {', '.join(PARTITIONS)}")
        if homes.setdefault(row["sentence"], row["partition"]) != row["partition"]:
            raise InputError(f"{where}: sentence {row['sentence']!r} is also in {homes[row['sentence']]}")
        start, end = _frame(row["start"], where), _frame(row["end"], where)
        if end < start:
            raise InputError(f"{where}: end {row['end']} is before start {row['start']}")
        words[row["file"], row["partition"]].append(Word(number, row["kind"], row["word"], start, max(end, start + 1)))
    sentences = tuple(Sentence(table.parent / file, home, tuple(it)) for (file, home), it in words.items())
    for sentence in sentences:
        if not sentence.path.is_file():
            raise InputError(f"{table}: row {sentence.words[0].row}: {sentence.path} does not exist")
    if absent := set(PARTITIONS) - set(homes.values()):
        raise InputError(f"{table}: no row has partition {min(absent)!r}")
    return Corpus(table, sentences, hashlib.sha256(content).hexdigest())


def _frame(seconds: str, where: str) -> int:
    try:
        frame = frame_at(float(seconds))
    except (TypeError, ValueError, OverflowError):
        frame = -1
    if frame < 0:
        raise InputError(f"{where}: {seconds!r} is not a time in seconds")
    return frame
