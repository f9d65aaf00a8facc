"""The raw waveform: frames of samples without their mean."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from convrnn.features.config import feature_config_of
from convrnn.features.extract import features_of
from convrnn.features.waveform import WaveformConfig
from convrnn.features.waveform_torch import WaveformFrames


def noise(samples, offset=0.25):
    return (np.random.default_rng(0).uniform(-0.5, 0.5, samples) + offset).astype(np.float32)


def test_a_frame_is_one_sample_without_the_mean():
    samples = noise(1001)
    expected = (samples.astype(np.float64) - samples.mean(dtype=np.float64)).astype(np.float32)
    np.testing.assert_array_equal(features_of(samples, WaveformConfig(sample_rate=16000)), expected[:, None])


def test_a_frame_of_a_millisecond_holds_its_samples_in_order_and_the_rest_is_dropped():
    samples = noise(1007)
    by_sample = features_of(samples, WaveformConfig(sample_rate=16000))
    found = features_of(samples, feature_config_of("waveform-1ms", 16000))
    assert found.shape == (62, 16)
    np.testing.assert_array_equal(found.ravel(), by_sample[: 62 * 16, 0])


@pytest.mark.parametrize(
    ("rate", "frame", "milliseconds", "expected"),
    [
        (16000, "sample", 25, (400, 160)),
        (8000, "sample", 25, (200, 80)),
        (16000, "millisecond", 25, (25, 10)),
        (8000, "millisecond", 100, (100, 10)),
        # 44.1 samples are rounded to 44, 0.998 ms.
        (44100, "millisecond", 25, (25, 10)),
        (11025, "sample", 25, (276, 110)),
        (1000, "millisecond", 1, (1, 10)),
    ],
)
def test_windows_are_given_in_milliseconds(rate, frame, milliseconds, expected):
    assert WaveformConfig(sample_rate=rate, frame=frame).window(milliseconds) == expected


def test_long_recordings_are_framed_in_parts_with_the_same_values():
    samples = noise(3 * 2**20 + 5)
    expected = (samples.astype(np.float64) - samples.mean(dtype=np.float64)).astype(np.float32)
    np.testing.assert_array_equal(features_of(samples, WaveformConfig(sample_rate=8000))[:, 0], expected)


def test_samples_that_are_not_finite_are_refused():
    with pytest.raises(ValueError, match="not finite"):
        WaveformConfig(sample_rate=8000).compute([np.array([0.0, np.nan], np.float32)])


def test_blocks_of_another_dtype_are_refused():
    with pytest.raises(ValueError, match=r"float32 \[samples\]; got float64"):
        WaveformConfig(sample_rate=8000).compute([np.zeros(3)])


@given(st.integers(1, 20), st.lists(st.integers(0, 90), min_size=1, max_size=4))
def test_the_module_computes_the_same_frames_of_padded_recordings(frame, extra):
    lengths = [frame + more for more in extra]
    batch = np.full((len(lengths), max(lengths)), 7.0, np.float32)
    for row, length in zip(batch, lengths, strict=True):
        row[:length] = noise(length)
    found, counts = WaveformFrames(frame)(torch.from_numpy(batch), torch.tensor(lengths))
    assert counts.tolist() == [length // frame for length in lengths]
    config = WaveformConfig(sample_rate=1000 * frame, frame="millisecond")
    for row, own, count, length in zip(batch, found.numpy(), counts.tolist(), lengths, strict=True):
        expected = config.compute([row[:length]])
        np.testing.assert_allclose(own[:count], expected, rtol=0, atol=1e-7)
        assert not own[count:].any()
