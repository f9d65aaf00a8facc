"""What happens at the end of an epoch: select the best model, keep what a resumed run needs, stop in time."""

import json
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any

import lightning.pytorch as pl
import numpy as np
import torch
from torch import Tensor
from typing_extensions import override

from convrnn.training import metrics
from convrnn.training.epochs import EpochReport
from convrnn.training.module import ClassifierModule
from convrnn.training.run_directory import CHECKPOINT, METRICS, RunDirectory
from convrnn.training.spec import RunSpec


@dataclass(frozen=True)
class StepReport:
    """What is known after a training step.

    Attributes:
        epoch: Number of the epoch, from 1.
        batch: Number of batches of the epoch that are done.
        num_batches: Number of batches in the epoch.
    """

    epoch: int
    batch: int
    num_batches: int


@dataclass
class SelectionState:
    """What selection and early stopping remember; part of ``last.ckpt``.

    Attributes:
        reports: The finished epochs, in order.
        best_model: ``state_dict`` of the model of the best epoch so far, on the CPU.
        best_epoch: Its number, 0 before the first epoch.
        fewest_errors: Its wrong predictions on the validation set.
    """

    reports: list[EpochReport] = field(default_factory=list)
    best_model: dict[str, Tensor] = field(default_factory=dict)
    best_epoch: int = 0
    fewest_errors: int = 0

    def done(self, *, max_epochs: int, patience: int) -> bool:
        """Whether training is over: all epochs are done, or ``patience`` of them brought no improvement."""
        epochs = len(self.reports)
        return epochs >= max_epochs or (epochs > 0 and epochs - self.best_epoch >= patience)

    def state_dict(self) -> dict[str, Any]:
        """The state as plain containers, numbers and tensors, which are all that ``weights_only`` loads."""
        return {
            "reports": [asdict(report) for report in self.reports],
            "best_model": self.best_model,
            "best_epoch": self.best_epoch,
            "fewest_errors": self.fewest_errors,
        }

    @classmethod
    def of(cls, state: dict[str, Any]) -> "SelectionState":
        """The state that :meth:`state_dict` gave."""
        reports = [EpochReport(**report) for report in state["reports"]]
        return cls(reports, state["best_model"], state["best_epoch"], state["fewest_errors"])


class Selection(pl.Callback):
    """Selects the model with the lowest validation misclassification rate and ends training in time (section IV-A).

    After every epoch it writes ``last.ckpt``, from which alone a killed run goes on; ``metrics.jsonl`` and ``best/``
    are made from the same state, so that the three cannot tell different stories.

    Args:
        spec: The run.
        directory: Where it is worked on.
        save_best: Writes a model's ``state_dict`` as the bundle ``best/``.
        on_epoch: Called at the end of every epoch, once all files are written.
        on_step: Called after every training step.
    """

    def __init__(
        self,
        spec: RunSpec,
        directory: RunDirectory,
        save_best: Callable[[dict[str, Tensor]], None],
        on_epoch: Callable[[EpochReport], None] | None = None,
        on_step: Callable[[StepReport], None] | None = None,
    ) -> None:
        self._spec = spec
        self._directory = directory
        self._save_best = save_best
        self._on_epoch = on_epoch
        self._on_step = on_step
        self._started = 0.0
        self.state = SelectionState()

    def state_dict(self) -> dict[str, Any]:
        """What the trainer puts into the checkpoint."""
        return self.state.state_dict()

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """What the trainer found in the checkpoint."""
        self.state = SelectionState.of(state_dict)

    @override
    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Puts the other files of a resumed run into the state of its checkpoint."""
        write_state(self._directory, self.state, self._save_best)

    @override
    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Makes whatever draws random numbers in this epoch independent of the epochs before."""
        self._started = time.perf_counter()
        mixed = np.random.SeedSequence([self._spec.seed, trainer.current_epoch + 1])
        torch.manual_seed(int(mixed.generate_state(1)[0]))

    @override
    def on_train_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        """Tells the caller."""
        if self._on_step is not None:
            self._on_step(StepReport(trainer.current_epoch + 1, batch_idx + 1, int(trainer.num_training_batches)))

    @override
    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Compares, saves, tells the caller, and stops when nothing has improved for long enough."""
        assert isinstance(pl_module, ClassifierModule)
        state, training = self.state, self._spec.training
        train, validation = pl_module.train_tally, pl_module.validation_tally
        is_best = not state.reports or validation.errors < state.fewest_errors
        scores = metrics.Scores.of(validation.truth, validation.prediction, len(self._spec.classes))
        report = EpochReport(
            epoch=trainer.current_epoch + 1,
            train_loss=train.mean_loss,
            train_misclassification=train.misclassification,
            validation_loss=validation.mean_loss,
            validation_misclassification=validation.misclassification,
            validation_ua_recall=scores.ua_recall,
            seconds=time.perf_counter() - self._started,
            is_best=is_best,
        )
        state.reports.append(report)
        if is_best:
            state.best_epoch = report.epoch
            state.fewest_errors = validation.errors
            state.best_model = {
                name: value.detach().to("cpu", copy=True) for name, value in pl_module.model.state_dict().items()
            }
        trainer.save_checkpoint(self._directory.partial / CHECKPOINT)
        self._directory.append_json(METRICS, asdict(report))
        if is_best:
            self._save_best(state.best_model)
        if state.done(max_epochs=training.max_epochs, patience=training.patience):
            trainer.should_stop = True
        if self._on_epoch is not None:
            self._on_epoch(report)


def write_state(directory: RunDirectory, state: SelectionState, save_best: Callable[[dict[str, Tensor]], None]) -> None:
    """Writes ``metrics.jsonl`` and ``best/`` as a state has them; they may be an epoch ahead or behind after a kill."""
    directory.write(METRICS, "".join(json.dumps(asdict(report), allow_nan=False) + "\n" for report in state.reports))
    if state.reports:
        save_best(state.best_model)
