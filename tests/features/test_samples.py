"""Samples of every dtype are converted to those that features are computed from, or are refused."""

import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st

from convrnn.features.extract import features_of
from convrnn.features.logmel import LogMelConfig
from convrnn.features.samples import full_scale_one

SIGNAL = np.random.default_rng(0).uniform(-0.9, 0.9, 4000)


@pytest.mark.parametrize(("dtype", "subtype"), [(np.int16, "PCM_16"), (np.int32, "PCM_32")])
def test_whole_numbers_are_scaled_as_libsndfile_does(tmp_path, dtype, subtype):
    soundfile.write(tmp_path / "a.wav", SIGNAL, 16000, subtype=subtype)
    whole, _ = soundfile.read(tmp_path / "a.wav", dtype=dtype)
    expected, _ = soundfile.read(tmp_path / "a.wav", dtype="float32")
    np.testing.assert_array_equal(full_scale_one(whole), expected)
    np.testing.assert_array_equal(full_scale_one(whole.astype(whole.dtype.newbyteorder(">"))), expected)


def test_bytes_are_read_as_in_8_bit_wav_files(tmp_path):
    soundfile.write(tmp_path / "a.wav", SIGNAL, 16000, subtype="PCM_U8")
    expected, _ = soundfile.read(tmp_path / "a.wav", dtype="float32")
    stored = np.frombuffer((tmp_path / "a.wav").read_bytes()[-len(SIGNAL) :], np.uint8)
    np.testing.assert_array_equal(full_scale_one(stored), expected)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, ">f4"])
def test_floating_point_samples_are_not_scaled(dtype):
    samples = SIGNAL.astype(dtype)
    found = full_scale_one(samples)
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, samples.astype(np.float32))


@given(st.lists(st.integers(-32768, 32767), min_size=400, max_size=500))
def test_features_do_not_depend_on_the_dtype(values):
    config = LogMelConfig(sample_rate=16000)
    whole = np.array(values, np.int16)
    expected = features_of(whole / 32768, config)
    np.testing.assert_array_equal(features_of(whole, config), expected)
    np.testing.assert_array_equal(features_of((whole / 32768).astype(np.float32), config), expected)
    np.testing.assert_array_equal(features_of(whole.astype(np.int32) << 16, config), expected)


@pytest.mark.parametrize(
    ("samples", "sentence"),
    [
        (np.ones(400, bool), "samples are bool; expected float16, float32, float64, int16, int32 or uint8"),
        (np.ones(400, complex), "samples are complex128"),
        (np.ones(400, np.int64), "samples are int64"),
        (np.ones(400, np.int8), "samples are int8"),
        (np.ones(400, np.uint16), "samples are uint16"),
        (np.ones(400, np.longdouble), "samples are "),
        (np.array(["0.5"] * 400), "samples are <U3"),
        (np.array([None] * 400), "samples are object"),
        ([0.0] * 400, "expected a numpy array of samples; got list"),
        (np.ones((2, 400)), r"expected mono samples \[samples\]; got shape \(2, 400\)"),
        (np.array(1.0), r"got shape \(\)"),
        (np.array([0.0, np.nan] * 200), "sample 1 is NaN or infinite"),
        (np.array([0.0, 0.0, -np.inf] * 200), "sample 2 is NaN or infinite"),
        (np.array([0.0, 0.0, 3e4] * 200), "sample 2 is 30000; .* have full scale 1, so divide 16-bit ones by 32768"),
        (np.array([1e300] * 400), r"sample 0 is 1e\+300"),
    ],
)
def test_samples_without_a_known_scale_are_refused(samples, sentence):
    with pytest.raises(ValueError, match=sentence):
        features_of(samples, LogMelConfig(sample_rate=16000))
