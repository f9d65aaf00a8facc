"""``convrnn check``: the contents of a corpus and its defects."""

import contextlib
import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from convrnn.cli import options
from convrnn.errors import InputError, one_sentence

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from rich.console import Console
    from rich.table import Table

    from convrnn.corpora.check import CheckReport
    from convrnn.corpora.corpus import Corpus
    from convrnn.corpora.csv_table import CsvError

_EXAMPLES = options.examples(
    "convrnn check csv:data.csv",
    "convrnn check emodb:emodb --task emotion",
    "convrnn check csv:data.csv --same-speaker 46=53 --drop-duplicates",
    "convrnn check csv:data.csv --json",
)

MOST_SHOWN = 20
"""How many defects of one kind are listed."""


def check(
    corpus: options.CorpusArgument,
    task: Annotated[
        str | None, typer.Option("--task", help="The label column; by default all.", show_default=False)
    ] = None,
    same_speaker: options.SameSpeakerOption = None,
    drop_duplicates: options.DropDuplicatesOption = False,
    everything: Annotated[
        bool, typer.Option("--all", help=f"List all defects, not only {MOST_SHOWN} of each kind.")
    ] = False,
    jobs: options.JobsOption = 1,
    cache: options.CacheOption = None,
    as_json: options.JsonOption = False,
) -> None:
    """Show the classes, speakers, durations and sample rates of a corpus, and its defects.

    Every file is read once; the findings about audio are kept in the cache. The exit code is 1 if a defect would make
    results wrong, and 2 if the corpus cannot be opened. A CSV table with errors cannot be opened; all of them are
    listed.
    """
    from convrnn.cli.console import Counter
    from convrnn.corpora.check import check_corpus
    from convrnn.corpora.csv_table import CsvError
    from convrnn.corpora.registry import open_corpus
    from convrnn.experiments.arguments import pairs_of_names

    folder = options.use_cache(cache)
    pairs = pairs_of_names("same_speaker", same_speaker or ())
    try:
        with Counter("synthesis") as counter:
            data = open_corpus(corpus, on_progress=counter).join_speakers(pairs)
    except CsvError as error:
        # The error below is printed even if nobody reads stdout any more.
        with contextlib.suppress(BrokenPipeError):
            _show_table(corpus, error, as_json=as_json, most=None if everything else MOST_SHOWN)
        if len(error.defects) == 1:
            raise
        count = len(error.defects)
        raise InputError(
            f"{corpus}: the table has {count} defects; the audio is checked once they are fixed"
        ) from error
    if task is not None:
        data.classes(task)
    if drop_duplicates:
        data = _without_copies(data, task, folder, jobs)
    with Counter("checking recordings") as counter:
        report = check_corpus(data, task, cache_dir=folder, jobs=jobs, on_progress=counter)
    with contextlib.suppress(BrokenPipeError):
        if as_json:
            typer.echo(json.dumps(report.to_dict(), indent=2))
        else:
            _show(report, None if everything else MOST_SHOWN)
    if report.errors:
        raise typer.Exit(1)


def _without_copies(corpus: "Corpus", task: str | None, cache: "Path", jobs: int) -> "Corpus":
    from convrnn.cli.console import Counter, say
    from convrnn.corpora.check import drop_duplicates
    from convrnn.corpora.names import some

    with Counter("looking for copies") as counter:
        rest, left_out = drop_duplicates(corpus, task, cache_dir=cache, jobs=jobs, on_progress=counter)
    copies = f"{len(left_out)} cop{'y' if len(left_out) == 1 else 'ies'}"
    say(f"{corpus.name}: {copies} left out" + (f": {some(left_out, MOST_SHOWN)}" if left_out else ""))
    return rest


def _show_table(corpus: str, error: "CsvError", *, as_json: bool, most: int | None) -> None:
    """Print the defects of a CSV table on stdout; the error on stderr says how many there are."""
    if as_json:
        defects = [{"severity": "error", "kind": "table", **asdict(defect)} for defect in error.defects]
        typer.echo(json.dumps({"corpus": corpus, "defects": defects}, indent=2))
        return
    if len(error.defects) == 1:
        # The error itself describes it.
        return
    from convrnn.cli.console import results

    _list([("error", "table", defect.message) for defect in error.defects], results(), most)


def _show(report: "CheckReport", most: int | None) -> None:
    from rich.text import Text

    from convrnn.cli.console import results

    stdout = results()
    title = f"{report.corpus}" + (" (synthetic speech)" if report.synthetic else "")
    stdout.print(Text(title, style="bold"))
    stdout.print(_overview(report))
    for task, classes in report.classes.items():
        stdout.print(_counts(task, classes, list(report.utterances)))
    what, unit, counts = "Sample rates", " Hz", report.sample_rates
    if report.num_features:
        what, unit, counts = "Features per frame", "", report.num_features
    shown = ", ".join(f"{number}{unit}: {files} file{_s(files)}" for number, files in counts.items())
    stdout.print(Text(f"{what}: {shown or 'none readable'}"))
    _list([(defect.severity, defect.kind, defect.message) for defect in report.defects], stdout, most)
    errors, warnings = len(report.errors), len(report.warnings)
    stdout.print(Text(f"{errors} error{_s(errors)}, {warnings} warning{_s(warnings)}"))


def _list(defects: "Sequence[tuple[str, str, str]]", stdout: "Console", most: int | None) -> None:
    """Print each defect, at most ``most`` of each kind."""
    from rich.text import Text

    shown: dict[str, int] = {}
    for severity, kind, message in defects:
        shown[kind] = shown.get(kind, 0) + 1
        if most is None or shown[kind] <= most:
            style = "bold red" if severity == "error" else "bold yellow"
            stdout.print(Text.assemble((f"{severity}: ", style), one_sentence(message)), soft_wrap=True)
    for kind, count in shown.items():
        if most is not None and count > most:
            stdout.print(Text(f"… and {count - most} more of the kind {kind}; --all lists them"))


def _overview(report: "CheckReport") -> "Table":
    from convrnn.cli.console import result_grid

    total, unit = ("[frames]", "[frames]") if report.frames else ("[h]", "[s]")
    lengths = [f"total {total}", *(f"{name} {unit}" for name in ("shortest", "median", "longest"))]
    grid = result_grid("partition", "utterances", "speakers", *lengths)
    for side, count in report.utterances.items():
        grid.add_row(_name(side), str(count), str(report.speakers[side]), *_lengths(report, side))
    return grid


def _lengths(report: "CheckReport", side: str) -> list[str]:
    if frames := report.frames.get(side):
        return [f"{frames[name]:g}" for name in ("total", "min", "median", "max")]
    if seconds := report.seconds.get(side):
        return [f"{seconds['total'] / 3600:.2f}", *(f"{seconds[name]:.2f}" for name in ("min", "median", "max"))]
    return ["–"] * 4


def _counts(task: str, classes: dict[str, dict[str, int]], sides: list[str]) -> "Table":
    from rich.text import Text

    from convrnn.cli.console import result_grid

    grid = result_grid(task, *map(_name, sides))
    for name, counts in classes.items():
        # A class name may contain square brackets, which Rich would take for markup.
        grid.add_row(Text(name), *(str(counts.get(side, 0)) for side in sides))
    return grid


def _s(count: int) -> str:
    return "" if count == 1 else "s"


def _name(side: str) -> str:
    return "no partition" if side == "none" else side


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(help=options.help_of(check), epilog=_EXAMPLES)(check)
