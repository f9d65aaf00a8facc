"""Assignment of speakers to groups with equal shares of every class."""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray


def assign_speakers(
    counts: Mapping[str, Sequence[int]],
    sizes: Sequence[int],
    rng: np.random.Generator,
    *,
    train: int | None = None,
) -> list[list[str]]:
    """Divides speakers into groups so that every group gets about its share of every class.

    Speakers of rare classes are assigned first, otherwise in random order; each goes to the group that is furthest
    below its share of the speaker's classes.

    Args:
        counts: Utterances of each class, per speaker.
        sizes: Number of speakers wanted in each group; the sum is the number of speakers.
        rng: Random generator for the order.
        train: The group that must have every class. It may exceed its size to get them, and then gives speakers to the
            other groups until each of them has every class where possible, as long as it holds at most half of the
            speakers of ``train`` and itself.

    Returns:
        The speakers of each group, sorted.

    Example:
        >>> counts = {"a": [1, 0], "b": [1, 0], "c": [0, 1], "d": [0, 1]}
        >>> one, other = assign_speakers(counts, [2, 2], np.random.default_rng(0))
        >>> len(set(one) & {"a", "b"}), len(set(other) & {"a", "b"})
        (1, 1)
    """
    # Sorted first, so that the result does not depend on the order of the rows.
    names = sorted(counts)
    matrix = np.array([counts[name] for name in names], dtype=np.float64).reshape(len(names), -1)
    has = matrix > 0
    holders = has.sum(axis=0)
    shares = matrix / np.maximum(matrix.sum(axis=0), 1)
    # The additional column balances the number of speakers where the classes leave a choice.
    shares = np.column_stack([shares, np.full(len(names), 1 / len(names))])
    targets = np.array(sizes, dtype=np.float64)[:, None] / sum(sizes)
    rarest = [int(holders[row].min()) if row.any() else len(names) for row in has]
    order = sorted(rng.permutation(len(names)).tolist(), key=lambda i: (rarest[i], -int(has[i].sum())))
    group_of = np.full(len(names), -1)
    filled = np.zeros((len(sizes), shares.shape[1]))
    for speaker in order:
        members = np.bincount(group_of[group_of >= 0], minlength=len(sizes))
        if train is not None and (has[speaker] & ~has[group_of == train].any(axis=0)).any():
            group = train
        else:
            cost = (shares[speaker] * (filled + shares[speaker] / 2) / np.maximum(targets, 1e-12)).sum(axis=1)
            cost[members >= np.array(sizes)] = np.inf
            # The groups cannot all be full: if train exceeds its size, another one has room.
            group = int(np.argmin(np.round(cost, 12)))
        group_of[speaker] = group
        filled[group] += shares[speaker]
    if train is not None:
        for group in range(len(sizes)):
            if group != train:
                _cover(has, group_of, order, train, group, sizes[group])
    return [sorted(names[i] for i in np.flatnonzero(group_of == group)) for group in range(len(sizes))]


def _cover(
    has: NDArray[np.bool_], group_of: NDArray[np.int64], order: Sequence[int], train: int, group: int, size: int
) -> None:
    """Moves speakers from ``train`` until ``group`` has every class that ``train`` can spare; then restores sizes."""

    def can_leave(speaker: int, origin: int) -> bool:
        """Whether ``origin`` keeps all its classes without the speaker."""
        mine = group_of == origin
        before = has[mine].any(axis=0)
        mine[speaker] = False
        return bool(mine.any() and (has[mine].any(axis=0) == before).all())

    for _ in range(has.shape[1]):
        absent = ~has[group_of == group].any(axis=0)
        movable = [i for i in order if group_of[i] == train and (has[i] & absent).any() and can_leave(i, train)]
        if not movable:
            break
        if (group_of == group).sum() + 1 > ((group_of == train) | (group_of == group)).sum() // 2:
            # The group would hold more than half, so speakers can only be exchanged.
            spare = [i for i in order if group_of[i] == group and can_leave(i, group)]
            if not spare:
                break
            group_of[spare[0]] = train
        best = max(movable, key=lambda i: int((has[i] & absent).sum()))
        group_of[best] = group
    for speaker in order:
        if (group_of == group).sum() > size and group_of[speaker] == group and can_leave(speaker, group):
            group_of[speaker] = train
