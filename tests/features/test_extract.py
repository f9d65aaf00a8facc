import tracemalloc

import numpy as np
import pytest
import soundfile

from convrnn.errors import InputError
from convrnn.features.extract import Segment, extract_features, features_of
from convrnn.features.logmel import LogMelConfig


@pytest.fixture
def noise(tmp_path):
    samples = np.random.default_rng(0).uniform(-0.5, 0.5, (16000, 2)).astype(np.float32)
    soundfile.write(tmp_path / "a.wav", samples, 16000, subtype="FLOAT")
    return samples


def test_features_are_the_log_mel_of_the_mono_part(tmp_path, noise):
    config = LogMelConfig(sample_rate=16000)
    got = extract_features(Segment(str(tmp_path / "a.wav"), 0.25, 0.75), config)
    want = features_of(noise[4000:12000].mean(axis=1), config)
    np.testing.assert_allclose(got, want, atol=1e-4)


@pytest.mark.usefixtures("noise")
def test_audio_is_resampled_to_the_rate_of_the_config(tmp_path):
    got = extract_features(Segment(str(tmp_path / "a.wav")), LogMelConfig(sample_rate=8000))
    assert got.shape == (98, 26)
    assert np.isfinite(got).all()


@pytest.mark.usefixtures("noise")
def test_a_clip_shorter_than_a_frame_names_the_file(tmp_path):
    segment = Segment(str(tmp_path / "a.wav"), 0.5, 0.52)
    with pytest.raises(InputError, match=r"a.wav \(0.5 s to 0.52 s\): 320 samples .* less than one frame of 25 ms"):
        extract_features(segment, LogMelConfig(sample_rate=16000))


def test_a_long_file_takes_little_memory(tmp_path):
    samples = np.random.default_rng(1).uniform(-0.5, 0.5, 180 * 8000)
    soundfile.write(tmp_path / "a.wav", samples, 8000, subtype="PCM_16")
    tracemalloc.start()
    extract_features(Segment(str(tmp_path / "a.wav")), LogMelConfig(sample_rate=8000))
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    # All samples take 5.8 MB in float32 and 46 MB as Python numbers; the frames take 1.9 MB, twice.
    assert most < 10e6


@pytest.mark.parametrize("rate", [8000, 11025, 16000, 22050])
def test_long_files_have_the_features_of_their_samples(tmp_path, rate):
    samples = np.random.default_rng(1).uniform(-0.5, 0.5, 25 * 16000)
    soundfile.write(tmp_path / "a.wav", samples, 16000, subtype="PCM_16")
    segment = Segment(str(tmp_path / "a.wav"), 0.1, 24.7)
    config = LogMelConfig(sample_rate=rate)
    whole, _ = segment.read(sample_rate=rate)
    np.testing.assert_array_equal(extract_features(segment, config), features_of(whole, config))
