"""Log mel filter-bank energies (section IV-A), computed by kaldi-native-fbank."""

import functools
from collections.abc import Iterable, Iterator
from typing import Any

import kaldi_native_fbank
import numpy as np
from numpy.typing import NDArray

from convrnn.features.config import SAMPLE_SCALE, LogMelConfig
from convrnn.features.samples import full_scale_one

_BLOCK_SECONDS = 10


def log_mel(samples: NDArray[Any], config: LogMelConfig) -> NDArray[np.float32]:
    """Log mel energies of every whole frame.

    Each frame loses its mean, is pre-emphasised, weighted by a Hamming window and padded with zeros to a power of two;
    the power spectrum is summed under triangles that are linear in mel = 1127 ln(1 + f / 700), and the logarithm taken
    with float32's epsilon as floor. Nothing is random: the same samples give the same bits.

    Args:
        samples: ``[samples]``, mono, at ``config.sample_rate``, of a dtype that
            :func:`~convrnn.features.samples.full_scale_one` knows (taken to 16-bit scale here).
        config: Frames and bands.

    Returns:
        float32 ``[frames, bands]``, with ``floor((samples - frame) / shift) + 1`` frames.

    Raises:
        ValueError: There is less than one frame of samples, or they are none that ``full_scale_one`` takes.

    Example:
        >>> log_mel(np.zeros(16000), LogMelConfig(sample_rate=16000)).shape
        (98, 26)
    """
    # Before the first block, so that a bad sample is counted from the beginning.
    samples = full_scale_one(samples)
    size = _BLOCK_SECONDS * config.sample_rate
    return log_mel_of_blocks((samples[start : start + size] for start in range(0, len(samples), size)), config)


def log_mel_of_blocks(blocks: Iterable[NDArray[np.float32]], config: LogMelConfig) -> NDArray[np.float32]:
    """:func:`log_mel` of samples that come one block after the other; the same bits for blocks of any size.

    One block at a time is held, and the frames.

    Args:
        blocks: Each float32 ``[samples]``, mono, full scale 1, as :func:`~convrnn.features.audio.audio_blocks` gives
            them.
        config: Frames and bands.

    Returns:
        float32 ``[frames, bands]``.

    Raises:
        ValueError: There is less than one frame of samples, or a block is of another kind.

    Example:
        >>> log_mel_of_blocks(np.split(np.zeros(16000, np.float32), [10000]), LogMelConfig(sample_rate=16000)).shape
        (98, 26)
    """
    fbank = kaldi_native_fbank.OnlineFbank(_options(config))
    ready: list[NDArray[np.float32]] = []
    count = heard = 0
    for block in blocks:
        if block.ndim != 1 or block.dtype != np.float32:
            raise ValueError(f"expected blocks of float32 [samples]; got {block.dtype} of shape {block.shape}")
        heard += len(block)
        fbank.accept_waveform(config.sample_rate, (block * np.float32(SAMPLE_SCALE)).tolist())
        frames = np.array(list(_take_frames(fbank, count)), np.float32)
        if len(frames):
            ready.append(frames)
            count += len(frames)
    if not ready:
        raise ValueError(
            f"{heard} samples at {config.sample_rate} Hz are less than one frame of {config.frame_ms:g} ms"
        )
    return np.concatenate(ready)


def _take_frames(fbank: kaldi_native_fbank.OnlineFbank, first: int) -> Iterator[NDArray[np.float32]]:
    """The frames that are ready, from the first one on, which the extractor then forgets."""
    ready = fbank.num_frames_ready
    for frame in range(first, ready):
        # Lies in the extractor's own memory.
        yield fbank.get_frame(frame).copy()
    fbank.pop(ready - first)


def _options(config: LogMelConfig) -> kaldi_native_fbank.FbankOptions:
    options = kaldi_native_fbank.FbankOptions()
    for path, value in config.fbank_options.items():
        *group, name = path.split(".")
        setattr(functools.reduce(getattr, group, options), name, value)
    return options
