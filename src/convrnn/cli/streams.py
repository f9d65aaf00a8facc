"""Standard streams that are closed, have lost their reader, or cannot encode every character."""

import codecs
import errno
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
    r"""Make stdout and stderr accept any text.

    Characters that they cannot encode are replaced by plain ones or escaped, as ``\xfc`` on an ASCII terminal and
    ``\udcff`` for the byte ff in a file name that is not UTF-8. A closed stream is replaced by the null device. When
    nobody reads stderr any more, its text is lost and the command continues.
    """
    # Otherwise the next file opened would get the stream's number, and what is written to the stream would go there.
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
    sys.stderr = cast(TextIO, _Unread(sys.stderr))


def finish() -> str | None:
    """Flush stdout; returns a sentence if that fails, and None if it succeeds or nobody reads stdout any more."""
    try:
        sys.stdout.flush()
    except OSError as error:
        _drop(sys.stdout)
        if is_broken_pipe(error):
            return None
        return f"stdout cannot be written ({error.strerror or error})"
    return None


def is_broken_pipe(error: OSError) -> bool:
    """Whether a write failed because nobody reads the pipe any more.

    Example:
        >>> is_broken_pipe(BrokenPipeError()), is_broken_pipe(FileNotFoundError())
        (True, False)
    """
    # Windows gives either error.
    return isinstance(error, BrokenPipeError) or (sys.platform == "win32" and error.errno == errno.EINVAL)


def has_lost_its_reader(stream: TextIO) -> bool:
    """Whether the reader of a pipe to which a write has failed is gone; if so, all further output is dropped."""
    if sys.platform == "win32":
        lost = True  # it cannot be asked, and a broken pipe is rarely another one
    else:
        # Writing again would not show it: Python does not retry a write that has failed.
        poll = select.poll()
        poll.register(stream.fileno(), 0)
        lost = any(event & (select.POLLERR | select.POLLHUP) for _, event in poll.poll(0))
    if lost:
        _drop(stream)
    return lost


def _drop(stream: TextIO) -> None:
    """Redirect a stream to the null device; otherwise Python would flush it at exit and report an error."""
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


class _Unread:
    """A stream whose reader may go away."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - whatever the stream has
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        """Write, if there is still a reader."""
        try:
            return self._stream.write(text)
        except OSError as error:
            if not is_broken_pipe(error):
                raise
            _drop(self._stream)
            return len(text)

    def flush(self) -> None:
        """Flush, if there is still a reader."""
        try:
            self._stream.flush()
        except OSError as error:
            if not is_broken_pipe(error):
                raise
            _drop(self._stream)
