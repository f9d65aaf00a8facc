"""The test of a trained model, its result on disk, and the table of results."""

import csv
import io
import itertools
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import mean, stdev

from rich.table import Table

from convrnn.cli.console import result_grid
from convrnn.errors import InputError
from convrnn.files import make_folder, write_atomically, writing
from convrnn.json_files import read_json
from examples.speech_recognition.corpus import Corpus, Utterance
from examples.speech_recognition.decoding import Array, WordModel, beam_search, error_rates, greedy
from examples.speech_recognition.recogniser import Recogniser, RecogniserConfig, log_probabilities
from examples.speech_recognition.training import Epoch, Progress, Settings, load_all, selected, train

WEIGHTS, BONUSES = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0, 1.5), (0.0, 1.0, 2.0, 3.0)
"""Weights of the n-gram, and additions for each word, among which the validation speakers choose."""

RESULT, PREDICTIONS = "result.json", "predictions.csv"


@dataclass(frozen=True)
class Rates:
    """Word and character error rates in percent, by beam search with the n-gram and by best path."""

    wer: float
    cer: float
    wer_greedy: float
    cer_greedy: float


@dataclass(frozen=True)
class Result:
    """A finished training.

    Attributes:
        front_end: Name of the front end.
        features: Name of the input features.
        seed: The seed.
        validation: Error rates on the validation speakers, by which everything was chosen.
        test: Error rates on the test speakers.
        parameters: Number of parameters.
        epoch: The selected epoch.
        epochs: Number of epochs.
        minutes: Processor time of training and validation.
    """

    front_end: str
    features: str
    seed: int
    validation: Rates
    test: Rates
    parameters: int
    epoch: int
    epochs: int
    minutes: float


def train_and_test(
    corpus: Corpus, settings: Settings, folder: Path, *, progress: Progress, on_epoch: Callable[[Epoch], None]
) -> Result:
    """Trains a recogniser and tests it once; continues what was interrupted, and only reads what is finished.

    The validation speakers select the epoch, and then the weight of the n-gram and the addition for each word with the
    lowest word error rate. After that the test speakers are read.

    Args:
        corpus: The utterances.
        settings: What to train.
        folder: Where the recogniser, its result and the test transcripts are written, and the checkpoint.
        progress: Shows progress.
        on_epoch: Called after each epoch.

    Raises:
        InputError: As :func:`~examples.speech_recognition.training.train`; or the folder cannot be written.
    """
    with writing(folder):
        make_folder(folder)
    model, history = train(corpus, settings, folder, progress=progress, on_epoch=on_epoch)
    if (folder / RESULT).exists():
        return read_result(folder)
    words = WordModel([it.text for it in corpus.train])
    outputs = log_probabilities(model, load_all(corpus.validation, settings.features, progress))
    choices = list(itertools.product(WEIGHTS, BONUSES))
    tried = []
    with progress("weights of the n-gram") as tell:
        for weight, bonus in choices:
            rates, _ = _decode(corpus.validation, outputs, words, weight, bonus)
            tried.append((rates, weight, bonus))
            tell(len(tried), len(choices))
    validation, weight, bonus = min(tried, key=lambda it: (it[0].wer, it[0].cer))
    outputs = log_probabilities(model, load_all(corpus.test, settings.features, progress))
    test, texts = _decode(corpus.test, outputs, words, weight, bonus)
    result = Result(
        front_end=settings.front_end,
        features=settings.features.name,
        seed=settings.seed,
        validation=validation,
        test=test,
        parameters=sum(parameter.numel() for parameter in model.parameters()),
        epoch=selected(history).epoch,
        epochs=len(history),
        minutes=round(sum(it.seconds for it in history) / 60, 1),
    )
    config = RecogniserConfig(
        features=settings.features,
        model=settings.model,
        transcripts=tuple(it.text for it in corpus.train),
        weight=weight,
        bonus=bonus,
    )
    Recogniser(config, model).save(folder)
    write_atomically(folder / PREDICTIONS, _predictions(corpus.test, texts))
    write_atomically(folder / RESULT, json.dumps(asdict(result), indent=2) + "\n")
    return result


def read_result(folder: Path) -> Result:
    """The result of a finished training.

    Raises:
        InputError: It is missing or damaged.
    """
    path = folder / RESULT
    if not path.exists():
        raise InputError(f"{folder}: has no {RESULT}, so it holds no finished training")
    content = read_json(path)
    try:
        return Result(**content | {side: Rates(**content[side]) for side in ("validation", "test")})
    except (TypeError, KeyError):
        raise InputError(f"{path}: is not the result of a training") from None


def table(results: Sequence[Result]) -> Table:
    """Error rates on the test speakers, mean and standard deviation over seeds, front ends in the order given."""
    grid = result_grid(
        "front end", "WER [%]", "CER [%]", "WER, greedy", "CER, greedy", "parameters", "minutes", "seeds"
    )
    groups: dict[tuple[str, int, int], list[Result]] = {}
    for result in results:
        name = result.front_end if result.features == "logmel" else f"{result.front_end}, {result.features}"
        groups.setdefault((name, result.parameters, result.epochs), []).append(result)
    for (name, parameters, _), group in groups.items():
        rates = [
            _spread([asdict(it.test)[rate] for it in group]) for rate in ("wer", "cer", "wer_greedy", "cer_greedy")
        ]
        minutes, seeds = _spread([it.minutes for it in group]), ", ".join(str(it.seed) for it in group)
        grid.add_row(name, *rates, f"{parameters:,}", minutes, seeds)
    return grid


def _decode(
    utterances: Sequence[Utterance], outputs: Sequence[Array], words: WordModel, weight: float, bonus: float
) -> tuple[Rates, list[tuple[str, str]]]:
    """Error rates, and the texts by beam search and by best path."""
    beam = [beam_search(it, words, weight=weight, bonus=bonus) for it in outputs]
    best_path = [greedy(it) for it in outputs]
    references = [it.text for it in utterances]
    return Rates(*error_rates(references, beam), *error_rates(references, best_path)), list(
        zip(beam, best_path, strict=True)
    )


def _predictions(utterances: Sequence[Utterance], texts: Sequence[tuple[str, str]]) -> str:
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(["file", "text", "beam", "greedy"])
    writer.writerows([it.segment, it.text, *both] for it, both in zip(utterances, texts, strict=True))
    return stream.getvalue()


def _spread(values: Sequence[float]) -> str:
    return f"{mean(values):.2f}" if len(values) < 2 else f"{mean(values):.2f} ± {stdev(values):.2f}"
