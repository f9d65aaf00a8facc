"""``convrnn predict``: classes and probabilities of recordings."""

import collections
import csv
import io
import json
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated, Any

import typer

from convrnn.cli import options
from convrnn.errors import InputError

if TYPE_CHECKING:
    from convrnn.features.extract import Segment

_EXAMPLES = options.examples(
    "convrnn predict runs/3f2a9c0d11e85b77/best one.wav two.flac --speaker anna",
    "convrnn predict model recordings.csv > predictions.csv",
    "convrnn predict model recordings.csv --json > predictions.json",
)


def predict(
    bundle: options.BundleArgument,
    files: Annotated[
        list[Path],
        typer.Argument(
            metavar="FILE...",
            help="Audio files, or one .csv with columns file (relative to the .csv or absolute), speaker and "
            "optionally start and end in seconds.",
            show_default=False,
        ),
    ],
    speaker: Annotated[
        str | None, typer.Option("--speaker", help="All files are of this one speaker.", show_default=False)
    ] = None,
    normalise: options.OtherPolicyOption = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of CSV.")] = False,
) -> None:
    """Predict the class of recordings, with the probability of each class, as CSV on stdout.

    A model trained with --normalise speaker standardises features over all recordings of a speaker: tell who speaks
    with --speaker or a .csv, and give all recordings of a speaker at once. Nothing is printed if a file is bad.
    """
    from convrnn.cli.bundles import choose_policy, open_bundle
    from convrnn.cli.console import Counter, say, warn
    from convrnn.cli.predictions import prediction_of
    from convrnn.cli.prepare import extraction_jobs, make_ready
    from convrnn.features.store import FeatureStore
    from convrnn.training.evaluate import predict as predict_bundle

    segments, speakers = _recordings(files, speaker)
    model, _ = open_bundle(bundle)
    policy = choose_policy(model, normalise)
    if policy != "speaker" and speaker is not None:
        say(f"--speaker {speaker} has no effect, since features are standardised per {policy}")
    if policy == "speaker":
        if speakers is None:
            raise InputError(
                "features are standardised per speaker: give --speaker NAME if all files are of one speaker, or one "
                ".csv with columns file and speaker; --normalise utterance needs no speakers, but its statistics "
                "differ from those that a model trained per speaker has learnt from"
            )
        if alone := [name for name, count in collections.Counter(speakers).items() if count == 1]:
            many = f"{len(alone)} speakers have" if len(alone) > 1 else f"speaker {alone[0]} has"
            warn(f"{many} one recording only, which features are standardised over; give all of a speaker at once")
    features = model.config.features
    make_ready(features)
    with TemporaryDirectory() as folder, Counter("features", line=False) as counter:
        log_probabilities = predict_bundle(
            model,
            segments,
            speakers=speakers,
            normalise=policy,
            store=FeatureStore(folder, features),
            jobs=extraction_jobs(features),
            on_progress=counter,
        )
    classes = model.config.classes
    rows = [
        _facts(segment) | prediction_of(classes, values)
        for segment, values in zip(segments, log_probabilities, strict=True)
    ]
    # Written in one go, so that a reader gets all or nothing.
    sys.stdout.write(json.dumps(rows, indent=2) + "\n" if as_json else _csv(rows, classes))


def _recordings(files: list[Path], speaker: str | None) -> "tuple[list[Segment], list[str] | None]":
    """What to read, and who speaks in each, where that is known."""
    from convrnn.features.extract import Segment

    lists = [file for file in files if file.suffix.lower() == ".csv"]
    if not lists:
        return [Segment(str(file)) for file in files], None if speaker is None else [speaker] * len(files)
    if len(files) > 1:
        raise InputError(f"{lists[0]}: a .csv has to be the only FILE, but {len(files)} were given")
    segments, speakers = read_list(lists[0])
    if speaker is not None:
        if speakers is not None:
            raise InputError(f"--speaker {speaker}: {lists[0]} has a column 'speaker' already; leave out one of them")
        speakers = [speaker] * len(segments)
    return segments, speakers


def read_list(path: Path) -> "tuple[list[Segment], list[str] | None]":
    """The recordings that a CSV lists, and their speakers; None without a column ``speaker``.

    Args:
        path: columns ``file`` (relative to the CSV or absolute), optionally ``speaker``, ``start`` and ``end`` in
            seconds; others are ignored. It is read as a corpus's CSV is.

    Raises:
        InputError: naming the file, the line and the column.
    """
    from convrnn.corpora.csv_table import read_rows
    from convrnn.features.extract import Segment

    columns, rows = read_rows(path, required=("file",))
    segments = [Segment(str(path.parent / row.filled("file")), *row.times()) for row in rows]
    return segments, [row.filled("speaker") for row in rows] if "speaker" in columns else None


def _facts(segment: "Segment") -> dict[str, Any]:
    """The file and, where given, the times."""
    times = {name: value for name, value in (("start", segment.start), ("end", segment.end)) if value is not None}
    return {"file": segment.file, **times}


def _csv(rows: list[dict[str, Any]], classes: tuple[str, ...]) -> str:
    from convrnn.cli.predictions import cells, heading

    times = [name for name in ("start", "end") if any(name in row for row in rows)]
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["file", *times, *heading(classes)])
    for row in rows:
        writer.writerow([row["file"], *(row.get(name, "") for name in times), *cells(row)])
    return text.getvalue()


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(help=options.help_of(predict), epilog=_EXAMPLES)(predict)
