"""Grids of runs: every model with every seed on every fold, each a separate run."""

import functools
import io
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, Self

import pandas as pd

from convrnn import plain_text
from convrnn.cluster import Cluster, Needs
from convrnn.corpora.labelled import LabelledCorpus
from convrnn.corpora.splits import Split
from convrnn.errors import Argument, InputError
from convrnn.experiments.outcomes import Outcome, Run
from convrnn.experiments.progress import Progress
from convrnn.experiments.work import OnNode, OnThisMachine, train_here, train_on_node
from convrnn.features.config import FeatureConfig
from convrnn.features.normalise import NormalisePolicy
from convrnn.files import write_atomically
from convrnn.processes import Event, WorkFailedError, run_in_processes
from convrnn.training.config import TrainingConfig
from convrnn.training.placement import CPU, Placement
from convrnn.training.result import RunResult
from convrnn.training.run_directory import PREDICTIONS, DamagedRunError, RunDirectory, RunFiles
from convrnn.training.spec import RunSpec, make_spec


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
        seeds: seeds of the runs, each from 0 to :data:`~convrnn.training.config.MOST_SEED`; at least one.
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
    # Everything but the seed is checked once, since that takes a look at every row.
    first, *_ = seeds
    specs = {
        (fold, model): make_spec(
            corpus,
            split,
            front_end=model,
            setting=setting,
            features=features,
            window_ms=window_ms,
            normalise=normalise,
            training=training,
            seed=first,
            precision=placement.precision,
            device=placement.device,
            devices=placement.devices,
        )
        for fold, split in enumerate(splits)
        for model in models
    }
    return [
        GridRun(spec.model_copy(update={"seed": seed}), fold, len(splits))
        for seed in seeds
        for (fold, _), spec in specs.items()
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
                # One copy of each name, since a large grid has millions of them.
                tuple(sys.intern(plain_text.of_csv_cell(cell)) for cell in table[name])
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
    cluster: Cluster | None = None,
    progress: Progress | None = None,
) -> list[FinishedRun]:
    """Train every run that is not finished yet.

    Runs are taken in order by ``jobs`` processes, or by the nodes of a cluster, from which they come back to
    ``runs_dir`` as they finish, without their checkpoints. Each depends on its spec alone, so the results are the same
    wherever it is trained. A finished run is read. An interrupted one continues after its last complete epoch; on a
    cluster, if it is given to a node with the same cache. Of runs that differ only in the model's name, the first is
    trained.

    Args:
        runs: from :func:`plan`.
        corpus: the same corpus.
        cache_dir: folder of extracted features.
        runs_dir: folder of the run directories.
        jobs: processes on this machine; on a cluster, runs that share a GPU.
        index: number of the GPU, if runs have one; by default the first. A cluster chooses it itself.
        cluster: where to train, connected; by default on this machine.
        progress: notified of every run.

    Returns:
        One result per run, in their order.

    Raises:
        RunFailedError: for the first run that fails. Unless the reason is bad input, the traceback is written to
            ``failed-<hash>.txt`` next to the run directories.
        InputError: for a finished run whose files are damaged, and for a node that lacks a file of the corpus.
        GridInterrupt: for Ctrl-C.
    """
    progress = progress or Progress()
    if cluster is None:
        workers: _Workers = functools.partial(
            run_in_processes, train_here, OnThisMachine(corpus, cache_dir, runs_dir, index), jobs=jobs
        )
    else:
        workers = functools.partial(_on_nodes, cluster, OnNode(corpus, cluster.cache_dir), jobs)
    progress.grid_started(runs)
    try:
        results = _finish_all(runs, workers, runs_dir, progress)
    except KeyboardInterrupt:
        finished = sum(run.finished(runs_dir) for run in runs)
        raise GridInterrupt(finished, len(runs), runs_dir) from None
    finally:
        progress.grid_ended()
    if found := sum(result.found for result in results):
        progress.note(f"{found} of {len(runs)} runs were already finished")
    return results


class _Workers(Protocol):
    """Does the runs of these specs; a result is None if the run is already in its folder, or else the run's files."""

    def __call__(self, specs: Sequence[RunSpec], *, on_event: Callable[[Event], None]) -> object: ...


def _on_nodes(
    cluster: Cluster, shared: OnNode, jobs: int, specs: Sequence[RunSpec], *, on_event: Callable[[Event], None]
) -> None:
    threads = max(spec.threads for spec in specs)
    needs = Needs.share(threads, jobs) if specs[0].device == "cuda" else Needs(threads)
    cluster.check_files(shared.corpus.table["file"].tolist(), needs)
    cluster.run(train_on_node, shared, specs, needs=needs, on_event=on_event)


def _finish_all(runs: Sequence[GridRun], workers: _Workers, runs_dir: Path, progress: Progress) -> list[FinishedRun]:
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

    nodes: dict[str, str | None] = {}

    def on_event(event: Event) -> None:
        run = waiting[event.index]
        if event.kind == "report":
            progress.run_advanced(run, event.value)
        elif event.kind == "done":
            if event.value is not None:
                RunDirectory(runs_dir, run.spec.hash).receive(event.value)
            finish(run.spec.hash, found=False)
        else:
            if run.spec.hash not in nodes:
                progress.run_started(run)
            else:
                progress.warning(f"{run}: lost with node {nodes[run.spec.hash]}, started again on node {event.value}")
            nodes[run.spec.hash] = event.value

    if waiting:
        try:
            workers([run.spec for run in waiting], on_event=on_event)
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
