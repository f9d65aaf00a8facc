"""Assignment of each row to train, validation or test."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from convrnn.corpora.report import NO_PARTITION
from convrnn.corpora.splits import Split
from convrnn.corpora.utterances import Utterances

_Rows = TypeVar("_Rows", bound=Utterances)


@dataclass(frozen=True, slots=True)
class Division:
    """One division of the rows of a corpus into sides.

    Attributes:
        name: Name in messages: ``"partitions"``, or ``"split loso-03"``.
        side: Maps a row number to ``"train"``, ``"validation"``, ``"test"`` or ``"none"``.
        given: Whether this is the corpus's own partition column, which may put one speaker on two sides.
    """

    name: str
    side: Callable[[int], str]
    given: bool = False


def partition_column(corpus: Utterances) -> Division:
    """The corpus's own partitions."""
    sides = [NO_PARTITION if side is None else side for side in corpus.table["partition"].tolist()]
    return Division("partitions", sides.__getitem__, given=True)


def by_splits(corpus: Utterances, splits: Iterable[Split]) -> list[Division]:
    """One division per split; every split must contain the speakers of all rows."""
    speakers = corpus.table["speaker"].tolist()

    def division(split: Split) -> Division:
        sides = split.sides
        return Division(f"split {split.name}", lambda row: sides[speakers[row]])

    return [division(split) for split in splits]


def used_rows(corpus: _Rows, splits: Sequence[Split]) -> _Rows:
    """The rows of the splits' speakers."""
    named = {speaker for split in splits for speaker in split.sides}
    return corpus.keep([speaker in named for speaker in corpus.table["speaker"].tolist()])
