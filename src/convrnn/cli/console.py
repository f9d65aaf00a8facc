"""Output of the commands: errors as one sentence, notes and progress on stderr, results on stdout."""

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

from convrnn.cli import INTERRUPTED
from convrnn.cli.streams import has_lost_its_reader, is_broken_pipe
from convrnn.errors import Argument, InputError, one_sentence

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
_OPTIONS = {"corpora": "--corpus", "corpus": "CORPUS", "tables": "TABLE", "tasks": "--task"}
"""Arguments in Python to their options, if these have another name."""

_PREFIX = re.compile(r"^Invalid value for '([^']+)': ")
_NO_NUMBER = re.compile(r"Input should be a valid (integer|number).*")


def talk() -> Console:
    """The console on stderr; a new one each time, since ``sys.stderr`` may have been replaced."""
    return Console(file=sys.stderr, highlight=False, soft_wrap=True)


class _Results(Console):
    def on_broken_pipe(self) -> None:
        """Let the command handle it; Rich would end the process with code 1."""
        raise BrokenPipeError


def results() -> Console:
    """The console on stdout; wide if it is a file or a pipe, so that no column is cut off."""
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
    """Print one line that begins with ``error:`` on stderr, without stopping the command."""
    talk().print(Text.assemble(("error: ", "bold red"), one_sentence(message)))


def stop(message: str, code: int = 2) -> typer.Exit:
    """Print an error in one sentence; raise what it returns to end the command with this exit code."""
    talk().print(Text.assemble(("convrnn: error: ", "bold red"), one_sentence(message)))
    return typer.Exit(code)


def as_option(argument: Argument) -> str:
    """An argument of a function as users write it on the command line.

    Example:
        >>> as_option(Argument("sample_rate", 10)), as_option(Argument("accept", ("silence", "truncated")))
        ('--sample-rate 10', '--accept silence --accept truncated')
    """
    name = _OPTIONS.get(argument.name) or f"--{argument.name.replace('_', '-')}"
    if argument.value is None:
        return name
    values = argument.value if isinstance(argument.value, tuple) else (argument.value,)
    return " ".join(f"{name} {value:g}" if isinstance(value, float) else f"{name} {value}" for value in values)


@contextlib.contextmanager
def errors_as_sentences() -> Iterator[None]:
    """Print errors that the user can correct as one sentence, with exit code 2; others keep their traceback.

    Ctrl-C also becomes a sentence, with exit code 130. If nobody reads stdout any more, the command ends silently with
    exit code 0.
    """
    try:
        yield
    except InputError as error:
        raise stop(error.naming(as_option)) from None
    except KeyboardInterrupt as interrupt:
        kept = str(interrupt) or "finished work is kept"
        raise stop(f"interrupted: {kept}; the same command continues from there", INTERRUPTED) from None
    except OSError as error:
        if is_broken_pipe(error) and has_lost_its_reader(sys.stdout):
            raise typer.Exit(0) from None
        place = f"{error.filename}: " if error.filename else ""
        if error.errno in _FULL_ERRNOS:
            raise stop(f"{place}{error.strerror}; finished work is kept: free some space and run it again") from None
        if error.errno in _USER_ERRNOS and error.filename:
            raise stop(f"{place}{error.strerror}") from None
        raise
    except Exception as error:
        if (sentence := _usage_error(error)) is None:
            raise
        raise stop(sentence) from None


def _usage_error(error: Exception) -> str | None:
    """Typer's error about the command line in one sentence; None for any other exception."""
    # Where this class comes from depends on Typer's version, and it is not public.
    describe = getattr(error, "format_message", None)
    context = getattr(error, "ctx", None)
    if describe is None or type(error).__name__ == "NoArgsIsHelpError":
        return None
    told = _PREFIX.sub(r"\1: ", describe()).rstrip(".")
    told = _NO_NUMBER.sub(lambda found: f"must be a {'whole ' if found[1] == 'integer' else ''}number", told)
    return told if context is None else f"{told}; see {context.command_path} --help"


class Counter:
    """Progress of a loop: a bar on a terminal, otherwise a line at the end.

    Use it as a context manager, and call it with the numbers of items done and in all.

    Args:
        what: what is counted.
        line: whether to print the line if stderr is not a terminal.
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
            # Only now, since a bar without any item would leave an empty line.
            self._progress.start()
            self._task = self._progress.add_task(self._what, total=total)
        self._progress.update(self._task, completed=done)
