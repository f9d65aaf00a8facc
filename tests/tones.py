"""Small recordings that tests write: tones of one pitch or another."""

import numpy as np
import soundfile

RATE = 8000


def write_tone(path, hertz, *, seconds=0.3, seed=0):
    """0.1 s at 700 Hz, then the rest at another pitch, with some noise."""
    time = np.arange(int(seconds * RATE)) / RATE
    pitch = np.where(time < 0.1, 700, hertz)
    noise = 0.05 * np.random.default_rng(seed).standard_normal(len(time))
    soundfile.write(path, 0.3 * np.sin(2 * np.pi * np.cumsum(pitch) / RATE) + noise, RATE)
