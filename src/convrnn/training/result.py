"""What a finished run found."""

import json
import platform
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, Field

import convrnn
from convrnn.errors import InputError
from convrnn.features.config import EgemapsConfig, FeatureConfig
from convrnn.features.egemaps import opensmile_version
from convrnn.training.run_directory import RESULT


class RunResult(BaseModel):
    """What a finished run found; the content of ``result.json``.

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

    hash: str
    classes: tuple[str, ...]
    ua_recall: float | None
    accuracy: float
    recalls: dict[str, float | None]
    confusion: tuple[tuple[int, ...], ...]
    validation_misclassification: float
    best_epoch: int
    epochs: int
    seconds: float
    parameters: int
    versions: dict[str, str]
    device_name: str
    finished: str
    directory: Path = Field(exclude=True)

    @classmethod
    def load(cls, directory: Path) -> "RunResult":
        """The result of a finished run.

        Args:
            directory: The run's directory.

        Raises:
            InputError: There is no result in it, or none that can be read.
        """
        path = Path(directory) / RESULT
        try:
            return cls(**json.loads(path.read_text(encoding="utf-8")), directory=directory)
        except FileNotFoundError:
            raise InputError(f"{directory}: is not a finished run, it has no {RESULT}") from None
        except (OSError, ValueError, TypeError) as error:
            raise InputError(f"{path}: is damaged ({error}); delete the folder to do the run again") from error


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
