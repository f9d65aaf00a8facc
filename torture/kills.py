"""Kills commands at random moments and at file events, runs them again and compares what they wrote byte by byte."""

import json
import os
import queue
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from random import Random
from typing import Any, TypeVar

from torture import material
from torture.commands import EXTRACT, python_path
from torture.events import Action, Control, compile_events
from torture.trials import Given, Outcome, Trial

SHARES = {"compare": 0.25, "reproduce": 0.15, "train": 0.2, "predict": 0.2, EXTRACT: 0.2}
"""Each command's share of the kills at random moments."""

ACTIONS = (Action.KILL_GROUP, Action.TEAR, Action.KILL_SELF)
"""Failures at file events, used in turn."""


@dataclass
class Tally:
    """The results of one command's trials.

    Attributes:
        moments: number of kills at random moments.
        events: number of kills at file events.
        file_events: number of file events of the command when it is not killed.
        longest: the longest time in seconds by which a process outlived the killed one.
        faults: the trials after which something was wrong.
    """

    moments: int = 0
    events: int = 0
    file_events: int = 0
    longest: float = 0.0
    faults: list[Outcome] = field(default_factory=list)

    def add(self, outcome: Outcome) -> None:
        """Counts one trial."""
        self.longest = max(self.longest, outcome.outlived)
        if outcome.faults:
            self.faults.append(outcome)


Item = TypeVar("Item")


def can_mount() -> bool:
    """Whether file systems can be mounted here in a namespace of our own, which needs root."""
    if os.geteuid() or not shutil.which("unshare"):
        return False
    return not subprocess.run([*_NAMESPACE, "true"], capture_output=True, check=False).returncode


_NAMESPACE = ("unshare", "--mount")


class Runner:
    """A process that runs trials one after another, with the library preloaded."""

    def __init__(self, folder: Path, library: Path, number: int) -> None:
        control = Control(folder / f"control-{number}")
        environment = {"PYTHONPATH": python_path(), "OMP_NUM_THREADS": "1", "TMPDIR": str(folder)}
        self._process = subprocess.Popen(
            [*(_NAMESPACE if can_mount() else ()), sys.executable, "-m", "torture.trials", str(control.path)],
            env=os.environ | control.environment(library) | environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def ask(self, question: dict[str, Any]) -> dict[str, Any]:
        """The answer to one question of :func:`torture.trials.serve`.

        Raises:
            AssertionError: the process has died; the reason is on stderr.
        """
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        print(json.dumps(question), file=self._process.stdin, flush=True)
        line = self._process.stdout.readline()
        assert line, "a process that runs trials has died"
        answer: dict[str, Any] = json.loads(line)
        return answer

    def stop(self) -> None:
        """Ends the process."""
        with self._process:  # closes its pipes and waits for it
            self._process.kill()


class Harness:
    """Commands on a small corpus, and processes that run trials of them.

    Args:
        folder: folder for everything.
        jobs: number of processes.
    """

    def __init__(self, folder: Path, jobs: int) -> None:
        self._folder = folder
        library = compile_events(folder)
        self._runners = [Runner(folder, library, number) for number in range(jobs)]
        table = material.write_corpus(folder / "corpus", each=1)
        bundle = material.write_bundle(folder)
        sounds = [str(path) for path in sorted(table.parent.glob("*.wav"))]
        on_corpus = (f"csv:{table}", "--task", material.TASK)
        tiny = ("--seeds", "1", "--jobs", "2", "--out", "out", "--max-epochs")
        self.words: dict[str, tuple[str, ...]] = {
            "compare": ("compare", *on_corpus, "--models", "baseline,conv", *tiny, "2"),
            "reproduce": ("reproduce", "table1", "--corpus", *on_corpus, *tiny, "1"),
            "train": ("train", *on_corpus, "--model", "conv", "--max-epochs", "2", "--out", "out"),
            "predict": ("predict", str(bundle), *sounds[:6]),
            EXTRACT: (EXTRACT, str(table), "2"),
        }
        self._given = {"compare": Given.FEATURES, "reproduce": Given.MOST_RUNS}
        self.references: dict[str, dict[str, Any]] = {}

    def record_references(self, names: Sequence[str]) -> None:
        """Runs commands without a failure and keeps what they write, for comparison."""

        def question(name: str) -> dict[str, Any]:
            given = self._given.get(name, Given.NOTHING)
            return {"words": self.words[name], "given": given, "place": str(self._folder / f"given-{name}")}

        for name, answer in self._each(names, question):
            self.references[name] = answer

    def trial(self, name: str, **fields: Any) -> Trial:  # noqa: ANN401 - they are the trial's own
        """A trial of one of the commands."""
        return Trial(name, self.words[name], given=str(self.references[name]["given"]), **fields)

    def perform(self, trials: Sequence[Trial]) -> Iterator[tuple[Trial, Outcome]]:
        """Runs trials; yields them with their outcomes in the order in which they finish."""
        for trial, answer in self._each(
            trials, lambda trial: {"trial": asdict(trial), "expected": self.references[trial.name]["expected"]}
        ):
            yield trial, Outcome(**answer | {"faults": tuple(answer["faults"])})

    def _each(
        self, items: Sequence[Item], question: Callable[[Item], dict[str, Any]]
    ) -> Iterator[tuple[Item, dict[str, Any]]]:
        """The items with their answers, from all processes, in the order in which they arrive."""
        waiting: queue.SimpleQueue[Item] = queue.SimpleQueue()
        answers: queue.SimpleQueue[tuple[Item, dict[str, Any] | BaseException]] = queue.SimpleQueue()
        for item in items:
            waiting.put(item)

        def work(runner: Runner) -> None:
            while True:
                try:
                    item = waiting.get_nowait()
                except queue.Empty:
                    return
                try:
                    answers.put((item, runner.ask(question(item))))
                except BaseException as error:  # noqa: BLE001 - raised again below
                    answers.put((item, error))
                    return

        for runner in self._runners:
            threading.Thread(target=work, args=(runner,), daemon=True).start()
        for _ in items:
            item, answer = answers.get()
            if isinstance(answer, BaseException):
                raise answer
            yield item, answer

    def stop(self) -> None:
        """Ends the processes."""
        for runner in self._runners:
            runner.stop()


@contextmanager
def prepare(jobs: int) -> Iterator[Harness]:
    """A harness in a temporary folder.

    Raises:
        CannotCompileError: there is no C compiler here.
    """
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="torture-"))).resolve()
        harness = Harness(folder, jobs)
        stack.callback(harness.stop)
        yield harness


def try_kills(
    harness: Harness,
    *,
    moments: int,
    events: int | None,
    seed: int = 0,
    names: Sequence[str] = tuple(SHARES),
    on_progress: Callable[[int, int], None] | None = None,
) -> dict[str, Tally]:
    """Kills commands and runs them again.

    Args:
        harness: the harness to run them in.
        moments: number of kills at random moments, for all commands together.
        events: number of file events at which each command is killed, chosen at random; None for every one.
        seed: seed of the random choices.
        names: names of the commands.
        on_progress: called with the number of trials done and their total number.
    """
    random = Random(f"{seed}/kills")
    harness.record_references([name for name in names if name not in harness.references])
    tallies = {name: Tally(file_events=int(harness.references[name]["events"])) for name in names}
    trials = [*_at_moments(harness, moments, names, random), *_at_events(harness, events, names, random)]
    for done, (trial, outcome) in enumerate(harness.perform(trials), start=1):
        tally = tallies[trial.name]
        tally.add(outcome)
        tally.moments += trial.moment is not None
        tally.events += trial.moment is None
        if on_progress is not None:
            on_progress(done, len(trials))
    return tallies


def _at_moments(harness: Harness, count: int, names: Sequence[str], random: Random) -> Iterator[Trial]:
    total = sum(SHARES[name] for name in names)
    chosen = [name for name in names for _ in range(round(count * SHARES[name] / total))]
    for number, name in enumerate(chosen[:count]):
        moment = random.uniform(0, float(harness.references[name]["seconds"]))
        yield harness.trial(name, moment=moment, whole=number % 2 == 0)


def _at_events(harness: Harness, count: int | None, names: Sequence[str], random: Random) -> Iterator[Trial]:
    for name in names:
        number = int(harness.references[name]["events"])
        places = range(1, number + 1)
        for at in places if count is None else sorted(random.sample(places, min(count, number))):
            # After every fourth event, the next run is killed too.
            again = random.randint(1, number) if at % 4 == 0 else 0
            yield harness.trial(name, action=ACTIONS[at % len(ACTIONS)], at=at, again=again)
