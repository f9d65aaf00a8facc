"""``convrnn export``: a trained model as a file for other runtimes."""

import json
from pathlib import Path
from typing import Annotated

import typer

from convrnn.cli import options

_EXAMPLES = options.examples(
    "convrnn export runs/3f2a9c0d11e85b77/best model.onnx",
    "convrnn export model model.onnx --normalise utterance --json",
)


def export(
    bundle: options.BundleArgument,
    file: Annotated[
        Path,
        typer.Argument(
            metavar="FILE", help="The ONNX file to write (.onnx); an existing one is replaced.", show_default=False
        ),
    ],
    normalise: options.OtherPolicyOption = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")] = False,
) -> None:
    """Write a trained model as an ONNX file, which runs without PyTorch and without Python.

    The inputs are "features" (batch × frames × features, float32), as extracted, and "lengths" (batch, int64); the
    output is "log_probabilities" (batch × classes). The model standardises the features itself; with the policy speaker
    it needs all of a speaker's recordings in one call, and a number for each speaker as "speakers" (batch, int64). The
    file's metadata say how features are extracted and what the classes are. Nothing is written unless ONNX Runtime
    gives PyTorch's probabilities.
    """
    from convrnn.cli.bundles import choose_policy, open_bundle
    from convrnn.cli.console import say, talk
    from convrnn.errors import InputError
    from convrnn.models.export import export_onnx

    if file.suffix.lower() != ".onnx":
        raise InputError(f"{file}: the file to write must end in .onnx")
    model, _ = open_bundle(bundle)
    policy = choose_policy(model, normalise)
    console = talk()
    if not console.is_terminal:
        say("exporting, which takes up to a minute")
    try:
        with console.status("exporting, which takes up to a minute"):
            found = export_onnx(model, file, normalise=policy)
    except KeyboardInterrupt:
        raise InputError(f"interrupted; {file} was not written") from None
    if policy == "speaker":
        say(
            "features are standardised per speaker: pass all recordings of a speaker in one call, with the input "
            '"speakers"'
        )
    if as_json:
        facts = {
            "file": str(file),
            "bytes": found.size,
            "normalise": found.normalise,
            "largest_difference": found.difference,
        }
        typer.echo(json.dumps(facts, indent=2))
        return
    typer.echo(f"file                {file}, {found.size / 1e6:.1f} MB")
    typer.echo(f"standardised per    {found.normalise}")
    typer.echo(f"largest difference  {found.difference:.1e} of a probability, between ONNX Runtime and PyTorch")


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(help=options.help_of(export), epilog=_EXAMPLES)(export)
