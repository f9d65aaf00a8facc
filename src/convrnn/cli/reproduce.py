"""``convrnn reproduce``: the paper's tables, on its corpora or on others."""

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from convrnn.cli import options
from convrnn.errors import InputError

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
    seeds: Annotated[int, typer.Option("--seeds", min=1, help="Number of seeds: 0, 1, … The split stays.")] = 5,
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
    other corpus the table's models are compared on the user's labels in the table's setting.

    For each table OUT gets a report as a web page, Markdown, CSV and LaTeX (table1.html, .md, .csv, .tex): the paper's
    values and these side by side, 95 % confidence intervals over speakers, paired tests against the standard
    convolution, learning curves, recalls of classes and speakers, confusion matrices, specs and versions.

    Every run lies in OUT/runs, named by its content: runs that tables share are done once, a finished one is never done
    again, and an interrupted command continues where it was.
    """
    from convrnn.cli.prepare import use_cache
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
    cache_dir = use_cache(cache)
    if all(is_the_papers(name) for name in corpus):
        for option, value in (("--setting", setting), ("--split", split or None)):
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
    plans = plan_tables(requests, split=split, split_seed=split_seed, seeds=seeds, max_epochs=max_epochs)
    if dry_run:
        show_plan(plans, out / "runs", jobs=jobs, as_json=as_json)
        return
    for plan in plans:
        _claim(out, plan)
    reports = _execute(plans, out, cache_dir, jobs)
    if as_json:
        typer.echo(json.dumps([json.loads(report.to_json()) for report in reports], indent=2))
        return
    for report in reports:
        _show(report, out)


def _claim(out: Path, plan: "TablePlan") -> None:
    """Note what the table is about, and refuse a folder whose report of it is about something else.

    Raises:
        InputError: naming what the folder holds.
    """
    from convrnn.files import write_atomically, writing

    name = plan.table.name
    path = out / f"{name}.columns.json"
    columns = [
        {
            "corpus": column.corpus,
            "fingerprint": column.spec.fingerprint,
            "task": column.spec.task,
            "setting": column.spec.setting,
            "features": column.spec.features.model_dump(mode="json"),
            "split": column.split,
        }
        for column in plan.columns
    ]
    known = [{key: value for key, value in column.items() if key != "corpus"} for column in columns]
    for before in _claimed(path):
        corpus = before.pop("corpus")
        if before not in known:
            raise InputError(
                f"--out {out} holds {name} of {corpus}, task {before['task']}, setting {before['setting']}, split "
                f"{before['split']}, which is not asked for now; choose another --out, or ask for that too"
            )
    with writing(out):
        out.mkdir(parents=True, exist_ok=True)
    write_atomically(path, json.dumps(columns, indent=2) + "\n")


def _claimed(path: Path) -> list[dict[str, Any]]:
    """The columns that the folder's report has so far."""
    if not path.exists():
        return []
    try:
        columns: list[dict[str, Any]] = json.loads(path.read_text(encoding="utf-8"))
        if all({"corpus", "task", "setting", "split"} <= set(column) for column in columns):
            return columns
    except (ValueError, TypeError):
        pass
    raise InputError(f"{path}: is damaged; choose another --out, or delete the file")


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
            task = column.spec.task
            done.append(
                ColumnRuns(
                    column.column,
                    column.corpus,
                    column.data.synthetic,
                    column.data.classes(task),
                    caption(column.data, task, column.split, column.runs),
                    tuple(column.runs),
                    tuple(finished),
                )
            )
        report = Report.of(Reproduction(plan.table, tuple(done), ("convrnn", *sys.argv[1:])))
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
