"""``convrnn check``: what a corpus holds, and what is wrong with it."""

import json
from typing import TYPE_CHECKING, Annotated

import typer

from convrnn.cli import options

if TYPE_CHECKING:
    from rich.table import Table

    from convrnn.corpora.check import CheckReport

_EXAMPLES = options.examples(
    "convrnn check csv:data.csv", "convrnn check emodb:emodb --task emotion", "convrnn check csv:data.csv --json"
)

MOST_SHOWN = 20
"""Defects of one kind that are listed one by one."""


def check(
    corpus: options.CorpusArgument,
    task: Annotated[
        str | None, typer.Option("--task", help="The label column; by default all.", show_default=False)
    ] = None,
    cache: options.CacheOption = None,
    as_json: options.JsonOption = False,
) -> None:
    """Show classes, speakers, durations and sample rates of a corpus, and every defect, before any training.

    Every audio file is read. The exit code is 1 if a defect would make results wrong.
    """
    from convrnn.cli.console import Counter
    from convrnn.cli.prepare import open_with_progress, use_cache
    from convrnn.corpora.check import check_corpus

    use_cache(cache)
    data = open_with_progress(corpus)
    if task is not None:
        data.classes(task)
    with Counter("listening") as counter:
        report = check_corpus(data, task, on_progress=counter)
    if as_json:
        typer.echo(json.dumps(report.to_dict(), indent=2))
    else:
        _show(report)
    if report.errors:
        raise typer.Exit(1)


def _show(report: "CheckReport") -> None:
    from rich.text import Text

    from convrnn.cli.console import results

    stdout = results()
    title = f"{report.corpus}" + (" (synthetic speech)" if report.synthetic else "")
    stdout.print(Text(title, style="bold"))
    stdout.print(_overview(report))
    for task, classes in report.classes.items():
        stdout.print(_counts(task, classes, list(report.utterances)))
    rates = ", ".join(f"{rate} Hz: {files} file{_s(files)}" for rate, files in report.sample_rates.items())
    stdout.print(Text(f"Sample rates: {rates or 'none readable'}"))
    shown: dict[str, int] = {}
    for defect in report.defects:
        shown[defect.kind] = shown.get(defect.kind, 0) + 1
        if shown[defect.kind] <= MOST_SHOWN:
            style = "bold red" if defect.severity == "error" else "bold yellow"
            stdout.print(Text.assemble((f"{defect.severity}: ", style), defect.message), soft_wrap=True)
    for kind, count in shown.items():
        if count > MOST_SHOWN:
            stdout.print(Text(f"… and {count - MOST_SHOWN} more of the kind {kind}; --json lists all"))
    errors, warnings = len(report.errors), len(report.warnings)
    stdout.print(Text(f"{errors} error{_s(errors)}, {warnings} warning{_s(warnings)}"))


def _overview(report: "CheckReport") -> "Table":
    from convrnn.cli.console import result_grid

    grid = result_grid("partition", "utterances", "speakers", "total [h]", "shortest [s]", "median [s]", "longest [s]")
    for side, count in report.utterances.items():
        seconds = report.seconds.get(side)
        durations = (
            ["–"] * 4
            if seconds is None
            else [f"{seconds['total'] / 3600:.2f}", *(f"{seconds[name]:.2f}" for name in ("min", "median", "max"))]
        )
        grid.add_row(_name(side), str(count), str(report.speakers[side]), *durations)
    return grid


def _counts(task: str, classes: dict[str, dict[str, int]], sides: list[str]) -> "Table":
    from rich.text import Text

    from convrnn.cli.console import result_grid

    grid = result_grid(task, *map(_name, sides))
    for name, counts in classes.items():
        # A class may be called anything, square brackets included, which would be markup.
        grid.add_row(Text(name), *(str(counts.get(side, 0)) for side in sides))
    return grid


def _s(count: int) -> str:
    return "" if count == 1 else "s"


def _name(side: str) -> str:
    return "no partition" if side == "none" else side


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(help=options.help_of(check), epilog=_EXAMPLES)(check)
