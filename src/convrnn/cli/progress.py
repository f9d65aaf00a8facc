"""Progress of a grid of runs: bars on a terminal, else one line per finished run."""

import math
from collections.abc import Sequence
from pathlib import Path

from rich.console import Group
from rich.live import Live
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from convrnn.cli import console
from convrnn.corpora.corpus import Corpus
from convrnn.errors import InputError
from convrnn.experiments.compare import Epochs, FinishedRun, GridRun, run_grid
from convrnn.experiments.compare import Progress as GridProgress
from convrnn.experiments.table import format_seconds


class GridDisplay:
    """One bar for the whole grid, and under it one line per running model with epoch and validation error.

    Use it as a context manager and give it to :func:`~convrnn.experiments.compare.run_grid`.

    Args:
        total: number of runs.
        max_epochs: epochs of a run at most.
        every_epoch: print each epoch where stderr is not a terminal.

    Attributes:
        done: runs finished so far.
        found: those among them that had been finished before.
    """

    def __init__(self, total: int, max_epochs: int, *, every_epoch: bool = False) -> None:
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
        self._live = Live(Group(self._whole, self._running), console=self._console, refresh_per_second=4)
        self.done = 0
        self.found = 0

    def __enter__(self) -> "GridDisplay":
        if self._console.is_terminal:
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._console.is_terminal:
            self._live.stop()

    def __call__(self, progress: GridProgress) -> None:
        """Show what happened to one run."""
        run, state = progress.run, progress.state
        if state is None:
            self._tasks[run] = self._running.add_task(str(run), total=self._max_epochs, state="starting")
        elif isinstance(state, Epochs):
            self._update(run, state)
        else:
            self._finish(run, state)

    def _update(self, run: GridRun, state: Epochs) -> None:
        error = state.validation_error
        if error is not None:
            self._best[run] = min(error, self._best.get(run, error))
            if self._every_epoch and not self._console.is_terminal:
                best = ", best so far" if state.is_best else ""
                console.say(
                    f"{run}: epoch {state.done:.0f}, loss {state.loss:.4f}, validation error {100 * error:.1f} %{best}"
                )
        best = f", validation error {100 * self._best[run]:.1f} %" if run in self._best else ""
        text = f"epoch {math.ceil(state.done)} of at most {self._max_epochs}{best}"
        self._running.update(self._tasks[run], completed=state.done, state=text)

    def _finish(self, run: GridRun, state: FinishedRun) -> None:
        self.done += 1
        if run in self._tasks:
            self._running.remove_task(self._tasks.pop(run))
        self._whole.update(self._whole_task, completed=self.done)
        if state.found:
            self.found += 1
            return
        result = state.result
        recall = "" if result.ua_recall is None else f"UA recall {100 * result.ua_recall:.1f} %, "
        # The live display belongs to this console; anything printed past it would break the bars.
        self._console.print(
            f"[{self.done}/{self._total}] {run}: {recall}accuracy {100 * result.accuracy:.1f} %, "
            f"best epoch {result.best_epoch} of {result.epochs}, {format_seconds(result.seconds)}",
            markup=False,
        )


def train_all(
    runs: Sequence[GridRun], corpus: Corpus, cache_dir: Path, runs_dir: Path, jobs: int, *, every_epoch: bool = False
) -> list[FinishedRun]:
    """Do all runs, with progress on stderr.

    Raises:
        InputError: if a run fails or Ctrl-C is pressed; the sentence says what is kept.
    """
    display = GridDisplay(len(runs), runs[0].spec.training.max_epochs, every_epoch=every_epoch)
    try:
        with display:
            results = run_grid(runs, corpus, cache_dir=cache_dir, runs_dir=runs_dir, jobs=jobs, on_progress=display)
    except KeyboardInterrupt:
        # The last one may have ended without anybody having told the display.
        finished = sum(run.finished(runs_dir) for run in runs)
        raise InputError(
            f"interrupted: {finished} of {len(runs)} runs are finished and kept in {runs_dir}; the same command "
            "continues from there"
        ) from None
    if display.found:
        console.say(f"{display.found} of {len(runs)} runs had been finished before and were not done again")
    return results
