"""The example that spots keywords."""

import numpy as np
import pytest

from examples import keyword_spotter


@pytest.fixture(scope="module")
def model():
    return keyword_spotter.train()


def test_every_word_is_heard_once(model, capsys, monkeypatch):
    monkeypatch.setattr(keyword_spotter, "train", lambda: model)
    keyword_spotter.main()
    accuracy, *lines = capsys.readouterr().out.splitlines()
    assert float(accuracy.split()[-2]) > 95
    said, heard = ([item.split() for item in line[6:].strip().split(", ")] for line in lines)
    assert len(said) > 5
    assert [word for word, _ in said] == [word for word, _ in heard]
    for (_, start), (_, second) in zip(said, heard, strict=True):
        assert 0.1 < float(second) - float(start) < 0.7


def test_nothing_is_heard_in_noise(model):
    noise = np.random.default_rng(0).normal(0, 0.02, 10 * keyword_spotter.RATE).astype(np.float32)
    assert not list(keyword_spotter.listen(model, np.split(noise, 100)))
