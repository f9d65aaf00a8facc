"""Search for fingerprints of the same recording."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

MOST_DIFFERENT = 0.32
"""Share of differing bits up to which two recordings may be copies; their samples are compared next."""
CERTAIN_DIFFERENCE = 0.15
CERTAIN_FRAMES = 200
"""Frames from which a match is certain. Different recordings of 2.6 s or more, even of one sentence by one speaker,
differ in more than 0.38 of their bits."""
LEAST_COVERED = 0.8
"""Share of the shorter recording's sounding frames that must lie within the longer one."""
LEAST_FRAMES = 40
"""Minimum number of sounding frames; shorter recordings (below 0.3 s) cannot be distinguished from others."""
LEAST_CHANGE = 0.3
"""Share of bits that must change within a recording over :data:`CHANGE_OVER`; in a pure tone they do not."""
CHANGE_OVER = (16, 28, 44)
"""Distances in frames over which bits are compared for :data:`LEAST_CHANGE`."""

KEY_SHIFTS = (0, 8)
"""Right shifts that give a frame's two 24-bit keys, one without the bits of the eight highest bands and one without
those of the eight lowest; candidates agree in one of them."""
KEY_BITS = 24
NEIGHBOURS = 8
"""Number of frames with the same key that each frame is compared with; a constant, so that the work grows linearly."""
PROBES = (-36, -24, -12, 12, 24, 36)
"""Offsets of the frames around a matching pair that are compared before all frames are."""
MOST_DIFFERENT_PROBES = 0.4
CANDIDATES_AT_ONCE = 1 << 20
SHIFTS = 5
"""Maximum number of shifts examined per pair of recordings, those that most frames agree on first."""
MOST_DIFFERENT_NEARBY = 0.45
"""Share of differing bits up to which neighbouring shifts are tried as well."""
SHIFTS_TRIED = 3
"""Frames by which a candidate's shift is varied either way: runs of equal frames leave it uncertain by a few."""

_COUNTS = np.array([number.bit_count() for number in range(1 << 16)], np.uint8)


@dataclass(frozen=True, slots=True)
class Match:
    """Two recordings that seem to hold the same sound.

    Attributes:
        first: Index of the first recording.
        second: Index of the second recording, larger than ``first``.
        shift: Frame of the first recording at which the second begins; negative if the second begins earlier.
        difference: Share of differing bits in frames where both sound.
        frames: Number of sounding frames of the shorter recording.
        alike: Sounding frames of the shorter recording divided by those of the longer one: near 1 for complete copies,
            less for an excerpt.
    """

    first: int
    second: int
    shift: int
    difference: float
    frames: int
    alike: float

    @property
    def is_certain(self) -> bool:
        """Whether the match is long and close enough that samples need not be compared."""
        return self.frames >= CERTAIN_FRAMES and self.difference <= CERTAIN_DIFFERENCE


def matching(
    fingerprints: Sequence[NDArray[np.uint32] | None], skipped: Callable[[int, int], bool] = lambda *_: False
) -> Iterator[Match]:
    """Finds recordings that seem to occur more than once.

    Args:
        fingerprints: Made by :class:`~convrnn.corpora.fingerprint.Fingerprinter`; None for recordings to leave out.
        skipped: Returns whether to skip a pair of indices; by default no pair is skipped.

    Yields:
        The pairs found, ordered by index. If a recording has many copies, not every pair of them is found, but enough
        to link them all.
    """
    kept = [(number, own) for number, own in enumerate(fingerprints) if own is not None and is_characteristic(own)]
    sounding = [int(np.count_nonzero(own)) for _, own in kept]
    for first, second, shifts in _candidates([own for _, own in kept]):
        (one, a), (other, b) = kept[first], kept[second]
        if skipped(one, other):
            continue
        few, many = sorted((sounding[first], sounding[second]))
        difference, shift = _best_shift(a, b, shifts, LEAST_COVERED * few)
        if difference <= MOST_DIFFERENT:
            yield Match(one, other, shift, difference, few, few / many)


def is_characteristic(fingerprint: NDArray[np.uint32]) -> bool:
    """Whether a fingerprint can identify a recording: long enough, and not that of a tone or hum.

    Example:
        >>> is_characteristic(np.full(1000, 7, np.uint32))
        False
    """
    if np.count_nonzero(fingerprint) < LEAST_FRAMES:
        return False
    changes = [_difference(fingerprint, fingerprint, lag, 1) for lag in CHANGE_OVER]
    return min(changes) >= LEAST_CHANGE


def bits_set(numbers: NDArray[np.uint32]) -> NDArray[np.uint8]:
    """The number of bits set in each 32-bit number."""
    counts: NDArray[np.uint8] = _COUNTS[numbers & 0xFFFF] + _COUNTS[numbers >> 16]
    return counts


def _best_shift(a: NDArray[np.uint32], b: NDArray[np.uint32], shifts: Sequence[int], least: float) -> tuple[float, int]:
    """The smallest difference at or near one of the shifts, and the shift that gives it."""
    best = (1.0, 0)
    for shift in shifts:
        found = _difference(a, b, shift, least)
        if found <= MOST_DIFFERENT_NEARBY:
            near = (shift + step for step in range(-SHIFTS_TRIED, SHIFTS_TRIED + 1))
            best = min(best, *((_difference(a, b, other, least), other) for other in near))
    return best


def _difference(a: NDArray[np.uint32], b: NDArray[np.uint32], shift: int, least: float) -> float:
    """The share of differing bits in frames where both sound, if ``b`` begins ``shift`` frames into ``a``.

    1 if there are fewer than ``least`` such frames, or none.
    """
    begin, end = max(shift, 0), min(len(a), len(b) + shift)
    if end - begin < max(least, 1):
        return 1.0
    ours, theirs = a[begin:end], b[begin - shift : end - shift]
    both = (ours != 0) & (theirs != 0)
    count = np.count_nonzero(both)
    if count < max(least, 1):
        return 1.0
    return float(bits_set((ours ^ theirs)[both]).sum() / (32 * count))


def _candidates(fingerprints: Sequence[NDArray[np.uint32]]) -> Iterator[tuple[int, int, list[int]]]:
    """Pairs of indices, each with the shifts of the second recording against the first at which they may match."""
    if len(fingerprints) < 2:
        return
    lengths = [len(own) for own in fingerprints]
    starts = np.cumsum([0, *lengths[:-1]])
    frames = np.concatenate(fingerprints)
    owner = np.repeat(np.arange(len(lengths), dtype=np.int32), lengths)
    found = np.concatenate([_agreeing(frames, owner, starts, shift) for shift in KEY_SHIFTS])
    if len(found) == 0:
        return
    # The shift that most frames agree on comes first.
    found, votes = np.unique(found, axis=0, return_counts=True)
    found = found[np.lexsort((-votes, found[:, 1], found[:, 0]))]
    heads = np.flatnonzero(np.any(np.diff(found[:, :2], axis=0, prepend=-1) != 0, axis=1))
    for begin, end in zip(heads, [*heads[1:], len(found)], strict=True):
        yield int(found[begin, 0]), int(found[begin, 1]), found[begin : min(end, begin + SHIFTS), 2].tolist()


def _agreeing(
    frames: NDArray[np.uint32], owner: NDArray[np.int32], starts: NDArray[np.int64], key_shift: int
) -> NDArray[np.int64]:
    """Frames of two recordings with equal keys and similar surroundings, ``[n, 3]``: recording, recording, shift."""
    keys = (frames >> np.uint32(key_shift)) & np.uint32((1 << KEY_BITS) - 1)
    # One of a run of equal frames is enough.
    first = np.flatnonzero((frames != 0) & (np.diff(keys, prepend=keys[:1] + 1) != 0))
    order = first[np.argsort(keys[first], kind="stable")]
    keys, owners = keys[order], owner[order]
    parts = [np.zeros((0, 3), np.int64)]
    for lag in range(1, NEIGHBOURS + 1):
        places = np.flatnonzero((keys[lag:] == keys[:-lag]) & (owners[lag:] != owners[:-lag]))
        for begin in range(0, len(places), CANDIDATES_AT_ONCE):
            some = places[begin : begin + CANDIDATES_AT_ONCE]
            # Sorting is stable, so the first of each pair belongs to the earlier recording.
            a, b = order[some], order[some + lag]
            like = _alike_around(frames, owner, a, b)
            a, b = a[like], b[like]
            one, other = owner[a], owner[b]
            parts.append(np.column_stack([one, other, (a - starts[one]) - (b - starts[other])]))
    return np.concatenate(parts)


def _alike_around(
    frames: NDArray[np.uint32], owner: NDArray[np.int32], a: NDArray[np.int64], b: NDArray[np.int64]
) -> NDArray[np.bool_]:
    differing = np.zeros(len(a), np.int32)
    compared = np.zeros(len(a), np.int32)
    for step in PROBES:
        x, y = np.clip(a + step, 0, len(frames) - 1), np.clip(b + step, 0, len(frames) - 1)
        sounds = (owner[x] == owner[a]) & (owner[y] == owner[b]) & (frames[x] != 0) & (frames[y] != 0)
        differing += np.where(sounds, bits_set(frames[x] ^ frames[y]), 0)
        compared += 32 * sounds
    likeness: NDArray[np.bool_] = differing <= MOST_DIFFERENT_PROBES * compared
    return likeness
