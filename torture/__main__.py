"""Try convrnn with kills, missing resources, large corpora and damaged inputs, and print a table of the results."""

import argparse
import os
import platform
import re
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from rich.console import Console

from torture import guided, report
from torture.events import CannotCompileError
from torture.fuzz import Tally, try_inputs
from torture.kills import SHARES, can_mount, prepare, try_kills
from torture.readers import READERS
from torture.report import Report
from torture.resources import try_resources
from torture.sizes import try_sizes

PARTS = ("kills", "resources", "sizes", "inputs")


@dataclass(frozen=True, slots=True)
class Counts:
    """How much to try.

    Attributes:
        moments: number of kills at random moments.
        events: number of file events at which each command is killed; None for every one.
        refusals: number of file events from which a resource is missing, for each command and resource.
        inputs: number of damaged inputs for each reader.
        classes: number of classes of the corpus with many classes.
        rows: number of rows of the corpus with many rows.
    """

    moments: int
    events: int | None
    refusals: int
    inputs: int
    classes: int
    rows: int


FULL = Counts(moments=100, events=None, refusals=8, inputs=20_000, classes=1000, rows=100_000)
QUICK = Counts(moments=5, events=5, refusals=2, inputs=500, classes=100, rows=2000)


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command; the exit code is 0 if everything ended as promised, else 1."""
    chosen = _parser().parse_args(arguments)
    if chosen.markdown:
        print(Report.load(chosen.out / "torture.json").markdown(), end="")
        return 0
    if chosen.guided and not guided.available():
        print("--guided needs atheris: pip install atheris", file=sys.stderr)
        return 2
    parts = chosen.only or PARTS
    counts = QUICK if chosen.quick else FULL
    console = Console(highlight=False, width=None if sys.stdout.isatty() else 160)
    began = time.monotonic()
    found = Report({})
    chosen.out.mkdir(parents=True, exist_ok=True)
    if {"kills", "resources"} & set(parts):
        _try_commands(found, parts, counts, chosen.seed, chosen.jobs, console)
    if "sizes" in parts:
        outcomes = try_sizes(classes=counts.classes, rows=counts.rows, on_progress=_say(console))
        found.rows += report.of_sizes(outcomes)
    if "inputs" in parts:
        readers = chosen.reader or list(READERS)
        progress = _counter(console, "inputs", len(readers) * counts.inputs)
        by_coverage = chosen.guided
        console.print(f"inputs: {'guided by coverage' if by_coverage else 'drawn from the seed'}")
        tallies = try_inputs(
            readers,
            counts.inputs,
            seed=chosen.seed,
            jobs=chosen.jobs,
            by_coverage=by_coverage,
            on_progress=progress,
        )
        found.rows += report.of_inputs(tallies)
        _keep(tallies, chosen.out / "found")
    found.facts = {
        "seed": chosen.seed,
        "convrnn": version("convrnn"),
        "torch": version("torch"),
        "python": platform.python_version(),
        "cores": len(os.sched_getaffinity(0)),
        "minutes": round((time.monotonic() - began) / 60, 1),
    }
    found.save(chosen.out / "torture.json")
    found.show(console)
    return 0 if found.clean else 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m torture", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a few tries of everything, in a few minutes")
    parser.add_argument("--only", action="append", choices=PARTS, help="only this part; may be repeated")
    parser.add_argument(
        "--reader", action="append", choices=list(READERS), help="only inputs of this reader; may be repeated"
    )
    parser.add_argument("--seed", type=int, default=0, help="seed of everything random (default: 0)")
    parser.add_argument(
        "--guided",
        action=argparse.BooleanOptionalAction,
        default=guided.available(),
        help="guide the inputs by coverage, which needs atheris, instead of by the seed alone (default: if installed)",
    )
    parser.add_argument("--jobs", type=int, default=2, help="number of processes (default: 2)")
    parser.add_argument(
        "--out", type=Path, default=Path("out/torture"), help="folder for torture.json and for inputs that failed"
    )
    parser.add_argument("--markdown", action="store_true", help="only print the table of the last run")
    return parser


def _try_commands(found: Report, parts: Sequence[str], counts: Counts, seed: int, jobs: int, console: Console) -> None:
    """Tries kills and missing resources, on the same commands."""
    try:
        with prepare(jobs) as harness:
            console.print("commands: first runs without failures")
            harness.record_references(list(SHARES))
            if "kills" in parts:
                progress = _progress(console, "kills")
                tallies = try_kills(
                    harness, moments=counts.moments, events=counts.events, seed=seed, on_progress=progress
                )
                found.rows += report.of_kills(tallies)
            if "resources" in parts:
                missing = try_resources(
                    harness, events=counts.refusals, seed=seed, on_progress=_progress(console, "resources")
                )
                found.rows += report.of_resources(missing)
                if not can_mount():
                    found.left_out.append("full and read-only file systems, which only root can mount")
    except CannotCompileError as error:
        found.left_out.append(f"kills and missing resources: {error}")


def _keep(tallies: dict[str, Tally], folder: Path) -> None:
    """Writes the inputs that failed, each with the details."""
    for example in (example for tally in tallies.values() for example in tally.examples):
        folder.mkdir(parents=True, exist_ok=True)
        name = re.sub(r"[^a-z0-9]+", "-", f"{example.reader}-{example.index}")
        (folder / f"{name}.input").write_bytes(example.data)
        (folder / f"{name}.txt").write_text(
            f"{example.kind}\n\n{example.details}\n", encoding="utf-8", errors="replace"
        )


def _say(console: Console) -> Callable[[str], None]:
    return lambda what: console.print(what, markup=False)


def _progress(console: Console, what: str) -> Callable[[int, int], None]:
    """Prints the progress about every 5 %."""
    told = -1

    def tell(done: int, total: int) -> None:
        nonlocal told
        if (part := 20 * done // total) > told:
            told = part
            console.print(f"{what}: {done:,} of {total:,}")

    return tell


def _counter(console: Console, what: str, total: int) -> Callable[[int], None]:
    tell = _progress(console, what)
    return lambda done: tell(done, total)


if __name__ == "__main__":
    sys.exit(main())
