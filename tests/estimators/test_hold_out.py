"""The share of the training data for validation."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from convrnn.errors import InputError
from convrnn.sklearn.hold_out import hold_out


@given(st.lists(st.integers(0, 3), min_size=8, max_size=60), st.floats(0.05, 0.95), st.integers(0, 99))
def test_every_class_is_trained_on_and_has_its_share_of_validation(classes, fraction, seed):
    classes = np.unique(classes, return_inverse=True)[1]
    train, validation = hold_out(classes, None, fraction, seed)
    assert sorted([*train, *validation]) == list(range(len(classes)))
    for number in np.unique(classes):
        size, held = (classes == number).sum(), (classes[validation] == number).sum()
        assert held < size
        assert held == min(max(1, round(fraction * size)), size - 1)


@given(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 9)), min_size=4, max_size=60), st.integers(0, 99))
def test_no_group_is_on_both_sides(pairs, seed):
    classes, groups = np.array([*pairs, (0, 10), (0, 11)]).T
    classes = np.unique(classes, return_inverse=True)[1]
    train, validation = hold_out(classes, groups, 0.2, seed)
    assert sorted([*train, *validation]) == list(range(len(classes)))
    assert not set(groups[train]) & set(groups[validation])
    assert len(validation) > 0
    assert set(classes[train]) == set(classes)


def test_a_fifth_of_the_groups_is_held_out_and_the_seed_decides_which():
    groups = [f"speaker {number % 20}" for number in range(200)]
    classes = np.arange(200) // 20 % 2
    chosen = [frozenset(np.array(groups)[hold_out(classes, groups, 0.2, seed)[1]]) for seed in (0, 0, 1)]
    assert [len(found) for found in chosen] == [4, 4, 4]
    assert chosen[0] == chosen[1] != chosen[2]


@pytest.mark.parametrize("groups", [None, [0, 1, 2, 0, 1, 2]])
def test_other_seeds_hold_out_other_examples(groups):
    found = {tuple(hold_out(np.array([0, 0, 0, 1, 1, 1]), groups, 0.3, seed)[1]) for seed in range(20)}
    assert len(found) > 2


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 4)), min_size=1, max_size=12), st.integers(0, 99))
def test_groups_are_refused_only_if_training_would_lose_a_class(pairs, seed):
    classes, groups = np.array(pairs).T
    classes = np.unique(classes, return_inverse=True)[1]
    possible = any(set(classes[groups != group]) == set(classes) for group in groups)
    if possible:
        train, validation = hold_out(classes, groups, 0.2, seed)
        assert set(classes[train]) == set(classes)
        assert len(validation) > 0
    else:
        with pytest.raises(InputError, match=r"'groups': (none can be held out for validation|all are)"):
            hold_out(classes, groups, 0.2, seed)


@pytest.mark.parametrize(
    ("groups", "message"),
    [
        ([0, 0, 1, 1], "'groups': none can be held out for validation, since each is the only group of some class"),
        ([None] * 4, "groups[0] is None; every sequence needs a group"),
        (["a", "b", float("nan"), "b"], "groups[2] is nan; every sequence needs a group"),
        (pd.Series(["a", pd.NA, "b", "b"], dtype="string"), "groups[1] is <NA>; every sequence needs a group"),
        ([("a", "x"), ("b", "y")] * 2, "'groups': must be a list of numbers or of strings, one for each sequence"),
        (["a", ["b"], "c", "c"], "'groups': must be a list of numbers or of strings, one for each sequence"),
        ([object(), 1, 2, 3], "'groups': must be a list of numbers or of strings, one for each sequence"),
    ],
)
def test_bad_groups_are_named(groups, message):
    with pytest.raises(InputError) as found:
        hold_out(np.array([0, 0, 1, 1]), groups, 0.2, 0)
    assert str(found.value).startswith(message)
