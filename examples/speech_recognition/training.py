"""Training by CTC: the loop, the selection of an epoch on the validation speakers, and the checkpoint."""

import io
import itertools
import json
import math
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from convrnn.errors import InputError
from convrnn.features.base import AudioFeatures
from convrnn.files import write_atomically
from convrnn.json_files import read_json
from convrnn.models import FrameModel, FrameModelConfig
from convrnn.ops.geometry import num_windows
from convrnn.training import checkpoint
from convrnn.training.data import Examples, training_batches
from examples.speech_recognition.corpus import ALPHABET, Corpus, Utterance
from examples.speech_recognition.decoding import error_rates, greedy
from examples.speech_recognition.features import SPEEDS, Array, load_features, mask
from examples.speech_recognition.recogniser import log_probabilities

WARM_UP = 0.05
"""Share of the steps in which the learning rate rises; from the first step on it falls along half a cosine."""

LARGEST_GRADIENT = 1.0
"""Norm to which the gradient of all parameters together is clipped."""

SETTINGS, CHECKPOINT = "settings.json", "last.ckpt"

Progress = Callable[[str], AbstractContextManager[Callable[[int, int], None]]]
"""Called with the name of a loop; gives a context manager of a function of the numbers of items done and in all."""


@dataclass(frozen=True)
class Settings:
    """What a training depends on beside the corpus.

    Attributes:
        front_end: Name of the front end.
        features: Input features.
        model: The model.
        seed: For the initial weights, the order, dropout, speeds and masks.
        epochs: Passes over the training utterances.
        batch_size: Utterances of a step.
        lr: Highest learning rate of AdamW.
        threads: Processor cores; rounding depends on their number.
    """

    front_end: str
    features: AudioFeatures
    model: FrameModelConfig
    seed: int = 0
    epochs: int = 80
    batch_size: int = 16
    lr: float = 1e-3
    threads: int = 1


@dataclass(frozen=True)
class Epoch:
    """A finished epoch.

    Attributes:
        epoch: Its number, from 1.
        loss: CTC loss of the training utterances per character, in nats, while the weights changed.
        validation_wer: Word error rate of the best path on the validation speakers, in percent.
        validation_cer: Character error rate, likewise. The epoch with the lowest is selected.
        seconds: Processor time of training and validation.
    """

    epoch: int
    loss: float
    validation_wer: float
    validation_cer: float
    seconds: float


def train(
    corpus: Corpus, settings: Settings, folder: Path, *, progress: Progress, on_epoch: Callable[[Epoch], None]
) -> tuple[FrameModel, list[Epoch]]:
    """Trains a model, or continues a training that was interrupted; the test speakers are not touched.

    An epoch depends only on the state at its beginning, the seed and its number, so an interrupted training ends
    bitwise like one that was not interrupted.

    Args:
        corpus: The utterances.
        settings: What to train.
        folder: Where the settings and a checkpoint are kept; it exists.
        progress: Shows progress.
        on_epoch: Called after each epoch.

    Returns:
        The model with the weights of the selected epoch, and all epochs.

    Raises:
        InputError: The folder holds another training; an audio file is missing, shorter than a frame or too short for
            its transcript; the checkpoint is damaged or cannot be written; or the loss is not finite any more.
    """
    _check_same(folder / SETTINGS, corpus, settings)
    torch.set_num_threads(settings.threads)
    learner = Learner(settings)
    learner.resume(folder / CHECKPOINT)
    if len(learner.history) < settings.epochs:
        heard = [load_all(corpus.train, settings.features, progress, speed) for speed in SPEEDS]
        validation = load_all(corpus.validation, settings.features, progress)
        for utterance, features in zip(corpus.train, heard[SPEEDS.index(1.0)], strict=True):
            _check_length(utterance, len(features), learner.model)
        while len(learner.history) < settings.epochs:
            learner.epoch(corpus, heard, validation, progress)
            learner.save(folder / CHECKPOINT)
            on_epoch(learner.history[-1])
    learner.model.load_state_dict(learner.best)
    return learner.model, learner.history


def load_all(
    utterances: Sequence[Utterance], config: AudioFeatures, progress: Progress, speed: float = 1.0
) -> list[Array]:
    """The features of utterances, as :func:`~examples.speech_recognition.features.load_features` gives them."""
    features = []
    with progress("features" if speed == 1.0 else f"features at {speed} times the speed") as tell:
        for utterance in utterances:
            features.append(load_features(utterance.segment, config, speed=speed))
            tell(len(features), len(utterances))
    return features


def selected(history: Sequence[Epoch]) -> Epoch:
    """The epoch with the lowest character error rate on the validation speakers; of equal ones, the first."""
    return min(history, key=lambda it: it.validation_cer)


class Learner:
    """The state of a training.

    Args:
        settings: What to train. The initial weights depend on its seed.

    Attributes:
        model: The model.
        history: The finished epochs.
        best: Weights of the selected one.
    """

    def __init__(self, settings: Settings) -> None:
        torch.manual_seed(settings.seed)
        self.model = FrameModel(settings.model)
        self.history: list[Epoch] = []
        self.best: dict[str, Tensor] = {}
        self._settings = settings
        self._optimizer = torch.optim.AdamW(self.model.parameters(), lr=settings.lr)

    def epoch(
        self, corpus: Corpus, heard: Sequence[Sequence[Array]], validation: Sequence[Array], progress: Progress
    ) -> None:
        """Passes over the training utterances, each at a random speed and masked, and then validates.

        Args:
            corpus: The utterances.
            heard: AudioFeatures of the training utterances at each of the speeds.
            validation: AudioFeatures of the validation utterances.
            progress: Shows progress.
        """
        began = time.process_time()
        settings, number = self._settings, len(self.history) + 1
        rng = np.random.default_rng([settings.seed, number])
        torch.manual_seed(int(rng.integers(2**63)))
        speeds = rng.integers(len(SPEEDS), size=len(corpus.train))
        features = [mask(heard[speed][place], rng) for place, speed in enumerate(speeds)]
        examples = Examples(features, np.arange(len(features)))
        batches = training_batches(examples.lengths, settings.batch_size, seed=settings.seed, epoch=number)
        loss = 0.0
        with progress(f"epoch {number} of {settings.epochs}") as tell:
            for step, positions in enumerate(batches):
                done = (number - 1 + step / len(batches)) / settings.epochs
                self._set_learning_rate(done)
                loss += self.step(examples, positions, [corpus.train[i].text for i in positions])
                tell(step + 1, len(batches))
        texts = [greedy(outputs) for outputs in log_probabilities(self.model, validation)]
        wer, cer = error_rates([it.text for it in corpus.validation], texts)
        characters = sum(len(it.text) for it in corpus.train)
        seconds = round(time.process_time() - began, 2)
        self.history.append(Epoch(number, loss / characters, wer, cer, seconds))
        if selected(self.history) is self.history[-1]:
            self.best = {name: value.clone() for name, value in self.model.state_dict().items()}

    def step(self, examples: Examples, positions: NDArray[np.int64], texts: Sequence[str]) -> float:
        """One step of AdamW on the utterances at some positions; returns their loss, summed over characters.

        Raises:
            InputError: The loss is not finite.
        """
        batch = examples.batch(positions)
        self.model.train()
        outputs, lengths = self.model(batch.x, batch.lengths)
        targets = torch.tensor([1 + ALPHABET.index(character) for text in texts for character in text])
        sizes = torch.tensor([len(text) for text in texts])
        # Played faster, an utterance may be too short for its text; it then has no gradient.
        loss = F.ctc_loss(
            outputs.log_softmax(-1).transpose(0, 1), targets, lengths, sizes, reduction="sum", zero_infinity=True
        )
        if not loss.isfinite():
            raise InputError(f"the loss became {loss.item()}; another seed or more utterances may help")
        self._optimizer.zero_grad()
        (loss / sizes.sum()).backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), LARGEST_GRADIENT)
        self._optimizer.step()
        return loss.item()

    def _set_learning_rate(self, done: float) -> None:
        """Sets the learning rate after a share of the training."""
        rise = max(min(1.0, done / WARM_UP), 0.01)
        for group in self._optimizer.param_groups:
            group["lr"] = self._settings.lr * rise * 0.5 * (1 + math.cos(math.pi * done))

    def save(self, path: Path) -> None:
        """Writes a checkpoint.

        Raises:
            InputError: It cannot be written.
        """
        content = {
            "model": self.model.state_dict(),
            "optimizer": self._optimizer.state_dict(),
            "best": self.best,
            "history": [asdict(it) for it in self.history],
        }
        buffer = io.BytesIO()
        torch.save(content, buffer)
        write_atomically(path, buffer.getvalue())

    def resume(self, path: Path) -> None:
        """Reads a checkpoint, if there is one.

        Raises:
            InputError: It is damaged.
        """
        if not path.exists():
            return
        try:
            content = checkpoint.read(path)
            self.model.load_state_dict(content["model"])
            self._optimizer.load_state_dict(content["optimizer"])
            self.best = content["best"]
            self.history = [Epoch(**it) for it in content["history"]]
        except Exception as error:  # a damaged file fails in any way
            raise InputError(
                f"{path}: is damaged ({type(error).__name__}); delete the folder to start again"
            ) from error


def _check_same(path: Path, corpus: Corpus, settings: Settings) -> None:
    """Writes what the training is; raises an InputError if the file tells of another."""
    models = {"features": settings.features.model_dump(), "model": settings.model.model_dump()}
    content = json.dumps(asdict(settings) | models | {"corpus": corpus.fingerprint()}, indent=2)
    if not path.exists():
        write_atomically(path, content + "\n")
        return
    found = read_json(path)
    for name, value in json.loads(content).items():
        if found.get(name) != value:
            raise InputError(f"{path.parent}: holds a training with another {name}; choose another folder")


def _check_length(utterance: Utterance, frames: int, model: FrameModel) -> None:
    outputs = num_windows(frames, model.front_end.receptive_field, model.front_end.frame_stride)
    text = utterance.text
    # Between equal characters CTC needs a blank.
    needed = len(text) + sum(a == b for a, b in itertools.pairwise(text))
    if outputs < needed:
        raise InputError(
            f"{utterance.where}: {utterance.segment} is too short for its transcript: {outputs} outputs, but "
            f"{needed} are needed for {len(text)} characters"
        )
