"""Small recordings of tests: tones of one pitch or another, and noise."""

import numpy as np
import soundfile

RATE = 8000


def write_tone(path, hertz, *, seconds=0.3, seed=0):
    """0.1 s at 700 Hz, then the rest at another pitch, with some noise."""
    time = np.arange(int(seconds * RATE)) / RATE
    pitch = np.where(time < 0.1, 700, hertz)
    noise = 0.05 * np.random.default_rng(seed).standard_normal(len(time))
    soundfile.write(path, 0.3 * np.sin(2 * np.pi * np.cumsum(pitch) / RATE) + noise, RATE)


def noise(seconds, rate, channels=1, seed=0):
    """Noise, float32 ``[channels, samples]``."""
    rng = np.random.default_rng(seed)
    return (0.1 * rng.standard_normal((channels, int(seconds * rate)))).astype(np.float32)
