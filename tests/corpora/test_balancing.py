from collections import Counter

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from convrnn.corpora.balancing import balance


@given(st.lists(st.integers(0, 4), max_size=60), st.integers(0, 2**32))
def test_every_example_comes_once_then_rounds_without_replacement(labels, seed):
    rows = balance(labels, seed)
    assert rows.dtype == np.int64
    assert rows[: len(labels)].tolist() == list(range(len(labels)))
    sizes = Counter(labels)
    assert Counter(labels[row] for row in rows) == dict.fromkeys(sizes, max(sizes.values(), default=0))
    times = Counter(rows.tolist())
    for name in sizes:
        own = [times[row] for row, label in enumerate(labels) if label == name]
        assert max(own) - min(own) <= 1


def test_no_example_is_repeated_twice_before_all_are_repeated_once():
    labels = [0] * 10 + [1] * 3
    extras = balance(labels, seed=4)[13:].tolist()
    assert sorted(extras[:3]) == sorted(extras[3:6]) == [10, 11, 12]


def test_the_seed_decides():
    labels = [0] * 40 + [1] * 25
    assert balance(labels, 1).tolist() == balance(labels, 1).tolist()
    assert balance(labels, 1).tolist() != balance(labels, 2).tolist()
