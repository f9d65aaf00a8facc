"""What the commands say on stderr: errors as one sentence, notes, progress."""

import contextlib
import errno
import re
import sys
import time
from collections.abc import Iterator

import typer
from rich import box
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from convrnn.cli.streams import has_lost_its_reader
from convrnn.errors import InputError, one_sentence

_FULL_ERRNOS = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
_USER_ERRNOS = frozenset(
    {
        errno.EACCES,
        errno.EEXIST,
        errno.EISDIR,
        errno.ENOENT,
        errno.ENOTDIR,
        errno.EPERM,
        errno.EROFS,
        errno.ENAMETOOLONG,
        errno.ELOOP,
    }
)
_PREFIX = re.compile(r"^Invalid value for '([^']+)': ")
_NO_NUMBER = re.compile(r"Input should be a valid (integer|number).*")


def talk() -> Console:
    """The console on stderr, made anew so that it follows whatever ``sys.stderr`` is at the moment."""
    return Console(file=sys.stderr, highlight=False, soft_wrap=True)


class _Results(Console):
    def on_broken_pipe(self) -> None:
        """Leave it to the command, where Rich would end the process with code 1."""
        raise BrokenPipeError


def results() -> Console:
    """The console on stdout; wide where it is a file or a pipe, so that no column is cut."""
    return _Results(file=sys.stdout, highlight=False, width=None if sys.stdout.isatty() else 160)


def result_grid(first: str, *others: str) -> Table:
    """An empty table for stdout: one column of names, then columns of numbers."""
    grid = Table(box=box.SIMPLE_HEAD)
    grid.add_column(Text(first))
    for heading in others:
        grid.add_column(Text(heading), justify="right")
    return grid


def say(message: str) -> None:
    """Print one line on stderr."""
    talk().print(Text(message))


def warn(message: str) -> None:
    """Print one line that begins with ``warning:`` on stderr."""
    talk().print(Text.assemble(("warning: ", "bold yellow"), message))


def tell_error(message: str) -> None:
    """Print one line that begins with ``error:`` on stderr; the command goes on until it is stopped."""
    talk().print(Text.assemble(("error: ", "bold red"), one_sentence(message)))


def stop(message: str) -> typer.Exit:
    """Print the one sentence that an error is told in; the result is to be raised and ends the command with code 2."""
    talk().print(Text.assemble(("convrnn: error: ", "bold red"), one_sentence(message)))
    return typer.Exit(2)


@contextlib.contextmanager
def errors_as_sentences() -> Iterator[None]:
    """Turn what the user can put right into one sentence and exit code 2; anything else keeps its traceback.

    A reader of stdout that has seen enough is no error: the command ends quietly, with exit code 0.
    """
    try:
        with usage_errors_as_sentences():
            yield
    except InputError as error:
        raise stop(str(error)) from None
    except KeyboardInterrupt:
        raise stop("interrupted; whatever was finished is kept, and the same command continues from there") from None
    except OSError as error:
        if isinstance(error, BrokenPipeError) and has_lost_its_reader(sys.stdout):
            raise typer.Exit(0) from None
        place = f"{error.filename}: " if error.filename else ""
        if error.errno in _FULL_ERRNOS:
            raise stop(f"{place}{error.strerror}; whatever was finished is kept: make room and run it again") from None
        if error.errno in _USER_ERRNOS and error.filename:
            raise stop(f"{place}{error.strerror}") from None
        raise


@contextlib.contextmanager
def usage_errors_as_sentences() -> Iterator[None]:
    """Turn what Typer has against the words of the command line into one sentence and exit code 2."""
    try:
        yield
    except Exception as error:
        if (sentence := _usage_error(error)) is None:
            raise
        raise stop(sentence) from None


def _usage_error(error: Exception) -> str | None:
    """What Typer has to say of the command line, in one sentence; None for any other exception."""
    # Typer's versions differ in where this class comes from, and none makes it public.
    describe = getattr(error, "format_message", None)
    context = getattr(error, "ctx", None)
    if describe is None or type(error).__name__ == "NoArgsIsHelpError":
        return None
    told = _PREFIX.sub(r"\1: ", describe()).rstrip(".")
    told = _NO_NUMBER.sub(lambda found: f"must be a {'whole ' if found[1] == 'integer' else ''}number", told)
    return told if context is None else f"{told}; see {context.command_path} --help"


class Counter:
    """Progress of one loop: a bar on a terminal, else a line at the end.

    Use it as a context manager; it is called with how many are done and how many there are.

    Args:
        what: what is counted.
        line: print the line where stderr is not a terminal.
    """

    def __init__(self, what: str, *, line: bool = True) -> None:
        self._what = what
        self._line = line
        self._console = talk()
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            console=self._console,
            disable=not self._console.is_terminal,
        )
        self._task: TaskID | None = None
        self._last = (0, 0)
        self._began = time.monotonic()

    def __enter__(self) -> "Counter":
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()
        done, total = self._last
        if self._line and not self._console.is_terminal and total:
            say(f"{self._what}: {done} of {total} in {time.monotonic() - self._began:.1f} s")

    def __call__(self, done: int, total: int) -> None:
        """Show that ``done`` of ``total`` are done."""
        self._last = (done, total)
        if self._task is None:
            # Not before: a bar without a task would leave an empty line where nothing has to be done.
            self._progress.start()
            self._task = self._progress.add_task(self._what, total=total)
        self._progress.update(self._task, completed=done)
