"""``convrnn reproduce``: the paper's tables, on its corpora or on others."""

import json
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from convrnn.cli import options
from convrnn.errors import InputError
from convrnn.plain_text import encodable

if TYPE_CHECKING:
    from convrnn.cli.table_plan import TablePlan
    from convrnn.experiments.report import Report

_EXAMPLES = options.examples(
    "convrnn reproduce table1 --corpus aibo:FAUAibo --jobs 4 --out results",
    "convrnn reproduce table4 --corpus aibo:FAUAibo --corpus agender:aGender --dry-run --out results",
    "convrnn reproduce table2 table3 --corpus agender:aGender --features logmel,egemaps-25ms --out results",
    "convrnn reproduce table2 --corpus csv:data.csv --task gender --features logmel --seeds 1 --out results",
)


def reproduce(
    tables: Annotated[
        list[str], typer.Argument(metavar="TABLE...", help="table1, table2, table3, table4.", show_default=False)
    ],
    corpus: Annotated[
        list[str],
        typer.Option(
            "--corpus",
            help="aibo:PATH for tables I and IV, agender:PATH for II to IV; or any other corpus with --task. Repeat it "
            "for several.",
            show_default=False,
        ),
    ],
    out: Annotated[Path, typer.Option("--out", help="Folder for runs and reports.", show_default=False)],
    task: Annotated[
        list[str] | None,
        typer.Option(
            "--task",
            help="Label column of another corpus than the paper's; on the paper's, do this task only. Repeat it for "
            "several.",
            show_default=False,
        ),
    ] = None,
    setting: Annotated[
        str | None,
        typer.Option(
            "--setting",
            help="On another corpus than the paper's: emotion (section IV-A) or paralinguistic (IV-B). By default the "
            "table's; table4 has both, so choose.",
            show_default=False,
        ),
    ] = None,
    features: Annotated[
        str | None,
        typer.Option(
            "--features",
            help="logmel, egemaps, egemaps-25ms, separated by commas; by default the table's: log-mel, and in tables 2 "
            "and 3 eGeMAPS with openSMILE's own frames.",
            show_default=False,
        ),
    ] = None,
    split: Annotated[
        str,
        typer.Option(
            "--split",
            help="For other corpora than the paper's: partitions, random, folds:K, loso or file:PATH. By default "
            "partitions if the corpus has any, else random.",
            show_default=False,
        ),
    ] = "",
    split_seed: options.SplitSeedOption = 0,
    sample_rate: options.SampleRateOption = None,
    same_speaker: options.SameSpeakerOption = None,
    drop_duplicates: options.DropDuplicatesOption = False,
    accept: options.AcceptOption = None,
    seeds: options.SeedsOption = 5,
    jobs: options.JobsOption = 1,
    max_epochs: options.MaxEpochsOption = 100,
    dry_run: Annotated[
        bool,
        typer.Option("--dry-run", help="Only list the runs, how many are left, and how long they will take about."),
    ] = False,
    cache: options.CacheOption = None,
    as_json: options.JsonOption = False,
) -> None:
    """Do tables of the paper again: every model with every seed, and a report beside the paper's numbers.

    On FAU-Aibo and aGender everything is as in section IV: partitions, validation speakers, features, models. On any
    other corpus the table's models are compared on the user's labels in the table's setting. Before any work, also
    before a dry run, the recordings are checked as by `convrnn check`; an error stops the command.

    For each table OUT gets a report as a web page, Markdown, CSV and LaTeX (table1.html, .md, .csv, .tex): the paper's
    values and these side by side, 95 % confidence intervals over speakers, paired tests against the standard
    convolution, learning curves, recalls of classes and speakers, confusion matrices, specs and versions.

    Every run lies in OUT/runs, named by its content: runs that tables share are done once, a finished one is never done
    again, and an interrupted command continues where it was. A report is about all seeds that are finished in OUT.
    """
    from convrnn.cli.prepare import use_cache
    from convrnn.cli.rows import RowOptions
    from convrnn.cli.table_plan import plan_tables, show_plan, tell_missing
    from convrnn.experiments.paper import TABLES
    from convrnn.experiments.reproduce import choose_columns, is_the_papers
    from convrnn.features.config import FEATURES
    from convrnn.models.presets import SETTINGS

    options.choose_folder("--out", out)
    names = options.choose_several("TABLE", ",".join(tables), TABLES)
    if setting is not None:
        options.choose("--setting", setting, SETTINGS)
    kinds = () if features is None else options.choose_several("--features", features, FEATURES)
    chosen = RowOptions.of(same_speaker, accept, drop_duplicates=drop_duplicates, several=len(corpus) > 1)
    cache_dir = use_cache(cache)
    if all(is_the_papers(name) for name in corpus):
        for option, value in (
            ("--setting", setting),
            ("--split", split or None),
            ("--sample-rate", sample_rate),
        ):
            if value is not None:
                raise InputError(f"{option} {value}: is for other corpora; on the paper's own it is as in the paper")
    requests = [
        (TABLES[name], choose_columns(TABLES[name], corpus, tasks=task or (), setting=setting, features=kinds))
        for name in names
    ]
    for name in corpus:
        if not any(request.corpus == name for _, columns in requests for request in columns):
            raise InputError(f"--corpus {name}: {', '.join(names)} has no column on it; leave it out")
    tell_missing(requests)
    plans = plan_tables(
        requests,
        split=split,
        split_seed=split_seed,
        seeds=seeds,
        max_epochs=max_epochs,
        sample_rate=sample_rate,
        chosen=chosen,
        cache_dir=cache_dir,
        jobs=jobs,
    )
    plans = [_with_earlier_seeds(out, plan, note=not dry_run) for plan in plans]
    if dry_run:
        show_plan(plans, out / "runs", jobs=jobs, as_json=as_json)
        return
    reports = _execute(plans, out, cache_dir, jobs)
    if as_json:
        typer.echo(json.dumps([json.loads(report.to_json()) for report in reports], indent=2))
        return
    for report in reports:
        _show(report, out)


def _with_earlier_seeds(out: Path, plan: "TablePlan", *, note: bool) -> "TablePlan":
    """The plan with the seeds that the folder's report of the table has already; ``note`` writes down what it is."""
    from convrnn.experiments.folder import RUNS, TableColumn, open_table, table_columns, with_earlier_runs

    asked = [TableColumn.of(column.corpus, column.split, column.runs) for column in plan.columns]
    in_folder = (open_table if note else table_columns)(out, plan.table.name, asked)
    columns = [
        replace(column, runs=with_earlier_runs(column.runs, all_asked.runs, out / RUNS, whole_seeds=True))
        for column, all_asked in zip(plan.columns, in_folder, strict=True)
    ]
    return replace(plan, columns=columns)


def _execute(plans: "Sequence[TablePlan]", out: Path, cache_dir: Path, jobs: int) -> "list[Report]":
    """Do all runs, and write a report per table."""
    from convrnn.cli.console import say
    from convrnn.cli.prepare import extract
    from convrnn.cli.progress import train_all
    from convrnn.experiments.compare import caption
    from convrnn.experiments.report import Report
    from convrnn.experiments.reproduction import ColumnRuns, Reproduction

    runs_dir = out / "runs"
    # All of them first: a recording that cannot be used should not show after hours of training.
    for column in (column for plan in plans for column in plan.columns):
        if not all(run.finished(runs_dir) for run in column.runs):
            extract(column.data, column.spec.features, cache_dir, jobs)
    reports = []
    for plan in plans:
        done = []
        for number, column in enumerate(plan.columns, start=1):
            say(f"Table {plan.table.number}, {column.heading} ({number} of {len(plan.columns)})")
            finished = train_all(column.runs, column.data, cache_dir, runs_dir, jobs)
            task, provisos = column.spec.task, column.provisos.sentences()
            done.append(
                ColumnRuns(
                    column.column,
                    column.corpus,
                    column.data.synthetic,
                    column.data.classes(task),
                    caption(column.data, task, column.split, column.runs, provisos),
                    tuple(column.runs),
                    tuple(finished),
                    tuple(provisos),
                )
            )
        report = Report.of(Reproduction(plan.table, tuple(done), ("convrnn", *map(encodable, sys.argv[1:]))))
        report.save(out)
        reports.append(report)
    return reports


def _show(report: "Report", out: Path) -> None:
    from convrnn.cli.console import result_grid, results

    header, rows = report.grid()
    grid = result_grid(*header)
    for row in rows:
        grid.add_row(*row)
    stdout = results()
    stdout.print(grid)
    for column in report.reproduction.columns:
        stdout.print(f"{column.column.heading}: {column.caption}", markup=False)
    name = report.reproduction.table.name
    stdout.print(f"Files: {out}/{name}.html, .md, .csv, .tex; runs and models in {out}/runs", markup=False)


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(help=options.help_of(reproduce), epilog=_EXAMPLES)(reproduce)
