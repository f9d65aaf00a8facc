"""``convrnn export``: a trained model as a file for other runtimes."""

import json
from pathlib import Path
from typing import Annotated

import typer

from convrnn.cli import INTERRUPTED, options

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
    """Write a trained model as an ONNX file, which runs without PyTorch or Python.

    The inputs are "features" (batch × frames × features, float32), as extracted, and "lengths" (batch, int64); the
    output is "log_probabilities" (batch × classes). The model standardises the features itself. If it does so per
    speaker, all recordings of a speaker must be in one call, with a third input "speakers" (batch, int64): a number for
    each speaker. The metadata describe the features and name the classes. The file is written only if ONNX Runtime
    gives the same probabilities as PyTorch.
    """
    from convrnn.cli.console import say, stop, talk
    from convrnn.cli.progress import ShownProgress
    from convrnn.errors import InputError
    from convrnn.experiments.prepare import choose_policy
    from convrnn.files import why_not_writable
    from convrnn.models.export import export_onnx
    from convrnn.training.saved_model import load

    if file.suffix.lower() != ".onnx":
        raise InputError(f"{file}: the file to write must end in .onnx")
    if file.parent.is_dir() and (reason := why_not_writable(file.parent)):
        raise InputError(f"{file}: cannot be written ({reason})")
    saved = load(bundle)
    model, policy = saved.bundle, choose_policy(saved, normalise, ShownProgress())
    console = talk()
    if not console.is_terminal:
        say("exporting; this takes up to a minute")
    try:
        with console.status("exporting; this takes up to a minute"):
            found = export_onnx(model, file, normalise=policy)
    except KeyboardInterrupt:
        raise stop(f"interrupted; {file} was not written", INTERRUPTED) from None
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
    typer.echo(f"largest difference  {found.difference:.1e}, between the probabilities of ONNX Runtime and PyTorch")


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(help=options.help_of(export), epilog=_EXAMPLES)(export)
