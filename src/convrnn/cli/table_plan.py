"""What ``convrnn reproduce`` is going to do: the runs of every column, how many are left, and how long they take."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import typer

from convrnn.cli.console import Counter, result_grid, results, say
from convrnn.cli.prepare import default_split, feature_config, open_task
from convrnn.corpora.corpus import Corpus
from convrnn.corpora.splits import make_splits
from convrnn.experiments.compare import GridRun, plan
from convrnn.experiments.paper import Column, PaperTable
from convrnn.experiments.reproduce import Request, frame_counts, is_the_papers, missing_columns
from convrnn.experiments.table import format_seconds
from convrnn.training.pace import seconds_per_epoch
from convrnn.training.spec import RunSpec, TrainingConfig

EPOCHS_GUESS = 30
"""Epochs that a run is taken to last, where early stopping decides and nobody can know."""


@dataclass(frozen=True, slots=True)
class ColumnPlan:
    """One column and its runs.

    Attributes:
        column: what its models are trained on.
        corpus: the corpus's name as the user gave it.
        data: its rows that have a label for the column's task.
        split: how it is split.
        runs: every model, seed and fold.
    """

    column: Column
    corpus: str
    data: Corpus
    split: str
    runs: list[GridRun]

    @property
    def heading(self) -> str:
        """What the column is called."""
        return self.column.heading

    @property
    def spec(self) -> RunSpec:
        """The first run's spec: corpus, task, features and training are those of all."""
        return self.runs[0].spec


@dataclass(frozen=True, slots=True)
class TablePlan:
    """A table and the columns that are to be done."""

    table: PaperTable
    columns: list[ColumnPlan]


def plan_tables(
    requests: Sequence[tuple[PaperTable, Sequence[Request]]],
    *,
    split: str,
    split_seed: int,
    seeds: int,
    max_epochs: int,
) -> list[TablePlan]:
    """Open the corpora, split them, and list the runs.

    Args:
        requests: tables and the columns that each is to have.
        split: how corpora other than the paper's are split; empty for their own partitions or a random split.
        split_seed: decides what is random in the splits.
        seeds: number of seeds.
        max_epochs: epochs of a run at most.

    Raises:
        InputError: for a corpus, task, split or features that cannot be used.
    """
    opened: dict[tuple[str, str], Corpus] = {}

    def plan_column(table: PaperTable, request: Request) -> ColumnPlan:
        column = request.column
        key = (request.corpus, column.task)
        if key not in opened:
            opened[key] = open_task(*key)
        data = opened[key]
        kind = "partitions" if is_the_papers(request.corpus) else split or default_split(data)
        runs = plan(
            data,
            column.task,
            make_splits(data, column.task, kind, seed=split_seed),
            models=[row.front_end for row in table.rows],
            setting=column.setting,
            seeds=range(seeds),
            features=feature_config(data, column.task, None, column.features),
            training=TrainingConfig(max_epochs=max_epochs),
        )
        return ColumnPlan(column, request.corpus, data, kind, runs)

    return [TablePlan(table, [plan_column(table, request) for request in columns]) for table, columns in requests]


def tell_missing(requests: Sequence[tuple[PaperTable, Sequence[Request]]]) -> None:
    """Say on stderr which of the paper's columns are left out, for want of their corpus, task or features."""
    for table, columns in requests:
        for column in missing_columns(table, columns):
            say(
                f"Table {table.number}: {column.heading!r} ({column.corpus}:PATH, task {column.task}, "
                f"{column.features}) was not asked for and is left out"
            )


def show_plan(plans: Sequence[TablePlan], runs_dir: Path, *, jobs: int, as_json: bool) -> None:
    """Print the runs, how many there are, and how long they will take, from a measurement of each model.

    Args:
        plans: what is to be done.
        runs_dir: where finished runs lie.
        jobs: processes.
        as_json: print JSON instead of a table.
    """
    lines = _lines(plans, runs_dir)
    most = plans[0].columns[0].spec.training.max_epochs
    guess = min(EPOCHS_GUESS, most)
    per_epoch = sum(line["left"] * (line["seconds_per_epoch"] or 0.0) for line in lines) / jobs
    total = {
        "runs": sum(line["runs"] - line["shared"] for line in lines),
        "left": sum(line["left"] for line in lines),
        "jobs": jobs,
        "epochs": guess,
        "seconds": guess * per_epoch,
        "max_epochs": most,
        "max_seconds": most * per_epoch,
    }
    if as_json:
        typer.echo(json.dumps({"plan": lines, "total": total}, indent=2))
        return
    counts = ("seeds", "folds", "runs", "shared", "finished", "left")
    grid = result_grid("table", "column", "model", *counts, "one epoch")
    for line in lines:
        pace = line["seconds_per_epoch"]
        grid.add_row(
            *(line[key] for key in ("table", "column", "model")),
            *(str(line[key]) for key in counts),
            "" if pace is None else format_seconds(pace),
        )
    stdout = results()
    stdout.print(grid)
    stdout.print(
        f"{total['left']} of {total['runs']} runs are left. With {jobs} process{'es' if jobs > 1 else ''} about "
        f"{format_seconds(total['seconds'])} if they last {guess} epochs on average, and "
        f"{format_seconds(total['max_seconds'])} at most ({most} epochs); extraction of features, and what processes "
        "take from each other, come on top.",
        markup=False,
    )


def _lines(plans: Sequence[TablePlan], runs_dir: Path) -> list[dict[str, Any]]:
    """One line per table, column and model."""
    lines: list[dict[str, Any]] = []
    seen: set[str] = set()
    groups = [(plan.table, column, row) for plan in plans for column in plan.columns for row in plan.table.rows]
    frames: dict[int, list[int]] = {}
    with Counter("measuring") as counter:
        for number, (table, column, row) in enumerate(groups, start=1):
            runs = [run for run in column.runs if run.spec.model_name == row.front_end]
            new = [run for run in runs if run.spec.hash not in seen]
            seen.update(run.spec.hash for run in new)
            left = [run for run in new if not run.finished(runs_dir)]
            pace = None
            if left:
                spec = left[0].spec
                # All files are opened for it: once for a column, not for each of its models.
                if id(column) not in frames:
                    frames[id(column)] = frame_counts(column.data, spec.features)
                pace = seconds_per_epoch(spec, column.data, frames[id(column)])
            lines.append(
                {
                    "table": table.name,
                    "column": column.heading,
                    "corpus": column.corpus,
                    "model": row.front_end,
                    "seeds": len({run.spec.seed for run in runs}),
                    "folds": runs[0].folds,
                    "runs": len(runs),
                    "shared": len(runs) - len(new),
                    "finished": len(new) - len(left),
                    "left": len(left),
                    "seconds_per_epoch": pace,
                    "hashes": [run.spec.hash for run in runs],
                }
            )
            counter(number, len(groups))
    return lines
