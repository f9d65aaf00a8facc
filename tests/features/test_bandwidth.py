"""Resampled audio is distinguished from audio recorded at its sample rate."""

import numpy as np
import pytest
import soxr

from convrnn.features.bandwidth import resampled_from


def voice(rate, seconds=1.0, seed=0):
    """Harmonics that fall by 12 dB an octave, and a little noise, as of 16 bits."""
    rng = np.random.default_rng(seed)
    time = np.arange(int(rate * seconds)) / rate
    tones = sum(np.sin(2 * np.pi * 130 * k * time + k) / k**2 for k in range(1, int(rate / 2 / 130)))
    samples = 0.3 * tones * (0.6 + 0.4 * np.sin(2 * np.pi * 3 * time)) + 0.001 * rng.standard_normal(len(time))
    return samples.astype(np.float32)


def at_16_bits(samples):
    return (np.round(samples * 32767) / 32768).astype(np.float32)


@pytest.mark.parametrize("rate", [8000, 11025, 16000, 44100, 48000])
@pytest.mark.parametrize("seconds", [0.03, 1.0])
def test_audio_recorded_at_its_rate_is_not_suspected(rate, seconds):
    assert resampled_from([at_16_bits(voice(rate, seconds))], rate) is None


@pytest.mark.parametrize(("lower", "rate"), [(8000, 16000), (8000, 48000), (16000, 44100), (22050, 48000)])
@pytest.mark.parametrize("quality", ["HQ", "VHQ"])
def test_the_lower_rate_is_found(lower, rate, quality):
    samples = at_16_bits(soxr.resample(voice(lower), lower, rate, quality=quality))
    assert resampled_from([samples], rate) == lower
    assert resampled_from(np.array_split(samples, 7), rate) == lower


@pytest.mark.parametrize("blocks", [[], [np.zeros(100)], [np.zeros(5000)], [np.full(5000, 0.25)]])
def test_silence_is_not_suspected(blocks):
    assert resampled_from([block.astype(np.float32) for block in blocks], 16000) is None


def test_the_lowest_rate_is_never_suspected():
    assert resampled_from([voice(1000)], 1000) is None
