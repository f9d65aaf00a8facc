"""The report on each epoch of a run, and the file that holds them."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError

from convrnn.errors import InputError, one_sentence
from convrnn.json_files import parse_json, told
from convrnn.training.config import MOST_EPOCHS
from convrnn.training.result import Share
from convrnn.training.run_directory import METRICS, RESULT, RunFiles

MOST_BYTES = 2**28
"""Maximum size of ``metrics.jsonl`` in bytes, enough for a line for each of a million epochs."""

Loss = Annotated[float, Field(ge=-1e9, le=1e9)]


@dataclass(frozen=True)
class EpochReport:
    """The results of one epoch; a line of ``metrics.jsonl``.

    Attributes:
        epoch: Number of the epoch, from 1.
        train_loss: Mean cross-entropy over the (balanced) training set, while the parameters changed.
        train_misclassification: Share of wrong predictions over the same examples, 0..1.
        validation_loss: Mean cross-entropy over the validation set, which is not balanced.
        validation_misclassification: Share of wrong predictions on the validation set, 0..1. The epoch with the
            lowest is selected.
        validation_ua_recall: UA recall on the validation set, None if a class has no validation example.
        seconds: Duration of training and validation.
        is_best: Whether the validation misclassification is lower than in every epoch before.
    """

    __pydantic_config__ = ConfigDict(extra="forbid")

    epoch: Annotated[int, Field(ge=1, le=MOST_EPOCHS)]
    train_loss: Loss
    train_misclassification: Share
    validation_loss: Loss
    validation_misclassification: Share
    validation_ua_recall: Share | None
    seconds: Annotated[float, Field(ge=0, le=1e12)]
    is_best: bool


_REPORTS = TypeAdapter(list[EpochReport])


def reports_of(rows: object) -> list[EpochReport]:
    """The finished epochs of a run, from the result of ``dataclasses.asdict`` for each.

    Raises:
        ValueError: A value is missing, of the wrong type or out of bounds.
    """
    return _REPORTS.validate_python(rows)


def read_metrics(run: Path) -> list[EpochReport]:
    """The finished epochs of a run, in order.

    Args:
        run: The run's directory.

    Raises:
        InputError: The file is missing, damaged, or not as the finished run wrote it.
    """
    path = Path(run) / METRICS
    if not path.is_file():
        raise InputError(f"{path}: is damaged (it is missing or not a file); delete the folder to do the run again")
    if (path.parent / RESULT).exists():
        RunFiles(run).check(METRICS)
    try:
        with path.open("rb") as file:
            content = file.read(MOST_BYTES + 1)
        if len(content) > MOST_BYTES:
            raise ValueError(f"more than {MOST_BYTES} bytes")
        lines = content.decode("utf-8").splitlines()
        return reports_of([parse_json(line, f"line {number}") for number, line in enumerate(lines, start=1)])
    except (OSError, ValueError) as error:
        reason = f"not valid{told(error)}" if isinstance(error, ValidationError) else one_sentence(str(error), 120)
        raise InputError(f"{path}: is damaged ({reason}); delete the folder to do the run again") from error
