"""Records of the runs in a folder of results, so that its table keeps all that was ever finished there."""

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from convrnn.errors import Argument, InputError
from convrnn.experiments.grid import GridRun
from convrnn.models.presets import FRONT_ENDS, preset
from convrnn.training.config import TrainingConfig
from convrnn.training.run_directory import RunDirectory

RUNS = "runs"
"""The folder of run directories in a folder of results."""

_OPTIONS = {"max_epochs": "max-epochs", "batch_size": "batch-size", "lr": "learning-rate"}
"""Fields of a training config to their names in functions and commands, if these differ."""

_Model = Annotated[str, Field(pattern=f"^({'|'.join(FRONT_ENDS)})$")]
_Hash = Annotated[str, Field(pattern="^[0-9a-f]{16}$")]


class Record(BaseModel):
    """A record in a folder of results; fields that only other versions know are ignored."""

    model_config = ConfigDict(frozen=True, extra="ignore")


class RecordedRun(Record):
    """A run that was asked for in a folder.

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
    """The runs of a table: those asked for now, and those of the same experiment that were finished before.

    Args:
        asked: the grid.
        before: the runs asked for before; a model and seed that is not finished on every fold is left out.
        runs_dir: folder of the run directories.
        whole_seeds: whether to leave out other models, and seeds for which not all models are finished.

    Returns:
        Seed by seed and fold by fold, models in the order in which they were first asked for.

    Raises:
        InputError: for runs that were finished by a version of convrnn whose numbers differ from this one's.
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
                f" holds runs of {model} with seed {seed} by another version of convrnn, whose numbers do not belong "
                "in one table with this one's; choose another ",
                Argument("out"),
                ", or ask for these too",
            )
    models = list(dict.fromkeys([*(entry.model for entry in before), *(run.spec.model_name for run in asked)]))
    if whole_seeds:
        wanted = {model for model, _ in now}
        seeds = {seed for _, seed in earlier if all((model, seed) in earlier for model in wanted)}
        earlier = {(model, seed): runs for (model, seed), runs in earlier.items() if model in wanted and seed in seeds}
    runs = [*asked, *(run for own in earlier.values() for run in own)]
    return sorted(runs, key=lambda run: (run.spec.seed, run.fold, models.index(run.spec.model_name)))


def with_asked(before: Sequence[RecordedRun], asked: Sequence[RecordedRun]) -> tuple[RecordedRun, ...]:
    """All runs that were ever asked for; new runs replace those of the same model and seed."""
    again = {(run.model, run.seed) for run in asked}
    kept = [run for run in before if run in asked or (run.model, run.seed) not in again]
    return (*kept, *(run for run in asked if run not in kept))


def _like(run: GridRun, model: str, seed: int) -> GridRun:
    """The run of another model and seed on the same fold."""
    spec = run.spec
    network = preset(model, spec.setting, in_features=spec.features.num_features, num_classes=len(spec.classes))
    return replace(run, spec=spec.model_copy(update={"model_name": model, "model": network, "seed": seed}))


def training_differences(before: TrainingConfig, now: TrainingConfig) -> list[str]:
    """What differs between two optimisations.

    Example:
        >>> training_differences(TrainingConfig(), TrainingConfig(max_epochs=15))
        ['max-epochs 100 (now 15)']
    """
    return [
        difference(_OPTIONS.get(name, name), str(getattr(before, name)), str(getattr(now, name)))
        for name in TrainingConfig.model_fields
        if getattr(before, name) != getattr(now, name)
    ]


def difference(name: str, before: str, now: str) -> str:
    """What two experiments differ in, in a few words.

    Example:
        >>> difference("split", "folds:2", "random"), difference("corpus", "csv:a.csv", "csv:a.csv")
        ('split folds:2 (now random)', 'corpus csv:a.csv (now with other content)')
    """
    return f"{name} {before} (now {now})" if before != now else f"{name} {before} (now with other content)"


@contextlib.contextmanager
def advising() -> Iterator[None]:
    """Errors in the files of a record also say what to do about them."""
    try:
        yield
    except InputError as error:
        raise InputError(f"{error}; choose another ", Argument("out"), ", or delete the file") from error
