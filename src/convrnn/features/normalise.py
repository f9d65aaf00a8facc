"""Standardisation of each feature over the frames of a speaker, an utterance or a corpus (section IV-A)."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Self, get_args

import numpy as np
from numpy.typing import NDArray

from convrnn.errors import InputError

NormalisePolicy = Literal["speaker", "utterance", "corpus"]
"""The frames from which mean and deviation are computed: those of the speaker (as in the paper), of the utterance, or
of all training data."""

CONSTANT = float(np.finfo(np.float32).eps)
"""Deviation relative to the mean up to which a feature counts as constant: in float32 it is rounding, not signal."""

_ROWS = 2**16


@dataclass(frozen=True, eq=False)
class Statistics:
    """Mean and population standard deviation of every feature.

    Attributes:
        mean: float64 ``[features]``.
        std: float64 ``[features]``, with the number of frames as divisor; 0 for a constant feature.

    Raises:
        ValueError: The two are not vectors of the same length, are not finite, or a deviation is negative.

    Example:
        >>> statistics = Statistics.of([np.array([[0.0, 5.0], [2.0, 5.0]]), np.array([[4.0, 5.0]])])
        >>> statistics.mean.tolist(), statistics.std.round(3).tolist()
        ([2.0, 5.0], [1.633, 0.0])
        >>> statistics.apply(np.array([[2.0, 5.0]])).tolist()
        [[0.0, 0.0]]
    """

    mean: NDArray[np.float64]
    std: NDArray[np.float64]

    def __post_init__(self) -> None:
        mean, std = (np.array(values, dtype=np.float64) for values in (self.mean, self.std))
        if mean.ndim != 1 or mean.shape != std.shape:
            raise ValueError(f"mean and std must be vectors of one length; got shapes {mean.shape} and {std.shape}")
        if not (np.isfinite(mean).all() and np.isfinite(std).all() and (std >= 0).all()):
            raise ValueError("mean and std must be finite, and std not negative")
        object.__setattr__(self, "mean", mean)
        object.__setattr__(self, "std", std)

    @classmethod
    def of(cls, arrays: Iterable[NDArray[Any]]) -> Self:
        """Statistics over all frames of all arrays, accumulated in float64.

        Args:
            arrays: Each ``[frames, features]``; arrays without frames are ignored.

        Raises:
            ValueError: There is no frame, the arrays differ in width, or values are not finite.
        """
        count = 0
        mean = squares = np.zeros(0)
        for array in arrays:
            x = np.asarray(array)
            if x.ndim != 2:
                raise ValueError(f"expected [frames, features]; got shape {x.shape}")
            if len(x) == 0:
                continue
            if not all(np.isfinite(block).all() for block in in_float64(x)):
                raise ValueError("features hold values that are not finite")
            if count and x.shape[1] != len(mean):
                raise ValueError(f"expected {len(mean)} features per frame as in the first array; got {x.shape[1]}")
            x_mean = _sum(in_float64(x)) / len(x)
            x_squares = _sum(np.square(block - x_mean) for block in in_float64(x))
            if count == 0:
                count, mean, squares = len(x), x_mean, x_squares
                continue
            # Merging centred sums stays accurate when the mean is large compared with the deviation.
            total = count + len(x)
            shift = x_mean - mean
            mean = mean + shift * (len(x) / total)
            squares = squares + x_squares + np.square(shift) * (count * len(x) / total)
            count = total
        if count == 0:
            raise ValueError("statistics need at least one frame; got none")
        return cls(mean, np.sqrt(squares / count))

    def apply(self, x: NDArray[Any]) -> NDArray[np.float32]:
        """``(x - mean) / std`` per feature; a constant feature gives 0.

        A feature counts as constant if its deviation is at most float32's resolution at its mean.

        Args:
            x: ``[frames, features]``.

        Returns:
            float32, of the same shape.

        Raises:
            ValueError: The number of features differs from that of the statistics.
        """
        if x.ndim != 2 or x.shape[1] != len(self.mean):
            raise ValueError(f"expected [frames, {len(self.mean)}]; got shape {x.shape}")
        constant = self.std <= CONSTANT * np.abs(self.mean)
        std = np.where(constant, 1.0, self.std)
        blocks = [np.where(constant, 0.0, (block - self.mean) / std).astype(np.float32) for block in in_float64(x)]
        return np.concatenate(blocks) if blocks else np.zeros(x.shape, np.float32)


def in_float64(x: NDArray[Any]) -> Iterator[NDArray[np.float64]]:
    """The rows in float64, in blocks, so that a recording of hours takes little memory."""
    return (x[start : start + _ROWS].astype(np.float64) for start in range(0, len(x), _ROWS))


def _sum(blocks: Iterable[NDArray[np.float64]]) -> NDArray[np.float64]:
    """The sum of all rows, added one after another, as numpy does within an array."""
    total: NDArray[np.float64] = np.zeros((0, 0))
    for block in blocks:
        total = (np.concatenate([total, block]) if len(total) else block).sum(axis=0, keepdims=True)
    row: NDArray[np.float64] = total[0]
    return row


class Normaliser:
    """Normalises the features of many utterances by one policy.

    Args:
        policy: ``"speaker"``: over all frames of a speaker that are passed to :meth:`transform` (section IV-A).
            ``"utterance"``: over the frames of each utterance. ``"corpus"``: with the statistics of :meth:`fit`.
        statistics: The statistics of a saved model, instead of calling :meth:`fit`; only for ``"corpus"``.

    Raises:
        InputError: The policy is unknown.

    Example:
        >>> normaliser = Normaliser("corpus").fit([np.array([[1.0], [3.0]])])
        >>> normaliser.transform([np.array([[5.0]])])[0].tolist()
        [[3.0]]
    """

    def __init__(self, policy: NormalisePolicy, statistics: Statistics | None = None) -> None:
        if policy not in get_args(NormalisePolicy):
            raise InputError(f"normalise: unknown policy {policy!r}; choose {', '.join(get_args(NormalisePolicy))}")
        self.policy: NormalisePolicy = policy
        self.statistics = statistics if policy == "corpus" else None

    def fit(self, arrays: Iterable[NDArray[Any]]) -> Self:
        """Computes the statistics of ``"corpus"`` from training data; does nothing for the other policies.

        Args:
            arrays: Each ``[frames, features]``.

        Raises:
            ValueError: As :meth:`Statistics.of`.
        """
        if self.policy == "corpus":
            self.statistics = Statistics.of(arrays)
        return self

    def transform(
        self, arrays: Sequence[NDArray[Any]], speakers: Sequence[str] | None = None
    ) -> list[NDArray[np.float32]]:
        """Normalised copies, in the order given.

        Args:
            arrays: One ``[frames, features]`` per utterance, each with at least one frame.
            speakers: The speaker of each utterance; used only by ``"speaker"``, which needs all utterances of a speaker
                in one call.

        Raises:
            InputError: The policy is ``"speaker"`` and ``speakers`` is ``None``.
            RuntimeError: The policy is ``"corpus"`` and there are no statistics yet.
            ValueError: The numbers of speakers and utterances differ; or as :meth:`Statistics.of`.
        """
        if self.policy == "corpus":
            if self.statistics is None:
                raise RuntimeError('Normaliser("corpus") has no statistics yet: call fit with the training data first')
            return [self.statistics.apply(x) for x in arrays]
        if self.policy == "utterance":
            return [Statistics.of([x]).apply(x) for x in arrays]
        if speakers is None:
            raise InputError(
                "normalise: the policy 'speaker' needs the speaker of every utterance, and none were given; give them "
                "or choose 'utterance' or 'corpus'"
            )
        if len(speakers) != len(arrays):
            raise ValueError(f"expected one speaker per utterance; got {len(speakers)} for {len(arrays)}")
        utterances: dict[str, list[NDArray[Any]]] = {}
        for speaker, x in zip(speakers, arrays, strict=True):
            utterances.setdefault(speaker, []).append(x)
        statistics = {speaker: Statistics.of(xs) for speaker, xs in utterances.items()}
        return [statistics[speaker].apply(x) for speaker, x in zip(speakers, arrays, strict=True)]
