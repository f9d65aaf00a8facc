"""Resampling of samples that come in blocks."""

from collections.abc import Iterable, Iterator

import numpy as np
import soxr
from numpy.typing import NDArray


def resampled(blocks: Iterable[NDArray[np.float32]], rate: int, new_rate: int) -> Iterator[NDArray[np.float32]]:
    """Resamples mono samples (soxr, high quality), block by block.

    Args:
        blocks: Each float32 ``[samples]``; how the samples are cut into blocks does not change the result.
        rate: Their sample rate in Hz.
        new_rate: The sample rate of the result in Hz; blocks are passed through if the rates are equal.

    Yields:
        Blocks that are not empty.

    Example:
        >>> [len(block) for block in resampled([np.zeros(16000, np.float32)], 16000, 8000)]
        [8000]
    """
    if rate == new_rate:
        yield from (block for block in blocks if len(block))
        return
    resampler = soxr.ResampleStream(rate, new_rate, 1, dtype="float32", quality="HQ")
    held: NDArray[np.float32] | None = None
    for block in blocks:
        if held is not None and len(result := resampler.resample_chunk(held)):
            yield result
        held = block
    if held is not None and len(result := resampler.resample_chunk(held, last=True)):
        yield result
