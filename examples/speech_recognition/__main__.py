"""``python -m examples.speech_recognition``: train, transcribe, table, draw."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from convrnn.cli.app import Commands
from convrnn.cli.console import Counter, results, say
from convrnn.models import FRONT_ENDS
from examples.speech_recognition.corpus import read_corpus
from examples.speech_recognition.features import feature_config
from examples.speech_recognition.picture import draw_posteriors
from examples.speech_recognition.recogniser import Recogniser, model_config
from examples.speech_recognition.results import read_result, train_and_test
from examples.speech_recognition.results import table as table_of
from examples.speech_recognition.training import Epoch, Settings

app = typer.Typer(cls=Commands, no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)

Folder = Annotated[Path, typer.Argument(help="Folder of a finished training.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@app.command()
def train(
    corpus: Annotated[
        Path, typer.Option(help="Table with file, speaker, partition and text, or folder of corpus.csv.")
    ],
    out: Annotated[Path, typer.Option(help="Folder of this training; the same command continues it.")],
    front_end: Annotated[str, typer.Option(help=f"One of {', '.join(FRONT_ENDS)}.")] = "clstm",
    features: Annotated[str, typer.Option(help="Input features, as of convrnn train.")] = "logmel",
    sample_rate: Annotated[int, typer.Option(help="Hz.")] = 16000,
    hidden_size: Annotated[int, typer.Option(min=1, help="Units of each direction of each LSTM.")] = 192,
    num_layers: Annotated[int, typer.Option(min=1, max=8, help="Stacked bidirectional LSTMs.")] = 3,
    seed: Annotated[int, typer.Option(min=0, help="For weights, order, dropout, speeds and masks.")] = 0,
    epochs: Annotated[int, typer.Option(min=1, help="Passes over the training utterances.")] = Settings.epochs,
    threads: Annotated[int, typer.Option(min=1, help="Processor cores; rounding depends on their number.")] = 1,
    as_json: AsJson = False,
) -> None:
    """Train a recogniser and test it once."""
    config = feature_config(features, sample_rate)
    model = model_config(front_end, config, hidden_size=hidden_size, num_layers=num_layers)
    settings = Settings(front_end, config, model, seed=seed, epochs=epochs, threads=threads)
    result = train_and_test(read_corpus(corpus), settings, out, progress=_progress, on_epoch=_say_epoch)
    if as_json:
        typer.echo(json.dumps(asdict(result), indent=2))
    else:
        results().print(table_of([result]))


@app.command()
def transcribe(
    folder: Folder,
    files: Annotated[list[Path], typer.Argument(help="Audio files.")],
    greedy: Annotated[bool, typer.Option("--greedy", help="Take the best path, without the n-gram of words.")] = False,
    as_json: AsJson = False,
) -> None:
    """Print what is said in recordings."""
    recogniser = Recogniser.load(folder)
    with _progress("transcripts") as tell:
        rows = []
        for file in files:
            rows.append({"file": str(file), "text": recogniser.transcribe(file, greedy_only=greedy)})
            tell(len(rows), len(files))
    if as_json:
        typer.echo(json.dumps(rows, indent=2))
    else:
        for row in rows:
            typer.echo(f"{row['file']}: {row['text']}")


@app.command()
def table(
    folders: Annotated[list[Path], typer.Argument(help="Folders of finished trainings.")], as_json: AsJson = False
) -> None:
    """Print error rates by front end, mean and standard deviation over seeds."""
    found = [read_result(folder) for folder in folders]
    if as_json:
        typer.echo(json.dumps([asdict(result) for result in found], indent=2))
    else:
        results().print(table_of(found))


@app.command()
def show(
    folder: Folder,
    file: Annotated[Path, typer.Argument(help="Audio file.")],
    out: Annotated[Path, typer.Option(help="The picture, for example posteriors.png.")],
) -> None:
    """Draw what the model says over time, below the features of a recording."""
    draw_posteriors(Recogniser.load(folder), file, out)


def _progress(what: str) -> Counter:
    return Counter(what, line=False)


def _say_epoch(epoch: Epoch) -> None:
    say(
        f"epoch {epoch.epoch}: loss {epoch.loss:.3f}, validation WER {epoch.validation_wer:.2f} %, "
        f"CER {epoch.validation_cer:.2f} %, {epoch.seconds:.0f} s of processor time"
    )


if __name__ == "__main__":
    app()
