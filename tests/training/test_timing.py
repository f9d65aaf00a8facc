"""The estimate of an epoch's time."""

import pytest

from convrnn.training import timing
from convrnn.training.timing import seconds_per_epoch


@pytest.mark.parametrize(("balance", "training_examples"), [(True, 4 * 3 * 4), (False, 4 * 7)])
def test_a_few_steps_are_scaled_up_to_the_epoch(make, tones, monkeypatch, balance, training_examples):
    # Every step advances this clock by its number of examples, so an epoch takes as long as it has examples.
    seconds = 0
    original = timing.Examples.batch

    def batch(examples, indices):
        nonlocal seconds
        seconds += len(indices)
        return original(examples, indices)

    monkeypatch.setattr(timing.Examples, "batch", batch)
    monkeypatch.setattr(timing.time, "perf_counter", lambda: float(seconds))
    validation_examples = 7
    found = seconds_per_epoch(make(balance=balance), tones, [50] * len(tones), steps=2)
    assert found == pytest.approx(training_examples + validation_examples)


def test_longer_utterances_take_longer(make, tones):
    short = min(seconds_per_epoch(make(), tones, [30] * len(tones)) for _ in range(3))
    long = min(seconds_per_epoch(make(), tones, [3000] * len(tones)) for _ in range(3))
    assert 0 < short < long
