"""Runs independent work in new processes that report progress and end with their parent."""

import contextlib
import os
import signal
import subprocess
import sys
import traceback
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from multiprocessing.connection import Pipe, wait
from pathlib import Path
from typing import Any, Generic, Literal, TypeVar

from convrnn.errors import InputError

if sys.platform == "win32":
    from multiprocessing.connection import PipeConnection as Connection
else:
    from multiprocessing.connection import Connection

Context = TypeVar("Context")
Item = TypeVar("Item")
Result = TypeVar("Result")

MOST_JOBS = 256
"""Largest number of processes."""

_PROGRAM = Path(__file__).with_name("worker.py")

SECONDS_TO_END = 5.0
"""Time for a worker to exit after it has closed its pipe, before its exit code is read."""


@dataclass(frozen=True, slots=True)
class Event:
    """An item was started, reported something, or is done.

    Attributes:
        kind: ``"started"``, ``"report"`` or ``"done"``.
        index: the item's position in the list given to :func:`run_in_processes`.
        value: what the work function reported or returned. For ``"started"``, the name of the node that works on the
            item, or None for a process of this machine.
    """

    kind: Literal["started", "report", "done"]
    index: int
    value: Any = None


@dataclass(frozen=True, slots=True)
class Failure:
    """An exception of a worker as text, since not every exception can be pickled.

    Attributes:
        message: one line: the exception's text, with its type in front unless it is an ``InputError``.
        details: the worker's traceback, or "" when the process died without one.
        is_input_error: whether the work function raised :class:`~convrnn.errors.InputError`.
    """

    message: str
    details: str
    is_input_error: bool


class WorkFailedError(Exception):
    """One item failed; the other workers have been stopped.

    Attributes:
        index: the item's position.
        message: as in :class:`Failure`, and so are the others.
        details: likewise.
        is_input_error: likewise.
    """

    def __init__(self, index: int, failure: Failure) -> None:
        super().__init__(failure.message)
        self.index = index
        self.message = failure.message
        self.details = failure.details
        self.is_input_error = failure.is_input_error
        if failure.details and not failure.is_input_error:
            # Uncaught, it should show the worker's traceback.
            self.add_note(failure.details)


class _Worker(Generic[Context, Item]):
    """A process and the parent's end of its pipe."""

    def __init__(self, work: Callable[..., object], context: Context) -> None:
        self.connection, theirs = Pipe()
        self.index = -1
        try:
            self.process = _start(theirs.fileno())
        finally:
            # While the parent holds the worker's end open, the pipe never signals that the worker has exited.
            theirs.close()
        try:
            self._send(sys.path)
            self._send((work, context))
        except BaseException:
            self.stop()
            raise

    def give(self, index: int, item: Item) -> None:
        self.index = index
        self._send(item)

    def _send(self, value: object) -> None:
        # If the worker has exited, receive() finds out and reads its exit code.
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            self.connection.send(value)

    def receive(self) -> Event | Failure:
        try:
            message: Event | Failure = self.connection.recv()
        except (EOFError, ConnectionResetError):
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(SECONDS_TO_END)
            code = self.process.returncode
            killed = sys.platform != "win32" and code == -signal.SIGKILL
            why = "was killed, perhaps for lack of memory" if killed else f"ended with code {code}"
            return Failure(f"its worker process {why}", "", is_input_error=False)
        return message

    def stop(self) -> None:
        # Killed rather than asked to stop, which could take a training step or more; work has to survive a kill anyway.
        self.process.kill()
        self.process.wait()
        self.connection.close()


def _start(pipe: int) -> "subprocess.Popen[bytes]":
    """Starts a worker process that has this end of a pipe, and that Ctrl-C does not reach.

    Ctrl-C on a terminal is for every process of the command, and one that is still starting would print a traceback.
    """
    # -P: until it has the search path, files beside the program must not shadow Python's own modules.
    flags = [*subprocess._args_from_interpreter_flags(), "-P"]  # type: ignore[attr-defined]
    command = [sys.executable, *flags, str(_PROGRAM), str(os.getpid()), str(pipe)]
    if sys.platform == "win32":
        os.set_handle_inheritable(pipe, True)
        return subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            startupinfo=subprocess.STARTUPINFO(lpAttributeList={"handle_list": [pipe]}),
            creationflags=subprocess.CREATE_NEW_PROCESS_GROUP,
        )
    # A blocked signal stays blocked in the child.
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        return subprocess.Popen(command, stdin=subprocess.DEVNULL, pass_fds=[pipe])
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def run_in_processes(
    work: Callable[[Context, Item, Callable[[object], None]], Result],
    context: Context,
    items: Iterable[Item],
    *,
    jobs: int,
    on_event: Callable[[Event], None] | None = None,
) -> list[Result]:
    """The results of ``work(context, item, report)`` for each item, in the order of the items.

    Items are handed out in order, each to the next free one of ``jobs`` processes. Processes start fresh, even for
    ``jobs=1``, so that the interpreter state does not depend on the number of jobs; they do not run the calling script
    again. They end with the parent, however it ends. Ctrl-C reaches only the parent, which kills them, so work must not
    leave anything behind that would break a later attempt.

    Args:
        work: a function that a fresh interpreter can import (not one of the calling script); it may call ``report``
            with anything that can be pickled.
        context: what all items share; sent to each process once.
        items: the items.
        jobs: maximum number of processes, at least 1.
        on_event: called in the parent for every start, report and result.

    Raises:
        WorkFailedError: for the first item that fails; running items are stopped and no others are started.
        ValueError: for ``jobs`` below 1.

    Example:
        >>> run_in_processes(print, None, [], jobs=2)
        []
    """
    if jobs < 1:
        raise ValueError(f"jobs must be at least 1, got {jobs}")
    waiting = deque(enumerate(items))
    results: dict[int, Result] = {}
    tell = on_event or (lambda _: None)
    workers: list[_Worker[Context, Item]] = []
    busy: dict[Connection, _Worker[Context, Item]] = {}

    def hand_out(worker: _Worker[Context, Item]) -> None:
        index, item = waiting.popleft()
        busy[worker.connection] = worker
        worker.give(index, item)
        tell(Event("started", index))

    try:
        for _ in range(min(jobs, len(waiting))):
            workers.append(_Worker(work, context))
            hand_out(workers[-1])
        while busy:
            for ready in wait(list(busy)):
                worker = busy[ready]  # type: ignore[index]
                message = worker.receive()
                if isinstance(message, Failure):
                    raise WorkFailedError(worker.index, message)
                event = Event(message.kind, worker.index, message.value)
                if event.kind == "done":
                    results[worker.index] = event.value
                    del busy[worker.connection]
                    if waiting:
                        hand_out(worker)
                tell(event)
    finally:
        for worker in workers:
            worker.stop()
    return [results[index] for index in sorted(results)]


def serve(connection: Connection) -> None:
    """Runs a worker process: receives the work and its items and sends results, until the parent closes the pipe.

    Args:
        connection: the worker's end of the pipe to :func:`run_in_processes`.
    """

    def report(value: object) -> None:
        connection.send(Event("report", -1, value))

    # The parent can close the pipe at any time, also while an answer is on its way.
    with contextlib.suppress(EOFError, BrokenPipeError, ConnectionResetError):
        work, context = connection.recv()
        while True:
            connection.send(answer(work, context, connection.recv(), report))


def answer(
    work: Callable[[Context, Item, Callable[[object], None]], object],
    context: Context,
    item: Item,
    report: Callable[[object], None],
) -> Event | Failure:
    """Does the work on one item.

    Args:
        work: as for :func:`run_in_processes`, and so are the context and the item.
        context: likewise.
        item: likewise.
        report: receives what the work reports.

    Returns:
        What the worker sends: an event ``"done"`` with the result, or the failure.

    Example:
        >>> answer(lambda context, item, report: context + item, 40, 2, print)
        Event(kind='done', index=-1, value=42)
    """
    try:
        return Event("done", -1, work(context, item, report))
    except WorkFailedError as error:  # of processes that this one started
        return Failure(error.message, error.details, error.is_input_error)
    except Exception as error:  # noqa: BLE001 - it is raised again in the parent
        is_input_error = isinstance(error, InputError)
        message = str(error) if is_input_error else f"{type(error).__name__}: {error}"
        return Failure(message, traceback.format_exc(), is_input_error)
