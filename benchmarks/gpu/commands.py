"""Sections "command" and "table": ``convrnn compare`` on the GPU, from its start to its table."""

import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.gpu.settings import Settings
from benchmarks.report import Section, Table, number
from benchmarks.settings import progress

FEATURES, CLASSES = 26, 5
MODELS = ("baseline", "conv", "clstm", "extended-clstm")
PRECISIONS = {"fp32": "32", "tf32": "tf32", "bf16": "bf16"}
TRAINING, OTHERS, FRAMES = 10_000, 500, 180
ROWS = 535

_TEXT = """\
The command itself, in a new process: it checks the corpus, trains, tests and writes its report. Corpora are noise whose
mean depends on the class. "busy" is the share of the time in which the GPU ran a kernel, as nvidia-smi tells it twice a
second, from start to end. """

_EPOCH_TEXT = f"""\
"An epoch" is the median time of the epochs of one run after the first, with training and validation, of the CLSTM model
of section IV-A on {TRAINING:,} utterances of {FRAMES} frames of {FEATURES} features, at batch size 128; validation and
test set have {OTHERS}."""

_TABLE_TEXT = f"""\
A comparison of {", ".join(MODELS)} on {ROWS} utterances of 10 speakers with a median of 260 frames, as many as EmoDB
has, in 5 folds, with 5 seeds and 40 epochs: 100 runs. With --quick one seed, a fifth of it."""


@dataclass(frozen=True)
class Measured:
    """One command.

    Attributes:
        what: "epoch" or "table".
        precision: The precision of the products.
        jobs: Number of processes that share the GPU.
        seconds: Time of the whole command.
        epoch: Median time of an epoch in seconds.
        recall: Mean UA recall on the test sets, in percent.
        busy: Share of the time in which the GPU was busy, in percent; None if nvidia-smi did not tell.
    """

    what: str
    precision: str
    jobs: int
    seconds: float
    epoch: float
    recall: float
    busy: float | None


def write_corpus(folder: Path, lengths: list[int], labels: list[int], speakers: list[str], sets: list[str]) -> Path:
    """Write arrays of frames and return the table that names them.

    Args:
        folder: Where they go.
        lengths: Frames of each utterance.
        labels: Class of each.
        speakers: Speaker of each.
        sets: Partition of each.
    """
    folder.mkdir()
    generator = np.random.default_rng(0)
    means = 0.1 * generator.standard_normal((CLASSES, FEATURES))
    lines = ["frames,speaker,label,partition"]
    for row, (length, label, speaker, part) in enumerate(zip(lengths, labels, speakers, sets, strict=True)):
        frames = means[label] + generator.standard_normal((length, FEATURES))
        np.save(folder / f"{row}.npy", frames.astype(np.float32))
        lines.append(f"{row}.npy,{speaker},class{label},{part}")
    (folder / "data.csv").write_text("\n".join(lines) + "\n")
    return folder / "data.csv"


def _one_set(folder: Path, training: int, others: int) -> Path:
    sizes = {"train": training, "validation": others, "test": others}
    sets = [name for name, size in sizes.items() for _ in range(size)]
    labels = [row % CLASSES for row in range(len(sets))]
    speakers = [f"{name}{row % 10}" for row, name in enumerate(sets)]
    return write_corpus(folder, [FRAMES] * len(sets), labels, speakers, sets)


def _folds(folder: Path, utterances: int) -> Path:
    generator = np.random.default_rng(1)
    lengths = np.clip(np.exp(generator.normal(np.log(260), 0.35, utterances)), 120, 900).astype(int).tolist()
    labels = [row % CLASSES for row in range(utterances)]
    speakers = [f"speaker{row // CLASSES % 10}" for row in range(utterances)]
    return write_corpus(folder, lengths, labels, speakers, [""] * utterances)


@contextmanager
def _watched() -> Iterator[list[float]]:
    """Collects the share of the time in which the GPU is busy."""
    command = ["nvidia-smi", "--query-gpu=utilization.gpu", "--format=csv,noheader,nounits", "--loop-ms=500"]
    seen: list[float] = []
    try:
        watcher = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    except FileNotFoundError:
        yield seen
        return
    try:
        yield seen
    finally:
        watcher.terminate()
        told, _ = watcher.communicate()
        seen += [float(line) for line in told.split() if line.isdigit()]


def measure(what: str, corpus: Path, precision: str, jobs: int, device: str, *options: str) -> Measured:
    """Run one command.

    Raises:
        RuntimeError: It fails.
    """
    with tempfile.TemporaryDirectory() as name:
        out = Path(name)
        command = [
            *(str(Path(sys.executable).with_name("convrnn")), "compare", f"csv:{corpus}", "--task", "label", "--json"),
            *("--device", device, "--precision", PRECISIONS[precision], "--jobs", str(jobs)),
            *("--cache", str(out / "cache"), "--out", str(out / "out"), *options),
        ]
        began = time.perf_counter()
        with _watched() as busy:
            done = subprocess.run(command, capture_output=True, text=True, check=False)
        seconds = time.perf_counter() - began
        if done.returncode:
            raise RuntimeError(f"{' '.join(command)} failed: {done.stderr[-2000:]}")
        epochs, recalls = [], []
        for run in sorted(out.glob("out/runs/*/metrics.jsonl")):
            epochs += [json.loads(line)["seconds"] for line in run.read_text().splitlines()[1:]]
            recalls.append(json.loads(run.with_name("result.json").read_text())["ua_recall"])
        return Measured(
            what,
            precision,
            jobs,
            seconds,
            statistics.median(epochs),
            100 * statistics.mean(recalls),
            statistics.mean(busy) if busy else None,
        )


def measure_epochs(settings: Settings, folder: Path, device: str, *, scale: float = 1.0) -> Iterator[Measured]:
    """An epoch through the command, in each precision.

    Args:
        settings: What to measure.
        folder: Where the corpus goes.
        device: "cuda", or "cpu" to try the script.
        scale: Multiplies the size of the corpus.
    """
    corpus = _one_set(folder / "one", round(TRAINING * scale), round(OTHERS * scale))
    options = ("--models", "clstm", "--split", "partitions", "--seeds", "1", "--max-epochs", "6", "--batch-size", "128")
    for precision in settings.precisions:
        if precision.name in PRECISIONS:
            with progress("command", {"precision": precision.name}):
                measured = measure("epoch", corpus, precision.name, 1, device, *options)
            yield measured


def measure_table(
    settings: Settings, folder: Path, device: str, *, jobs: int = 8, scale: float = 1.0
) -> Iterator[Measured]:
    """A table through the command, in float32.

    Args:
        settings: What to measure.
        folder: Where the corpus goes.
        device: "cuda", or "cpu" to try the script.
        jobs: Number of processes that share the GPU.
        scale: Multiplies the size of the corpus.
    """
    corpus, seeds = _folds(folder / "folds", round(ROWS * scale)), "1" if settings.quick else "5"
    options = ("--models", ",".join(MODELS), "--split", "folds:5", "--seeds", seeds, "--max-epochs", "40")
    with progress("table", {"seeds": seeds, "jobs": jobs}):
        measured = measure("table", corpus, "fp32", jobs, device, *options, "--patience", "40")
    yield measured


def command(settings: Settings) -> Section:
    """Measure an epoch through the command."""
    return _section("An epoch by the command", _TEXT + _EPOCH_TEXT, settings, measure_epochs)


def table(settings: Settings) -> Section:
    """Measure a table through the command."""
    return _section("A table by the command", _TEXT + _TABLE_TEXT, settings, measure_table)


def _section(title: str, text: str, settings: Settings, measure_all: Callable[..., Iterator[Measured]]) -> Section:
    measured = []
    with tempfile.TemporaryDirectory() as folder:
        for each in measure_all(settings, Path(folder), "cuda"):
            # At once, so that an interrupted run has told what it measured.
            print(each, file=sys.stderr, flush=True)
            measured.append(each)
    rows = [
        [
            *(each.what, each.precision, str(each.jobs), number(each.seconds), number(1000 * each.epoch)),
            *(number(each.recall), "?" if each.busy is None else number(each.busy)),
        ]
        for each in measured
    ]
    head = ("what", "precision", "jobs", "whole command, s", "an epoch, ms", "UA recall, %", "GPU busy, %")
    return Section(title, text, [Table("convrnn compare", head, rows, names=3)], [], {"commands": measured})
