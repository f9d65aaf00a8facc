"""The Lightning module: what one training and one validation step compute."""

import math
from collections.abc import Callable
from dataclasses import dataclass, field

import lightning.pytorch as pl
import torch
from torch import Tensor
from torch.nn import functional as F

from convrnn.models.classifier import SequenceClassifier
from convrnn.training.data import Batch, EvaluationLoader, TrainingLoader
from convrnn.training.spec import TrainingConfig


class NonFiniteLossError(RuntimeError):
    """The loss became infinite or not a number, so the parameters are no longer worth anything."""


@dataclass
class Tally:
    """Sums over the batches of an epoch, in float64 on the host so that they do not depend on the device.

    Attributes:
        loss: Sum of the losses of the examples.
        errors: Number of wrongly predicted examples.
        count: Number of examples.
        truth: Class index of each example, in the order seen.
        prediction: Predicted class index of each example, in the order seen.
    """

    loss: float = 0.0
    errors: int = 0
    count: int = 0
    truth: list[int] = field(default_factory=list)
    prediction: list[int] = field(default_factory=list)

    def add(self, mean_loss: float, log_probabilities: Tensor, labels: Tensor) -> None:
        """Counts one batch."""
        predicted = log_probabilities.argmax(dim=1).tolist()
        truth = labels.tolist()
        self.loss += mean_loss * len(truth)
        self.errors += sum(p != t for p, t in zip(predicted, truth, strict=True))
        self.count += len(truth)
        self.truth += truth
        self.prediction += predicted

    @property
    def mean_loss(self) -> float:
        """Mean loss per example."""
        return self.loss / self.count

    @property
    def misclassification(self) -> float:
        """Share of wrongly predicted examples."""
        return self.errors / self.count


class ClassifierModule(pl.LightningModule):
    """Cross-entropy of the averaged prediction, minimised with Adam (section IV-A).

    Args:
        model: The classifier; it returns log-probabilities, so that the cross-entropy is the negative log-likelihood.
        training: Adam's parameters.
        training_loader: Gives the batches of an epoch, numbered from 1.
        validation_loader: The batches of the validation set.

    Attributes:
        train_tally: Sums over the current epoch's training batches (while the parameters change).
        validation_tally: Sums over the validation set.
    """

    def __init__(
        self,
        model: SequenceClassifier,
        training: TrainingConfig,
        training_loader: Callable[[int], TrainingLoader],
        validation_loader: EvaluationLoader,
    ) -> None:
        super().__init__()
        self.model = model
        self._training = training
        self._training_loader = training_loader
        self._validation_loader = validation_loader
        self.train_tally = Tally()
        self.validation_tally = Tally()

    @property
    def epoch(self) -> int:
        """Number of the current epoch, from 1."""
        return self.current_epoch + 1

    def train_dataloader(self) -> TrainingLoader:
        """The batches of the current epoch; the trainer asks again before each."""
        return self._training_loader(self.epoch)

    def val_dataloader(self) -> EvaluationLoader:
        """The batches of the validation set."""
        return self._validation_loader

    def configure_optimizers(self) -> torch.optim.Adam:
        """Adam over all parameters, "optimized simultaneously"."""
        config = self._training
        return torch.optim.Adam(self.model.parameters(), lr=config.lr, betas=config.betas, eps=config.eps)

    def on_train_epoch_start(self) -> None:
        """Starts the sums anew."""
        self.train_tally = Tally()

    def on_validation_epoch_start(self) -> None:
        """Starts the sums anew."""
        self.validation_tally = Tally()

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """The loss of one batch, a scalar with its graph."""
        return self._step(batch, batch_idx, self.train_tally, "training")

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """Counts one batch."""
        self._step(batch, batch_idx, self.validation_tally, "validation")

    def _step(self, batch: Batch, batch_idx: int, tally: Tally, kind: str) -> Tensor:
        log_probabilities = self.model(batch.x, batch.lengths).float()
        loss = F.nll_loss(log_probabilities, batch.labels)
        value = loss.item()
        if not math.isfinite(value):
            raise NonFiniteLossError(
                f"the loss of {kind} batch {batch_idx + 1} in epoch {self.epoch} is {value}; "
                "a lower learning rate or gradient clipping may help"
            )
        tally.add(value, log_probabilities.detach(), batch.labels)
        return loss
