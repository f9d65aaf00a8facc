"""Training of a lip reader: the loop, selection on the validation partition, checkpoints, one test."""

import csv
import io
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from convrnn.errors import InputError
from convrnn.files import make_folder, write_atomically, writing
from convrnn.json_files import read_json
from examples.video.clips import Clips, load_clips
from examples.video.grid import Corpus, Example, Sentence
from examples.video.learner import Epoch, Learner, Progress, Settings, best_of, error_rate
from examples.video.reader import WINDOW

SETTINGS, CHECKPOINT, RESULT, PREDICTIONS = "settings.json", "last.ckpt", "result.json", "predictions.csv"


@dataclass(frozen=True)
class Result:
    """The error rates of a finished training, and what it took.

    Attributes:
        validation_error: Word error rate on the validation partition, 0 to 1. For single words, 1 - accuracy.
        test_error: The same on the test partition.
        test_errors: The same of each kind of words, or of "sentence".
        test_words: Number of words that are tested.
        parameters: Number of parameters.
        epoch: The epoch of the chosen weights.
        seconds: Duration of training and validation.
    """

    reads: str
    task: str
    front_end: str
    frames: str
    seed: int
    validation_error: float
    test_error: float
    test_errors: dict[str, float]
    test_words: int
    parameters: int
    epoch: int
    seconds: float


def train(
    corpus: Corpus,
    settings: Settings,
    folder: Path,
    cache: Path,
    *,
    progress: Progress,
    on_epoch: Callable[[Epoch], None] = lambda _: None,
) -> Result:
    """Trains a lip reader, or continues where it was stopped; a finished training is only read.

    The weights of the epoch with the lowest error rate on the validation partition are kept (of equal ones, with the
    lowest loss). Then the test partition is read, once. An epoch depends only on the state at its beginning, the seed
    and its number, so a training that was interrupted ends bitwise like one that was not.

    Args:
        corpus: The sentences.
        settings: What to train.
        folder: Where the checkpoint, the lip reader, the result and the test predictions are written.
        cache: Folder for the decoded frames.
        progress: Shows progress.
        on_epoch: Called after each epoch.

    Raises:
        InputError: A clip cannot be read or is shorter than a window, a word ends after its clip or is not among the
            training words, the folder holds another training or cannot be written, or the loss is no longer finite.
    """
    classes = corpus.classes(settings.task)
    with writing(folder):
        make_folder(folder)
    _check_same(folder, corpus, settings)
    if (folder / RESULT).exists():
        return read_result(folder)
    with progress("decoding clips") as tell:
        clips = load_clips([it.path for it in corpus.sentences], cache, tell)
    _check_frames(corpus.sentences, clips)
    examples = {it: _examples(corpus, it, settings, clips) for it in ("train", "validation", "test")}
    learner = Learner(settings, classes, clips, examples["train"])
    history = learner.resume(folder / CHECKPOINT)
    while len(history) < settings.epochs:
        history.append(learner.epoch(examples["train"], examples["validation"], progress, len(history) + 1))
        learner.save(folder / CHECKPOINT, history)
        on_epoch(history[-1])
    learner.reader.load_state_dict(learner.best)
    learner.reader.save(folder)
    texts, _ = learner.read(examples["test"])
    write_atomically(folder / PREDICTIONS, _table(corpus, examples["test"], texts))
    best = best_of(history)
    result = Result(
        reads=settings.reads,
        task=settings.task,
        front_end=settings.front_end,
        frames=settings.frames,
        seed=settings.seed,
        validation_error=best.validation_error,
        test_error=error_rate([it.text for it in examples["test"]], texts),
        test_errors=_by_kind(examples["test"], texts),
        test_words=sum(len(it.target) for it in examples["test"]),
        parameters=sum(parameter.numel() for parameter in learner.reader.parameters()),
        epoch=best.epoch,
        seconds=round(sum(it.seconds for it in history), 1),
    )
    write_atomically(folder / RESULT, json.dumps(asdict(result), indent=2) + "\n")
    return result


def read_result(folder: Path) -> Result:
    """The result of a finished training.

    Raises:
        InputError: It is missing or damaged.
    """
    if not (folder / RESULT).exists():
        raise InputError(f"{folder}: has no {RESULT}; no training has finished there")
    try:
        return Result(**read_json(folder / RESULT))
    except TypeError:
        raise InputError(f"{folder / RESULT}: is not the result of a training") from None


def _examples(corpus: Corpus, partition: str, settings: Settings, clips: Clips) -> list[Example]:
    if settings.reads == "sentences":
        return corpus.sentence_examples(partition, clips)
    return corpus.word_examples(partition, settings.task, clips, settings.context)


def _by_kind(examples: Sequence[Example], texts: Sequence[str]) -> dict[str, float]:
    pairs: dict[str, list[tuple[str, str]]] = {}
    for example, text in zip(examples, texts, strict=True):
        pairs.setdefault(example.kind, []).append((example.text, text))
    return {kind: error_rate(*zip(*it, strict=True)) for kind, it in pairs.items()}


def _check_same(folder: Path, corpus: Corpus, settings: Settings) -> None:
    """Writes what the training is, or raises an InputError if the folder holds another."""
    mine: dict[str, Any] = asdict(settings) | {"corpus": corpus.digest}
    path = folder / SETTINGS
    if not path.exists():
        write_atomically(path, json.dumps(mine, indent=2) + "\n")
        return
    found = read_json(path)
    for name, value in mine.items():
        if found.get(name) != value:
            raise InputError(
                f"{folder}: holds a training with {name} {found.get(name)!r}, not {value!r}; choose another folder"
            )


def _check_frames(sentences: Sequence[Sentence], clips: Clips) -> None:
    for place, sentence in enumerate(sentences):
        if len(clips[place]) < WINDOW:
            raise InputError(f"{sentence.path}: has {len(clips[place])} frames, fewer than a window of {WINDOW}")


def _table(corpus: Corpus, examples: Sequence[Example], texts: Sequence[str]) -> str:
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(["file", "first_frame", "end_frame", "text", "prediction"])
    for example, text in zip(examples, texts, strict=True):
        name = corpus.sentences[example.clip].path.name
        writer.writerow([name, example.start, example.end, example.text, text])
    return stream.getvalue()
