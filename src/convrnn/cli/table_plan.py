"""What ``convrnn reproduce`` is going to do: the runs of every column, how many are left, and how long they take."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import typer

from convrnn.cli.console import Counter, result_grid, results, say
from convrnn.cli.prepare import default_split, feature_config, ready_features, tell_rate
from convrnn.cli.rows import RowOptions, check_rows, open_task
from convrnn.corpora.corpus import Corpus
from convrnn.corpora.gate import Provisos
from convrnn.corpora.splits import Split, make_splits
from convrnn.errors import InputError
from convrnn.experiments.compare import GridRun, check_test_classes, plan
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
        provisos: what was done to the corpus and let through.
    """

    column: Column
    corpus: str
    data: Corpus
    split: str
    runs: list[GridRun]
    provisos: Provisos

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
    sample_rate: int | None,
    chosen: RowOptions,
    cache_dir: Path,
    jobs: int,
) -> list[TablePlan]:
    """Open the corpora, split and check them, and list the runs.

    Args:
        requests: tables and the columns that each is to have.
        split: how corpora other than the paper's are split; empty for their own partitions or a random split.
        split_seed: decides what is random in the splits.
        seeds: number of seeds.
        max_epochs: epochs of a run at most.
        sample_rate: Hz, by default the one that suits each corpus.
        chosen: what the user says of the corpora's rows.
        cache_dir: the cache folder.
        jobs: processes that listen.

    Raises:
        InputError: for a corpus, task, split or features that cannot be used.
    """
    opened: dict[tuple[str, str], _Opened] = {}
    told: set[tuple[str, int]] = set()

    def open_once(corpus: str, task: str) -> _Opened:
        if (corpus, task) not in opened:
            data, provisos = open_task(corpus, task, chosen, cache_dir, jobs)
            kind = "partitions" if is_the_papers(corpus) else split or default_split(data)
            splits = make_splits(data, task, kind, seed=split_seed)
            check_test_classes(data, task, splits)
            provisos = check_rows(data, task, splits, chosen, provisos, cache_dir, jobs)
            opened[corpus, task] = _Opened(data, kind, splits, provisos)
        return opened[corpus, task]

    def plan_column(table: PaperTable, request: Request) -> ColumnPlan:
        column = request.column
        found = open_once(request.corpus, column.task)
        features = feature_config(found.data, column.task, sample_rate, column.features)
        if (request.corpus, features.sample_rate) not in told:
            told.add((request.corpus, features.sample_rate))
            tell_rate(found.data, column.task, features.sample_rate, given=sample_rate is not None)
        runs = plan(
            found.data,
            column.task,
            found.splits,
            models=[row.front_end for row in table.rows],
            setting=column.setting,
            seeds=range(seeds),
            features=features,
            training=TrainingConfig(max_epochs=max_epochs),
        )
        return ColumnPlan(column, request.corpus, found.data, found.kind, runs, found.provisos)

    for name in dict.fromkeys(request.column.features for _, columns in requests for request in columns):
        ready_features(name, sample_rate)
    plans = [TablePlan(table, [plan_column(table, request) for request in columns]) for table, columns in requests]
    used = {pair for found in opened.values() for pair in found.provisos.joined}
    for pair in chosen.same_speaker:
        if pair not in used:
            raise InputError(f"--same-speaker {'='.join(pair)}: none of the corpora has speakers of both names")
    return plans


@dataclass(frozen=True, slots=True)
class _Opened:
    """A corpus's rows for a task, how they are split, and what a reader has to know of them."""

    data: Corpus
    kind: str
    splits: list[Split]
    provisos: Provisos


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
