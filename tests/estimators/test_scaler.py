"""Standardisation of sequences, against scikit-learn's own scaler on their frames."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.preprocessing import StandardScaler

from convrnn.errors import InputError
from convrnn.sklearn import SequenceScaler


def sequences():
    rng = np.random.default_rng(0)
    return [rng.normal(loc=[5, -3, 0], scale=[2, 1, 9], size=(n, 3)) for n in (4, 9, 1)]


def test_the_frames_are_those_of_the_standard_scaler():
    X = sequences()
    expected = StandardScaler().fit(np.concatenate(X))
    scaler = SequenceScaler().fit(X)
    assert scaler.mean_ == pytest.approx(expected.mean_)
    assert scaler.scale_ == pytest.approx(expected.scale_)
    transformed = scaler.transform(X)
    assert [x.shape for x in transformed] == [x.shape for x in X]
    assert np.concatenate(transformed) == pytest.approx(expected.transform(np.concatenate(X)), rel=1e-5, abs=1e-6)


def test_arrays_stay_arrays():
    X = np.stack([x[:1] for x in sequences()])
    assert SequenceScaler().fit_transform(X).shape == (3, 1, 3)
    table = np.arange(12.0).reshape(3, 4)
    expected = (table - table.mean()) / table.std()
    assert SequenceScaler().fit_transform(table) == pytest.approx(expected, rel=1e-6)


def test_constant_features_become_zero():
    X = [np.column_stack([x[:, 0], np.full(len(x), 7.7)]) for x in sequences()]
    assert all((x[:, 1] == 0).all() for x in SequenceScaler().fit_transform(X))


def test_other_features_are_refused():
    scaler = SequenceScaler().fit(sequences())
    with pytest.raises(InputError, match=r"X\[0\] has 2 features per frame; SequenceScaler expects 3"):
        scaler.transform([np.zeros((5, 2))])


@pytest.mark.parametrize("names", [["a.wav", "b.wav"], pd.Series(["a.wav"]), [Path("a.wav")]])
def test_names_of_files_are_refused(names):
    with pytest.raises(InputError, match="X holds names of files; SequenceScaler takes arrays of frames"):
        SequenceScaler().fit(names)
