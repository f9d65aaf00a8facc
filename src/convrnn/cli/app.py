"""The commands as one application whose errors are single sentences."""

from importlib.metadata import version
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from convrnn.cli import (
    check,
    compare,
    console,
    evaluate,
    export,
    extract,
    live,
    models,
    options,
    predict,
    reproduce,
    train,
)


class Commands(TyperGroup):
    """All commands; an error that the user can correct becomes one sentence on stderr, with exit code 2."""

    def make_context(self, *args: Any, **options: Any) -> Any:  # noqa: ANN401 - as of the class above
        """Parse the options before the command."""
        with console.errors_as_sentences():
            return super().make_context(*args, **options)

    def invoke(self, ctx: typer.Context) -> Any:  # type: ignore[override]  # noqa: ANN401 - whatever a command returns
        """Run the chosen command."""
        with console.errors_as_sentences():
            return super().invoke(ctx)


app = typer.Typer(
    cls=Commands,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Convolutional recurrent layers (CRNN, CLSTM, CBLSTM) and the paper's whole speech experiment.",
    epilog=options.examples(
        "convrnn compare demo --task gender --setting paralinguistic --seeds 1 --max-epochs 15 --out demo-results"
    ),
)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"convrnn {version('convrnn')}")
        raise typer.Exit


@app.callback()
def before_command(
    _version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Read the options that come before a command."""


for _module in (check, compare, reproduce, train, evaluate, predict, live, extract, export, models):
    _module.register(app)
