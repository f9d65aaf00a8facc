"""``convrnn live``: predictions for a recording while it is being made."""

import csv
import json
import os
import select
import sys
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import IO, TYPE_CHECKING, Annotated

import typer

from convrnn.cli import options, streams
from convrnn.errors import Argument, InputError
from convrnn.features.base import SAMPLE_RATES, AudioFeatures

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


_EXAMPLES = options.examples(
    "arecord -q -t raw -f S16_LE -c 1 -r 16000 | convrnn live model",
    "ffmpeg -v error -i talk.mp3 -f s16le -ac 1 -ar 16000 - | convrnn live model --seconds 5 --every 0.5 --json",
    "arecord -q -t raw -f S16_LE -c 1 -r 16000 | convrnn live model --enrol anna/001.wav --enrol anna/002.wav",
)

_SAMPLE_BYTES = 2

_MOST_SECONDS = 3600
"""As in :mod:`convrnn.models.live`, which cannot be imported here: ``--help`` would load torch."""


def live(
    bundle: options.BundleArgument,
    seconds: Annotated[
        float, options.number("--seconds", "Length of the audio that each prediction is made from.", 0.1, _MOST_SECONDS)
    ] = 10.0,
    every: Annotated[float, options.number("--every", "Seconds between two predictions.", 0.01, _MOST_SECONDS)] = 1.0,
    sample_rate: Annotated[
        int | None,
        options.number(
            "--sample-rate", "Sample rate of stdin in Hz; by default the model's.", *SAMPLE_RATES, show_default=False
        ),
    ] = None,
    enrol: Annotated[
        list[Path] | None,
        typer.Option(
            "--enrol",
            metavar="FILE",
            help="Another recording of the speaker, for a model that standardises features per speaker. Can be "
            "repeated.",
            show_default=False,
        ),
    ] = None,
    normalise: options.OtherPolicyOption = None,
    accept: Annotated[
        list[str] | None,
        typer.Option(
            "--accept",
            metavar="KIND",
            help="Treat this error as a warning: narrow-band (stdin has a lower sample rate than the model needs).",
            show_default=False,
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print a JSON object per line instead of CSV.")] = False,
) -> None:
    """Predict the class of a recording while it is being made, and print a line every second.

    Reads samples from stdin: 16-bit little-endian, mono, without a header. Each line is the prediction for the last
    --seconds, the same as that of `convrnn predict` for a file with only these. Ends with stdin or on Ctrl-C.
    """
    from convrnn.cli.console import warn
    from convrnn.cli.progress import ShownProgress
    from convrnn.experiments.prepare import choose_policy, make_ready
    from convrnn.models.live import LivePredictor
    from convrnn.training.saved_model import load

    for number, name in enumerate(("stdin", "stdout")):
        if number in streams.closed:
            raise InputError(f"{name} is closed; convrnn live reads samples from stdin and prints to stdout")
    saved = load(bundle)
    model, policy = saved.bundle, choose_policy(saved, normalise, ShownProgress())
    features = model.config.features
    if not isinstance(features, AudioFeatures):
        raise InputError(f"{bundle}: the model takes arrays of frames from files; it cannot predict from samples")
    make_ready(features, ShownProgress())
    rate = sample_rate or features.sample_rate
    _check_band(rate, features, accept or ())
    predictor = LivePredictor(
        model, seconds=seconds, normalise=policy, enrolment=[_enrolled(file, features) for file in enrol or ()]
    )
    if policy == "speaker" and not enrol:
        warn(
            f"the model standardises features per speaker, but has only {seconds:g} s of this one; give other "
            "recordings of the speaker with --enrol, or train with --normalise utterance"
        )
    lines = _Lines(model.config.classes, as_json)
    try:
        said = 0.0
        for block, due in _blocks(sys.stdin.buffer, every, rate, features.sample_rate):
            predictor.push(block)
            if due and predictor.heard > said:
                said = predictor.heard
                log_probabilities = predictor.log_probabilities()
                if log_probabilities is not None:
                    lines.write(predictor.heard, log_probabilities)
    except KeyboardInterrupt:
        return
    except BrokenPipeError:
        # Nobody reads stdout any more; flushing it when Python ends must not fail.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return
    if not lines.written:
        raise InputError(f"stdin ended after {predictor.heard:g} s, less than one frame of {features.frame_ms:g} ms")


def _check_band(rate: int, features: AudioFeatures, accept: Collection[str]) -> None:
    """Refuse samples without the frequencies that the model uses, or warn about them with ``--accept``."""
    from convrnn.cli.console import as_option, warn
    from convrnn.experiments.arguments import check_choice

    for kind in accept:
        check_choice("accept", kind, ("narrow-band",))
    if rate / 2 >= features.highest_hz:
        return
    given = Argument("sample_rate", rate)
    problem = f": contains nothing above {rate / 2:g} Hz, but the model uses up to {features.highest_hz:g} Hz"
    if not accept:
        raise InputError(
            given,
            f"{problem}; record at {2 * features.highest_hz:g} Hz or more, or accept it with ",
            Argument("accept", "narrow-band"),
        )
    warn(as_option(given) + problem)


def _enrolled(file: Path, features: AudioFeatures) -> "NDArray[np.float32]":
    """The features of another recording of the speaker; a bad recording is refused."""
    from convrnn.cli.console import warn
    from convrnn.features.extract import Segment, extract_features
    from convrnn.training.predict import faults_of

    segment = Segment(str(file))
    for severity, _, sentence in faults_of(segment, features):
        if severity == "error":
            raise InputError(sentence)
        warn(sentence)
    return extract_features(segment, features)


def _blocks(stream: IO[bytes], every: float, rate: int, wanted: int) -> "Iterator[tuple[NDArray[np.float32], bool]]":
    """Samples at the wanted rate as they arrive, at most a second at a time, and whether a prediction is due.

    Raises:
        InputError: if stdin is a terminal, begins with a header or cannot be read.
    """
    import numpy as np
    import soxr

    from convrnn.cli.console import warn
    from convrnn.features.audio import SIGNATURES

    if stream.isatty():
        raise InputError(
            "stdin is a terminal, but convrnn live reads samples from it; convrnn live --help shows how to record"
        )
    resample = soxr.ResampleStream(rate, wanted, 1, dtype="float32", quality="HQ") if rate != wanted else None
    between = max(1, round(every * rate))
    left, last, first = between, False, True
    while not last:
        count = min(left, rate)
        data = _read(stream, _SAMPLE_BYTES * count)
        if first and data[:4] in SIGNATURES:
            raise InputError(
                f"stdin begins with the header {data[:4].decode()}; convrnn live reads samples without one, such as "
                f"those of: ffmpeg -v error -i FILE -f s16le -ac 1 -ar {rate} -"
            )
        first, last = False, len(data) < _SAMPLE_BYTES * count
        if len(data) % _SAMPLE_BYTES:
            warn("stdin ends in the middle of a sample, which is ignored")
            data = data[:-1]
        samples = np.frombuffer(data, dtype="<i2").astype(np.float32) / np.float32(32768)
        if resample is not None:
            samples = resample.resample_chunk(samples, last=last)
        left -= count
        yield samples, last or left == 0
        left = left or between


def _read(stream: IO[bytes], size: int) -> bytes:
    """Read ``size`` bytes, or fewer at the end of the stream; waits for them if the stream is non-blocking."""
    data = b""
    while len(data) < size:
        try:
            more: bytes | None = stream.read(size - len(data))
        except OSError as error:
            raise InputError(f"stdin cannot be read ({error.strerror or error})") from error
        if more is None:
            select.select([stream], [], [])
        elif more:
            data += more
        else:
            break
    return data


class _Lines:
    """Prints each prediction as a line and flushes it; the first one comes after a header."""

    def __init__(self, classes: tuple[str, ...], as_json: bool) -> None:
        self._classes = classes
        self._as_json = as_json
        self.written = 0

    def write(self, time: float, log_probabilities: "NDArray[np.float32]") -> None:
        from convrnn.cli.predictions import cells, heading, prediction_of

        found = prediction_of(self._classes, log_probabilities)
        if self._as_json:
            print(json.dumps({"time": round(time, 3)} | found))
        else:
            writer = csv.writer(sys.stdout, lineterminator="\n")
            if not self.written:
                writer.writerow(["time", *heading(self._classes)])
            writer.writerow([f"{time:.2f}", *cells(found)])
        sys.stdout.flush()
        self.written += 1


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(help=options.help_of(live), epilog=_EXAMPLES)(live)
