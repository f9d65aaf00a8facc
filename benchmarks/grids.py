"""What a grid and a corpus cost apart from the training: ``python -m benchmarks.grids``.

Every step is measured at two sizes, the second ten times the first. If its time per item stays the same, it scales in a
straight line. Times are of the processor (user and system), which other work on the machine disturbs least.
"""

import argparse
import contextlib
import tempfile
import time
import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import soundfile

from convrnn.corpora.check import check_corpus
from convrnn.corpora.csv_table import open_csv
from convrnn.corpora.gate import Provisos
from convrnn.corpora.labelled import LabelledCorpus
from convrnn.corpora.splits import make_splits
from convrnn.experiments.caption import experiment_of
from convrnn.experiments.grid import FinishedRun, GridRun, outcomes, plan
from convrnn.experiments.paper import Column
from convrnn.experiments.prepare import Prepared
from convrnn.experiments.results import Results
from convrnn.features.logmel import LogMelConfig
from convrnn.features.store import FeatureStore
from convrnn.files import remove
from convrnn.training.config import TrainingConfig
from convrnn.training.fit import run
from convrnn.training.run_directory import RunDirectory, RunFiles
from convrnn.training.spec import RunSpec, make_spec

RATE = 8000
SECONDS = 0.3
ROWS_PER_FILE = 100


def write_corpus(folder: Path, rows: int) -> Path:
    """Write tones of two pitches by 20 speakers, :data:`ROWS_PER_FILE` in a file, and return the CSV table."""
    generator = np.random.default_rng(0)
    lines = ["file,speaker,pitch,start,end"]
    samples = int(SECONDS * RATE)
    for number in range(rows // ROWS_PER_FILE):
        hertz = np.tile(np.repeat((300, 1500), samples), ROWS_PER_FILE // 2)
        tone = 0.3 * np.sin(2 * np.pi * np.cumsum(hertz) / RATE)
        soundfile.write(folder / f"{number}.wav", tone + 0.05 * generator.standard_normal(len(tone)), RATE)
        for row in range(ROWS_PER_FILE):
            pitch = ("low", "high")[row % 2]
            lines.append(f"{number}.wav,s{row // 2 % 20},{pitch},{SECONDS * row:.1f},{SECONDS * (row + 1):.1f}")
    (folder / "data.csv").write_text("\n".join(lines) + "\n")
    return folder / "data.csv"


class Table:
    """Times of steps per item at two sizes.

    Args:
        unit: an item.
        sizes: numbers of items, the smaller first.
    """

    def __init__(self, unit: str, sizes: tuple[int, int]) -> None:
        self.sizes = sizes
        self._times: dict[tuple[str, int], float] = {}
        self._unit = unit

    @contextlib.contextmanager
    def step(self, name: str, size: int) -> Iterator[None]:
        """Adds the time of a step, or of a part of it, on so many items."""
        began = time.process_time()
        yield
        self._times[name, size] = self._times.get((name, size), 0.0) + time.process_time() - began

    def show(self) -> None:
        """Print all steps."""
        small, large = self.sizes
        print(f"\n| step | ms per {self._unit}, {small:,} {self._unit}s | {large:,} | ratio |\n|---|---:|---:|---:|")
        for name in dict.fromkeys(name for name, _ in self._times):
            first, second = (self._times[name, size] / size for size in self.sizes)
            print(f"| {name} | {1000 * first:.2f} | {1000 * second:.2f} | {second / first:.2f} |")


def measure_rows(table: Table, rows: int) -> None:
    """The steps of a corpus."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        path = write_corpus(folder, rows)
        with table.step("read the table", rows):
            corpus = open_csv(path)
            data = corpus.for_task("pitch")
        with table.step("check the recordings, first time", rows):
            check_corpus(data, cache_dir=folder / "cache")
        with table.step("check them again", rows):
            check_corpus(data, cache_dir=folder / "cache")
        with table.step("fingerprint", rows):
            data.compute_fingerprint()
        store = FeatureStore(folder / "features", LogMelConfig(sample_rate=RATE))
        with table.step("extract the features", rows):
            store.extract(data.segments())
        with table.step("find them again", rows):
            store.extract(data.segments())
        with table.step("load them for a run", rows):
            for segment in data.segments():
                store.load(segment)


def measure_plan(table: Table, data: LabelledCorpus, runs: int) -> None:
    """The steps of a grid before any run."""
    splits = make_splits(data, "folds:2")
    features, training = LogMelConfig(sample_rate=RATE), TrainingConfig(max_epochs=1)
    with table.step("plan", runs):
        seeds = range(runs // len(splits))
        grid = plan(data, splits, models=["conv"], setting="emotion", seeds=seeds, features=features, training=training)
    with table.step("name by its hash", runs):
        for run in grid:
            _ = run.spec.hash


def measure_results(table: Table, whole: RunFiles, folder: Path, runs: int) -> None:
    """What happens on this machine to a run that a node has finished."""
    names = [f"{number:016x}" for number in range(runs)]
    for name in names:
        files = _as_run(whole, folder / "node", name)
        directory = RunDirectory(folder / "here", name)
        with table.step("receive", runs):
            directory.receive(files)
        with table.step("check and read", runs):
            FinishedRun.read(directory.final, found=False)
        # Otherwise the disk would have to hold them all.
        remove(directory.final)


def measure_report(table: Table, data: LabelledCorpus, whole: RunFiles, folder: Path, runs: int) -> None:
    """The table and the report of a grid whose runs all have the same result."""
    found, spec = FinishedRun.read(whole.directory, found=True), _spec(data)
    specs = [spec.model_copy(update={"seed": seed}) for seed in range(runs)]
    grid = [GridRun(own, 0, 1) for own in specs]
    prepared = Prepared(data, "random", [spec.split], Provisos())
    with table.step("statistics", runs):
        column = Column("tones", "csv", spec.task, spec.setting, spec.features.name)
        results = Results.of([experiment_of(column, prepared, grid, outcomes(grid, [found] * runs))])
    with table.step("report", runs):
        results.report(folder / f"report-{runs}")


def _spec(data: LabelledCorpus) -> RunSpec:
    [split] = make_splits(data, "random")
    return make_spec(data, split, front_end="clstm", setting="emotion", training=TrainingConfig(max_epochs=1))


def _as_run(whole: RunFiles, folder: Path, name: str) -> dict[str, bytes]:
    """The files of a finished run under another name."""
    directory = RunDirectory(folder, name)
    with directory.locked():
        for file in whole.digests:
            (directory.partial / file).parent.mkdir(exist_ok=True)
            directory.write(file, (whole.directory / file).read_bytes())
        directory.finish({**whole.result, "hash": name})
    files = RunFiles(directory.final).contents()
    remove(directory.final)
    return files


def kept_bytes(whole: RunFiles) -> float:
    """Memory of a finished run in a comparison, in bytes per test utterance."""
    tracemalloc.start()
    found = FinishedRun.read(whole.directory, found=True)
    kept, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return kept / len(found.truth)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=10_000, help="rows of the larger corpus")
    parser.add_argument("--plans", type=int, default=10_000, help="runs of the larger plan")
    parser.add_argument("--runs", type=int, default=500, help="finished runs of the larger grid")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        rows = Table("row", (asked.rows // 10, asked.rows))
        for size in rows.sizes:
            measure_rows(rows, size)
        rows.show()
        (folder / "corpus").mkdir()
        data = open_csv(write_corpus(folder / "corpus", 4_000)).for_task("pitch")
        plans = Table("run", (asked.plans // 10, asked.plans))
        for size in plans.sizes:
            measure_plan(plans, data, size)
        plans.show()
        result = run(_spec(data), data, cache_dir=folder / "cache", runs_dir=folder / "runs")
        whole = RunFiles(result.directory)
        results = Table("run", (asked.runs // 10, asked.runs))
        for size in results.sizes:
            measure_results(results, whole, folder, size)
        results.show()
        reports = Table("run", (asked.runs // 10, asked.runs))
        for size in reports.sizes:
            measure_report(reports, data, whole, folder, size)
        reports.show()
        size = sum(map(len, whole.contents().values()))
        print(f"\nfiles of a run: {size / 1e6:.1f} MB; in memory: {kept_bytes(whole):.0f} bytes per test utterance")


if __name__ == "__main__":
    main()
