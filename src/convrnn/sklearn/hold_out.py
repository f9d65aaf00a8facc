"""The share of the training data that decides when training stops."""

import contextlib
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from convrnn.corpora.assign import assign_speakers
from convrnn.errors import Argument, InputError


def hold_out(
    classes: NDArray[np.int64], groups: Sequence[object] | None, fraction: float, seed: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Divides examples into training and validation, so that both have about the same share of every class.

    Args:
        classes: Class index of each example.
        groups: The group of each example, such as its speaker; no group is on both sides. None if examples are
            independent.
        fraction: Share of the groups, or of the examples of each class, for validation; at least one. Every class
            stays in training: a class with one example, or in one group, has no validation example.
        seed: The same arguments give the same result.

    Returns:
        Positions of the training and of the validation examples, sorted.

    Raises:
        InputError: No class has two examples, or no group can be held out: there is only one, or without any of them a
            class would be absent from training. Or ``groups`` has missing values, or is not a list of numbers or
            strings.

    Example:
        >>> train, validation = hold_out(np.array([0, 0, 0, 0, 1, 1]), None, 0.25, seed=0)
        >>> len(train), len(validation)
        (4, 2)
        >>> hold_out(np.array([0, 1, 0, 1]), ["anna", "anna", "bob", "bob"], 0.5, seed=0)
        (array([0, 1]), array([2, 3]))
    """
    rng = np.random.default_rng(seed)
    held = np.zeros(len(classes), dtype=np.bool_)
    if groups is None:
        for members in (np.flatnonzero(classes == number) for number in np.unique(classes)):
            count = min(max(1, round(fraction * len(members))), len(members) - 1)
            held[rng.permutation(members)[:count]] = True
        if not held.any():
            raise InputError("no class has two examples; one of them is needed for validation")
    else:
        names, group_of = _distinct(groups)
        if len(names) < 2:
            raise InputError(
                Argument("groups"), f": all are {names.tolist()[0]!r}; a second group is needed for validation"
            )
        counts = np.zeros((len(names), int(classes.max()) + 1), dtype=np.int64)
        np.add.at(counts, (group_of, classes), 1)
        size = min(max(1, round(fraction * len(names))), len(names) - 1)
        by_name = {f"{number:09}": row.tolist() for number, row in enumerate(counts)}
        _, chosen = assign_speakers(by_name, [len(names) - size, size], rng, train=0)
        if not chosen:
            raise InputError(
                Argument("groups"),
                ": none can be held out for validation, since each is the only group of some class; a group is "
                "needed whose classes all occur in other groups",
            )
        held = np.isin(group_of, [int(name) for name in chosen])
    return np.flatnonzero(~held), np.flatnonzero(held)


def _distinct(groups: Sequence[object]) -> tuple[NDArray[Any], NDArray[np.int64]]:
    """The groups, sorted, and the position among them of each example's group."""
    objects = np.asarray(groups, dtype=object)
    if objects.ndim == 1:
        missing = np.flatnonzero(pd.isna(objects))
        if len(missing):
            raise InputError(f"groups[{missing[0]}] is {objects[missing[0]]}; every sequence needs a group")
        # A sequence as a group is a ValueError, and values that cannot be sorted are a TypeError.
        with contextlib.suppress(TypeError, ValueError):
            return np.unique(np.asarray(groups), return_inverse=True)
    raise InputError(Argument("groups"), ": must be a list of numbers or of strings, one for each sequence")
