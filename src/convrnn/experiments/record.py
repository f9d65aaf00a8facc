"""Records of the runs in a folder of results, so that its table keeps all runs ever finished there."""

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from convrnn.errors import Argument, InputError
from convrnn.experiments.grid import GridRun
from convrnn.models.presets import FRONT_ENDS
from convrnn.training.config import TrainingConfig
from convrnn.training.run_directory import RunDirectory
from convrnn.training.spec import model_on

RUNS = "runs"
"""The folder of run directories in a folder of results."""

_ARGUMENTS = {"batch_size": "batch_size", "lr": "learning_rate", "max_epochs": "max_epochs", "patience": "patience"}
"""Fields of a training config to the arguments that set them."""

_RENAMED = {"--yardstick": "--svm-baseline"}
"""Options of earlier versions to their current names."""

_Model = Annotated[str, Field(pattern=f"^({'|'.join(FRONT_ENDS)})$")]
_Hash = Annotated[str, Field(pattern="^[0-9a-f]{16}$")]


def _with_current_names(command: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(_RENAMED.get(word, word) for word in command)


Command = Annotated[tuple[str, ...], AfterValidator(_with_current_names)]
"""The words of a command line, with the current names of its options; empty for a call from Python."""

Parts = tuple[str | Argument, ...]
"""A part of the sentence of an :class:`~convrnn.errors.InputError`."""


class Record(BaseModel):
    """A record in a folder of results; fields of other versions are ignored."""

    model_config = ConfigDict(frozen=True, extra="ignore")


class RecordedRun(Record):
    """A run that was requested in a folder.

    Attributes:
        model: Name of the front end.
        seed: The run's seed.
        split: Name of its split.
        hash: Name of its directory.
    """

    model: _Model
    seed: int = Field(ge=0, lt=2**63)
    split: str
    hash: _Hash

    @classmethod
    def of(cls, run: GridRun) -> "RecordedRun":
        """The record of a run."""
        spec = run.spec
        return cls(model=spec.model_name, seed=spec.seed, split=spec.split.name, hash=spec.hash)


def with_earlier_runs(
    asked: Sequence[GridRun], before: Sequence[RecordedRun], runs_dir: Path, *, whole_seeds: bool = False
) -> list[GridRun]:
    """The runs of a table: those requested now, and those of the same experiment that were finished before.

    Args:
        asked: the grid.
        before: the runs requested before; a model and seed not finished on every fold is left out.
        runs_dir: folder of the run directories.
        whole_seeds: whether to leave out other models, and seeds for which not all models are finished.

    Returns:
        Seed by seed and fold by fold, models in the order in which they were first requested.

    Raises:
        InputError: for runs by a version of convrnn whose results differ from this one's.
    """
    folds = {run.fold: run for run in asked}
    now = {(run.spec.model_name, run.spec.seed) for run in asked}
    groups: dict[tuple[str, int], set[str]] = {}
    for entry in before:
        groups.setdefault((entry.model, entry.seed), set()).add(entry.hash)
    earlier: dict[tuple[str, int], list[GridRun]] = {}
    for (model, seed), hashes in groups.items():
        if (model, seed) in now or not all(RunDirectory(runs_dir, name).finished for name in hashes):
            continue
        earlier[model, seed] = [_like(run, model, seed) for run in folds.values()]
        if {run.spec.hash for run in earlier[model, seed]} != hashes:
            raise InputError(
                Argument("out", str(runs_dir.parent)),
                f" holds runs of {model} with seed {seed} by another version of convrnn, whose results do not belong "
                "in the same table; choose another ",
                Argument("out"),
                ", or add this model and seed, to train them again",
            )
    models = list(dict.fromkeys([*(entry.model for entry in before), *(run.spec.model_name for run in asked)]))
    if whole_seeds:
        wanted = {model for model, _ in now}
        seeds = {seed for _, seed in earlier if all((model, seed) in earlier for model in wanted)}
        earlier = {(model, seed): runs for (model, seed), runs in earlier.items() if model in wanted and seed in seeds}
    runs = [*asked, *(run for own in earlier.values() for run in own)]
    return sorted(runs, key=lambda run: (run.spec.seed, run.fold, models.index(run.spec.model_name)))


def with_asked(before: Sequence[RecordedRun], asked: Sequence[RecordedRun]) -> tuple[RecordedRun, ...]:
    """All runs requested so far; new ones replace those of the same model and seed."""
    again = {(run.model, run.seed) for run in asked}
    kept = [run for run in before if run in asked or (run.model, run.seed) not in again]
    return (*kept, *(run for run in asked if run not in kept))


def _like(run: GridRun, model: str, seed: int) -> GridRun:
    """The run of another model and seed on the same fold."""
    spec = run.spec
    network = model_on(spec.features, spec.window_ms, model, spec.setting, len(spec.classes))
    return replace(run, spec=spec.model_copy(update={"model_name": model, "model": network, "seed": seed}))


def training_differences(before: TrainingConfig, now: TrainingConfig) -> list[Parts]:
    """What differs between two optimisations.

    Example:
        >>> [parts] = training_differences(TrainingConfig(), TrainingConfig(max_epochs=15))
        >>> print(*parts, sep="")
        max_epochs=100 (now 15)
    """
    return [
        difference(_ARGUMENTS[name], old, new) if name in _ARGUMENTS else (f"{name} {old} (now {new})",)
        for name in TrainingConfig.model_fields
        if (old := getattr(before, name)) != (new := getattr(now, name))
    ]


def difference(name: str, before: str | float, now: str | float) -> Parts:
    """An argument that two experiments differ in.

    Args:
        name: the argument.
        before: its value in the earlier experiment.
        now: its value now; if it is the same, what it names has changed.

    Example:
        >>> print(*difference("split", "folds:2", "random"), sep="")
        split='folds:2' (now random)
        >>> print(*difference("corpus", "csv:a.csv", "csv:a.csv"), sep="")
        corpus='csv:a.csv' (now with other content)
    """
    found = f"{now:g}" if isinstance(now, float) else now
    return (Argument(name, before), f" (now {found if now != before else 'with other content'})")


def listed(differences: Sequence[Parts]) -> Parts:
    """The differences, separated by commas."""
    return tuple(part for number, parts in enumerate(differences) for part in ((", ",) if number else ()) + parts)


@contextlib.contextmanager
def advising() -> Iterator[None]:
    """Within the context, errors in the files of a record also say what to do about them."""
    try:
        yield
    except InputError as error:
        raise InputError(f"{error}; choose another ", Argument("out"), ", or delete the file") from error
