"""Log-mel against its definition, implemented here in numpy independently of the library."""

import hashlib
import subprocess
import sys

import kaldi_native_fbank
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from convrnn.features.extract import features_of
from convrnn.features.logmel import LogMelConfig, _options

FLOOR = np.finfo(np.float32).eps


def defined(samples, rate, bands=26, low_hz=20.0, high_hz=None, preemphasis=0.97):
    """[frames, bands] in float64: 25 ms frames every 10 ms."""
    length, shift = rate * 25 // 1000, rate * 10 // 1000
    x = np.asarray(samples, dtype=np.float64) * 32768
    frames = np.stack([x[i : i + length] for i in range(0, len(x) - length + 1, shift)])
    frames = frames - frames.mean(axis=1, keepdims=True)
    previous = np.concatenate([frames[:, :1], frames[:, :-1]], axis=1)
    frames = frames - preemphasis * previous
    frames = frames * (0.54 - 0.46 * np.cos(2 * np.pi * np.arange(length) / (length - 1)))
    size = 1 << (length - 1).bit_length()
    power = np.abs(np.fft.rfft(frames, size)) ** 2

    def mel(hz):
        return 1127 * np.log(1 + hz / 700)

    edges = np.linspace(mel(low_hz), mel(high_hz or rate / 2), bands + 2)
    bins = mel(np.arange(size // 2 + 1) * rate / size)
    left, centre, right = edges[:-2, None], edges[1:-1, None], edges[2:, None]
    weights = np.clip(np.minimum((bins - left) / (centre - left), (right - bins) / (right - centre)), 0, None)
    return np.log(np.maximum(power @ weights.T, FLOOR))


def speechlike(rate, seconds=1.0, seed=0):
    rng = np.random.default_rng(seed)
    time = np.arange(int(rate * seconds)) / rate
    voice = sum(np.sin(2 * np.pi * 130 * k * time) / k for k in range(1, 25))
    envelope = 0.5 + 0.5 * np.sin(2 * np.pi * 3 * time)
    return (0.1 * voice * envelope + 0.01 * rng.standard_normal(len(time)) + 0.05).astype(np.float32)


@pytest.mark.parametrize("rate", [8000, 16000])
@pytest.mark.parametrize("seed", [0, 1])
def test_features_agree_with_the_definition(rate, seed):
    samples = speechlike(rate, seed=seed)
    got = features_of(samples, LogMelConfig(sample_rate=rate))
    want = defined(samples, rate)
    assert got.dtype == np.float32
    assert got.shape == want.shape == (98, 26)
    np.testing.assert_allclose(got, want, atol=5e-3, rtol=0)
    assert np.abs(got - want).mean() < 1e-4


def test_options_reach_the_library():
    samples = speechlike(16000)
    config = LogMelConfig(sample_rate=16000, num_bands=40, low_hz=100.0, high_hz=7000.0, preemphasis=0.5)
    want = defined(samples, 16000, bands=40, low_hz=100.0, high_hz=7000.0, preemphasis=0.5)
    np.testing.assert_allclose(features_of(samples, config), want, atol=5e-3, rtol=0)
    longer = features_of(samples, LogMelConfig(sample_rate=16000, frame_ms=50.0, shift_ms=20.0))
    assert longer.shape == (1 + (16000 - 800) // 320, 26)


def test_silence_and_constants_give_the_floor():
    for level in (0.0, 0.25):
        got = features_of(np.full(4000, level), LogMelConfig(sample_rate=16000))
        np.testing.assert_allclose(got, np.log(FLOOR), rtol=1e-6)


def test_samples_are_scaled_to_16_bits():
    samples = speechlike(16000)
    config = LogMelConfig(sample_rate=16000)
    np.testing.assert_allclose(
        features_of(samples, config) - features_of(samples / 2, config), np.full((98, 26), np.log(4)), atol=2e-3
    )


@settings(max_examples=50, deadline=None)
@given(st.sampled_from([8000, 16000]), st.integers(400, 6000))
def test_only_whole_frames_count(rate, samples):
    length, shift = rate // 40, rate // 100
    got = features_of(np.zeros(samples), LogMelConfig(sample_rate=rate))
    assert len(got) == (samples - length) // shift + 1


@pytest.mark.parametrize("samples", [0, 1, 399])
def test_less_than_a_frame_is_an_error(samples):
    with pytest.raises(ValueError, match=f"{samples} samples at 16000 Hz are less than one frame of 25 ms"):
        features_of(np.zeros(samples), LogMelConfig(sample_rate=16000))


def test_stereo_is_an_error():
    with pytest.raises(ValueError, match="mono"):
        features_of(np.zeros((16000, 2)), LogMelConfig(sample_rate=16000))


def at_once(samples, config):
    """The library's features of all samples at once."""
    fbank = kaldi_native_fbank.OnlineFbank(_options(config))
    fbank.accept_waveform(config.sample_rate, (samples * np.float32(32768)).tolist())
    fbank.input_finished()
    return np.stack([fbank.get_frame(i) for i in range(fbank.num_frames_ready)])


@settings(max_examples=50, deadline=None)
@given(
    st.sampled_from([LogMelConfig(sample_rate=8000), LogMelConfig(sample_rate=11025, frame_ms=20.3, shift_ms=31.7)]),
    st.integers(400, 4000),
    st.lists(st.one_of(st.integers(0, 4000), st.sampled_from([1, 79, 80, 81, 199, 200, 201, 279, 280]))),
)
def test_blocks_of_any_size_give_the_same_bits(config, count, edges):
    samples = speechlike(8000)[:count]
    blocks = np.split(samples, sorted(min(edge, count) for edge in edges))
    found = config.compute(iter(blocks))
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, at_once(samples, config))


def test_long_recordings_are_bitwise_equal_to_one_piece():
    samples = speechlike(16000, seconds=31.7)
    config = LogMelConfig(sample_rate=16000)
    np.testing.assert_array_equal(features_of(samples, config), at_once(samples, config))


@pytest.mark.parametrize("blocks", [[], [0], [100, 100, 100, 99]])
def test_blocks_with_less_than_a_frame_are_an_error(blocks):
    with pytest.raises(ValueError, match=rf"{sum(blocks)} samples at 16000 Hz are less than one frame"):
        LogMelConfig(sample_rate=16000).compute([np.zeros(count, np.float32) for count in blocks])


@pytest.mark.parametrize("block", [np.zeros(500, np.int16), np.zeros((500, 2), np.float32)])
def test_blocks_of_another_kind_are_an_error(block):
    with pytest.raises(ValueError, match=rf"expected blocks of float32 \[samples\]; got {block.dtype} of shape"):
        LogMelConfig(sample_rate=16000).compute([np.zeros(500, np.float32), block])


def test_features_are_bitwise_equal_in_every_run_and_process():
    samples = (np.random.default_rng(3).integers(-3000, 3000, 16000) / 32768).astype(np.float32)
    config = LogMelConfig(sample_rate=16000)
    here = features_of(samples, config)
    assert here.tobytes() == features_of(samples, config).tobytes()
    code = (
        "import hashlib, numpy as np\n"
        "from convrnn.features.extract import features_of\n"
        "from convrnn.features.logmel import LogMelConfig\n"
        "samples = (np.random.default_rng(3).integers(-3000, 3000, 16000) / 32768).astype(np.float32)\n"
        "print(hashlib.sha256(features_of(samples, LogMelConfig(sample_rate=16000)).tobytes()).hexdigest())"
    )
    other = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip()
    assert other == hashlib.sha256(here.tobytes()).hexdigest()


@pytest.mark.parametrize(
    "options",
    [
        {"sample_rate": 16000},
        {"sample_rate": 8000},
        {"sample_rate": 44100},
        {"sample_rate": 11025, "num_bands": 40, "frame_ms": 32, "shift_ms": 7.5, "low_hz": 64, "high_hz": 5000},
        {"sample_rate": 16000, "num_bands": 40, "preemphasis": 0.0},
    ],
)
@pytest.mark.parametrize("sound", ["speech", "noise", "faint", "offset", "tone", "silence"])
def test_the_pytorch_module_agrees_with_the_library(options, sound):
    config = LogMelConfig(**options)
    rate = config.sample_rate
    samples = {
        "speech": speechlike(rate),
        "noise": 0.3 * np.random.default_rng(0).standard_normal(rate),
        "faint": 1e-4 * np.random.default_rng(0).standard_normal(rate),
        "offset": 0.3 + 0.01 * np.random.default_rng(0).standard_normal(rate),
        "tone": 0.5 * np.sin(0.2 * np.arange(rate)),
        "silence": np.zeros(rate),
    }[sound].astype(np.float32)
    length = rate - 123
    batch = np.stack([samples, np.where(np.arange(rate) < length, samples, 7.0).astype(np.float32)])
    found, counts = config.to_torch()(torch.from_numpy(batch), torch.tensor([rate, length]))
    for row, end in enumerate((rate, length)):
        expected = config.compute([samples[:end]])
        assert counts[row] == len(expected)
        np.testing.assert_allclose(found[row, : len(expected)], expected, rtol=0, atol=1e-3)
        assert not found[row, len(expected) :].any()


def test_the_pytorch_module_pads_less_than_a_frame_to_one():
    config = LogMelConfig(sample_rate=8000)
    samples = speechlike(8000)[:150]
    found, counts = config.to_torch()(torch.from_numpy(samples)[None], torch.tensor([150]))
    assert counts.tolist() == [1]
    np.testing.assert_allclose(found[0, :1], config.compute([np.pad(samples, (0, 50))]), rtol=0, atol=1e-3)
