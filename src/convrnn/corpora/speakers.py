"""Checks of speakers and partitions."""

from collections import Counter

from convrnn.corpora.names import difference, folded, how_to_join, with_rows
from convrnn.corpora.report import NO_PARTITION, Defect
from convrnn.corpora.splits import VALIDATION_SHARE
from convrnn.corpora.utterances import PARTITIONS, Utterances


def speaker_defects(corpus: Utterances, *, by_partition: bool) -> list[Defect]:
    """The defects of a corpus's speakers and partitions.

    Args:
        corpus: The corpus.
        by_partition: Whether the partition column divides the rows.
    """
    utterances = Counter(corpus.table["speaker"].tolist())
    defects = []
    if len(utterances) < 3:
        speakers = f"{len(utterances)} speaker{'' if len(utterances) == 1 else 's'}"
        message = f"the corpus has {speakers}; train, validation and test need at least one each"
        defects.append(Defect("error", "too-few-speakers", message))
    alike: dict[str, list[str]] = {}
    for speaker in utterances:
        alike.setdefault(folded(speaker), []).append(speaker)
    for names in alike.values():
        if len(names) > 1:
            told = with_rows(names, utterances)
            message = f"speakers differ only in {difference(*names[:2])}: {told}; {how_to_join(*names[:2])}"
            defects.append(Defect("warning", "speaker-forms", message))
    return _partition_defects(corpus) + defects if by_partition else defects


def _partition_defects(corpus: Utterances) -> list[Defect]:
    partitions = [NO_PARTITION if side is None else side for side in corpus.table["partition"].tolist()]
    sides: dict[str, dict[str, int]] = {}
    for speaker, side in zip(corpus.table["speaker"].tolist(), partitions, strict=True):
        counts = sides.setdefault(speaker, {})
        counts[side] = counts.get(side, 0) + 1
    defects = []
    for speaker, counts in sides.items():
        named = {side: count for side, count in counts.items() if side != NO_PARTITION}
        if len(named) > 1:
            told = ", ".join(f"{count} utterance{'s' if count > 1 else ''} in {side}" for side, count in named.items())
            defects.append(Defect("error", "speaker-overlap", f"speaker {speaker!r} is in several partitions: {told}"))
    given = set(partitions) - {NO_PARTITION}
    if not given:
        return defects
    defects += [
        Defect("error", "absent-partition", f"no utterance is in the partition {side}, although others are given")
        for side in PARTITIONS
        if side != "validation" and side not in given
    ]
    if given == {"train", "test"} and corpus.hold_out is None:
        message = (
            f"no utterance is in the partition validation, so {100 * VALIDATION_SHARE:.0f} % of the training "
            "speakers will be held out for it"
        )
        defects.append(Defect("warning", "no-validation", message))
    defects += [
        Defect("warning", "no-partition", f"{identity} has no partition, although other utterances have one")
        for identity, side in zip(corpus.table["id"].tolist(), partitions, strict=True)
        if side == NO_PARTITION
    ]
    return defects
