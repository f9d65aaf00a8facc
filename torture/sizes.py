"""Corpora that are large in one way: a thousand classes, a hundred thousand rows."""

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from torture import material
from torture.commands import python_path
from torture.trials import own_folder

SECONDS_AT_MOST = 600
MEMORY_AT_MOST = 4 * 2**30

_PITCH_STEPS = 997
_SECONDS = 0.05


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a command did on a large corpus.

    Attributes:
        what: the corpus and the command.
        seconds: how long it took.
        memory: peak memory of its largest process in bytes.
        faults: what went wrong.
    """

    what: str
    seconds: float
    memory: int
    faults: tuple[str, ...]


def write_large(folder: Path, *, classes: int, each: int) -> Path:
    """Writes a CSV of three speakers, each with one long file that the rows split into pieces; returns its path.

    Args:
        folder: folder for the files.
        classes: number of classes; each speaker has all of them.
        each: number of pieces per speaker and class.
    """
    import soundfile

    random = np.random.default_rng(0)
    lines = ["file,speaker,word,partition,start,end"]
    for speaker, partition in enumerate(("train", "validation", "test")):
        pieces = [
            material.tone(200 + 3000 * ((label * 7 + speaker) % _PITCH_STEPS) / _PITCH_STEPS, _SECONDS, row)
            for row, label in enumerate(np.repeat(np.arange(classes), each))
        ]
        sound = np.concatenate(pieces) * random.uniform(0.5, 1, (len(pieces), 1)).repeat(len(pieces[0]), 1).reshape(-1)
        soundfile.write(folder / f"s{speaker}.wav", sound, material.RATE)
        for row in range(len(pieces)):
            times = f"{row * _SECONDS:.2f},{(row + 1) * _SECONDS:.2f}"
            lines.append(f"s{speaker}.wav,s{speaker},w{row // each:04},{partition},{times}")
    path = folder / "large.csv"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def try_sizes(
    *, classes: int = 1000, rows: int = 100_000, on_progress: Callable[[str], None] | None = None
) -> list[Outcome]:
    """Runs ``compare`` on a corpus of many classes and ``check`` on one of many rows.

    Args:
        classes: number of classes; each has three utterances.
        rows: approximate number of rows.
        on_progress: called with the next corpus and command.
    """
    outcomes = []
    for what, shape, words in (
        (f"compare, {classes:,} classes", (classes, 1), ("compare", "--models", "baseline", "--seeds", "1")),
        (f"check, {rows:,} rows", (10, max(1, rows // 30)), ("check",)),
    ):
        if on_progress is not None:
            on_progress(what)
        with own_folder() as folder:
            table = write_large(folder, classes=shape[0], each=shape[1])
            options = ("--max-epochs", "1", "--out", "out") if words[0] == "compare" else ()
            outcomes.append(_measured(what, (words[0], f"csv:{table}", "--task", "word", *words[1:], *options), folder))
    return outcomes


def _measured(what: str, words: tuple[str, ...], folder: Path) -> Outcome:
    faults = []
    began = time.monotonic()
    with (folder / "stdout").open("wb") as stdout, (folder / "stderr").open("wb") as stderr:
        process = subprocess.Popen(
            [sys.executable, "-m", "torture.commands", *words],
            cwd=folder,
            env=os.environ | {"CONVRNN_CACHE": str(folder / "cache"), "PYTHONPATH": python_path()},
            stdout=stdout,
            stderr=stderr,
        )
        timer = threading.Timer(SECONDS_AT_MOST, process.kill)
        timer.start()
        # The usage is that of this process and of the children it has waited for.
        _, status, usage = os.wait4(process.pid, 0)
        timer.cancel()
    seconds, memory = time.monotonic() - began, 1024 * usage.ru_maxrss
    code = process.returncode = os.waitstatus_to_exitcode(status)
    # check exits with 1 if the corpus has errors.
    if code not in (0, 1):
        faults.append(
            f"ended with {code} after {seconds:.0f} s: {(folder / 'stderr').read_text(encoding='utf-8')[-300:]}"
        )
    if memory > MEMORY_AT_MOST:
        faults.append(f"{memory / 2**30:.1f} GiB")
    largest = max((path.stat().st_size for path in (folder / "out").glob("*") if path.is_file()), default=0)
    if largest > 50 * 2**20:
        faults.append(f"a file of {largest / 2**20:.0f} MiB")
    return Outcome(what, seconds, memory, tuple(faults))
