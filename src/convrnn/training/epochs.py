"""What is known of each epoch of a run, and the file that it is kept in."""

import json
from dataclasses import dataclass
from pathlib import Path

from convrnn.errors import InputError
from convrnn.training.run_directory import METRICS


@dataclass(frozen=True)
class EpochReport:
    """What is known at the end of an epoch; one line of ``metrics.jsonl``.

    Attributes:
        epoch: Number of the epoch, from 1.
        train_loss: Mean cross-entropy over the (balanced) training set, while the parameters changed.
        train_misclassification: Share of wrong predictions over the same, 0..1.
        validation_loss: Mean cross-entropy over the validation set, which is not balanced.
        validation_misclassification: Share of wrong predictions on the validation set, 0..1; the lowest selects.
        validation_ua_recall: UA recall on the validation set, None where a class has no validation example.
        seconds: Duration of training and validation.
        is_best: Whether the validation misclassification is lower than in every epoch before.
    """

    epoch: int
    train_loss: float
    train_misclassification: float
    validation_loss: float
    validation_misclassification: float
    validation_ua_recall: float | None
    seconds: float
    is_best: bool


def read_metrics(run: Path) -> list[EpochReport]:
    """The finished epochs of a run, in order.

    Args:
        run: The run's directory.

    Raises:
        InputError: The file is missing or damaged.
    """
    path = Path(run) / METRICS
    try:
        return [EpochReport(**json.loads(line)) for line in path.read_text(encoding="utf-8").splitlines()]
    except (OSError, ValueError, TypeError) as error:
        raise InputError(f"{path}: is damaged ({error}); delete the folder to do the run again") from error
