"""Progress of long-running functions: one protocol for messages, counts and runs."""

import contextlib
import logging
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from convrnn.experiments.grid import FinishedRun, GridRun
    from convrnn.experiments.work import Epochs

_LOGGER = logging.getLogger("convrnn")


class Progress:
    """Receives the progress of a long-running function; override the methods for the events that you want to see.

    By default messages go to the logger ``convrnn``, which shows only warnings and errors unless logging is configured,
    and all other events are ignored. Every method is called in the process and thread of the function that the object
    was passed to.

    Example:
        >>> class Printed(Progress):
        ...     def note(self, sentence):
        ...         print(sentence)
        >>> Printed().note("sample rate 16000 Hz, the lowest of the files")
        sample rate 16000 Hz, the lowest of the files
    """

    def note(self, sentence: str) -> None:
        """Information, in one sentence."""
        _LOGGER.info(sentence)

    def warning(self, sentence: str) -> None:
        """Something that may make results worse, in one sentence."""
        _LOGGER.warning(sentence)

    def error(self, sentence: str) -> None:
        """Called for each of several errors, before the function raises an exception because of them."""
        _LOGGER.error(sentence)

    def counting(self, what: str) -> AbstractContextManager[Callable[[int, int], None]]:  # noqa: ARG002
        """Work on a number of items begins, such as reading files; it ends with the context.

        Args:
            what: what is done, in a word or two.

        Returns:
            A context whose value is called with (items done, items in all).
        """
        return contextlib.nullcontext(lambda done, total: None)  # noqa: ARG005

    def grid_started(self, runs: Sequence["GridRun"]) -> None:
        """A grid of runs begins; :meth:`grid_ended` follows before the next one."""

    def run_started(self, run: "GridRun") -> None:
        """The training of a run begins; not called for a run that was finished before."""

    def run_advanced(self, run: "GridRun", epochs: "Epochs") -> None:
        """A run has advanced; called after each epoch and a few times per second within it."""

    def run_finished(self, run: "GridRun", finished: "FinishedRun") -> None:
        """A run is finished, now or in an earlier call (:attr:`FinishedRun.found`)."""

    def grid_ended(self) -> None:
        """The grid is finished, has failed or was interrupted."""
