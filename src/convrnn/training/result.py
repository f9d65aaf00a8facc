"""What a finished run found."""

import platform
from importlib.metadata import version
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, Field, ValidationError

import convrnn
from convrnn.features.config import EgemapsConfig, FeatureConfig
from convrnn.features.egemaps import opensmile_version
from convrnn.models.config import MOST_CLASSES, Classes, Name
from convrnn.training.run_directory import RESULT, DamagedRunError, RunFiles
from convrnn.training.spec import MOST_EPOCHS

Share = Annotated[float, Field(ge=0, le=1)]
Count = Annotated[int, Field(ge=0, le=2**53)]
"""Numbers of things: whole ones up to what a float holds exactly."""


class RunResult(BaseModel):
    """What a finished run found; the content of ``result.json`` but for the digests of the run's files.

    Attributes:
        hash: The spec's hash, the name of the run's directory.
        classes: Class names, in the order of the confusion matrix.
        ua_recall: UA recall on the test set, None where a class has no test example.
        accuracy: Share of correct predictions on the test set.
        recalls: Test recall per class, None where it has no test example.
        confusion: Test counts, rows true classes, columns predicted ones.
        validation_misclassification: Of the selected model.
        best_epoch: The epoch it comes from, counted from 1.
        epochs: Epochs trained.
        seconds: Duration of all epochs, training and validation.
        parameters: Number of trained parameters.
        versions: Of convrnn, torch, numpy, lightning, Python and, where features are eGeMAPS, opensmile.
        device_name: What it was computed on.
        finished: When, ISO 8601, UTC.
        directory: Where the run lies; not in the file.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    hash: Name
    classes: Classes
    ua_recall: Share | None
    accuracy: Share
    recalls: dict[Name, Share | None]
    confusion: Annotated[tuple[tuple[Count, ...], ...], Field(max_length=MOST_CLASSES)]
    validation_misclassification: Share
    best_epoch: int = Field(ge=1, le=MOST_EPOCHS)
    epochs: int = Field(ge=1, le=MOST_EPOCHS)
    seconds: float = Field(ge=0, le=1e12)
    parameters: Count
    versions: dict[Name, Name]
    device_name: Name
    finished: Name
    directory: Path = Field(exclude=True)

    @classmethod
    def load(cls, directory: Path) -> "RunResult":
        """The result of a finished run.

        Args:
            directory: The run's directory, which has the name of its hash.

        Raises:
            DamagedRunError: A file of the run is missing, or the result is not as it was written or another run's.
        """
        return cls.of(RunFiles(directory))

    @classmethod
    def of(cls, files: RunFiles) -> "RunResult":
        """The result among the files of a finished run.

        Raises:
            DamagedRunError: As :meth:`load`.
        """
        if not files.digests:
            raise DamagedRunError(files.directory, f"{RESULT} has no digests of the run's files")
        try:
            result = cls(**files.result, directory=files.directory)
        except (ValidationError, TypeError) as error:
            raise DamagedRunError(files.directory, f"{RESULT} is not a result") from error
        if result.hash != files.directory.name:
            raise DamagedRunError(files.directory, f"{RESULT} is of run {result.hash!r}")
        return result


def versions(features: FeatureConfig) -> dict[str, str]:
    """Versions of the software whose change may change results.

    Args:
        features: What the run's features are; openSMILE counts where it computes them.
    """
    found = {
        "convrnn": convrnn.__version__,
        "torch": torch.__version__,
        "numpy": np.__version__,
        "lightning": version("lightning"),
        "python": platform.python_version(),
    }
    return found | {"opensmile": opensmile_version()} if isinstance(features, EgemapsConfig) else found


def device_name(device: str) -> str:
    """The processor's or the GPU's own name.

    Args:
        device: "cpu" or "cuda".
    """
    if device == "cuda":
        return str(torch.cuda.get_device_name())
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
