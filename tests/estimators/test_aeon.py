"""The estimator for aeon: aeon's own checks, and agreement with the one for scikit-learn."""

import numpy as np
import pytest

pytest.importorskip("aeon", reason="aeon is not installed; `make test-aeon` installs it into an environment of its own")

from aeon.testing.estimator_checking import parametrize_with_checks

from convrnn import sklearn
from convrnn.aeon import ConvRNNClassifier


@parametrize_with_checks([ConvRNNClassifier])
def test_aeon_accepts_the_estimator(check):
    check()


def test_a_channel_is_a_feature():
    rng = np.random.default_rng(0)
    y = np.array(["up", "down"] * 10)
    X = [rng.normal(size=(3, rng.integers(5, 31))) for _ in y]
    arguments = {"front_end": "conv", "n_estimators": 2, "max_epochs": 2, "normalise": "utterance", "balance": True}
    found = ConvRNNClassifier(**arguments).fit(X, y)
    expected = sklearn.ConvRNNClassifier(**arguments).fit([x.T for x in X], y)
    assert (found.predict_proba(X) == expected.predict_proba([x.T for x in X])).all()
    assert (found.predict(X) == expected.predict([x.T for x in X])).all()


def test_the_defaults_are_those_of_the_other_estimator():
    shared = ConvRNNClassifier().get_params()
    assert shared == {name: sklearn.ConvRNNClassifier().get_params()[name] for name in shared}
