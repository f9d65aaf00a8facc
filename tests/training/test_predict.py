"""Predictions as a library function: what each recording's result tells, and what is raised."""

import numpy as np
import pytest
import soundfile

from bundles import make_bundle
from convrnn.errors import InputError
from convrnn.features.extract import Segment
from convrnn.features.logmel import LogMelConfig
from convrnn.features.store import FeatureStore
from convrnn.training.predict import log_probabilities, predict


@pytest.fixture
def segments(tmp_path):
    """Two sound recordings, and one that is longer than 25 ms and shorter than 50 ms, in their midst."""
    rng = np.random.default_rng(0)
    for name, count in (("a", 9000), ("b", 640), ("c", 12000)):
        soundfile.write(tmp_path / f"{name}.wav", rng.uniform(-0.3, 0.3, count), 16000)
    return [Segment(str(tmp_path / f"{name}.wav")) for name in "abc"]


LONG_FRAMES = LogMelConfig(sample_rate=16000, frame_ms=50.0)


@pytest.mark.parametrize("jobs", [1, 2])
def test_what_has_no_features_is_left_out(segments, jobs):
    bundle = make_bundle(features=LONG_FRAMES)
    listened, extracted = [], []
    found = predict(
        bundle,
        segments,
        speakers=["s", "s", "s"],
        jobs=jobs,
        on_listened=lambda *n: listened.append(n),
        on_extracted=lambda *n: extracted.append(n),
    )
    assert [one.segment for one in found] == segments
    [fault] = found[1].faults
    assert fault[:2] == ("error", "unusable")
    assert found[1].error.endswith("b.wav: 640 samples at 16000 Hz are less than one frame of 50 ms")
    assert found[1].log_probabilities is None
    expected = log_probabilities(bundle, [segments[0], segments[2]], speakers=["s", "s"])
    np.testing.assert_array_equal([found[0].log_probabilities, found[2].log_probabilities], expected)
    assert listened == [(1, 3), (2, 3), (3, 3)]
    assert extracted[-1] == (3, 3)


def test_fail_fast_raises_the_first_error(segments):
    bundle = make_bundle(features=LONG_FRAMES, normalise="utterance")
    with pytest.raises(InputError, match=r"b\.wav: 640 samples at 16000 Hz are less than one frame of 50 ms"):
        predict(bundle, segments, fail_fast=True)
    missing = [Segment("nowhere.wav"), *segments]
    with pytest.raises(InputError, match=r"^nowhere\.wav: audio file does not exist$"):
        predict(bundle, missing, fail_fast=True)


def test_nothing_to_predict():
    assert predict(make_bundle(normalise="utterance"), []) == []


def test_what_is_wrong_with_the_question_is_raised(segments):
    with pytest.raises(InputError, match="needs the speaker of every recording"):
        predict(make_bundle(), segments)
    with pytest.raises(InputError, match="'corpus' needs training statistics"):
        predict(make_bundle(), segments, normalise="corpus")
    with pytest.raises(InputError, match=r"accept=\['clipping'\]: cannot be accepted; kinds that can: narrow-band"):
        predict(make_bundle(), segments, speakers=["s"] * 3, accept=["clipping"])


def test_a_store_that_cannot_be_written_is_not_the_recordings_fault(segments, monkeypatch):
    def full(*_, **__):
        raise InputError("no room for features")

    monkeypatch.setattr(FeatureStore, "extract", full)
    monkeypatch.setattr(FeatureStore, "load", full)
    with pytest.raises(InputError, match="no room for features"):
        predict(make_bundle(normalise="utterance"), segments)
