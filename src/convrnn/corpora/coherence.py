"""Whether two pieces of audio are the same recording, by correlating their samples.

Two renderings of one sentence by a synthetic voice, or of one short word, can have nearly equal fingerprints, but their
waveforms differ. The spectrum from 300 to 2000 Hz is whitened first, since otherwise the few strongest frequencies
would dominate.
"""

import numpy as np
from numpy.typing import NDArray

from convrnn.corpora.fingerprint import HIGHEST, LOWEST, RATE

LEAST_COHERENCE = 0.5
"""Coherence from which two recordings count as copies.

Different recordings stay below 0.2, those of one sentence by one synthetic voice below 0.4. Copies fall below 0.6 only
at a codec's worst quality.
"""

SMOOTHED_HZ = 30.0
UPSAMPLED = 2


def coherence(a: NDArray[np.float32], b: NDArray[np.float32]) -> float:
    """The maximum absolute cross-correlation of two whitened signals.

    Args:
        a: ``[samples]`` at 5 kHz (:data:`~convrnn.corpora.fingerprint.RATE`).
        b: The other signal, likewise.

    Returns:
        A value from 0 to 1; 1 for equal signals, whatever their gain and polarity.

    Example:
        >>> one, other = np.random.default_rng(0).normal(size=(2, 5000)).astype(np.float32)
        >>> round(coherence(one, -0.1 * one[200:]), 1), coherence(one, other) < 0.2
        (1.0, True)
    """
    from scipy.fft import irfft, next_fast_len, rfft
    from scipy.ndimage import uniform_filter1d

    length = next_fast_len(len(a) + len(b), real=True)
    hertz = np.fft.rfftfreq(length, 1 / RATE)
    inside = (hertz >= LOWEST) & (hertz <= HIGHEST)
    spectra = []
    for samples in (a, b):
        spectrum = rfft(samples, length)
        power = uniform_filter1d(np.abs(spectrum) ** 2, max(1, round(SMOOTHED_HZ * length / RATE)))
        spectra.append(np.where(inside & (power > 0), spectrum / np.sqrt(np.maximum(power, 1e-30)), 0))
    one, other = spectra
    size = np.sqrt((np.abs(one) ** 2).sum() * (np.abs(other) ** 2).sum())
    if size == 0:
        return 0.0
    # Upsampled, because a shift by a fraction of a sample has its peak between samples.
    correlation = irfft(one * np.conj(other), length * UPSAMPLED)
    return float(np.abs(correlation).max() * length * UPSAMPLED / 2 / size)
