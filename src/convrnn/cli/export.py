"""``convrnn export``: a trained model for other runtimes."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from convrnn.cli import INTERRUPTED, options

_EXAMPLES = options.examples(
    "convrnn export runs/3f2a9c0d11e85b77/best model.onnx",
    "convrnn export model model.onnx --samples --int8",
    "convrnn export model emotion-model --audonnx --normalise utterance --json",
)


def export(
    bundle: options.BundleArgument,
    file: Annotated[
        Path,
        typer.Argument(
            metavar="FILE",
            help="The ONNX file to write (.onnx), or the folder with --audonnx; the same files there are replaced.",
            show_default=False,
        ),
    ],
    normalise: options.OtherPolicyOption = None,
    samples: Annotated[
        bool,
        typer.Option(
            "--samples", help="The input is samples: the file computes log mel features itself.", show_default=False
        ),
    ] = False,
    int8: Annotated[
        bool,
        typer.Option(
            "--int8",
            help="Round weights to 8 bits (ONNX Runtime's dynamic quantisation), and print what this changes.",
        ),
    ] = False,
    audonnx: Annotated[
        bool,
        typer.Option(
            "--audonnx", help="Write a folder for audonnx.load, whose model takes the samples of one recording."
        ),
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")] = False,
) -> None:
    """Write a trained model as an ONNX file, which runs without PyTorch or Python.

    The inputs are "features" (batch × frames × features, float32), as extracted, and "lengths" (batch, int64); the
    output is "log_probabilities" (batch × classes). The model standardises the features itself. If it does so per
    speaker, all recordings of a speaker must be in one call, with a third input "speakers" (batch, int64): a number for
    each speaker. The metadata describe the features and name the classes. With --samples, and for models of the raw
    waveform, the input is "samples" (batch × samples, float32, mono, with full scale 1) instead of "features". The file
    is written only if ONNX Runtime gives the same probabilities as PyTorch; --int8 rounds the weights after this.

    With --audonnx, the model takes "signal" (1 × samples) at the model's sample rate and gives "probabilities"
    (1 × classes); audinterface.Feature runs it. Such a model cannot standardise features per speaker.
    """
    from convrnn.cli.console import say, stop, talk
    from convrnn.cli.progress import ShownProgress
    from convrnn.errors import InputError
    from convrnn.experiments.prepare import choose_policy
    from convrnn.files import why_not_writable
    from convrnn.models import export as exporting
    from convrnn.training.saved_model import load

    if audonnx and file.suffix.lower() == ".onnx":
        raise InputError(f"{file}: with --audonnx, give a folder to write")
    if not audonnx and file.suffix.lower() != ".onnx":
        raise InputError(f"{file}: the file to write must end in .onnx")
    if file.parent.is_dir() and (reason := why_not_writable(file.parent)):
        raise InputError(f"{file}: cannot be written ({reason})")
    saved = load(bundle)
    model, policy = saved.bundle, choose_policy(saved, normalise, ShownProgress())
    console = talk()
    if not console.is_terminal:
        say("exporting; this takes up to a minute")
    try:
        found: exporting.Export
        with console.status("exporting; this takes up to a minute"):
            if audonnx:
                found = exporting.export_audonnx(model, file, normalise=policy, int8=int8)
            else:
                found = exporting.export_onnx(model, file, normalise=policy, samples=samples or None, int8=int8)
    except KeyboardInterrupt:
        raise stop(f"interrupted; {file} was not written", INTERRUPTED) from None
    if found.normalise == "speaker":
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
            **({} if found.int8 is None else {"int8": asdict(found.int8)}),
        }
        typer.echo(json.dumps(facts, indent=2))
        return
    typer.echo(f"file                {file}, {found.size / 1e6:.1f} MB")
    typer.echo(f"standardised per    {found.normalise}")
    before = "" if found.int8 is None else ", before the weights were rounded"
    typer.echo(
        f"largest difference  {found.difference:.1e}, between the probabilities of ONNX Runtime and PyTorch{before}"
    )
    if (change := found.int8) is not None:
        typer.echo(f"with 8-bit weights  {found.size / change.float_size:.2f} × the size of the file with 32 bits")
        typer.echo(f"                    {change.time:.2f} × its time (median, one thread, noise)")
        typer.echo(
            f"                    the same prediction for {100 * change.agreement:.0f} % of {change.recordings} "
            f"recordings of noise; largest difference of a probability {change.difference:.1e}"
        )


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(help=options.help_of(export), epilog=_EXAMPLES)(export)
