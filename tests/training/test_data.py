import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from convrnn.training.data import Examples, evaluation_batches, training_batches

LENGTHS = np.random.default_rng(0).integers(20, 900, size=1000)


def as_lists(batches):
    return [batch.tolist() for batch in batches]


@settings(deadline=None, max_examples=50)
@given(count=st.integers(1, 300), batch_size=st.integers(1, 40), seed=st.integers(0, 2**31), epoch=st.integers(1, 1000))
def test_an_epoch_has_every_example_once(count, batch_size, seed, epoch):
    batches = training_batches(LENGTHS[:count], batch_size, seed=seed, epoch=epoch)
    assert sorted(np.concatenate(batches).tolist()) == list(range(count))
    assert max(map(len, batches)) <= batch_size
    assert len(batches) == -(-count // batch_size)


def test_the_order_depends_only_on_seed_and_epoch():
    first = as_lists(training_batches(LENGTHS, 32, seed=4, epoch=2))
    np.random.seed(99)  # noqa: NPY002 - the global state is what must not matter
    torch.manual_seed(99)
    torch.rand(10)
    assert as_lists(training_batches(LENGTHS, 32, seed=4, epoch=2)) == first
    assert as_lists(training_batches(LENGTHS, 32, seed=4, epoch=3)) != first
    assert as_lists(training_batches(LENGTHS, 32, seed=5, epoch=2)) != first


def test_the_order_never_changes():
    # The results of runs depend on it: a change needs a new PROTOCOL_VERSION.
    assert as_lists(training_batches(np.array([5, 3, 9, 1, 7]), 2, seed=0, epoch=1)) == [[0, 4], [2], [3, 1]]


def test_batches_have_little_padding_and_are_well_mixed():
    def padded(batches):
        return sum(LENGTHS[batch].max() * len(batch) for batch in batches)

    batches = training_batches(LENGTHS, 32, seed=0, epoch=1)
    unsorted = [np.arange(i, min(i + 32, 1000)) for i in range(0, 1000, 32)]
    waste, unsorted_waste = padded(batches) / LENGTHS.sum() - 1, padded(unsorted) / LENGTHS.sum() - 1
    assert waste < 0.25 < 0.8 < unsorted_waste
    partners = [
        {frozenset((int(a), int(b))) for batch in epoch for a in batch for b in batch if a < b}
        for epoch in (batches, training_batches(LENGTHS, 32, seed=0, epoch=2))
    ]
    assert len(partners[0] & partners[1]) < 0.25 * len(partners[0])


def test_batches_are_not_presented_in_order_of_length():
    longest = [LENGTHS[batch].max() for batch in training_batches(LENGTHS, 32, seed=0, epoch=1)]
    assert longest != sorted(longest)
    assert abs(np.corrcoef(longest, range(len(longest)))[0, 1]) < 0.5


def test_evaluation_batches_are_sorted_and_complete():
    batches = evaluation_batches(LENGTHS, 32)
    order = np.concatenate(batches)
    assert sorted(order.tolist()) == list(range(1000))
    assert (np.diff(LENGTHS[order]) <= 0).all()


@pytest.fixture
def examples():
    generator = np.random.default_rng(1)
    features = [generator.standard_normal((length, 3)).astype(np.float32) for length in (4, 2, 7, 1)]
    return Examples(features, np.array([0, 1, 2, 1]))


def test_a_batch_is_padded_with_zeros(examples):
    batch = examples.batch(np.array([1, 2]))
    assert batch.x.shape == (2, 7, 3)
    assert batch.x.dtype == torch.float32
    assert batch.lengths.dtype == batch.labels.dtype == torch.int64
    assert batch.lengths.tolist() == [2, 7]
    assert batch.labels.tolist() == [1, 2]
    assert (batch.x[0, 2:] == 0).all()
    assert torch.equal(batch.x[0, :2], torch.from_numpy(examples.features[1]))
    assert torch.equal(batch.x[1], torch.from_numpy(examples.features[2]))


def test_repeated_examples_share_their_memory(examples):
    more = examples.take(np.array([0, 2, 2, 2]))
    assert len(more) == 4
    assert more.features[1] is more.features[3]
    assert more.labels.tolist() == [0, 2, 2, 2]


def test_batches_keep_features_with_their_labels(examples):
    orders = (training_batches(examples.lengths, 2, seed=0, epoch=1), evaluation_batches(examples.lengths, 3))
    for order in orders:
        batches = [examples.batch(positions) for positions in order]
        assert len(batches) == 2
        seen = [
            (int(length), int(label))
            for batch in batches
            for length, label in zip(batch.lengths, batch.labels, strict=True)
        ]
        assert sorted(seen) == [(1, 1), (2, 1), (4, 0), (7, 2)]
