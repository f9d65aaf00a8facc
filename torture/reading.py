"""The process that reads damaged inputs, with limits on memory and time, and reports how each of them ends."""

import contextlib
import os
import resource
import signal
import time
import traceback
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from random import Random
from types import FrameType
from typing import Any

from torture import guided
from torture.readers import READERS
from torture.target import Target

MEMORY = 2**30
"""Bytes that reading one input may allocate."""

SECONDS = 5
"""Processor time that reading one input may take."""

LONGEST_SENTENCE = 300

INPUT = "input"
"""Name of the file that holds the input that a process reads."""

OUTPUT = "output"
"""Name of the file that holds a process's output, including that of C libraries."""


@dataclass(frozen=True, slots=True)
class Found:
    """An input that ended neither in success nor in one sentence.

    Attributes:
        reader: name of its reader.
        index: its number, which with the seed reproduces the input unless it was guided by coverage.
        kind: how it ended, in a few words.
        details: a traceback, or what else is known.
        data: the input.
    """

    reader: str
    index: int
    kind: str
    details: str
    data: bytes


@dataclass(frozen=True, slots=True)
class Slice:
    """A range of inputs for one process to read.

    Attributes:
        reader: name of the reader.
        first: number of the first input.
        end: number of the last input, plus one.
    """

    reader: str
    first: int
    end: int


class _OutOfTimeError(BaseException):
    """Raised by the timer; no handler of Exception catches it."""


def serve(
    connection: Connection,
    known: Any,  # noqa: ANN401 - an array, shared
    own: Path,
    seed: int,
    by_coverage: bool,
) -> None:
    """The main function of a worker process."""
    output = os.open(own / OUTPUT, os.O_WRONLY | os.O_CREAT)
    os.dup2(output, 1)
    os.dup2(output, 2)
    os.environ["CONVRNN_CACHE"] = str(own / "cache")
    signal.signal(signal.SIGPROF, _out_of_time)
    # A warning on the user's terminal is not one sentence either.
    warnings.simplefilter("error", RuntimeWarning)
    with contextlib.suppress(EOFError):
        (_by_coverage if by_coverage else _by_seed)(_Reading(connection, known, own), seed)


class _Reading:
    """Reads inputs from any source and reports to the parent how each ends."""

    def __init__(self, connection: Connection, known: Any, own: Path) -> None:  # noqa: ANN401 - an array, shared
        self.own = own
        self._connection = connection
        self._known = known
        self._began = 0.0

    def turns(self) -> Iterator[tuple[str, int]]:
        """Reader and number of each requested input.

        Raises:
            EOFError: the parent has closed the connection.
        """
        while True:
            task: Slice = self._connection.recv()
            self._began = time.perf_counter()
            for index in range(task.first, task.end):
                yield task.reader, index
            self._connection.send(time.perf_counter() - self._began)

    def prepare(self, reader: str) -> Target:
        """The reader, after it has read its valid inputs, so that everything it needs is loaded."""
        from convrnn.errors import InputError

        place = self.own / reader.replace(" ", "-")
        place.mkdir()
        try:
            target = READERS[reader](place)
            for valid in target.seeds:
                with contextlib.suppress(InputError):
                    target.read(valid)
        except Exception:
            # The parent raises it.
            self._connection.send(traceback.format_exc())
            raise
        self._began = time.perf_counter()
        return target

    def attempt(self, target: Target, reader: str, index: int, data: bytes) -> None:
        """Reads one input."""
        (self.own / INPUT).write_bytes(data)
        self._known[0] = index
        kind, details = judge(target.read, data)
        if kind in ("success", "sentence"):
            self._known[1 + (kind == "sentence")] += 1
        else:
            self._connection.send(Found(reader, index, kind, details, data))


def _by_seed(reading: _Reading, seed: int) -> None:
    """Reads inputs made by damaging a valid one; the seed and the input's number decide the damage."""
    targets: dict[str, Target] = {}
    for reader, index in reading.turns():
        target = targets.get(reader) or targets.setdefault(reader, reading.prepare(reader))
        random = Random(f"{seed}/{reader}/{index}")
        reading.attempt(target, reader, index, target.damage(random.choice(target.seeds), random))


def _by_coverage(reading: _Reading, seed: int) -> None:
    """Reads one reader's inputs as atheris makes them; does not return."""
    turns = reading.turns()
    turn = next(turns)
    reader, first = turn
    with guided.instrumented():
        target = reading.prepare(reader)

    def attempt(data: bytes) -> None:
        nonlocal turn
        reading.attempt(target, *turn, data)
        try:
            turn = next(turns)
        except (EOFError, ConnectionError):
            os._exit(0)

    kept = reading.own.parent / f"kept-{reader.replace(' ', '-')}"
    guided.drive(target, attempt, kept, f"{seed}/{reader}/{first}")


def _out_of_time(_: int, __: FrameType | None) -> None:
    raise _OutOfTimeError


def judge(read: Callable[[bytes], object], data: bytes) -> tuple[str, str]:
    """How reading ends (``"success"``, ``"sentence"`` or anything else in a few words), and details.

    Args:
        read: reads one input.
        data: the input.
    """
    from convrnn.errors import InputError

    _limit_memory(_memory() + MEMORY)
    try:
        signal.setitimer(signal.ITIMER_PROF, SECONDS)
        try:
            read(data)
        finally:
            signal.setitimer(signal.ITIMER_PROF, 0)
            # Reporting what happened takes memory too.
            _limit_memory(resource.RLIM_INFINITY)
    except InputError as error:
        fault = fault_of(str(error))
        return (f"InputError: {fault}", str(error)) if fault else ("sentence", str(error))
    except _OutOfTimeError:
        return f"more than {SECONDS} s", _short(traceback.format_exc())
    except BaseException as error:  # noqa: BLE001 - everything unexpected counts
        return f"{type(error).__name__}{_place(error)}", _short(traceback.format_exc())
    return "success", ""


def fault_of(message: str) -> str:
    r"""Why a message is not one sentence; "" if it is.

    Example:
        >>> fault_of("a.csv: is empty"), fault_of("a\nb"), fault_of("see https://example.org")
        ('', 'several lines', 'an address')
    """
    if not message.strip():
        return "nothing said"
    if len(message.splitlines()) > 1:
        return "several lines"
    if len(message) > LONGEST_SENTENCE:
        return f"more than {LONGEST_SENTENCE} characters"
    return "an address" if "http://" in message or "https://" in message else ""


def _place(error: BaseException) -> str:
    """The innermost function of convrnn in the traceback."""
    frames: Sequence[traceback.FrameSummary] = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if "/convrnn/" in frame.filename]
    if not own:
        return ""
    return f" in {own[-1].filename.rpartition('/convrnn/')[2]}, {own[-1].name}"


def _short(text: str) -> str:
    """The text; if it is very long, its beginning and its end."""
    return text if len(text) <= 6000 else f"{text[:3000]}\n…\n{text[-3000:]}"


def _memory() -> int:
    """Bytes of data and stack of this process."""
    with open("/proc/self/statm", encoding="ascii") as file:  # noqa: PTH123 - thousands of times, as fast as can be
        return int(file.read().split()[5]) * resource.getpagesize()


def _limit_memory(bytes_: int) -> None:
    # The address space is not limited, as allocators reserve gigabytes of it that they never use.
    _, most = resource.getrlimit(resource.RLIMIT_DATA)
    resource.setrlimit(resource.RLIMIT_DATA, (bytes_, most))
