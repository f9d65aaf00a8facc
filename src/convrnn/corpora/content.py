"""Checks for recordings that occur more than once."""

from collections.abc import Iterable, Sequence
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from convrnn.corpora.coherence import LEAST_COHERENCE, coherence
from convrnn.corpora.fingerprint import HOP, RATE
from convrnn.corpora.joining import Groups
from convrnn.corpora.matching import LEAST_COVERED, Match, matching
from convrnn.corpora.names import how_to_join, some
from convrnn.corpora.recording import Recording
from convrnn.corpora.report import NO_PARTITION, Defect, Severity
from convrnn.corpora.sides import Division
from convrnn.corpora.utterances import Utterances
from convrnn.features.audio import read_audio
from convrnn.features.extract import Segment

MOST_NAMED = 5
"""Maximum number of files named in a message."""

MOST_PAIRS = 2
"""Maximum number of pairs of files named in a message."""

COMPARED_SECONDS = 8.0
"""Length in seconds over which the samples of two possible copies are compared."""


def same_content(corpus: Utterances, recordings: Sequence[Recording]) -> list[list[int]]:
    """Rows that hold the same recording, or an excerpt of it.

    Equal samples are found by hash, whatever the container and however many zeros surround them. Other copies are found
    by fingerprint (:func:`~convrnn.corpora.matching.matching`); unless the match is certain, their samples must also
    agree (:func:`~convrnn.corpora.coherence.coherence`). Parts of one file by one speaker are not compared this way,
    because they overlap on purpose. Arrays of frames are copies only if all their values are equal.

    Args:
        corpus: The corpus.
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
        """Whether two rows overlap on purpose or are already known to be copies."""
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
    """Whether the samples of two recordings agree, over some seconds around the middle of their common part."""
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
    corpus: Utterances,
    labels: Iterable[Sequence[str | None]],
    divisions: Sequence[Division],
    groups: Sequence[Sequence[int]],
) -> list[Defect]:
    """The defects of rows that hold the same recording.

    Args:
        corpus: The corpus.
        labels: Label of each row, for every task whose labels are compared.
        divisions: The corpus's partitions, or the splits to be used.
        groups: The result of :func:`same_content`.
    """
    return [
        *_shared_by_speakers(corpus, divisions, groups),
        *_shared_by_partitions(corpus, divisions, groups),
        *_repeated(corpus, divisions, groups),
        *_conflicting_labels(corpus, labels, groups),
        *_overlapping_parts(corpus, divisions),
    ]


def _shared_by_speakers(
    corpus: Utterances, divisions: Sequence[Division], groups: Sequence[Sequence[int]]
) -> list[Defect]:
    """One defect for each pair of speakers with recordings in common.

    It is an error, unless no split puts the two on different sides.
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
        what = "array" if corpus.holds_frames else "recording"
        recordings = f"one {what}" if len(pairs) == 1 else f"{len(pairs)} {what}s"
        files = some([f"{ids[a]} = {ids[b]}" for a, b in pairs], MOST_PAIRS)
        severity: Severity = "warning"
        advice = "no split has them on different sides"
        if any(d.given or any(d.side(a) != d.side(b) for a, b in pairs) for d in divisions):
            severity = "error"
            advice = how_to_join(one, other)
        message = f"speakers {one!r} and {other!r} have {recordings} in common: {files}; {advice}"
        defects.append(Defect(severity, "shared-speaker", message))
    return defects


def _shared_by_partitions(
    corpus: Utterances, divisions: Sequence[Division], groups: Sequence[Sequence[int]]
) -> list[Defect]:
    """Recordings in several partitions; in a split, only shared speakers can cause this, which is reported already."""
    ids = corpus.table["id"].tolist()
    defects = []
    for division in divisions:
        for rows in groups if division.given else ():
            if len({division.side(row) for row in rows}) > 1:
                names = some([f"{ids[row]} ({division.side(row)})" for row in rows], MOST_NAMED)
                message = f"the same {_what(corpus)} is in several partitions: {names}"
                defects.append(Defect("error", "shared-content", message))
    return defects


def _repeated(corpus: Utterances, divisions: Sequence[Division], groups: Sequence[Sequence[int]]) -> list[Defect]:
    """Recordings that one speaker has more than once, all on one side."""
    speakers, ids = corpus.table["speaker"].tolist(), corpus.table["id"].tolist()
    defects = []
    for group in groups:
        own: dict[str, list[int]] = {}
        for row in group:
            own.setdefault(speakers[row], []).append(row)
        for rows in own.values():
            if len(rows) > 1 and not any(len({d.side(row) for row in rows}) > 1 for d in divisions):
                names = some([_with_partition(ids[row], row, divisions) for row in rows], MOST_NAMED)
                where = "files" if corpus.holds_frames else "recordings"
                message = f"the same {_what(corpus)} is in {len(rows)} {where}: {names}"
                defects.append(Defect("warning", "repeated-content", message))
    return defects


def _what(corpus: Utterances) -> str:
    return "array" if corpus.holds_frames else "audio"


def _with_partition(identity: str, row: int, divisions: Sequence[Division]) -> str:
    side = divisions[0].side(row)
    return f"{identity} ({side})" if divisions[0].given and side != NO_PARTITION else identity


def _conflicting_labels(
    corpus: Utterances, labels: Iterable[Sequence[str | None]], groups: Sequence[Sequence[int]]
) -> list[Defect]:
    ids = corpus.table["id"].tolist()
    defects = []
    for of_task in labels:
        for rows in groups:
            if len({of_task[row] for row in rows} - {None}) > 1:
                told = some([f"{ids[row]} is {of_task[row]}" for row in rows], MOST_NAMED)
                message = f"the same {_what(corpus)} has several labels: {told}"
                defects.append(Defect("error", "conflicting-labels", message))
    return defects


def _overlapping_parts(corpus: Utterances, divisions: Sequence[Division]) -> list[Defect]:
    """Overlapping parts of one file on different sides."""
    spans: dict[str, list[tuple[float, float, int]]] = {}
    for row, segment in enumerate(corpus.segments()):
        end = float("inf") if segment.end is None else segment.end
        spans.setdefault(segment.file, []).append((segment.start or 0.0, end, row))
    speakers, ids = corpus.table["speaker"].tolist(), corpus.table["id"].tolist()
    found: dict[tuple[int, int], Defect] = {}
    for parts in spans.values():
        # A split never puts one speaker on two sides, and most files have one speaker.
        if len(parts) < 2 or not (divisions[0].given or len({speakers[row] for _, _, row in parts}) > 1):
            continue
        parts.sort()
        for division in divisions:
            # The latest end so far on each side: comparing neighbours would miss a long part that spans short ones.
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
