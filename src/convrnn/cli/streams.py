"""stdin, stdout and stderr as a command finds them: closed, without a reader, or for a few characters only."""

import codecs
import io
import os
import select
import sys
from pathlib import Path
from typing import Any, TextIO, cast

ERRORS = "convrnn-plain"
"""The name of the error handler that :func:`prepare` gives to stdout and stderr."""

closed: set[int] = set()
"""The numbers of the streams that :func:`prepare` found closed."""

_PLAIN = {"±": "+-", "–": "-", "…": "...", "→": "->", "×": "x"}


def prepare() -> None:
    r"""Make stdout and stderr take any text from anybody.

    What they cannot encode is written in plain characters or escaped, as in ``\xfc`` of an ASCII terminal, and
    ``\udcff`` for the byte ff of a file name that is not UTF-8. A stream that was closed leads nowhere. When nobody
    reads stderr any more, what is said there is lost, and the command goes on.
    """
    # Else the next file that is opened would get the number of a stream, and what others write to that.
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)
            closed.add(number)
    codecs.register_error(ERRORS, _in_plain_characters)
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:
            nowhere = Path(os.devnull).open("w", encoding="utf-8")  # noqa: SIM115 - until Python ends
            setattr(sys, name, nowhere)
        elif isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors=ERRORS)
    sys.stderr = cast(TextIO, _Unheard(sys.stderr))


def finish() -> str | None:
    """Write what stdout still holds; a sentence where that was not possible, None also where nobody reads it."""
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        _drop(sys.stdout)
    except OSError as error:
        _drop(sys.stdout)
        return f"stdout cannot be written ({error.strerror or error})"
    return None


def has_lost_its_reader(stream: TextIO) -> bool:
    """Whether a pipe's reader is gone; what is written to it from now on is dropped then."""
    # To write once more would not tell: what failed before is not tried again.
    poll = select.poll()
    poll.register(stream.fileno(), 0)
    lost = any(event & (select.POLLERR | select.POLLHUP) for _, event in poll.poll(0))
    if lost:
        _drop(stream)
    return lost


def _drop(stream: TextIO) -> None:
    """Let a stream lead nowhere: it would try again when Python ends, and complain."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, stream.fileno())
    os.close(nowhere)


def _in_plain_characters(error: UnicodeError) -> tuple[str | bytes, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    character = error.object[error.start]
    if character in _PLAIN:
        return _PLAIN[character], error.start + 1
    error.end = error.start + 1
    return codecs.backslashreplace_errors(error)


class _Unheard:
    """A stream that may lose its reader."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - whatever the stream has
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        """Write, if anybody reads."""
        try:
            return self._stream.write(text)
        except BrokenPipeError:
            _drop(self._stream)
            return len(text)

    def flush(self) -> None:
        """Write what is held, if anybody reads."""
        try:
            self._stream.flush()
        except BrokenPipeError:
            _drop(self._stream)
