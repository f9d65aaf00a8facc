"""The command ``convrnn``: a module for each command, joined in :mod:`app`; :mod:`console` prints."""

import math
import signal
import sys
import time
from typing import NoReturn

from convrnn.cli import streams

_EXTRAS = frozenset(
    {
        "typer",
        "rich",
        "lightning_fabric",
        "soundfile",
        "soxr",
        "kaldi_native_fbank",
        "pandas",
        "sklearn",
        "matplotlib",
    }
)


INTERRUPTED = 130
"""The exit code after Ctrl-C, as shells have it: 128 and the number of SIGINT."""

SECONDS_TO_CLEAN_UP = 5.0
"""Seconds after Ctrl-C in which another one is ignored, since it would interrupt the clean-up."""


def main() -> None:
    """Run the command line; the entry point of the console script.

    Results go to stdout, everything else to stderr. Exit codes: 0 for success; 1 if ``convrnn check`` finds an error; 2
    for bad input or a full disk, and 130 for Ctrl-C, each with one sentence. A traceback is a bug. If the reader of
    stdout goes away, as in ``convrnn models | head -1``, that is no error.
    """
    streams.prepare()
    interrupt = _Interrupt()
    # Not if the command was started in the background with Ctrl-C ignored.
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, interrupt)
    try:
        from convrnn.cli.app import app

        app()
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] not in _EXTRAS:
            raise
        _stop(f"the command line needs {error.name}, which is not installed; run: pip install 'convrnn[speech]'")
    except KeyboardInterrupt:
        _stop("interrupted", INTERRUPTED)
    except SystemExit as ended:
        # Flushed here, since Python would report a full disk at exit in its own words.
        if (fault := streams.finish()) and not ended.code:
            _stop(fault)
        raise
    finally:
        if interrupt.happened:
            # Python removes its handlers before it exits, and another Ctrl-C would then change the exit code.
            signal.signal(signal.SIGINT, signal.SIG_IGN)


class _Interrupt:
    """Handles Ctrl-C: raises KeyboardInterrupt, but only once for all signals within a few seconds."""

    def __init__(self) -> None:
        self._last = -math.inf

    @property
    def happened(self) -> bool:
        """Whether Ctrl-C was pressed."""
        return self._last > -math.inf

    def __call__(self, *_: object) -> None:
        now = time.monotonic()
        if now - self._last >= SECONDS_TO_CLEAN_UP:
            self._last = now
            raise KeyboardInterrupt


def _stop(sentence: str, code: int = 2) -> NoReturn:
    print(f"convrnn: error: {sentence}", file=sys.stderr)
    sys.exit(code)
