"""The result of a finished run."""

import dataclasses
import platform
from importlib.metadata import version
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, Field, ValidationError

import convrnn
from convrnn.features.base import Features
from convrnn.models.config import MOST_CLASSES, Classes, Name
from convrnn.ops import dispatch
from convrnn.ops.backend import Implementation
from convrnn.training.config import MOST_EPOCHS, Device
from convrnn.training.run_directory import RESULT, DamagedRunError, RunFiles

Share = Annotated[float, Field(ge=0, le=1)]
Count = Annotated[int, Field(ge=0, le=2**53)]
"""A count: a non-negative integer that a float represents exactly."""


class RanOn(BaseModel):
    """The code that computed one recurrent operation of a run: see :class:`convrnn.ops.backend.Implementation`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    operation: Name
    backend: Name
    kernel: Name
    instruction_set: Name
    compiler: Name | None = None

    @property
    def implementation(self) -> Implementation:
        """The implementation alone, without the operation."""
        return Implementation(self.backend, self.kernel, self.instruction_set, self.compiler)


class RunResult(BaseModel):
    """The result of a finished run: the content of ``result.json`` without the digests of the run's files.

    Attributes:
        hash: The spec's hash, the name of the run's directory.
        classes: Class names, in the order of the confusion matrix.
        ua_recall: UA recall on the test set, None where a class has no test example.
        accuracy: Share of correct predictions on the test set.
        recalls: Test recall per class, None where it has no test example.
        confusion: Test counts, rows true classes, columns predicted ones.
        validation_misclassification: Misclassification rate of the selected model on the validation set.
        best_epoch: Epoch of the selected model, counted from 1.
        epochs: Number of epochs trained.
        seconds: Duration of all epochs, training and validation.
        parameters: Number of trained parameters.
        versions: Versions of convrnn, torch, numpy, lightning, Python and the libraries that compute the features.
        device_name: Name of the processor or GPU.
        finished: Time of completion, ISO 8601, UTC.
        backends: Implementations of the recurrent operations; empty in results written before they were recorded.
        directory: The run's directory; not stored in the file.
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
    backends: tuple[RanOn, ...] = ()
    directory: Path = Field(exclude=True)

    @property
    def computed_by(self) -> str:
        """The implementations of the recurrent operations in one line; empty if none ran or none was recorded.

        Operations are named only if their implementations differ: "native (avx2, kernel 5d41402abc4b, GCC 12.2.0)", but
        "lstm: native (...); windowed_gru: reference (...)".
        """
        by_operation: dict[str, list[str]] = {}
        for ran in self.backends:
            by_operation.setdefault(ran.operation, []).append(str(ran.implementation))
        told = {operation: ", ".join(names) for operation, names in by_operation.items()}
        if len(set(told.values())) <= 1:
            return next(iter(told.values()), "")
        return "; ".join(f"{operation}: {names}" for operation, names in told.items())

    @classmethod
    def load(cls, directory: Path) -> "RunResult":
        """The result of a finished run.

        Args:
            directory: The run's directory, named by its hash.

        Raises:
            DamagedRunError: A file of the run is missing, or the result was changed or belongs to another run.
        """
        return cls.of(RunFiles(directory))

    @classmethod
    def of(cls, files: RunFiles) -> "RunResult":
        """The result in the files of a finished run.

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


def versions(features: Features) -> dict[str, str]:
    """Versions of the software that results depend on.

    Args:
        features: The run's features; openSMILE is included if it computes them.
    """
    found = {
        "convrnn": convrnn.__version__,
        "torch": torch.__version__,
        "numpy": np.__version__,
        "lightning": version("lightning-fabric"),
        "python": platform.python_version(),
    }
    return found | features.versions()


def backends() -> tuple[RanOn, ...]:
    """The implementations recorded within :func:`convrnn.ops.dispatch.record`, sorted."""
    ran = [RanOn(operation=operation, **dataclasses.asdict(code)) for operation, code in dispatch.recorded()]
    return tuple(sorted(ran, key=str))


def device_name(device: Device, index: int | None = None, devices: int = 1) -> str:
    """The model name of the processor or the GPU.

    Args:
        device: kind of device.
        index: number of the GPU; by default the first.
        devices: number of GPUs that train together.
    """
    if device == "cuda":
        times = f"{devices} × " if devices > 1 else ""
        return f"{times}{torch.cuda.get_device_name(index)}"
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
