"""One trial: a command is struck, run again to its end, and what it wrote compared. As a program, trials from stdin."""

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
"""Workers end within 2 s of their killed parent; the machine is busy."""

SECONDS_AT_MOST = 300.0
"""For one command."""

COMPARED = ("out", "cache")
"""Folders of a trial whose content counts, in addition to its stdout."""

MOUNTED = f"{commands.WORK}/out"
"""The folder of a trial that may be a separate file system."""

WRITING_REFUSED = (Action.REFUSE_ONCE, Action.REFUSE_FROM)


@dataclass(frozen=True, slots=True)
class Trial:
    """What is to be done to a command.

    Attributes:
        name: the command's, for the reader.
        words: the command and its arguments.
        moment: seconds after its start at which it is killed; None to strike at an event.
        whole: kill all its processes at that moment, not the first one only.
        action: what happens at the event.
        at: the event, from 1.
        again: the event at which the next run is struck likewise; 0 for none.
        error: errno of a refusal.
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
    """What a trial came to.

    Attributes:
        trial: in words.
        struck: the event, or the moment, at which it happened; "" if the command had ended before.
        faults: all that is not as it should be.
        outlived: seconds by which the last process outlived the killed one.
    """

    trial: str
    struck: str
    faults: tuple[str, ...]
    outlived: float


def perform(trial: Trial, expected: dict[str, str], control: Control, folder: Path) -> Outcome:
    """Does one trial.

    Args:
        trial: what.
        expected: a snapshot of what the command writes undisturbed.
        control: of this process's library; strikes the forked commands.
        folder: an empty one, left with what the command wrote.
    """
    if trial.given:
        shutil.copytree(trial.given, folder / commands.WORK, dirs_exist_ok=True)
    with _mounted(folder, trial.mount):
        struck, faults, longest = _strike(trial, control, folder)
        if longest > SECONDS_TO_OUTLIVE:
            faults.append(f"a process outlived the killed one by {longest:.1f} s")
        control.disarm()
        if trial.mount:
            _mount(folder, "remount,rw,size=100m")
        ending, _ = _end(commands.start(trial.words, folder, warm=True))
        if ending:
            faults.append(f"the next run: {ending}: {_said(folder)}")
        faults += difference(written(folder), expected)
    return Outcome(str(trial), "; ".join(struck), tuple(faults), longest)


def _strike(trial: Trial, control: Control, folder: Path) -> tuple[list[str], list[str], float]:
    """What was struck, what was not as it should be, and how long a process outlived the first at most."""
    struck: list[str] = []
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
            faults += _faults_of_struck(trial, ending, running.output)
            longest = max(longest, outlived)
        struck.append(control.struck or "nothing struck" if at else str(trial).partition(", ")[2])
    return struck, faults, longest


@contextlib.contextmanager
def _mounted(folder: Path, options: str) -> Iterator[None]:
    """A file system in memory where the command writes, for a while; it needs root and a mount namespace."""
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
    """How a command ends, an exit code or words, and by how much its other processes outlive it."""
    try:
        code: str | int = running.wait(SECONDS_AT_MOST)
    except TimeoutError as error:
        code = str(error)
    return code, running.outlived(10)


def _faults_of_struck(trial: Trial, ending: str | int, folder: Path) -> list[str]:
    """What is wrong with the end of a command that was struck: it was killed, says a sentence, or was done before."""
    if isinstance(ending, str) or ending not in (0, 2, -9):
        return [f"the struck run ended with {ending}: {_said(folder)}"]
    if ending == 2 and (fault := fault_said(folder)):
        return [f"the struck run: {fault}: {_said(folder)}"]
    if ending == 0 and trial.action in WRITING_REFUSED and "Traceback" in _said(folder):
        return [f"the struck run: a traceback: {_said(folder)}"]
    return []


def fault_said(folder: Path) -> str:
    """Why what a command said of its failure is not one sentence, "" if it is."""
    text = (folder / "stderr").read_text(encoding="utf-8", errors="replace")
    if "Traceback" in text:
        return "a traceback"
    errors = [line for line in text.splitlines() if line.startswith("convrnn: error: ")]
    return fault_of(errors[0]) if len(errors) == 1 else f"{len(errors)} sentences"


def _said(folder: Path) -> str:
    """The end of what a command said on stderr."""
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
    """All that is extracted from audio."""
    MOST_RUNS = "most runs"
    """That, and all finished runs but two; so there is work for two processes, and no more than that."""


def reference(words: Sequence[str], control: Control, given: Given, place: Path) -> dict[str, Any]:
    """What a command writes undisturbed, how long it takes as a fresh process, and how many file events it has.

    Args:
        words: the command.
        control: of this process's library.
        given: the files that exist before.
        place: the folder to keep that in; made unless it is nothing.

    Raises:
        AssertionError: it fails, or does not write the same when it is forked, or begins with what is given.
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
    """How long a command takes, and what it writes."""
    began = time.monotonic()
    ending, _ = _end(commands.start(words, folder, warm=warm))
    assert ending == 0, f"{' '.join(words)}: {ending}: {_said(folder)}"
    return time.monotonic() - began, written(folder)


def _same(words: Sequence[str], found: dict[str, str], expected: dict[str, str]) -> None:
    faults = difference(found, expected)
    assert not faults, f"{' '.join(words)}, again: {faults}"


def serve(lines: Iterable[str], control: Control) -> None:
    """Answers each line of JSON with one: a reference for words alone, else the outcome of a trial."""
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
