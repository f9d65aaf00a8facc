"""On which side of a division into train, validation and test each row is."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from convrnn.corpora.corpus import Corpus
from convrnn.corpora.report import NO_PARTITION
from convrnn.corpora.splits import Split


@dataclass(frozen=True, slots=True)
class Division:
    """One way in which the rows of a corpus are divided.

    Attributes:
        name: What sentences call it: ``"partitions"``, or ``"split loso-03"``.
        side: Row number to ``"train"``, ``"validation"``, ``"test"`` or ``"none"``.
        given: Whether it is the corpus's own partition column, by which two rows of one speaker may be on two sides.
    """

    name: str
    side: Callable[[int], str]
    given: bool = False


def partition_column(corpus: Corpus) -> Division:
    """The corpus's own partitions."""
    sides = [NO_PARTITION if side is None else side for side in corpus.table["partition"].tolist()]
    return Division("partitions", sides.__getitem__, given=True)


def by_splits(corpus: Corpus, splits: Iterable[Split]) -> list[Division]:
    """One division per split; every row's speaker is in each of them."""
    speakers = corpus.table["speaker"].tolist()

    def division(split: Split) -> Division:
        sides = split.sides
        return Division(f"split {split.name}", lambda row: sides[speakers[row]])

    return [division(split) for split in splits]


def used_rows(corpus: Corpus, task: str | None, splits: Sequence[Split]) -> Corpus:
    """The rows that a run on these splits uses: of their speakers, and with a label for the task."""
    if task is not None:
        corpus = corpus.for_task(task)
    named = {speaker for split in splits for speaker in split.sides}
    return corpus.keep([speaker in named for speaker in corpus.table["speaker"].tolist()])
