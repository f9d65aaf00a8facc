"""Sets of examples on a device fill the batches that examples in the host's memory give."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from convrnn.training.data import Examples
from convrnn.training.device_sets import NO_LABEL, ResidentSet, StreamedSet, new_batch, padded_length, place

CPU = torch.device("cpu")


def draw(lengths) -> Examples:
    generator = np.random.default_rng(0)
    features = [generator.standard_normal((length, 3)).astype(np.float32) for length in lengths]
    return Examples(features, np.arange(len(lengths), dtype=np.int64) % 3)


@given(st.integers(1, 10**6))
def test_lengths_are_rounded_up_to_four_in_an_octave(frames):
    padded = padded_length(frames)
    assert frames <= padded < max(1.25 * frames, frames + 1)
    assert padded_length(padded) == padded
    while padded > 7:
        assert padded % 2 == 0
        padded //= 2


@pytest.mark.parametrize("kind", [ResidentSet, StreamedSet])
@given(lengths=st.lists(st.integers(1, 9), min_size=1, max_size=12), data=st.data())
def test_a_set_fills_the_same_batches(kind, lengths, data):
    examples = draw(lengths)
    # As balancing does, repeat some; and one batch object is filled again and again.
    positions = st.lists(st.integers(0, len(lengths) - 1), min_size=1, max_size=5)
    examples = examples.take(np.array(data.draw(positions), dtype=np.int64))
    batches = [np.array(each) for each in data.draw(st.lists(st.permutations(range(len(examples))), min_size=1))]
    rows = len(examples) + data.draw(st.integers(0, 2))
    held, batch = kind(examples, CPU), new_batch(rows, 9, 3, CPU)
    held.begin(batches, rows)
    for number, positions in enumerate(batches):
        held.fill(number, batch)
        expected = examples.batch(positions)
        count, frames = expected.x.shape[:2]
        assert torch.equal(batch.x[:count, :frames], expected.x)
        assert not batch.x[:count, frames:].any()
        assert torch.equal(batch.lengths[:count], expected.lengths)
        assert torch.equal(batch.labels[:count], expected.labels)
        assert not batch.x[count:].any()
        assert batch.lengths[count:].tolist() == [1] * (rows - count)
        assert batch.labels[count:].tolist() == [NO_LABEL] * (rows - count)


def test_a_batch_may_change_its_shape_between_two_fills():
    examples = draw([2, 7, 4])
    held = StreamedSet(examples, CPU)
    held.begin([np.array([0]), np.array([1, 2]), np.array([0, 2])], rows=2)
    for number, frames in enumerate((2, 7, 5)):
        batch = new_batch(2, frames, 3, CPU)
        held.fill(number, batch)
        expected = examples.batch(held._batches[number])
        assert torch.equal(batch.x[: len(expected.x), : expected.x.size(1)], expected.x)


def test_an_example_that_occurs_twice_is_stored_once():
    examples = draw([4, 6]).take(np.array([0, 1, 0, 0]))
    assert ResidentSet.size(examples) == 4 * 3 * (4 + 6)
    assert ResidentSet(examples, CPU)._frames.shape == (4 + 6 + 1, 3)


@pytest.mark.parametrize(
    ("most_bytes", "kinds"),
    [
        (1000, [ResidentSet, ResidentSet]),
        (179, [ResidentSet, StreamedSet]),
        (70, [StreamedSet, ResidentSet]),
        (0, [StreamedSet, StreamedSet]),
    ],
)
def test_sets_lie_on_the_device_as_long_as_they_fit(most_bytes, kinds):
    assert [type(each) for each in place([draw([10]), draw([5])], CPU, most_bytes)] == kinds
