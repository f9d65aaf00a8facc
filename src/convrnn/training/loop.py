"""The training loop of section IV-A: balance, step, validate, select, stop."""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray

from convrnn.corpora.balancing import balance
from convrnn.training.checkpoint import TrainingState
from convrnn.training.config import TrainingConfig
from convrnn.training.data import Examples, evaluation_batches, training_batches
from convrnn.training.epochs import EpochReport
from convrnn.training.graphs import best_steps
from convrnn.training.learner import Learner
from convrnn.training.metrics import Scores
from convrnn.training.steps import Outcome


def train(
    learner: Learner,
    training_set: Examples,
    validation_set: Examples,
    state: TrainingState,
    save: Callable[[], None],
    *,
    config: TrainingConfig,
    seed: int,
    balanced: bool,
    on_epoch: Callable[[EpochReport], None] | None = None,
    on_step: Callable[["StepReport"], None] | None = None,
) -> None:
    """Trains until the epochs are done or the model has not improved for ``patience`` epochs.

    The epoch with the lowest misclassification rate on the validation set is selected; of equal epochs, the first. An
    epoch depends only on the learner's state, the seed and the epoch's number, so that a resumed run gives bitwise the
    same numbers as an uninterrupted one.

    Args:
        learner: The model and its optimiser, which are trained.
        training_set: The training set.
        validation_set: The validation set, which is not balanced.
        state: The epochs done before, and the best model among them; the loop adds to it.
        save: Called at the end of every epoch; it stores ``learner`` and ``state``.
        config: Batch size, number of epochs and patience.
        seed: Varies balancing and the order of the examples.
        balanced: Whether to balance the training set (:func:`~convrnn.corpora.balancing.balance`).
        on_epoch: Called after ``save``.
        on_step: Called after every training step; on a GPU, after it is launched.

    Raises:
        NonFiniteLossError: A loss is infinite or not a number. On a GPU this is noticed at the end of the epoch.
    """
    if balanced:
        training_set = training_set.take(balance(training_set.labels.tolist(), seed))
    steps = best_steps(learner, training_set, validation_set, batch_size=config.batch_size)
    training_lengths = training_set.lengths
    validation_batches = evaluation_batches(validation_set.lengths, config.batch_size)
    while not state.done(max_epochs=config.max_epochs, patience=config.patience):
        epoch = len(state.reports) + 1
        began = time.perf_counter()
        _seed_epoch(seed, epoch)

        trained = Tally(f"training batch {{}} in epoch {epoch}")
        batches = training_batches(training_lengths, config.batch_size, seed=seed, epoch=epoch)
        for number, (positions, outcome) in enumerate(zip(batches, steps.train(batches), strict=True), start=1):
            trained.add(outcome, training_set.labels[positions])
            if on_step is not None:
                on_step(StepReport(epoch, number, len(batches)))

        validated = Tally(f"validation batch {{}} in epoch {epoch}")
        for positions, outcome in zip(validation_batches, steps.validate(validation_batches), strict=True):
            validated.add(outcome, validation_set.labels[positions])

        trained.read()
        validated.read()
        best = state.best
        is_best = best is None or validated.misclassification < best.validation_misclassification
        report = EpochReport(
            epoch=epoch,
            train_loss=trained.mean_loss,
            train_misclassification=trained.misclassification,
            validation_loss=validated.mean_loss,
            validation_misclassification=validated.misclassification,
            validation_ua_recall=Scores.of(validated.truth, validated.prediction, learner.num_classes).ua_recall,
            seconds=time.perf_counter() - began,
            is_best=is_best,
        )
        state.reports.append(report)
        if is_best:
            state.best_model = learner.weights()
        save()
        if on_epoch is not None:
            on_epoch(report)


def _seed_epoch(seed: int, epoch: int) -> None:
    """Makes random numbers drawn in an epoch independent of the epochs before it."""
    mixed = np.random.SeedSequence([seed, epoch])
    torch.manual_seed(int(mixed.generate_state(1)[0]))


@dataclass(frozen=True)
class StepReport:
    """The progress after a training step.

    Attributes:
        epoch: Number of the epoch, from 1.
        batch: Number of batches done in the epoch.
        num_batches: Number of batches in the epoch.
    """

    epoch: int
    batch: int
    num_batches: int


class NonFiniteLossError(RuntimeError):
    """The loss became infinite or NaN, so the parameters are useless."""


@dataclass
class Tally:
    """Sums over the batches of an epoch, in float64 on the host so that they do not depend on the device.

    Attributes:
        name: What an error calls a batch; ``{}`` stands for its number, from 1.
        loss: Sum of the losses of the examples read so far.
        truth: Class index of each example, in the order seen.
        prediction: Predicted class index of each example, in the order seen.
    """

    name: str
    loss: float = 0.0
    truth: list[int] = field(default_factory=list)
    prediction: list[int] = field(default_factory=list)
    _batches: int = 0
    _unread: list[tuple[Outcome, NDArray[np.int64]]] = field(default_factory=list)

    def add(self, outcome: Outcome, labels: NDArray[np.int64]) -> None:
        """Adds one batch. What is on a GPU is read later, so that nothing waits for it.

        Args:
            outcome: Of the step on the batch.
            labels: int64 [examples].

        Raises:
            NonFiniteLossError: The loss is infinite or not a number.
        """
        self._unread.append((outcome, labels))
        if outcome.loss.device.type == "cpu":
            self.read()

    def read(self) -> None:
        """Adds up what is not read yet; waits for the GPU once.

        Raises:
            NonFiniteLossError: A loss is infinite or not a number.
        """
        if not self._unread:
            return
        losses = torch.stack([outcome.loss for outcome, _ in self._unread]).tolist()
        predictions = torch.cat([outcome.predictions[: len(labels)] for outcome, labels in self._unread])
        self.prediction += predictions.tolist()
        for loss, (_, labels) in zip(losses, self._unread, strict=True):
            self._batches += 1
            if not math.isfinite(loss):
                raise NonFiniteLossError(
                    f"the loss of {self.name.format(self._batches)} is {loss}; "
                    "a lower learning rate or gradient clipping may help"
                )
            self.loss += loss * len(labels)
            self.truth += labels.tolist()
        self._unread.clear()

    @property
    def errors(self) -> int:
        """Number of wrong predictions."""
        return sum(p != t for p, t in zip(self.prediction, self.truth, strict=True))

    @property
    def mean_loss(self) -> float:
        """Mean loss per example."""
        return self.loss / len(self.truth)

    @property
    def misclassification(self) -> float:
        """Share of wrong predictions."""
        return self.errors / len(self.truth)
