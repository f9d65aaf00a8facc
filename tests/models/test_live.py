"""Predictions during a recording equal those for a file with the samples so far."""

import numpy as np
import pytest

from bundles import STATISTICS, make_bundle
from convrnn.errors import InputError
from convrnn.features.egemaps import EgemapsConfig
from convrnn.features.extract import features_of
from convrnn.features.logmel import LogMelConfig
from convrnn.models import preset
from convrnn.models.live import LivePredictor

RATE = 16000
SAMPLES = (0.1 * np.random.default_rng(0).standard_normal(2 * RATE)).astype(np.float32)


def predict(bundle, samples, enrolment=(), policy=None):
    """The model's prediction for the samples as a recording of their own."""
    features = [*enrolment, features_of(samples, bundle.config.features)]
    standardised = bundle.normaliser(policy).transform(features, ["anna"] * len(features))
    return bundle.log_probabilities(standardised)[-1]


@pytest.mark.parametrize("block", [80, 1234, RATE])
@pytest.mark.parametrize("policy", ["speaker", "utterance", "corpus"])
def test_all_samples_so_far_are_one_recording(policy, block):
    bundle = make_bundle(normalise=policy, statistics=STATISTICS if policy == "corpus" else None)
    live = LivePredictor(bundle)
    for start in range(0, RATE, block):
        live.push(SAMPLES[start : min(start + block, RATE)])
    assert live.heard == 1.0
    found = live.log_probabilities()
    np.testing.assert_array_equal(found, predict(bundle, SAMPLES[:RATE]))
    # Predicting changes nothing.
    np.testing.assert_array_equal(live.log_probabilities(), found)
    live.push(SAMPLES[RATE:])
    np.testing.assert_array_equal(live.log_probabilities(), predict(bundle, SAMPLES))


def test_only_the_last_seconds_are_used():
    bundle = make_bundle(normalise="utterance")
    live = LivePredictor(bundle, seconds=0.5)
    for end in range(4000, 2 * RATE, 4000):
        live.push(SAMPLES[end - 4000 : end])
        np.testing.assert_array_equal(live.log_probabilities(), predict(bundle, SAMPLES[max(0, end - 8000) : end]))
    assert live.heard == pytest.approx(1.75)


def test_old_samples_are_dropped_even_without_a_prediction():
    bundle = make_bundle(normalise="utterance")
    live = LivePredictor(bundle, seconds=0.5)
    for block in SAMPLES.reshape(-1, 100):
        live.push(block)
        assert sum(map(len, live._blocks)) < 8000 + 100
    np.testing.assert_array_equal(live.log_probabilities(), predict(bundle, SAMPLES[-8000:]))


def test_enrolment_adds_recordings_of_the_speaker():
    bundle = make_bundle()
    enrolment = [features_of(3.0 * SAMPLES[:9000], bundle.config.features)]
    live = LivePredictor(bundle, enrolment=enrolment)
    live.push(SAMPLES)
    found = live.log_probabilities()
    np.testing.assert_array_equal(found, predict(bundle, SAMPLES, enrolment))
    assert not np.array_equal(found, predict(bundle, SAMPLES))
    with pytest.raises(InputError, match="enrolment needs features standardised per speaker, but they are per utt"):
        LivePredictor(bundle, normalise="utterance", enrolment=enrolment)


@pytest.mark.parametrize("features", [LogMelConfig(sample_rate=RATE), EgemapsConfig(sample_rate=RATE)])
def test_there_is_no_prediction_before_a_whole_frame(features):
    model = preset("baseline", "emotion", in_features=features.num_features, num_classes=3).model_dump()
    bundle = make_bundle(normalise="utterance", features=features, model=model | {"recurrent": {"hidden_size": 4}})
    live = LivePredictor(bundle)
    assert live.log_probabilities() is None
    whole = int(features.frame_ms * RATE / 1000)
    live.push(SAMPLES[: whole - 1])
    assert live.log_probabilities() is None
    live.push(SAMPLES[whole - 1 : whole])
    np.testing.assert_array_equal(live.log_probabilities(), predict(bundle, SAMPLES[:whole]))


def test_impossible_arguments_are_refused():
    bundle = make_bundle()
    with pytest.raises(InputError, match=r"seconds is 0\.02, less than one frame of 25 ms"):
        LivePredictor(bundle, seconds=0.02)
    with pytest.raises(InputError, match="'corpus' needs training statistics"):
        LivePredictor(bundle, normalise="corpus")
    for seconds in (float("inf"), float("nan"), 1e308, 3600.1):
        with pytest.raises(InputError, match=r"seconds is .*; at most 3600 can be used"):
            LivePredictor(bundle, seconds=seconds)
    with pytest.raises(InputError, match=r"seconds is -1, less than one frame"):
        LivePredictor(bundle, seconds=-1)
    live = LivePredictor(bundle)
    live.push(SAMPLES[:10])
    with pytest.raises(ValueError, match=r"expected mono samples \[samples\]; got shape \(2, 5\)"):
        live.push(SAMPLES[:10].reshape(2, 5))
    with pytest.raises(ValueError, match="sample 1 is NaN or infinite"):
        live.push(np.array([0.0, np.nan], np.float32))
    with pytest.raises(ValueError, match="samples are int64; expected float16"):
        live.push(np.zeros(10, int))
    with pytest.raises(ValueError, match=r"sample 0 is 20000; .* divide 16-bit ones by 32768"):
        live.push(np.full(10, 20000.0))
    assert live.heard == 10 / RATE


def test_16_bit_samples_are_scaled_and_copied():
    bundle = make_bundle(normalise="corpus", statistics=STATISTICS)
    whole = np.round(32767 * SAMPLES[:RATE]).astype(np.int16)
    live = LivePredictor(bundle)
    block = np.empty(4000, np.float32)
    for start in range(0, RATE, 8000):
        live.push(whole[start : start + 4000])
        block[:] = whole[start + 4000 : start + 8000] / np.float32(32768)
        live.push(block)
    block[:] = 0
    np.testing.assert_array_equal(live.log_probabilities(), predict(bundle, whole / 32768))
