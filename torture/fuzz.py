"""Reads many damaged inputs in worker processes and counts how they end."""

import multiprocessing
import tempfile
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from multiprocessing.connection import wait
from pathlib import Path
from typing import Any

from torture.reading import INPUT, OUTPUT, Found, Slice, serve

SECONDS_WITHOUT_NEWS = 60
"""Time without progress after which a reader counts as hung, even on a busy machine."""

_SECONDS_TO_PREPARE = 300
_SLICE = 1000
_KEPT = 3
_SAID = 3000
_NONE = -1


@dataclass
class Tally:
    """How the inputs of one reader ended.

    Attributes:
        successes: number of inputs read without an error.
        sentences: number of inputs refused in one sentence.
        others: number of all other inputs, by how they ended.
        seconds: processing time, without preparing the reader.
        examples: a few inputs of each kind in ``others``.
    """

    successes: int = 0
    sentences: int = 0
    others: Counter[str] = field(default_factory=Counter)
    seconds: float = 0.0
    examples: list[Found] = field(default_factory=list)

    @property
    def inputs(self) -> int:
        """Number of inputs."""
        return self.successes + self.sentences + self.others.total()

    def add(self, found: Found) -> None:
        """Counts an input that ended in neither success nor one sentence."""
        self.others[found.kind] += 1
        if self.others[found.kind] <= _KEPT:
            self.examples.append(found)


def try_inputs(
    readers: Iterable[str],
    count: int,
    *,
    seed: int = 0,
    jobs: int = 2,
    by_coverage: bool = False,
    on_progress: Callable[[int], None] | None = None,
) -> dict[str, Tally]:
    """Reads damaged inputs with each reader.

    Args:
        readers: keys of :data:`torture.readers.READERS`.
        count: number of inputs for each reader.
        seed: seed of the inputs; unless guided by coverage, they do not depend on ``jobs``.
        jobs: number of processes.
        by_coverage: let atheris choose which inputs to damage further, by the branches they take in convrnn.
        on_progress: called with the number of inputs done.
    """
    tallies = {name: Tally() for name in readers}
    waiting = deque(
        Slice(name, first, min(first + _SLICE, count)) for name in tallies for first in range(0, count, _SLICE)
    )
    workers: list[_Worker] = []
    done = 0
    with tempfile.TemporaryDirectory(prefix="torture-") as folder:
        try:
            workers = [_Worker(Path(folder), seed, by_coverage) for _ in range(max(1, min(jobs, len(waiting))))]
            busy = [worker for worker in workers if waiting and worker.give(waiting.popleft())]
            while busy:
                ready = wait([worker.connection for worker in busy], timeout=1)
                for worker in list(busy):
                    rest = worker.listen(tallies[worker.slice.reader], worker.connection in ready)
                    if rest is None:
                        continue
                    done += worker.slice.end - worker.slice.first
                    if on_progress is not None:
                        on_progress(done)
                    if rest.first < rest.end:
                        done -= rest.end - rest.first
                        waiting.appendleft(rest)
                    if not (waiting and worker.give(waiting.popleft())):
                        busy.remove(worker)
        finally:
            for worker in workers:
                worker.stop()
    return tallies


class _Worker:
    """A process that reads slices of inputs and is restarted when an input kills it."""

    def __init__(self, folder: Path, seed: int, by_coverage: bool) -> None:
        self._folder = folder
        self._seed = seed
        self._by_coverage = by_coverage
        self.slice = Slice("", 0, 0)
        self._start()

    def _start(self) -> None:
        spawn = multiprocessing.get_context("spawn")
        self.connection, theirs = spawn.Pipe()
        # The current input, successes, sentences: in shared memory, as the process may die.
        self._known: Any = spawn.Array("q", 3)
        self._own = Path(tempfile.mkdtemp(dir=self._folder))
        arguments = (theirs, self._known, self._own, self._seed, self._by_coverage)
        self._process = spawn.Process(target=serve, args=arguments, daemon=True)
        self._process.start()
        theirs.close()
        self._news = (_NONE, time.monotonic())

    def give(self, task: Slice) -> bool:
        # Coverage is collected for one reader per process.
        if self._by_coverage and self.slice.reader not in ("", task.reader):
            self.stop()
            self._start()
        self.slice = task
        self._known[:] = [_NONE, 0, 0]
        self._news = (_NONE, time.monotonic())
        self.connection.send(task)
        return True

    def listen(self, tally: Tally, ready: bool) -> Slice | None:
        """The rest of the slice once it is done or the process has died; None while it is being read."""
        index = int(self._known[0])
        if self._news[0] != index:
            self._news = (index, time.monotonic())
        if not ready:
            patience = _SECONDS_TO_PREPARE if index == _NONE else SECONDS_WITHOUT_NEWS
            if time.monotonic() - self._news[1] < patience:
                return None
            self._process.kill()
            return self._lost(tally, f"no end after {SECONDS_WITHOUT_NEWS} s")
        try:
            message = self.connection.recv()
        except (EOFError, ConnectionResetError):
            self._process.join()
            return self._lost(tally, f"the process ended with code {self._process.exitcode}")
        if isinstance(message, str):
            raise RuntimeError(f"valid input for {self.slice.reader!r} cannot be made:\n{message}")
        if isinstance(message, Found):
            tally.add(message)
            return None
        self._count(tally)
        tally.seconds += message
        return Slice(self.slice.reader, self.slice.end, self.slice.end)

    def _lost(self, tally: Tally, how: str) -> Slice:
        index = int(self._known[0])
        if index == _NONE:
            raise RuntimeError(f"valid input for {self.slice.reader!r} cannot be made: {how}")
        self._count(tally)
        said = (self._own / OUTPUT).read_text(encoding="utf-8", errors="replace")
        details = f"{how}\n{said[-_SAID:]}"
        tally.add(Found(self.slice.reader, index, how, details, (self._own / INPUT).read_bytes()))
        self.stop()
        self._start()
        return Slice(self.slice.reader, index + 1, self.slice.end)

    def _count(self, tally: Tally) -> None:
        tally.successes += int(self._known[1])
        tally.sentences += int(self._known[2])

    def stop(self) -> None:
        self.connection.close()
        self._process.kill()
        self._process.join()
