"""The command ``convrnn``: one module per group of commands, :mod:`app` puts them together, :mod:`console` talks."""

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
        "lightning",
        "soundfile",
        "soxr",
        "kaldi_native_fbank",
        "pandas",
        "audmetric",
        "sklearn",
        "matplotlib",
    }
)


INTERRUPTED = 130
"""The exit code with which typer answers Ctrl-C while it reads the command line."""

SECONDS_TO_TIDY = 5.0
"""For so long after Ctrl-C a second one is ignored, since it would break off what the first one began."""


def main() -> None:
    """Run the command line; the entry point of the console script.

    Results go to stdout, everything else to stderr. Exit codes: 0; 1 where ``convrnn check`` finds an error; 2 for bad
    input, a full disk or Ctrl-C, with one sentence. A traceback is a defect of the program. A reader that has seen
    enough, as in ``convrnn models | head -1``, is no error.
    """
    streams.prepare()
    interrupt = _Interrupt()
    # Whoever starts a command in the background may have told it to ignore Ctrl-C.
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
        _stop("interrupted")
    except SystemExit as ended:
        if ended.code == INTERRUPTED:
            _stop("interrupted")
        # Now rather than when Python ends, which would tell a full disk in its own words.
        if (fault := streams.finish()) and not ended.code:
            _stop(fault)
        raise
    finally:
        if interrupt.happened:
            # Python takes its handlers away before it is done, and a second Ctrl-C would then change the exit code.
            signal.signal(signal.SIGINT, signal.SIG_IGN)


class _Interrupt:
    """The handler of Ctrl-C: an exception, but one only for all that come within a few seconds."""

    def __init__(self) -> None:
        self._last = -math.inf

    @property
    def happened(self) -> bool:
        """Whether Ctrl-C was pressed at all."""
        return self._last > -math.inf

    def __call__(self, *_: object) -> None:
        now = time.monotonic()
        if now - self._last >= SECONDS_TO_TIDY:
            self._last = now
            raise KeyboardInterrupt


def _stop(sentence: str) -> NoReturn:
    print(f"convrnn: error: {sentence}", file=sys.stderr)
    sys.exit(2)
