"""Prediction as a library function: the result of each recording, and the errors raised."""

import numpy as np
import pytest
import soundfile

from bundles import make_bundle
from convrnn.errors import InputError
from convrnn.features.extract import Segment, extract_features
from convrnn.features.logmel import LogMelConfig
from convrnn.processes import Event, Failure, WorkFailedError
from convrnn.training.predict import log_probabilities, predict


@pytest.fixture
def segments(tmp_path):
    """Two good recordings, and between them one that is longer than 25 ms and shorter than 50 ms."""
    rng = np.random.default_rng(0)
    for name, count in (("a", 9000), ("b", 640), ("c", 12000)):
        soundfile.write(tmp_path / f"{name}.wav", rng.uniform(-0.3, 0.3, count), 16000)
    return [Segment(str(tmp_path / f"{name}.wav")) for name in "abc"]


LONG_FRAMES = LogMelConfig(sample_rate=16000, frame_ms=50.0)


@pytest.mark.parametrize("jobs", [1, 2])
def test_recordings_without_features_are_left_out(segments, jobs):
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


def test_no_recordings_give_no_predictions():
    assert predict(make_bundle(normalise="utterance"), []) == []


def test_wrong_arguments_raise_an_error(segments):
    with pytest.raises(InputError, match="needs the speaker of every recording"):
        predict(make_bundle(), segments)
    with pytest.raises(InputError, match="'corpus' needs training statistics"):
        predict(make_bundle(), segments, normalise="corpus")
    with pytest.raises(InputError, match=r"accept=\['clipping'\]: cannot be accepted; kinds that can: narrow-band"):
        predict(make_bundle(), segments, speakers=["s"] * 3, accept=["clipping"])


@pytest.mark.parametrize("jobs", [1, 2])
def test_nothing_is_written(segments, monkeypatch, jobs):
    # A killed process would leave what it has written.
    monkeypatch.setattr("tempfile.tempdir", "/nowhere")
    assert [one.error for one in predict(make_bundle(), segments, speakers=["s"] * 3, jobs=jobs)] == [None] * 3


def test_a_killed_worker_does_not_stop_the_others(segments, monkeypatch):
    bundle = make_bundle(normalise="utterance")
    expected = [one.log_probabilities for one in predict(bundle, segments)]

    def killed(_work, config, items, *, on_event, **_):
        on_event(Event("started", 1))
        on_event(Event("done", 1, extract_features(items[1], config)))
        raise WorkFailedError(0, Failure("its worker process was killed", "", is_input_error=False))

    monkeypatch.setattr("convrnn.training.predict.run_in_processes", killed)
    extracted = []
    found = predict(bundle, segments, jobs=2, on_extracted=lambda *n: extracted.append(n))
    np.testing.assert_array_equal([one.log_probabilities for one in found], expected)
    assert extracted == [(1, 3), (2, 3), (3, 3)]
