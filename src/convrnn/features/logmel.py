"""Log mel filter-bank energies (section IV-A), computed by kaldi-native-fbank."""

import functools
from typing import Any

import kaldi_native_fbank
import numpy as np
from numpy.typing import NDArray

from convrnn.features.config import SAMPLE_SCALE, LogMelConfig


def log_mel(samples: NDArray[Any], config: LogMelConfig) -> NDArray[np.float32]:
    """Log mel energies of every whole frame.

    Each frame loses its mean, is pre-emphasised, weighted by a Hamming window and padded with zeros to a power of two;
    the power spectrum is summed under triangles that are linear in mel = 1127 ln(1 + f / 700), and the logarithm taken
    with float32's epsilon as floor. Nothing is random: the same samples give the same bits.

    Args:
        samples: ``[samples]``, mono, full scale 1 (taken to 16-bit scale here), at ``config.sample_rate``.
        config: Frames and bands.

    Returns:
        float32 ``[frames, bands]``, with ``floor((samples - frame) / shift) + 1`` frames.

    Raises:
        ValueError: There is less than one frame of samples, or they are not a vector.

    Example:
        >>> log_mel(np.zeros(16000), LogMelConfig(sample_rate=16000)).shape
        (98, 26)
    """
    if samples.ndim != 1:
        raise ValueError(f"expected mono samples [samples]; got shape {samples.shape}")
    fbank = kaldi_native_fbank.OnlineFbank(_options(config))
    fbank.accept_waveform(config.sample_rate, (samples.astype(np.float32) * np.float32(SAMPLE_SCALE)).tolist())
    fbank.input_finished()
    frames = fbank.num_frames_ready
    if frames == 0:
        raise ValueError(
            f"{len(samples)} samples at {config.sample_rate} Hz are less than one frame of {config.frame_ms:g} ms"
        )
    return np.stack([fbank.get_frame(i) for i in range(frames)]).astype(np.float32, copy=False)


def _options(config: LogMelConfig) -> kaldi_native_fbank.FbankOptions:
    options = kaldi_native_fbank.FbankOptions()
    for path, value in config.fbank_options.items():
        *group, name = path.split(".")
        setattr(functools.reduce(getattr, group, options), name, value)
    return options
