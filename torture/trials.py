"""One trial: make a command fail, run it again and compare what it wrote. As a program, this runs trials from stdin."""

import contextlib
import enum
import json
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from torture import commands
from torture.events import Action, Control
from torture.reading import fault_of
from torture.snapshot import difference, hash_of, snapshot

SECONDS_TO_OUTLIVE = 3.0
"""Workers end within 2 s of their killed parent; a busy machine gets a little longer."""

SECONDS_AT_MOST = 300.0
"""Time limit of one command."""

COMPARED = ("out", "cache")
"""Folders of a trial whose content is compared, in addition to its stdout."""

MOUNTED = f"{commands.WORK}/out"
"""The folder of a trial that may be a separate file system."""

WRITING_REFUSED = (Action.REFUSE_ONCE, Action.REFUSE_FROM)


@dataclass(frozen=True, slots=True)
class Trial:
    """What happens to a command.

    Attributes:
        name: name of the command.
        words: the command and its arguments.
        moment: seconds after its start at which it is killed; None for a failure at an event.
        whole: kill all its processes at that moment, not only the first.
        action: what happens at the event.
        at: number of the event, from 1.
        again: number of the event at which the same happens to the next run; 0 for none.
        error: errno of an event that fails.
        given: a folder whose content exists before the command begins; "" for none.
        mount: options of a separate file system that the command writes to, "ro" or its size; "" for none.
        twice: start two at once.
    """

    name: str
    words: tuple[str, ...]
    moment: float | None = None
    whole: bool = True
    action: Action = Action.KILL_GROUP
    at: int = 0
    again: int = 0
    error: int = 0
    given: str = ""
    mount: str = ""
    twice: bool = False

    def __str__(self) -> str:
        if self.mount:
            return f"{self.name}, on a file system with {self.mount}"
        if self.twice:
            return f"{self.name}, two at once"
        if self.moment is not None:
            return f"{self.name}, {'all' if self.whole else 'the first'} killed after {self.moment:.2f} s"
        again = f", then at {self.again}" if self.again else ""
        return f"{self.name}, {self.action.name.lower().replace('_', ' ')} at event {self.at}{again}"


@dataclass(frozen=True, slots=True)
class Outcome:
    """The outcome of a trial.

    Attributes:
        trial: the trial in words.
        failed_at: the event or moment of the failure; "nothing failed" if the command had ended before.
        faults: everything that went wrong.
        outlived: seconds by which the last process outlived the killed one.
    """

    trial: str
    failed_at: str
    faults: tuple[str, ...]
    outlived: float


def perform(trial: Trial, expected: dict[str, str], control: Control, folder: Path) -> Outcome:
    """Runs one trial.

    Args:
        trial: the trial.
        expected: a snapshot of what the command writes without a failure.
        control: control of the preloaded library, which makes the forked commands fail.
        folder: an empty folder for the trial; the command's files stay there.
    """
    if trial.given:
        shutil.copytree(trial.given, folder / commands.WORK, dirs_exist_ok=True)
    with _mounted(folder, trial.mount):
        failures, faults, longest = _run_failing(trial, control, folder)
        if longest > SECONDS_TO_OUTLIVE:
            faults.append(f"a process outlived the killed one by {longest:.1f} s")
        control.disarm()
        if trial.mount:
            _mount(folder, "remount,rw,size=100m")
        ending, _ = _end(commands.start(trial.words, folder, warm=True))
        if ending:
            faults.append(f"the next run: {ending}: {_said(folder)}")
        faults += difference(written(folder), expected)
    return Outcome(str(trial), "; ".join(failures), tuple(faults), longest)


def _run_failing(trial: Trial, control: Control, folder: Path) -> tuple[list[str], list[str], float]:
    """The events or moments of the failures, what went wrong, and the longest time a process outlived the first."""
    failures: list[str] = []
    faults: list[str] = []
    longest = 0.0
    for at in (trial.at, trial.again)[: 2 if trial.again else 1]:
        if at:
            control.arm(folder / commands.WORK, trial.action, at, trial.error)
        both = [commands.start(trial.words, folder, warm=trial.moment is None)]
        if trial.twice:
            (folder / "second").mkdir()
            both.append(commands.start(trial.words, folder, warm=True, output=folder / "second"))
        if trial.moment is not None:
            time.sleep(trial.moment)
            both[0].kill(whole=trial.whole)
        for running in both:
            ending, outlived = _end(running)
            faults += _faults_of_failing(trial, ending, running.output)
            longest = max(longest, outlived)
        failures.append(control.failed_at or "nothing failed" if at else str(trial).partition(", ")[2])
    return failures, faults, longest


@contextlib.contextmanager
def _mounted(folder: Path, options: str) -> Iterator[None]:
    """Within the context, the output folder is a file system in memory; this needs root and a mount namespace."""
    if not options:
        yield
        return
    place = folder / MOUNTED
    place.mkdir(parents=True, exist_ok=True)
    _mount(folder, options)
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(place)], check=True)


def _mount(folder: Path, options: str) -> None:
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "none", str(folder / MOUNTED)], check=True)


def _end(running: commands.Running) -> tuple[str | int, float]:
    """How a command ends, as an exit code or in words, and by how many seconds its other processes outlive it."""
    try:
        code: str | int = running.wait(SECONDS_AT_MOST)
    except TimeoutError as error:
        code = str(error)
    return code, running.outlived(10)


def _faults_of_failing(trial: Trial, ending: str | int, folder: Path) -> list[str]:
    """What is wrong with how a failing command ended: it has to be killed, to print one sentence, or to succeed."""
    if isinstance(ending, str) or ending not in (0, 2, -9):
        return [f"the failing run ended with {ending}: {_said(folder)}"]
    if ending == 2 and (fault := fault_said(folder)):
        return [f"the failing run: {fault}: {_said(folder)}"]
    if ending == 0 and trial.action in WRITING_REFUSED and "Traceback" in _said(folder):
        return [f"the failing run: a traceback: {_said(folder)}"]
    return []


def fault_said(folder: Path) -> str:
    """Why a command's error message is not one sentence; "" if it is."""
    text = (folder / "stderr").read_text(encoding="utf-8", errors="replace")
    if "Traceback" in text:
        return "a traceback"
    errors = [line for line in text.splitlines() if line.startswith("convrnn: error: ")]
    return fault_of(errors[0]) if len(errors) == 1 else f"{len(errors)} sentences"


def _said(folder: Path) -> str:
    """The end of a command's stderr."""
    return (folder / "stderr").read_text(encoding="utf-8", errors="replace").strip()[-600:]


def written(folder: Path) -> dict[str, str]:
    """A snapshot of what a command has written in its folder."""
    work = folder / commands.WORK
    found = {f"{name}/{file}": value for name in COMPARED for file, value in snapshot(work / name).items()}
    return found | {"stdout": hash_of(folder / "stdout")}


@contextlib.contextmanager
def own_folder() -> Iterator[Path]:
    """An empty folder for one command, removed at the end."""
    folder = Path(tempfile.mkdtemp(prefix="trial-")).resolve()
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


class Given(enum.StrEnum):
    """The files that exist before a command begins."""

    NOTHING = "nothing"
    FEATURES = "features"
    """All extracted features."""
    MOST_RUNS = "most runs"
    """The features and all finished runs but two, which leaves work for exactly two processes."""


def reference(words: Sequence[str], control: Control, given: Given, place: Path) -> dict[str, Any]:
    """What a command writes without a failure, its time as a fresh process, and its number of file events.

    Args:
        words: the command.
        control: control of the preloaded library.
        given: the files that exist before it begins.
        place: folder to keep these files in; it is not created if there are none.

    Raises:
        AssertionError: the command fails, or writes something else when it is forked or begins with the given files.
    """
    with own_folder() as folder:
        seconds, expected = _undisturbed(words, folder, warm=False)
        if given is not Given.NOTHING:
            shutil.copytree(folder / commands.WORK / "cache", place / "cache")
        if given is Given.MOST_RUNS:
            shutil.copytree(folder / commands.WORK / "out", place / "out")
            for run in sorted((place / "out" / "runs").iterdir())[:2]:
                shutil.rmtree(run)
    if given is not Given.NOTHING:
        with own_folder() as folder:
            shutil.copytree(place, folder / commands.WORK, dirs_exist_ok=True)
            seconds, found = _undisturbed(words, folder, warm=False)
            _same(words, found, expected)
    with own_folder() as folder:
        if given is not Given.NOTHING:
            shutil.copytree(place, folder / commands.WORK, dirs_exist_ok=True)
        control.arm(folder / commands.WORK)
        _, found = _undisturbed(words, folder, warm=True)
        _same(words, found, expected)
    return {
        "expected": expected,
        "seconds": seconds,
        "events": control.count,
        "given": "" if given is Given.NOTHING else str(place),
    }


def _undisturbed(words: Sequence[str], folder: Path, *, warm: bool) -> tuple[float, dict[str, str]]:
    """Seconds that a command takes, and what it writes."""
    began = time.monotonic()
    ending, _ = _end(commands.start(words, folder, warm=warm))
    assert ending == 0, f"{' '.join(words)}: {ending}: {_said(folder)}"
    return time.monotonic() - began, written(folder)


def _same(words: Sequence[str], found: dict[str, str], expected: dict[str, str]) -> None:
    faults = difference(found, expected)
    assert not faults, f"{' '.join(words)}, again: {faults}"


def serve(lines: Iterable[str], control: Control) -> None:
    """Answers each line of JSON with one: the outcome of a trial, or a reference if there is no trial in it."""
    for line in lines:
        asked = json.loads(line)
        if "trial" not in asked:
            answer = reference(asked["words"], control, Given(asked["given"]), Path(asked["place"]))
        else:
            fields = asked["trial"]
            trial = Trial(**fields | {"words": tuple(fields["words"]), "action": Action(fields["action"])})
            with own_folder() as folder:
                answer = asdict(perform(trial, asked["expected"], control, folder))
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    commands.adopt_orphans()
    commands.preload()
    serve(sys.stdin, Control(Path(sys.argv[1])))
