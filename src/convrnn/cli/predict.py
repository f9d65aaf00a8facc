"""``convrnn predict``: classes and probabilities of recordings."""

import csv
import io
import json
import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from convrnn.cli import options
from convrnn.errors import InputError
from convrnn.plain_text import encodable

if TYPE_CHECKING:
    from convrnn.training.predict import Prediction

_EXAMPLES = options.examples(
    "convrnn predict runs/3f2a9c0d11e85b77/best one.wav two.flac --speaker anna",
    "convrnn predict model recordings.csv > predictions.csv",
    "convrnn predict model recordings.csv --json > predictions.json",
)


def predict(
    bundle: options.BundleArgument,
    files: options.FilesArgument,
    speaker: options.SpeakerOption = None,
    normalise: options.OtherPolicyOption = None,
    accept: options.AcceptRecordingOption = None,
    jobs: options.JobsOption = 1,
    device: options.DeviceOption = "auto",
    fail_fast: Annotated[
        bool, typer.Option("--fail-fast", help="Stop at the first bad recording, and print nothing.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of CSV.")] = False,
) -> None:
    """Predict the class of recordings, and print it with the probability of each class as CSV.

    A model trained with --normalise speaker standardises features over all recordings of a speaker: say who speaks with
    --speaker or in a .csv, and give all recordings of a speaker at once.

    Every recording is checked first, as by `convrnn check`. The columns error and warning say what is wrong with it;
    with an error there is no prediction. The other recordings are predicted as if the bad one had not been given, and
    the exit code is 2.
    """
    from convrnn.cli.console import Counter
    from convrnn.cli.progress import ShownProgress
    from convrnn.cli.recordings import recordings, warn_of_doubts
    from convrnn.experiments.prepare import choose_policy, make_ready, open_model
    from convrnn.experiments.resources import extraction_jobs
    from convrnn.training.predict import predict as predict_recordings

    saved = open_model(bundle, device, ShownProgress())
    model, policy = saved.bundle, choose_policy(saved, normalise, ShownProgress())
    segments, speakers = recordings(files, speaker, policy)
    features = model.config.features
    make_ready(features, ShownProgress())
    with Counter("recordings", line=False) as listened, Counter("features", line=False) as extracted:
        found = predict_recordings(
            model,
            segments,
            speakers=speakers,
            normalise=policy,
            accept=accept or (),
            fail_fast=fail_fast,
            jobs=extraction_jobs(features, jobs),
            on_listened=listened,
            on_extracted=extracted,
        )
    warn_of_doubts([one.faults for one in found], speakers if policy == "speaker" else None)
    classes = model.config.classes
    rows = [_row(one, classes) for one in found]
    # Written at once, so that a reader gets all or nothing.
    sys.stdout.write(json.dumps(rows, indent=2) + "\n" if as_json else encodable(_csv(rows, classes)))
    if bad := [one.error for one in found if one.error is not None]:
        sys.stdout.flush()
        more = f", and {len(bad) - 1} more; see their rows" if len(bad) > 1 else ""
        raise InputError(f"{len(bad)} of {len(found)} recordings without a prediction: {bad[0]}{more}")


def _row(found: "Prediction", classes: tuple[str, ...]) -> dict[str, Any]:
    """The file and its times, if given; the prediction; errors and warnings."""
    from convrnn.cli.predictions import prediction_of
    from convrnn.features.extract import Segment

    segment, values = found.segment, found.log_probabilities
    assert isinstance(segment, Segment)
    times = {name: value for name, value in (("start", segment.start), ("end", segment.end)) if value is not None}
    said = {"prediction": None, "probabilities": None} if values is None else prediction_of(classes, values)
    return {"file": segment.file, **times, **said, "error": found.error, "warnings": found.warnings}


def _csv(rows: list[dict[str, Any]], classes: tuple[str, ...]) -> str:
    from convrnn.cli.predictions import cells, heading
    from convrnn.plain_text import csv_cell

    times = [name for name in ("start", "end") if any(name in row for row in rows)]
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["file", *times, *heading(classes), "error", "warning"])
    for row in rows:
        said = [""] * (1 + len(classes)) if row["error"] is not None else cells(row)
        about = [csv_cell(row["error"] or ""), csv_cell("; ".join(row["warnings"]))]
        writer.writerow([csv_cell(row["file"]), *(row.get(name, "") for name in times), *said, *about])
    return text.getvalue()


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(help=options.help_of(predict), epilog=_EXAMPLES)(predict)
