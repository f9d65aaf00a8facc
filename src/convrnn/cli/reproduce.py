"""``convrnn reproduce``: the paper's tables, on its corpora or others."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from convrnn.cli import options
from convrnn.experiments.arguments import SEEDS
from convrnn.training.config import DEFAULTS

if TYPE_CHECKING:
    from convrnn.experiments.estimating import Estimate
    from convrnn.experiments.results import Results

_EXAMPLES = options.examples(
    "convrnn reproduce table1 --corpus aibo:FAUAibo --jobs 4 --out results",
    "convrnn reproduce table4 --corpus aibo:FAUAibo --corpus agender:aGender --dry-run --out results",
    "convrnn reproduce table2 table3 --corpus agender:aGender --features logmel,egemaps-25ms --out results",
    "convrnn reproduce table2 --corpus csv:data.csv --task gender --features logmel --seeds 1 --out results",
)


def reproduce(
    tables: options.TablesArgument,
    corpus: options.CorporaOption,
    out: Annotated[Path, typer.Option("--out", help="Folder for runs and reports.", show_default=False)],
    task: options.TasksOption = None,
    setting: options.TableSettingOption = None,
    features: options.TableFeaturesOption = None,
    split: options.TableSplitOption = "",
    split_seed: options.SplitSeedOption = 0,
    sample_rate: options.SampleRateOption = None,
    same_speaker: options.SameSpeakerOption = None,
    drop_duplicates: options.DropDuplicatesOption = False,
    accept: options.AcceptOption = None,
    seeds: options.SeedsOption = SEEDS,
    jobs: options.JobsOption = 1,
    cluster: options.ClusterOption = None,
    device: options.DeviceOption = "auto",
    precision: options.PrecisionOption = "32",
    devices: options.DevicesOption = 1,
    max_epochs: options.MaxEpochsOption = DEFAULTS.max_epochs,
    dry_run: options.DryRunOption = False,
    cache: options.CacheOption = None,
    as_json: options.JsonOption = False,
) -> None:
    """Reproduce tables of the paper, and report the results next to the paper's.

    On FAU-Aibo and aGender everything is as in section IV: partitions, validation speakers, features, models. On any
    other corpus the table's models are compared on your labels, in the table's setting. The recordings are checked
    first, as by `convrnn check` and even for a dry run; an error stops the command.

    For each table, a report is written to OUT as a web page, Markdown, CSV and LaTeX (table1.html, .md, .csv, .tex):
    the paper's values and yours side by side, 95 % confidence intervals over speakers, paired tests against the
    standard convolution, learning curves, recalls of classes and speakers, confusion matrices, specs and versions.

    Each run has its own directory in OUT/runs. Runs that tables share are done once, finished runs are never repeated,
    and the same command continues an interrupted one. A report covers all finished seeds in OUT.
    """
    from convrnn.cli.progress import ShownProgress
    from convrnn.experiments import estimate, plan_reproduction

    plan = plan_reproduction(
        options.names(",".join(tables)),
        corpora=corpus,
        out=out,
        tasks=task or (),
        setting=setting,
        features=None if features is None else options.names(features),
        split=split or None,
        split_seed=split_seed,
        sample_rate=sample_rate,
        same_speaker=same_speaker or (),
        drop_duplicates=drop_duplicates,
        accept=accept or (),
        seeds=seeds,
        jobs=jobs,
        cluster=cluster,
        device=device,
        precision=precision,
        devices=devices,
        max_epochs=max_epochs,
        cache=cache,
        progress=ShownProgress(),
        command=options.command_line(),
    )
    if dry_run:
        _show_estimate(estimate(plan), as_json=as_json)
    else:
        _show(plan.run(), out, as_json=as_json)


def _show_estimate(found: "Estimate", *, as_json: bool) -> None:
    from convrnn.cli.console import result_grid, results
    from convrnn.experiments.report.numbers import format_seconds

    if as_json:
        typer.echo(json.dumps(found.to_dict(), indent=2))
        return
    counts = ("seeds", "folds", "runs", "shared", "finished", "left")
    grid = result_grid("table", "column", "model", *counts, "one epoch")
    for line in found.models:
        seconds = "" if line.seconds_per_epoch is None else format_seconds(line.seconds_per_epoch)
        grid.add_row(line.table, line.column, line.model, *(str(getattr(line, name)) for name in counts), seconds)
    stdout = results()
    stdout.print(grid)
    stdout.print(str(found), markup=False)


def _show(tables: "Sequence[Results]", out: Path, *, as_json: bool) -> None:
    from convrnn.cli.console import result_grid, results
    from convrnn.experiments.report import lay_out

    if as_json:
        typer.echo(json.dumps([json.loads(table.to_json()) for table in tables], indent=2))
        return
    stdout = results()
    for table in tables:
        header, rows = lay_out(table).grid()
        grid = result_grid(*header)
        for row in rows:
            grid.add_row(*row)
        stdout.print(grid)
        for column, experiment in table.done:
            stdout.print(f"{column.column.heading}: {experiment.caption}", markup=False)
        stdout.print(f"Files: {out}/{table.name}.html, .md, .csv, .tex; runs and models in {out}/runs", markup=False)


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(help=options.help_of(reproduce), epilog=_EXAMPLES)(reproduce)
