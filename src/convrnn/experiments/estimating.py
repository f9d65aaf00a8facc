"""Estimates how many runs of a reproduction are left, and how long they will take."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from convrnn.corpora.labelled import LabelledCorpus
from convrnn.errors import Argument, InputError
from convrnn.experiments.record import RUNS
from convrnn.experiments.report.numbers import format_seconds
from convrnn.experiments.reproduction import ColumnPlan, ReproductionPlan
from convrnn.features.base import AudioFeatures
from convrnn.features.extract import Segment

EPOCHS_GUESS = 30
"""Assumed number of epochs of a run; the actual number depends on early stopping."""


@dataclass(frozen=True, slots=True)
class ModelEstimate:
    """The runs of one model in one column of a table.

    Attributes:
        table: the table's name.
        column: the column's heading.
        corpus: the corpus's name as the user gave it.
        model: the model's name.
        seeds: number of seeds.
        folds: number of folds.
        runs: number of runs.
        shared: runs that an earlier line has too; they are done once.
        finished: runs that are finished, without the shared ones.
        left: runs that are not.
        seconds_per_epoch: measured time of one epoch; None if no run is left.
        hashes: names of the run directories.
    """

    table: str
    column: str
    corpus: str
    model: str
    seeds: int
    folds: int
    runs: int
    shared: int
    finished: int
    left: int
    seconds_per_epoch: float | None
    hashes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Estimate:
    """What a reproduction will do, and about how long it will take.

    Attributes:
        models: one line per table, column and model.
        jobs: processes.
        epochs: how many epochs a run is assumed to last.
        max_epochs: maximum number of epochs of a run.
    """

    models: tuple[ModelEstimate, ...]
    jobs: int
    epochs: int
    max_epochs: int

    @property
    def runs(self) -> int:
        """All runs, each counted once."""
        return sum(line.runs - line.shared for line in self.models)

    @property
    def left(self) -> int:
        """Runs that are not finished."""
        return sum(line.left for line in self.models)

    @property
    def seconds(self) -> float:
        """Time of all runs that are left if they last :attr:`epochs` on average, without extraction of features."""
        return self.epochs * self._seconds_per_epoch

    @property
    def max_seconds(self) -> float:
        """Time of all runs that are left if none stops early."""
        return self.max_epochs * self._seconds_per_epoch

    def __str__(self) -> str:
        return (
            f"{self.left} of {self.runs} runs are left. With {self.jobs} process{'es' if self.jobs > 1 else ''} about "
            f"{format_seconds(self.seconds)} if they last {self.epochs} epochs on average, and "
            f"{format_seconds(self.max_seconds)} at most ({self.max_epochs} epochs), plus the extraction of "
            "features, and more if processes slow each other down."
        )

    def to_dict(self) -> dict[str, Any]:
        """The lines and totals, ready for :func:`json.dumps`."""
        totals = ("runs", "left", "jobs", "epochs", "seconds", "max_epochs", "max_seconds")
        return {
            "plan": [asdict(line) for line in self.models],
            "total": {name: getattr(self, name) for name in totals},
        }

    @property
    def _seconds_per_epoch(self) -> float:
        return sum(line.left * (line.seconds_per_epoch or 0.0) for line in self.models) / self.jobs


def estimate(plan: ReproductionPlan) -> Estimate:
    """Count the runs of a reproduction, and measure one epoch of every model that is not finished.

    Args:
        plan: from :func:`~convrnn.experiments.reproduction.plan_reproduction`; none of its runs is started.

    Raises:
        InputError: for a file that is missing or unreadable, and for a plan for a cluster, since the epoch is measured
            on this machine.
    """
    if (cluster := plan.resources.cluster) is not None:
        raise InputError(
            Argument("cluster", cluster.address), ": an estimate is for this machine; leave the cluster out"
        )
    most = plan.tables[0].columns[0].runs[0].spec.training.max_epochs
    return Estimate(tuple(_lines(plan)), plan.resources.jobs, min(EPOCHS_GUESS, most), most)


def _lines(plan: ReproductionPlan) -> list[ModelEstimate]:
    lines = []
    seen: set[str] = set()
    groups = [
        (table.table, column, row) for table in plan.tables for column in table.columns for row in table.table.rows
    ]
    frames: dict[int, list[int]] = {}
    with plan.resources.progress.counting("measuring") as count:
        for number, (table, column, row) in enumerate(groups, start=1):
            # Frames are counted once for a column, not for each of its models, since that opens all files.
            lines.append(_line(table.name, column, row.front_end, plan.out / RUNS, seen, frames))
            count(number, len(groups))
    return lines


def _line(
    table: str, column: ColumnPlan, model: str, runs_dir: Path, seen: set[str], frames: dict[int, list[int]]
) -> ModelEstimate:
    # Loads PyTorch, which nothing else here needs.
    from convrnn.training.timing import seconds_per_epoch

    runs = [run for run in column.runs if run.spec.model_name == model]
    new = [run for run in runs if run.spec.hash not in seen]
    seen.update(run.spec.hash for run in new)
    left = [run for run in new if not run.finished(runs_dir)]
    seconds = None
    if left:
        spec, data = left[0].spec, column.prepared.data
        if id(column) not in frames:
            assert isinstance(spec.features, AudioFeatures)  # planning refuses corpora of frames
            frames[id(column)] = frame_counts(data, spec.features)
        seconds = seconds_per_epoch(spec, data, frames[id(column)])
    return ModelEstimate(
        table=table,
        column=column.column.heading,
        corpus=column.corpus,
        model=model,
        seeds=len({run.spec.seed for run in runs}),
        folds=runs[0].folds,
        runs=len(runs),
        shared=len(runs) - len(new),
        finished=len(new) - len(left),
        left=len(left),
        seconds_per_epoch=seconds,
        hashes=tuple(run.spec.hash for run in runs),
    )


def frame_counts(data: LabelledCorpus, features: AudioFeatures) -> list[int]:
    """The approximate number of frames of each row, from the lengths in the audio files' headers.

    Raises:
        InputError: for a file that is missing or unreadable.
    """

    def seconds(segment: Segment) -> float:
        end = segment.info().duration if segment.end is None else segment.end
        return end - (segment.start or 0.0)

    return [max(1, round(1000 * seconds(segment) / features.shift_ms)) for segment in data.segments()]
