"""Oversampling to classes of equal size, as in section IV-A."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray


def balance(labels: Sequence[int], seed: int) -> NDArray[np.int64]:
    """Repeats random examples of the smaller classes until all classes have the size of the largest.

    Every example occurs once, followed by random repetitions drawn in rounds without replacement, so that no example is
    repeated a second time before all others of its class have been repeated once (section IV-A).

    Args:
        labels: Class index of each training example.
        seed: The run's seed; the same labels and seed give the same result.

    Returns:
        Positions in ``labels``, int64: first all of them in order, then the repeated ones, class by class.

    Example:
        >>> rows = balance([0, 0, 0, 0, 0, 1, 1], seed=0)
        >>> rows[:7].tolist(), len(rows), sorted(set(rows[7:].tolist()))
        ([0, 1, 2, 3, 4, 5, 6], 10, [5, 6])
    """
    classes = np.asarray(labels, dtype=np.int64)
    rng = np.random.default_rng(seed)
    names, sizes = np.unique(classes, return_counts=True)
    rows = [np.arange(len(classes), dtype=np.int64)]
    for name, size in zip(names, sizes, strict=True):
        members = np.flatnonzero(classes == name).astype(np.int64)
        missing = int(sizes.max() - size)
        while missing > 0:
            rows.append(rng.permutation(members)[:missing])
            missing -= len(rows[-1])
    return np.concatenate(rows)
