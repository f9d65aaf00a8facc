"""The steps of an epoch, batch after batch, and what each of them gives."""

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from convrnn.training.data import Examples
from convrnn.training.learner import Learner

Positions = NDArray[np.int64]
"""A batch as positions of its examples in their set."""


class Outcome(NamedTuple):
    """What a step gives, on the device.

    Attributes:
        loss: Mean loss of the batch, a scalar.
        predictions: Predicted class indices, int64 [examples]; there may be meaningless ones after those of the batch.
    """

    loss: Tensor
    predictions: Tensor


class Steps(Protocol):
    """Runs the training steps and the validation steps of an epoch."""

    def train(self, batches: Sequence[Positions]) -> Iterator[Outcome]:
        """One training step on each batch of the training set, in order."""
        ...

    def validate(self, batches: Sequence[Positions]) -> Iterator[Outcome]:
        """One validation step on each batch of the validation set, in order."""
        ...


class HostSteps:
    """Steps on batches that are put together in the host's memory, one after the other.

    Args:
        learner: The model and its optimiser.
        training_set: The training set, balanced if it has to be.
        validation_set: The validation set.
    """

    def __init__(self, learner: Learner, training_set: Examples, validation_set: Examples) -> None:
        self._learner = learner
        self._training_set = training_set
        self._validation_set = validation_set

    def train(self, batches: Sequence[Positions]) -> Iterator[Outcome]:
        """One training step on each batch of the training set, in order."""
        return self._run(batches, self._training_set, self._learner.train_step)

    def validate(self, batches: Sequence[Positions]) -> Iterator[Outcome]:
        """One validation step on each batch of the validation set, in order."""
        return self._run(batches, self._validation_set, self._learner.validation_step)

    def _run(
        self, batches: Sequence[Positions], examples: Examples, step: Callable[..., tuple[Tensor, Tensor]]
    ) -> Iterator[Outcome]:
        for positions in batches:
            loss, log_probabilities = step(examples.batch(positions))
            yield Outcome(loss, log_probabilities.argmax(dim=1))
