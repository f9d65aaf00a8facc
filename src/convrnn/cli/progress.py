"""Progress of the library's functions on stderr: bars on a terminal, otherwise lines."""

import math
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager

from rich.console import Group
from rich.live import Live
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from convrnn.cli import console
from convrnn.experiments import progress
from convrnn.experiments.grid import FinishedRun, GridRun, scores
from convrnn.experiments.report.numbers import format_seconds
from convrnn.experiments.work import Epochs


class ShownProgress(progress.Progress):
    """Prints messages and counts on stderr; for a grid, a bar for all runs and a line for each run in progress.

    Args:
        every_epoch: print each epoch if stderr is not a terminal.
    """

    def __init__(self, *, every_epoch: bool = False) -> None:
        self._every_epoch = every_epoch
        self._display: _GridDisplay | None = None

    def note(self, sentence: str) -> None:
        """Print it."""
        console.say(sentence)

    def warning(self, sentence: str) -> None:
        """Print it with ``warning:`` in front."""
        console.warn(sentence)

    def error(self, sentence: str) -> None:
        """Print it with ``error:`` in front."""
        console.tell_error(sentence)

    def counting(self, what: str) -> AbstractContextManager[Callable[[int, int], None]]:
        """A bar, or a line at the end."""
        return console.Counter(what)

    def grid_started(self, runs: Sequence[GridRun]) -> None:
        """Show the bars."""
        self._display = _GridDisplay(len(runs), runs[0].spec.training.max_epochs, every_epoch=self._every_epoch)

    def run_started(self, run: GridRun) -> None:
        """Show a line for the run."""
        if self._display is not None:
            self._display.start(run)

    def run_advanced(self, run: GridRun, epochs: Epochs) -> None:
        """Move the run's bar."""
        if self._display is not None:
            self._display.advance(run, epochs)

    def run_finished(self, run: GridRun, finished: FinishedRun) -> None:
        """Print the run's scores."""
        if self._display is not None:
            self._display.finish(run, finished)

    def grid_ended(self) -> None:
        """Remove the bars."""
        if self._display is not None:
            self._display.close()
        self._display = None


class _GridDisplay:
    """A bar for the whole grid, and under it a line for each run in progress with its epoch and validation error."""

    def __init__(self, total: int, max_epochs: int, *, every_epoch: bool) -> None:
        self._total = total
        self._max_epochs = max_epochs
        self._every_epoch = every_epoch
        self._console = console.talk()
        self._whole = Progress(TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
        self._running = Progress(
            TextColumn("  {task.description}"), BarColumn(bar_width=20), TextColumn("{task.fields[state]}")
        )
        self._whole_task = self._whole.add_task("runs", total=total)
        self._tasks: dict[GridRun, TaskID] = {}
        self._best: dict[GridRun, float] = {}
        self._done = 0
        self._live = Live(Group(self._whole, self._running), console=self._console, refresh_per_second=4)
        if self._console.is_terminal:
            self._live.start()

    def close(self) -> None:
        if self._console.is_terminal:
            self._live.stop()

    def start(self, run: GridRun) -> None:
        self._tasks[run] = self._running.add_task(str(run), total=self._max_epochs, state="starting")

    def advance(self, run: GridRun, epochs: Epochs) -> None:
        error = epochs.validation_error
        if error is not None:
            self._best[run] = min(error, self._best.get(run, error))
            if self._every_epoch and not self._console.is_terminal:
                best = ", best so far" if epochs.is_best else ""
                console.say(
                    f"{run}: epoch {epochs.done:.0f}, loss {epochs.loss:.4f}, validation error "
                    f"{100 * error:.1f} %{best}"
                )
        best = f", validation error {100 * self._best[run]:.1f} %" if run in self._best else ""
        text = f"epoch {math.ceil(epochs.done)} of at most {self._max_epochs}{best}"
        self._running.update(self._tasks[run], completed=epochs.done, state=text)

    def finish(self, run: GridRun, finished: FinishedRun) -> None:
        self._done += 1
        if run in self._tasks:
            self._running.remove_task(self._tasks.pop(run))
        self._whole.update(self._whole_task, completed=self._done)
        if finished.found:
            return
        # Printed through the console of the live display; anything else would break the bars.
        self._console.print(
            f"[{self._done}/{self._total}] {run}: {scores(finished.result)}, {format_seconds(finished.result.seconds)}",
            markup=False,
        )
