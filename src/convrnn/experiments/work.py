"""What a worker does for one run of a grid: a process on this machine, or a task on a node of a cluster."""

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from convrnn.cache import default_cache_dir
from convrnn.corpora.labelled import LabelledCorpus
from convrnn.features.config import FeatureConfig
from convrnn.features.store import FeatureStore
from convrnn.files import NO_FOLLOW, make_folder, remove, writing
from convrnn.locks import lock
from convrnn.processes import MOST_JOBS
from convrnn.training.epochs import EpochReport
from convrnn.training.run_directory import BusyRunError, RunDirectory, RunFiles
from convrnn.training.spec import RunSpec

SECONDS_BETWEEN_STEPS = 0.25
"""A process reports its training steps no more often than this; a node reports only epochs."""

SECONDS_FOR_A_LOST_NODE = 180.0
"""Time for the lock of a lost node on a run in a shared cache to go, which a file server notices only after a while."""

RUNS_ON_NODE = "runs"
"""Folder of unfinished runs in a node's cache."""


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


@dataclass(frozen=True, slots=True)
class OnThisMachine:
    """What the runs in processes of this machine share.

    Attributes:
        corpus: the corpus.
        cache_dir: folder of extracted features.
        runs_dir: folder of the run directories.
        index: number of the GPU, if runs have one; by default the first.
    """

    corpus: LabelledCorpus
    cache_dir: Path
    runs_dir: Path
    index: int | None


@dataclass(frozen=True, slots=True)
class OnNode:
    """What the runs on the nodes of a cluster share.

    Attributes:
        corpus: the corpus; its files have the same paths on the nodes.
        cache_dir: the cache folder on every node, which may be a shared one; None for the node's own default.
    """

    corpus: LabelledCorpus
    cache_dir: Path | None


def train_here(shared: OnThisMachine, spec: RunSpec, report: Callable[[object], None]) -> None:
    """Does a run in its folder on this machine."""
    # Loaded here, since only workers train.
    from convrnn.training.fit import run
    from convrnn.training.loop import StepReport

    last = time.monotonic()

    def on_step(step: StepReport) -> None:
        nonlocal last
        if (now := time.monotonic()) - last >= SECONDS_BETWEEN_STEPS:
            last = now
            report(Epochs(step.epoch - 1 + step.batch / step.num_batches))

    run(
        spec,
        shared.corpus,
        cache_dir=shared.cache_dir,
        runs_dir=shared.runs_dir,
        index=shared.index,
        on_epoch=lambda epoch: report(_epochs(epoch)),
        on_step=on_step,
    )


def train_on_node(shared: OnNode, spec: RunSpec, report: Callable[[object], None]) -> dict[str, bytes]:
    """Does a run in the cache folder of this node, and removes it from there.

    Features that the cache lacks are extracted first, by one run while the others of the node wait; if nodes share the
    cache, by one run of them all. A run that was interrupted in the same cache continues.

    Returns:
        The finished run for :meth:`~convrnn.training.run_directory.RunDirectory.receive`.
    """
    from convrnn.training.fit import run

    cache_dir = shared.cache_dir or default_cache_dir()
    _extract_once(cache_dir, spec.features, spec.fingerprint, shared.corpus)
    began = time.monotonic()
    while True:
        try:
            result = run(
                spec,
                shared.corpus,
                cache_dir=cache_dir,
                runs_dir=cache_dir / RUNS_ON_NODE,
                on_epoch=lambda epoch: report(_epochs(epoch)),
            )
            break
        except BusyRunError:
            if time.monotonic() - began > SECONDS_FOR_A_LOST_NODE:
                raise
            time.sleep(1.0)
    files = RunFiles(result.directory).contents()
    # Home has them in a moment; if they are lost on the way, the run is done again.
    directory = RunDirectory(cache_dir / RUNS_ON_NODE, spec.hash)
    directory.remove_old_lock()
    with writing(directory.final):
        remove(directory.final)
    return files


def _epochs(epoch: EpochReport) -> Epochs:
    return Epochs(epoch.epoch, epoch.train_loss, epoch.validation_misclassification, epoch.is_best)


_extracted: set[tuple[Path, FeatureConfig, str]] = set()


def _extract_once(cache_dir: Path, features: FeatureConfig, fingerprint: str, corpus: LabelledCorpus) -> None:
    """Extracts the features of all rows, with all cores, while other processes with this cache folder wait."""
    key = (cache_dir, features, fingerprint)
    if key in _extracted or not features.is_stored:
        return
    folder = cache_dir / "features"
    with writing(folder):
        make_folder(folder)
        descriptor = os.open(folder / ".extraction.lock", os.O_RDWR | os.O_CREAT | NO_FOLLOW, 0o666)
    try:
        with writing(folder):
            lock(descriptor, wait=True)
        FeatureStore(folder, features).extract(corpus.segments(), jobs=min(cores(), MOST_JOBS))
    finally:
        os.close(descriptor)
    _extracted.add(key)


def cores() -> int:
    """The number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
