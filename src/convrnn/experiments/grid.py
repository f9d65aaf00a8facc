"""Grids of runs: every model with every seed on every fold, each a separate run."""

import io
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import pandas as pd

from convrnn import plain_text
from convrnn.corpora.labelled import LabelledCorpus
from convrnn.corpora.splits import Split
from convrnn.errors import Argument, InputError
from convrnn.experiments.outcomes import Outcome, Run
from convrnn.experiments.progress import Progress
from convrnn.features.config import FeatureConfig
from convrnn.features.normalise import NormalisePolicy
from convrnn.files import write_atomically
from convrnn.processes import Event, WorkFailedError, run_in_processes
from convrnn.training.config import TrainingConfig
from convrnn.training.epochs import EpochReport
from convrnn.training.placement import CPU, Placement
from convrnn.training.result import RunResult
from convrnn.training.run_directory import PREDICTIONS, DamagedRunError, RunDirectory, RunFiles
from convrnn.training.spec import RunSpec, make_spec

SECONDS_BETWEEN_STEPS = 0.25
"""A worker reports its training steps no more often than this."""


@dataclass(frozen=True, slots=True)
class GridRun:
    """One cell of the grid.

    Attributes:
        spec: what to train.
        fold: the split's position, from 0.
        folds: number of splits.
    """

    spec: RunSpec
    fold: int
    folds: int

    def __str__(self) -> str:
        fold = f", fold {self.fold + 1} of {self.folds}" if self.folds > 1 else ""
        return f"{self.spec.model_name}, seed {self.spec.seed}{fold}"

    def finished(self, runs_dir: Path) -> bool:
        """Whether the run is finished in this folder of runs."""
        return RunDirectory(runs_dir, self.spec.hash).finished


def plan(
    corpus: LabelledCorpus,
    splits: Sequence[Split],
    *,
    models: Sequence[str],
    setting: str,
    seeds: Sequence[int],
    features: FeatureConfig,
    window_ms: float | None = None,
    normalise: NormalisePolicy = "speaker",
    training: TrainingConfig | None = None,
    placement: Placement = CPU,
) -> list[GridRun]:
    """Every model × seed × fold, seed by seed, so that an early stop leaves complete seeds.

    Args:
        corpus: the corpus.
        splits: the folds.
        models: names of front ends.
        setting: ``"emotion"`` or ``"paralinguistic"``.
        seeds: seeds of the runs.
        features: what is computed from the audio.
        window_ms: length of the windows on the raw waveform in milliseconds; only for that.
        normalise: over which frames the features are standardised.
        training: the optimisation; the paper's by default.
        placement: where the models are trained.

    Raises:
        InputError: for an unknown model or setting, a class without training example in a fold, or one without a
            test example in all of them.
    """
    check_test_classes(corpus, splits)
    return [
        GridRun(
            spec=make_spec(
                corpus,
                split,
                front_end=model,
                setting=setting,
                features=features,
                window_ms=window_ms,
                normalise=normalise,
                training=training,
                seed=seed,
                precision=placement.precision,
                device=placement.device,
            ),
            fold=fold,
            folds=len(splits),
        )
        for seed in seeds
        for fold, split in enumerate(splits)
        for model in models
    ]


def check_test_classes(corpus: LabelledCorpus, splits: Sequence[Split]) -> None:
    """Refuse splits whose test sets together lack a class, since UA recall is undefined then.

    Raises:
        InputError: naming the class.
    """
    labels = corpus.labels
    tested = {labels[row] for split in splits for row in split.rows(corpus)["test"]}
    if absent := [name for name in corpus.classes if name not in tested]:
        raise InputError(
            f"{corpus.name}: no test example of class {', '.join(map(repr, absent))} of task {corpus.task!r}, so its "
            "recall cannot be computed; choose another ",
            Argument("split"),
        )


@dataclass(frozen=True, slots=True)
class Epochs:
    """The progress of a run.

    Attributes:
        done: epochs done, with the part of the current one.
        loss: mean training loss of the epoch that has just ended; None within an epoch, as are the others.
        validation_error: misclassification rate on the validation set, 0 to 1.
        is_best: whether that is the lowest so far.
    """

    done: float
    loss: float | None = None
    validation_error: float | None = None
    is_best: bool = False


@dataclass(frozen=True, slots=True, repr=False)
class FinishedRun:
    """What a comparison uses of a finished run's directory.

    Attributes:
        result: the run's own.
        found: whether it was already finished.
        speakers: speaker of each test utterance.
        truth: label of each.
        prediction: predicted class of each.
    """

    result: RunResult
    found: bool
    speakers: tuple[str, ...]
    truth: tuple[str, ...]
    prediction: tuple[str, ...]

    def __repr__(self) -> str:
        return f"FinishedRun({self.result.directory}: {scores(self.result)})"

    @classmethod
    def read(cls, directory: Path, *, found: bool) -> Self:
        """Read a finished run's ``result.json`` and ``predictions.csv``; all its files have to be as they were written.

        Raises:
            DamagedRunError: for a missing or damaged file.
        """
        files = RunFiles(directory)
        files.check()
        result, predictions = RunResult.of(files), files.read(PREDICTIONS)
        try:
            # Labels and speakers such as "NA" or "01" are text, whatever they look like.
            table = pd.read_csv(io.BytesIO(predictions), dtype=str, keep_default_na=False)
            speakers, truth, prediction = (
                tuple(plain_text.of_csv_cell(cell) for cell in table[name])
                for name in ("speaker", "label", "prediction")
            )
        except (ValueError, KeyError) as error:
            raise DamagedRunError(directory, f"{PREDICTIONS} cannot be read: {error}") from error
        return cls(result, found, speakers, truth, prediction)


def scores(result: RunResult) -> str:
    """The scores on the test set and the epochs of a run, in a line."""
    recall = "" if result.ua_recall is None else f"UA recall {100 * result.ua_recall:.1f} %, "
    return f"{recall}accuracy {100 * result.accuracy:.1f} %, best epoch {result.best_epoch} of {result.epochs}"


class RunFailedError(InputError):
    """A run of the grid failed; the others were stopped and continue when the grid is run again."""


class GridInterrupt(KeyboardInterrupt):
    """Ctrl-C during a grid.

    Attributes:
        finished: runs that are finished and kept.
        total: runs of the grid.
        runs_dir: where they are kept.
    """

    def __init__(self, finished: int, total: int, runs_dir: Path) -> None:
        super().__init__(f"{finished} of {total} runs are finished and kept in {runs_dir}")
        self.finished = finished
        self.total = total
        self.runs_dir = runs_dir


def run_grid(
    runs: Sequence[GridRun],
    corpus: LabelledCorpus,
    *,
    cache_dir: Path,
    runs_dir: Path,
    jobs: int = 1,
    index: int | None = None,
    progress: Progress | None = None,
) -> list[FinishedRun]:
    """Train every run that is not finished yet.

    Runs are taken in order by ``jobs`` processes. Each depends on its spec alone, so the results are the same for any
    number of jobs. A finished run is read, and an interrupted one continues after its last complete epoch. Of runs that
    differ only in the model's name, the first is trained.

    Args:
        runs: from :func:`plan`.
        corpus: the same corpus.
        cache_dir: folder of extracted features.
        runs_dir: folder of the run directories.
        jobs: processes.
        index: number of the GPU, if runs have one; by default the first.
        progress: notified of every run.

    Returns:
        One result per run, in their order.

    Raises:
        RunFailedError: for the first run that fails. Unless the reason is bad input, the traceback is written to
            ``failed-<hash>.txt`` next to the run directories.
        InputError: for a finished run whose files are damaged.
        GridInterrupt: for Ctrl-C.
    """
    progress = progress or Progress()
    progress.grid_started(runs)
    try:
        results = _finish_all(runs, _Context(corpus, cache_dir, runs_dir, index), jobs, progress)
    except KeyboardInterrupt:
        finished = sum(run.finished(runs_dir) for run in runs)
        raise GridInterrupt(finished, len(runs), runs_dir) from None
    finally:
        progress.grid_ended()
    if found := sum(result.found for result in results):
        progress.note(f"{found} of {len(runs)} runs were already finished")
    return results


def _finish_all(runs: Sequence[GridRun], context: "_Context", jobs: int, progress: Progress) -> list[FinishedRun]:
    runs_dir = context.runs_dir
    # Two names of the same model give the same run.
    same: dict[str, list[GridRun]] = {}
    for run in runs:
        same.setdefault(run.spec.hash, []).append(run)
    finished: dict[str, FinishedRun] = {}

    def finish(run_hash: str, *, found: bool) -> None:
        finished[run_hash] = FinishedRun.read(RunDirectory(runs_dir, run_hash).final, found=found)
        for run in same[run_hash]:
            progress.run_finished(run, finished[run_hash])

    waiting = []
    for run_hash, (first, *_) in same.items():
        if first.finished(runs_dir):
            RunDirectory(runs_dir, run_hash).remove_old_lock()
            finish(run_hash, found=True)
        else:
            waiting.append(first)

    def on_event(event: Event) -> None:
        run = waiting[event.index]
        if event.kind == "started":
            progress.run_started(run)
        elif event.kind == "report":
            progress.run_advanced(run, event.value)
        else:
            finish(run.spec.hash, found=False)

    if waiting:
        try:
            run_in_processes(_train, context, [run.spec for run in waiting], jobs=jobs, on_event=on_event)
        except WorkFailedError as error:
            raise _failed(waiting[error.index], error, runs_dir) from error
    return [finished[run.spec.hash] for run in runs]


def outcomes(runs: Sequence[GridRun], results: Sequence[FinishedRun]) -> list[Outcome]:
    """The runs' test predictions in the form that a table is computed from."""
    return [
        Outcome(
            model=run.spec.model_name,
            seed=run.spec.seed,
            fold=run.fold,
            speakers=finished.speakers,
            truth=finished.truth,
            prediction=finished.prediction,
            parameters=finished.result.parameters,
            seconds=finished.result.seconds,
            run=Run(run.spec, finished.result),
        )
        for run, finished in zip(runs, results, strict=True)
    ]


def _failed(run: GridRun, error: WorkFailedError, runs_dir: Path) -> RunFailedError:
    where = ""
    if error.details and not error.is_input_error:
        report = runs_dir / f"failed-{run.spec.hash}.txt"
        runs_dir.mkdir(parents=True, exist_ok=True)
        write_atomically(report, f"{run}\n\n{error.details}")
        where = f" (traceback in {report})"
    kept = "" if "kept" in error.message else "; finished runs are kept"
    return RunFailedError(f"{run}: {error.message}{where}{kept}")


@dataclass(frozen=True, slots=True)
class _Context:
    corpus: LabelledCorpus
    cache_dir: Path
    runs_dir: Path
    index: int | None


def _train(context: _Context, spec: RunSpec, report: Callable[[object], None]) -> None:
    """One run, in a worker process."""
    # Loaded here, since only the worker processes train.
    from convrnn.training.fit import run
    from convrnn.training.loop import StepReport

    last = time.monotonic()

    def on_step(step: StepReport) -> None:
        nonlocal last
        if (now := time.monotonic()) - last >= SECONDS_BETWEEN_STEPS:
            last = now
            report(Epochs(step.epoch - 1 + step.batch / step.num_batches))

    def on_epoch(epoch: EpochReport) -> None:
        report(Epochs(epoch.epoch, epoch.train_loss, epoch.validation_misclassification, epoch.is_best))

    run(
        spec,
        context.corpus,
        cache_dir=context.cache_dir,
        runs_dir=context.runs_dir,
        index=context.index,
        on_epoch=on_epoch,
        on_step=on_step,
    )
