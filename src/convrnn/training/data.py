"""Examples in memory, and how they are batched.

The order of an epoch's batches is a pure function of (seed, epoch): a resumed run sees the same batches as an
uninterrupted one, whatever else draws random numbers.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

POOL_BATCHES = 8
"""Batches per pool; each pool is shuffled, then sorted by length.

Larger pools need less padding, but then the batches of a small corpus hold nearly the same utterances in every epoch.
For typical utterance lengths, pools of 8 batches add 20 % of padding; unsorted batches add 100 %.
"""


class Batch(NamedTuple):
    """Padded utterances.

    Attributes:
        x: float32 [batch, frames, features], zeros past each utterance's end.
        lengths: int64 [batch], frames of each utterance.
        labels: int64 [batch], class indices.
    """

    x: Tensor
    lengths: Tensor
    labels: Tensor


@dataclass(frozen=True)
class Examples:
    """The normalised utterances of one set, held in memory.

    Attributes:
        features: One float32 array [frames, features] per utterance.
        labels: int64 [utterances], class indices.
    """

    features: Sequence[NDArray[np.float32]]
    labels: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.features)

    @property
    def lengths(self) -> NDArray[np.int64]:
        """Frames of each utterance, int64 [utterances]."""
        return np.array([len(array) for array in self.features], dtype=np.int64)

    def take(self, indices: NDArray[np.int64]) -> "Examples":
        """Selects examples by position; repeated positions share one array."""
        return Examples([self.features[i] for i in indices], self.labels[indices])

    def batch(self, indices: NDArray[np.int64]) -> Batch:
        """Selects examples by position and pads them with zeros to the longest.

        Example:
            >>> examples = Examples([np.ones((2, 1), np.float32), np.ones((3, 1), np.float32)], np.array([0, 1]))
            >>> batch = examples.batch(np.array([0, 1]))
            >>> batch.x[..., 0].tolist(), batch.lengths.tolist()
            ([[1.0, 1.0, 0.0], [1.0, 1.0, 1.0]], [2, 3])
        """
        arrays = [self.features[i] for i in indices]
        lengths = [len(array) for array in arrays]
        x = np.zeros((len(arrays), max(lengths), arrays[0].shape[1]), dtype=np.float32)
        for row, array in zip(x, arrays, strict=True):
            row[: len(array)] = array
        return Batch(torch.from_numpy(x), torch.tensor(lengths), torch.from_numpy(self.labels[indices]))


def training_batches(lengths: NDArray[np.int64], batch_size: int, *, seed: int, epoch: int) -> list[NDArray[np.int64]]:
    """The batches of one epoch as arrays of positions; every example occurs once.

    All examples are shuffled and divided into pools of :data:`POOL_BATCHES` batches; each pool is sorted by length and
    cut into batches, and the batches of all pools are shuffled.

    Args:
        lengths: Frames of each example.
        batch_size: Examples per batch; the last batch of the last pool may be smaller.
        seed: The run's seed.
        epoch: Number of the epoch.

    Example:
        >>> batches = training_batches(np.array([9, 1, 8, 2]), 2, seed=0, epoch=1)
        >>> sorted(sorted(batch.tolist()) for batch in batches)
        [[0, 2], [1, 3]]
    """
    generator = np.random.default_rng([seed, epoch])
    order = generator.permutation(len(lengths))
    pool = POOL_BATCHES * batch_size
    batches: list[NDArray[np.int64]] = []
    for start in range(0, len(order), pool):
        members = order[start : start + pool]
        members = members[np.argsort(lengths[members], kind="stable")]
        batches.extend(members[i : i + batch_size] for i in range(0, len(members), batch_size))
    return [batches[i] for i in generator.permutation(len(batches))]


def evaluation_batches(lengths: NDArray[np.int64], batch_size: int) -> list[NDArray[np.int64]]:
    """Batches for evaluation as arrays of positions; every example occurs once, longest first.

    With the longest first, running out of memory shows in the first batch.
    """
    order = np.argsort(-lengths, kind="stable")
    return [order[i : i + batch_size] for i in range(0, len(order), batch_size)]
