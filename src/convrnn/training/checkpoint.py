"""Checkpoints: the state from which an interrupted run resumes, and its file.

``last.ckpt`` is written by ``torch.save`` and holds only plain containers, numbers and tensors, so that loading it
executes no code.
"""

import io
import zipfile
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from convrnn.errors import InputError
from convrnn.files import write_atomically
from convrnn.training.epochs import EpochReport, reports_of
from convrnn.training.learner import Learner


@dataclass
class TrainingState:
    """The finished epochs and the best model among them.

    Attributes:
        reports: The finished epochs, in order.
        best_model: ``state_dict`` of the model of the best epoch, on the CPU; empty before the first epoch.
    """

    reports: list[EpochReport] = field(default_factory=list)
    best_model: dict[str, Tensor] = field(default_factory=dict)

    @property
    def best(self) -> EpochReport | None:
        """The epoch with the lowest misclassification rate on the validation set; of equal epochs, the first."""
        return next((report for report in reversed(self.reports) if report.is_best), None)

    def done(self, *, max_epochs: int, patience: int) -> bool:
        """Whether training is over: all epochs are done, or the last ``patience`` of them brought no improvement."""
        epochs = len(self.reports)
        return epochs >= max_epochs or (self.best is not None and epochs - self.best.epoch >= patience)


def save(path: Path, learner: Learner, state: TrainingState) -> None:
    """Writes a checkpoint atomically.

    Raises:
        InputError: It cannot be written, for example because the disk is full.
    """
    reports = [asdict(report) for report in state.reports]
    content = learner.state_dict() | {"reports": reports, "best_model": state.best_model}
    # Into memory first: a full disk shows as an OSError from a plain write, but not from torch's own writer.
    buffer = io.BytesIO()
    torch.save(content, buffer)
    write_atomically(path, buffer.getvalue())


def resume(path: Path, learner: Learner | None = None) -> TrainingState:
    """Reads a checkpoint and sets the learner, if there is one, to its state.

    Args:
        path: The checkpoint; it may be one that Lightning wrote for an earlier version of convrnn.
        learner: A learner of the same run.

    Raises:
        InputError: The file is damaged, or it does not belong to this run.
    """
    try:
        content = read(path)
        reports, best_model = reports_of(content["reports"]), content["best_model"]
        if [report.epoch for report in reports] != list(range(1, len(reports) + 1)) or not reports[0].is_best:
            raise ValueError("the epochs are not those of a run")
        if learner is not None:
            learner.load_weights(best_model)  # only checks that they fit
            learner.load_state_dict(content)
    except Exception as error:  # a damaged file can raise any exception; to the user they mean the same
        raise InputError(
            f"{path}: is damaged, so the run cannot continue ({type(error).__name__}); "
            "delete the folder to start the run again"
        ) from error
    return TrainingState(reports, best_model)


def read(path: Path) -> dict[str, Any]:
    """The content of a checkpoint in the format of :func:`save`, whichever version wrote it. Executes no code.

    Raises:
        Exception: Of any kind, if the file is damaged.
    """
    data = path.read_bytes()
    # PyTorch writes a CRC-32 of every record, but does not check it when reading.
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        if (damaged := archive.testzip()) is not None:
            raise zipfile.BadZipFile(f"{damaged} has changed since it was written")
    content: dict[str, Any] = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    return _of_lightning(content) if "pytorch-lightning_version" in content else content


def _of_lightning(content: dict[str, Any]) -> dict[str, Any]:
    """A checkpoint of Lightning's trainer in the format of :func:`save`."""
    (optimizer,) = content["optimizer_states"]
    selection = content["callbacks"]["Selection"]
    return {
        "model": {name.removeprefix("model."): value for name, value in content["state_dict"].items()},
        "optimizer": optimizer,
        "reports": selection["reports"],
        "best_model": selection["best_model"],
    }
