"""``convrnn extract``: the features of a trained model's front end, for other models."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from convrnn.cli import options
from convrnn.errors import Argument, InputError

if TYPE_CHECKING:
    import pandas as pd

_EXAMPLES = options.examples(
    "convrnn extract runs/3f2a9c0d11e85b77/best recordings.csv --out features.parquet",
    "convrnn extract model one.wav two.flac --speaker anna --out features.csv",
)

FORMATS = (".parquet", ".csv", ".npz")


def extract(
    bundle: options.BundleArgument,
    files: options.FilesArgument,
    out: Annotated[
        Path,
        typer.Option(
            "--out",
            help="The file to write: .parquet (needs pyarrow), .csv or .npz; an existing one is replaced.",
            show_default=False,
        ),
    ],
    speaker: options.SpeakerOption = None,
    normalise: options.OtherPolicyOption = None,
    accept: options.AcceptRecordingOption = None,
    jobs: options.JobsOption = 1,
    device: options.DeviceOption = "auto",
) -> None:
    """Write the features that a trained model's front end computes, one row per window, for another model to use.

    The columns are file, start and end (seconds; a window depends on nothing outside them) and feature_0, feature_1, …;
    for a model of frames, start and end are numbers of frames. In a .npz they are the arrays files, start, end and
    features (windows × features).

    Every recording is checked first, as by `convrnn predict`; a bad one stops the command before anything is written.
    """
    from convrnn.cli.console import Counter, say
    from convrnn.cli.progress import ShownProgress
    from convrnn.cli.recordings import recordings, warn_of_doubts
    from convrnn.experiments.prepare import choose_policy, make_ready, open_model
    from convrnn.experiments.resources import extraction_jobs
    from convrnn.files import why_not_writable
    from convrnn.training.windows import extract_windows, windows_table

    if out.suffix.lower() not in FORMATS:
        raise InputError(Argument("out", str(out)), f": the file must end in {', '.join(FORMATS)}")
    if out.parent.is_dir() and (reason := why_not_writable(out.parent)):
        raise InputError(Argument("out", str(out)), f": cannot be written ({reason})")
    if out.suffix.lower() == ".parquet":
        _require_pyarrow(out)
    saved = open_model(bundle, device, ShownProgress())
    policy = choose_policy(saved, normalise, ShownProgress())
    segments, speakers = recordings(files, speaker, policy)
    features = saved.bundle.config.features
    make_ready(features, ShownProgress())
    with Counter("recordings", line=False) as listened, Counter("features", line=False) as extracted:
        found = extract_windows(
            saved.bundle,
            segments,
            speakers=speakers,
            normalise=policy,
            accept=accept or (),
            jobs=extraction_jobs(features, jobs),
            on_listened=listened,
            on_extracted=extracted,
        )
    warn_of_doubts([one.faults for one in found], speakers if policy == "speaker" else None)
    table = windows_table(found)
    _write(table, out)
    sizes = (len(table), "window"), (len(found), "recording"), (len(table.columns) - 3, "feature")
    windows, of_recordings, features_each = (_count(number, noun) for number, noun in sizes)
    say(f"{out}: {windows} of {of_recordings}, {features_each}")


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def _require_pyarrow(out: Path) -> None:
    import importlib.util

    if importlib.util.find_spec("pyarrow") is None:
        raise InputError(Argument("out", str(out)), ": needs pyarrow, pip install pyarrow; or write .csv or .npz")


def _write(table: "pd.DataFrame", out: Path) -> None:
    import io

    import numpy as np

    from convrnn.files import write_atomically
    from convrnn.plain_text import csv_cell

    content = io.BytesIO()
    match out.suffix.lower():
        case ".parquet":
            table.to_parquet(content, index=False)
        case ".csv":
            # As many digits as a float32 needs to be read back exactly.
            safe = table.assign(file=table["file"].map(csv_cell))
            content.write(safe.to_csv(index=False, float_format="%.9g", lineterminator="\n").encode("utf-8", "replace"))
        case _:
            np.savez_compressed(
                content,
                files=table["file"].to_numpy(dtype=str),
                start=table["start"].to_numpy(),
                end=table["end"].to_numpy(),
                features=table.iloc[:, 3:].to_numpy(dtype=np.float32),
            )
    write_atomically(out, content.getvalue())


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(help=options.help_of(extract), epilog=_EXAMPLES)(extract)
