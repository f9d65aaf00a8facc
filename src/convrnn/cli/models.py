"""``convrnn models``: sizes and receptive fields of the paper's models."""

import json
from typing import TYPE_CHECKING, Annotated, Any

import typer

from convrnn.cli import options

if TYPE_CHECKING:
    from convrnn.models.config import SequenceClassifierConfig

_EXAMPLES = options.examples("convrnn models", "convrnn models --setting paralinguistic --classes 3 --json")

SHIFT_MS, FRAME_MS = 10.0, 25.0


def models(
    setting: Annotated[
        str | None,
        typer.Option("--setting", help="emotion or paralinguistic; by default both.", show_default=False),
    ] = None,
    in_features: Annotated[int, options.number("--in-features", "Features per input frame.", 1, 2**16)] = 26,
    classes: Annotated[int, options.number("--classes", "Number of classes.", 2, 2**16)] = 5,
    as_json: options.JsonOption = False,
) -> None:
    """List the models: parameters, output rate and receptive field.

    Rate and receptive field are those of the front end's output, which is the input of the (B)LSTM, for frames of 25 ms
    every 10 ms. Names joined by "=" are the same model.
    """
    from convrnn.arguments import check_choice
    from convrnn.models.presets import FRONT_ENDS, SETTINGS

    if setting is not None:
        check_choice("setting", setting, SETTINGS)
    settings = SETTINGS if setting is None else (setting,)
    rows = [_describe(name, each, in_features, classes) for each in settings for name in FRONT_ENDS]
    if as_json:
        typer.echo(json.dumps(rows, indent=2))
    else:
        _show(rows)


def _describe(front_end: str, setting: str, in_features: int, classes: int) -> dict[str, Any]:
    import torch

    from convrnn.models.classifier import SequenceClassifier
    from convrnn.models.presets import FRONT_ENDS, preset

    def config(name: str) -> "SequenceClassifierConfig":
        return preset(name, setting, in_features=in_features, num_classes=classes)

    # Only shapes are needed; initialising the weights would take seconds.
    with torch.device("meta"):
        model = SequenceClassifier(config(front_end))
    return {
        "model": front_end,
        "same_as": [name for name in FRONT_ENDS if name != front_end and config(name) == config(front_end)],
        "setting": setting,
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "frame_stride": model.frame_stride,
        "output_shift_ms": model.frame_stride * SHIFT_MS,
        "output_rate_hz": 1000 / (model.frame_stride * SHIFT_MS),
        "receptive_field_frames": model.receptive_field,
        "receptive_field_ms": (model.receptive_field - 1) * SHIFT_MS + FRAME_MS,
    }


def _show(rows: list[dict[str, Any]]) -> None:
    from convrnn.cli.console import result_grid, results

    grid = result_grid("model", "setting", "parameters", "output every", "output rate", "receptive field")
    grid.columns[1].justify = "left"
    previous = rows[0]["setting"]
    for row in rows:
        if row["setting"] != previous:
            grid.add_section()
            previous = row["setting"]
        frames = row["receptive_field_frames"]
        grid.add_row(
            " = ".join([row["model"], *row["same_as"]]),
            row["setting"],
            f"{row['parameters']:,}",
            f"{row['output_shift_ms']:g} ms",
            f"{row['output_rate_hz']:.4g} Hz",
            f"{frames} frame{'s' if frames > 1 else ''}, {row['receptive_field_ms']:g} ms",
        )
    results().print(grid)


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(help=options.help_of(models), epilog=_EXAMPLES)(models)
