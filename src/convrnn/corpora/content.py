"""Rules on recordings that are there more than once."""

from collections.abc import Sequence
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from convrnn.corpora.coherence import LEAST_COHERENCE, coherence
from convrnn.corpora.corpus import Corpus, some
from convrnn.corpora.fingerprint import HOP, RATE
from convrnn.corpora.joining import Groups
from convrnn.corpora.matching import LEAST_COVERED, Match, matching
from convrnn.corpora.recording import Recording
from convrnn.corpora.report import NO_PARTITION, Defect, Severity
from convrnn.corpora.sides import Division
from convrnn.features.audio import read_audio
from convrnn.features.extract import Segment

MOST_NAMED = 5
"""Files that a sentence names."""

MOST_PAIRS = 2
"""Pairs of files that a sentence names."""

COMPARED_SECONDS = 8.0
"""Of two recordings that seem to be one, so much is compared sample by sample."""


def same_content(corpus: Corpus, recordings: Sequence[Recording]) -> list[list[int]]:
    """Rows that hold the same recording, or one that is part of the other.

    Equal samples are found by their hash, whatever the container and however many zeros lie around them. Other copies
    are found by their fingerprint (:func:`~convrnn.corpora.matching.matching`), and unless that is certain have to
    agree in their samples (:func:`~convrnn.corpora.coherence.coherence`). Parts of one file that one speaker has are
    not held against each other so: where they overlap, that was meant.

    Args:
        corpus: Whose rows they are.
        recordings: One per row.

    Returns:
        Groups of at least two rows, each in table order.
    """
    by_digest: dict[str, list[int]] = {}
    for row, recording in enumerate(recordings):
        if recording.digest is not None:
            by_digest.setdefault(recording.digest, []).append(row)
    rows_of = {rows[0]: rows for rows in by_digest.values()}
    speakers = corpus.table["speaker"].tolist()
    segments = corpus.segments()
    copies: Groups[int] = Groups()
    parts: list[list[int]] = []

    def known(one: int, other: int) -> bool:
        """Whether two rows overlap on purpose, or are copies by what was found before."""
        meant = recordings[one].file == recordings[other].file and speakers[one] == speakers[other]
        return meant or copies.of(one) == copies.of(other)

    firsts = [recording.fingerprint if row in rows_of else None for row, recording in enumerate(recordings)]
    for match in matching(firsts, known):
        if not (match.is_certain or _agree(recordings, segments, match)):
            continue
        one, other = match.first, match.second
        if match.alike >= LEAST_COVERED:
            copies.join(one, other)
        else:
            parts.append([one, other])
    groups: dict[int, list[int]] = {}
    for first, rows in rows_of.items():
        groups.setdefault(copies.of(first), []).extend(rows)
    return sorted([sorted(rows) for rows in groups.values() if len(rows) > 1] + parts)


def _agree(recordings: Sequence[Recording], segments: Sequence[Segment], match: Match) -> bool:
    """Whether the samples of two recordings agree, over some seconds around the middle of what both have."""
    one, other = recordings[match.first], recordings[match.second]
    a, b = one.fingerprint, other.fingerprint
    if a is None or b is None or one.seconds is None or other.seconds is None:
        return False
    begin, end = max(match.shift, 0), min(len(a), len(b) + match.shift)
    middle = (begin + float(np.median(np.flatnonzero(a[begin:end])))) * HOP / RATE
    shift = match.shift * HOP / RATE
    first = max(0.0, shift, middle - COMPARED_SECONDS / 2)
    last = min(one.seconds, shift + other.seconds, first + COMPARED_SECONDS)
    pieces = [
        _piece(segments[match.first], first, last),
        _piece(segments[match.second], first - shift, last - shift),
    ]
    return coherence(*pieces) >= LEAST_COHERENCE


def _piece(segment: Segment, first: float, last: float) -> NDArray[np.float32]:
    begin = segment.start or 0.0
    samples, _ = read_audio(
        segment.file,
        sample_rate=RATE,
        start=begin + first,
        end=begin + last,
        headerless_rate=segment.headerless_rate,
    )
    return samples


def content_defects(
    corpus: Corpus, tasks: Sequence[str], divisions: Sequence[Division], groups: Sequence[Sequence[int]]
) -> list[Defect]:
    """What is wrong with rows that hold the same recording.

    Args:
        corpus: Whose rows they are.
        tasks: The tasks whose labels are held against each other.
        divisions: The corpus's partitions, or the splits to be used.
        groups: As :func:`same_content` gives them.
    """
    return [
        *_shared_by_speakers(corpus, divisions, groups),
        *_shared_by_partitions(corpus, divisions, groups),
        *_repeated(corpus, divisions, groups),
        *_conflicting_labels(corpus, tasks, groups),
        *_overlapping_parts(corpus, divisions),
    ]


def _shared_by_speakers(corpus: Corpus, divisions: Sequence[Division], groups: Sequence[Sequence[int]]) -> list[Defect]:
    """One defect for each two speakers who have recordings in common.

    An error, unless no split has the two on different sides.
    """
    speakers, ids = corpus.table["speaker"].tolist(), corpus.table["id"].tolist()
    shared: dict[tuple[str, str], list[tuple[int, int]]] = {}
    for rows in groups:
        first: dict[str, int] = {}
        for row in rows:
            first.setdefault(speakers[row], row)
        for one, other in combinations(sorted(first), 2):
            shared.setdefault((one, other), []).append((first[one], first[other]))
    defects = []
    for (one, other), pairs in shared.items():
        recordings = "one recording" if len(pairs) == 1 else f"{len(pairs)} recordings"
        files = some([f"{ids[a]} = {ids[b]}" for a, b in pairs], MOST_PAIRS)
        severity: Severity = "warning"
        advice = "no split has them on different sides"
        if any(d.given or any(d.side(a) != d.side(b) for a, b in pairs) for d in divisions):
            severity = "error"
            advice = f"if they are one person, join them (--same-speaker {one}={other}, or a column person)"
        message = f"speakers {one!r} and {other!r} have {recordings} in common: {files}; {advice}"
        defects.append(Defect(severity, "shared-speaker", message))
    return defects


def _shared_by_partitions(
    corpus: Corpus, divisions: Sequence[Division], groups: Sequence[Sequence[int]]
) -> list[Defect]:
    """Recordings in several partitions; on the sides of a split they have several speakers, which is told already."""
    ids = corpus.table["id"].tolist()
    defects = []
    for division in divisions:
        for rows in groups if division.given else ():
            if len({division.side(row) for row in rows}) > 1:
                names = some([f"{ids[row]} ({division.side(row)})" for row in rows], MOST_NAMED)
                message = f"the same audio is in several partitions: {names}"
                defects.append(Defect("error", "shared-content", message))
    return defects


def _repeated(corpus: Corpus, divisions: Sequence[Division], groups: Sequence[Sequence[int]]) -> list[Defect]:
    """The recordings that one speaker has more than once, all on one side."""
    speakers, ids = corpus.table["speaker"].tolist(), corpus.table["id"].tolist()
    defects = []
    for group in groups:
        own: dict[str, list[int]] = {}
        for row in group:
            own.setdefault(speakers[row], []).append(row)
        for rows in own.values():
            if len(rows) > 1 and not any(len({d.side(row) for row in rows}) > 1 for d in divisions):
                names = some([_with_partition(ids[row], row, divisions) for row in rows], MOST_NAMED)
                message = f"the same audio is in {len(rows)} recordings: {names}"
                defects.append(Defect("warning", "repeated-content", message))
    return defects


def _with_partition(identity: str, row: int, divisions: Sequence[Division]) -> str:
    side = divisions[0].side(row)
    return f"{identity} ({side})" if divisions[0].given and side != NO_PARTITION else identity


def _conflicting_labels(corpus: Corpus, tasks: Sequence[str], groups: Sequence[Sequence[int]]) -> list[Defect]:
    ids = corpus.table["id"].tolist()
    defects = []
    for task in tasks:
        labels = corpus.table[task].tolist()
        for rows in groups:
            if len({labels[row] for row in rows} - {None}) > 1:
                told = some([f"{ids[row]} is {labels[row]}" for row in rows], MOST_NAMED)
                defects.append(Defect("error", "conflicting-labels", f"the same audio has several labels: {told}"))
    return defects


def _overlapping_parts(corpus: Corpus, divisions: Sequence[Division]) -> list[Defect]:
    """Parts of one file that share some of their time, on different sides."""
    spans: dict[str, list[tuple[float, float, int]]] = {}
    for row, segment in enumerate(corpus.segments()):
        end = float("inf") if segment.end is None else segment.end
        spans.setdefault(segment.file, []).append((segment.start or 0.0, end, row))
    speakers, ids = corpus.table["speaker"].tolist(), corpus.table["id"].tolist()
    found: dict[tuple[int, int], Defect] = {}
    for parts in spans.values():
        # A split never has one speaker on two sides, and most files are of one speaker.
        if len(parts) < 2 or not (divisions[0].given or len({speakers[row] for _, _, row in parts}) > 1):
            continue
        parts.sort()
        for division in divisions:
            # The furthest end so far of each side: neighbours alone would miss a long part over several short ones.
            reach: dict[str, tuple[float, int]] = {}
            for start, end, row in parts:
                own = division.side(row)
                for side, (other_end, other) in reach.items():
                    if side != own and other_end > start and (other, row) not in found:
                        where = f"{side} and {own}" + ("" if division.given else f" of {division.name}")
                        message = f"overlapping parts of one file are in {where}: {ids[other]}, {ids[row]}"
                        found[other, row] = Defect("error", "shared-content", message)
                reach[own] = max(reach.get(own, (end, row)), (end, row))
    return list(found.values())
