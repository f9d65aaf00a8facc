"""Commands killed at random moments and at every file event, run again, and what they wrote compared byte by byte."""

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
"""Of the kills at random moments."""

ACTIONS = (Action.KILL_GROUP, Action.TEAR, Action.KILL_SELF)
"""What happens at file events, in turn."""


@dataclass
class Tally:
    """What came of the trials of one command.

    Attributes:
        moments: kills at random moments.
        events: strikes at file events.
        file_events: how many file events the undisturbed command has.
        longest: seconds by which a process outlived the killed one at most.
        faults: the trials after which something was not as it should be.
    """

    moments: int = 0
    events: int = 0
    file_events: int = 0
    longest: float = 0.0
    faults: list[Outcome] = field(default_factory=list)

    def add(self, outcome: Outcome) -> None:
        """Count one."""
        self.longest = max(self.longest, outcome.outlived)
        if outcome.faults:
            self.faults.append(outcome)


Item = TypeVar("Item")


def can_mount() -> bool:
    """Whether file systems can be mounted here where nobody else sees them, which needs root."""
    if os.geteuid() or not shutil.which("unshare"):
        return False
    return not subprocess.run([*_NAMESPACE, "true"], capture_output=True, check=False).returncode


_NAMESPACE = ("unshare", "--mount")


class Runner:
    """A process that does trials one after another, with the library preloaded."""

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
            AssertionError: the process has died; it has said why on stderr.
        """
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        print(json.dumps(question), file=self._process.stdin, flush=True)
        line = self._process.stdout.readline()
        assert line, "a process that does trials has died"
        answer: dict[str, Any] = json.loads(line)
        return answer

    def stop(self) -> None:
        """Ends the process."""
        self._process.kill()
        self._process.wait()


class Bench:
    """Commands to be struck on a small corpus, and processes that do it.

    Args:
        folder: holds everything.
        jobs: processes.
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

    def refer(self, names: Sequence[str]) -> None:
        """Runs commands undisturbed."""

        def question(name: str) -> dict[str, Any]:
            given = self._given.get(name, Given.NOTHING)
            return {"words": self.words[name], "given": given, "place": str(self._folder / f"given-{name}")}

        for name, answer in self._each(names, question):
            self.references[name] = answer

    def trial(self, name: str, **fields: Any) -> Trial:  # noqa: ANN401 - they are the trial's own
        """A trial of one of the commands."""
        return Trial(name, self.words[name], given=str(self.references[name]["given"]), **fields)

    def perform(self, trials: Sequence[Trial]) -> Iterator[tuple[Trial, Outcome]]:
        """Does trials in any order."""
        for trial, answer in self._each(
            trials, lambda trial: {"trial": asdict(trial), "expected": self.references[trial.name]["expected"]}
        ):
            yield trial, Outcome(**answer | {"faults": tuple(answer["faults"])})

    def _each(
        self, items: Sequence[Item], question: Callable[[Item], dict[str, Any]]
    ) -> Iterator[tuple[Item, dict[str, Any]]]:
        """Answers as they come, from all processes at once."""
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
                except BaseException as error:  # noqa: BLE001 - raised again by the reader
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
def bench(jobs: int) -> Iterator[Bench]:
    """A bench in its own folder.

    Raises:
        CannotCompileError: there is no C compiler here.
    """
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="torture-"))).resolve()
        made = Bench(folder, jobs)
        stack.callback(made.stop)
        yield made


def kill(
    made: Bench,
    *,
    moments: int,
    events: int | None,
    seed: int = 0,
    names: Sequence[str] = tuple(SHARES),
    on_progress: Callable[[int, int], None] | None = None,
) -> dict[str, Tally]:
    """Kills commands and runs them again.

    Args:
        made: where.
        moments: kills at random moments, of all commands together.
        events: file events at which each command is struck, chosen at random; None for every one.
        seed: decides what is random.
        names: which commands.
        on_progress: called with trials done and trials in all.
    """
    random = Random(f"{seed}/kills")
    made.refer([name for name in names if name not in made.references])
    tallies = {name: Tally(file_events=int(made.references[name]["events"])) for name in names}
    trials = [*_at_moments(made, moments, names, random), *_at_events(made, events, names, random)]
    for done, (trial, outcome) in enumerate(made.perform(trials), start=1):
        tally = tallies[trial.name]
        tally.add(outcome)
        tally.moments += trial.moment is not None
        tally.events += trial.moment is None
        if on_progress is not None:
            on_progress(done, len(trials))
    return tallies


def _at_moments(made: Bench, count: int, names: Sequence[str], random: Random) -> Iterator[Trial]:
    total = sum(SHARES[name] for name in names)
    chosen = [name for name in names for _ in range(round(count * SHARES[name] / total))]
    for number, name in enumerate(chosen[:count]):
        moment = random.uniform(0, float(made.references[name]["seconds"]))
        yield made.trial(name, moment=moment, whole=number % 2 == 0)


def _at_events(made: Bench, count: int | None, names: Sequence[str], random: Random) -> Iterator[Trial]:
    for name in names:
        number = int(made.references[name]["events"])
        places = range(1, number + 1)
        for at in places if count is None else sorted(random.sample(places, min(count, number))):
            # Every fourth run that goes on after the strike is struck too.
            again = random.randint(1, number) if at % 4 == 0 else 0
            yield made.trial(name, action=ACTIONS[at % len(ACTIONS)], at=at, again=again)
