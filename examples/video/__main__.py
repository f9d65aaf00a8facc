"""``python -m examples.video``: train, sentences, predict, show, table, draw."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Literal

import torch
import typer

from convrnn.cache import default_cache_dir
from convrnn.cli.console import Counter, errors_as_sentences, say
from convrnn.models import FRONT_ENDS
from examples.video.clips import read_clip
from examples.video.drawn import draw_corpus
from examples.video.grid import ALL_WORDS, read_corpus
from examples.video.learner import Epoch, Settings
from examples.video.reader import LipReader
from examples.video.results import print_table
from examples.video.training import read_result
from examples.video.training import train as train_reader

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)

CorpusOption = Annotated[Path, typer.Option(help="Folder with words.csv and the clips it names.", show_default=False)]
OutOption = Annotated[
    Path, typer.Option(help="Folder of this training; the same command continues it.", show_default=False)
]
FrontEndOption = Annotated[str, typer.Option(help=f"One of {', '.join(FRONT_ENDS)}.")]
FramesOption = Annotated[
    Literal["conv2d", "flat"], typer.Option(help="2-D convolutions of each frame first, or its pixels side by side.")
]
SeedOption = Annotated[int, typer.Option(min=0, help="For initial weights, order, dropout, shifts and mirroring.")]
EpochsOption = Annotated[int, typer.Option(min=1, help="Passes over the training examples.")]
ThreadsOption = Annotated[int, typer.Option(min=1, help="Processor cores.")]
FolderArgument = Annotated[Path, typer.Argument(help="Folder of a finished training.", show_default=False)]
CacheOption = Annotated[
    Path | None, typer.Option(help="Folder for the decoded frames.", show_default="convrnn's cache")
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]


@app.command()
def train(
    corpus: CorpusOption,
    out: OutOption,
    task: Annotated[str, typer.Option(help="A kind of words in words.csv, or words for all kinds.")] = ALL_WORDS,
    front_end: FrontEndOption = "clstm",
    frames: FramesOption = "conv2d",
    seed: SeedOption = 0,
    epochs: EpochsOption = 100,
    threads: ThreadsOption = 1,
    cache: CacheOption = None,
    as_json: JsonOption = False,
) -> None:
    """Train a reader of single words, and test it once."""
    settings = Settings("words", task, front_end, frames, seed, epochs)
    _train(corpus, settings, out, threads, cache, as_json)


@app.command()
def sentences(
    corpus: CorpusOption,
    out: OutOption,
    front_end: FrontEndOption = "clstm",
    frames: FramesOption = "conv2d",
    seed: SeedOption = 0,
    epochs: EpochsOption = 80,
    threads: ThreadsOption = 1,
    cache: CacheOption = None,
    as_json: JsonOption = False,
) -> None:
    """Train a reader of whole sentences by CTC, and test it once."""
    settings = Settings("sentences", ALL_WORDS, front_end, frames, seed, epochs, batch_size=8)
    _train(corpus, settings, out, threads, cache, as_json)


@app.command()
def predict(
    folder: FolderArgument,
    clips: Annotated[list[Path], typer.Argument(help="Video files.", show_default=False)],
    start: Annotated[float, typer.Option(min=0, help="Where the word begins, in seconds.")] = 0.0,
    end: Annotated[float | None, typer.Option(help="Where it ends.", show_default="the end of the clip")] = None,
    as_json: JsonOption = False,
) -> None:
    """Print the word, or the sentence, that is said in each clip."""
    with errors_as_sentences():
        reader = LipReader.load(folder)
        texts = [reader.read(read_clip(clip), start, end, name=str(clip)) for clip in clips]
        if as_json:
            typer.echo(json.dumps([{"file": str(clip), "text": it} for clip, it in zip(clips, texts, strict=True)]))
        else:
            for clip, text in zip(clips, texts, strict=True):
                typer.echo(f"{clip}\t{text}" if len(clips) > 1 else text)


@app.command()
def show(
    folder: FolderArgument,
    clip: Annotated[Path, typer.Argument(help="A video file.", show_default=False)],
    out: Annotated[Path, typer.Option(help="The picture.")] = Path("out/clip.png"),
    corpus: Annotated[
        Path | None, typer.Option(help="Corpus of the clip, to write what is said.", show_default=False)
    ] = None,
) -> None:
    """Draw a clip and what the reader says along it."""
    with errors_as_sentences():
        from examples.video.picture import draw as draw_picture

        words = [] if corpus is None else read_corpus(corpus).words_of(clip)
        draw_picture(LipReader.load(folder), clip, out, words)
        say(f"{out}: written")


@app.command()
def table(
    folders: Annotated[list[Path], typer.Argument(help="Folders of finished trainings.")], as_json: JsonOption = False
) -> None:
    """Print accuracies and word error rates, mean and standard deviation over seeds."""
    with errors_as_sentences():
        results = [read_result(folder) for folder in folders]
        if as_json:
            typer.echo(json.dumps([asdict(result) for result in results], indent=2))
        else:
            print_table(results)


def _train(corpus: Path, settings: Settings, out: Path, threads: int, cache: Path | None, as_json: bool) -> None:
    with errors_as_sentences():
        torch.set_num_threads(threads)
        result = train_reader(
            read_corpus(corpus),
            settings,
            out,
            cache or default_cache_dir() / "video",
            progress=lambda what: Counter(what, line=False),
            on_epoch=_tell,
        )
        if as_json:
            typer.echo(json.dumps(asdict(result), indent=2))
        else:
            print_table([result])


def _tell(epoch: Epoch) -> None:
    say(
        f"epoch {epoch.epoch}: loss {epoch.loss:.3f}, validation {epoch.validation_loss:.3f}, "
        f"wrong words {100 * epoch.validation_error:.1f} %, {epoch.seconds:.0f} s"
    )


@app.command()
def draw(
    folder: Annotated[Path, typer.Argument(help="A new folder.", show_default=False)],
    sentences: Annotated[int, typer.Option(help="Number of clips.")] = 60,
    seed: Annotated[int, typer.Option(min=0, help="For what is said, and how the clips vary.")] = 0,
) -> None:
    """Draw a corpus of moving mouths, to try the other commands on."""
    with errors_as_sentences():
        draw_corpus(folder, sentences, seed)
        say(f"{folder}: written")


if __name__ == "__main__":
    app()
