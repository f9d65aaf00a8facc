"""One epoch of training a lip reader: batches, augmentation, steps, validation; and its checkpoint."""

import io
import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from convrnn.errors import InputError
from convrnn.files import write_atomically
from convrnn.training import checkpoint
from convrnn.training.data import training_batches
from examples.video.clips import Clips
from examples.video.grid import ALL_WORDS, Example
from examples.video.reader import CHANNELS, POOL, LipReader, ReaderConfig, network_config, pooled

WARM_UP = 0.1
"""Share of the steps in which the learning rate rises; then it falls to zero along half a cosine."""

ALIGNED = 0.5
"""Share of the steps in which the loss of sentences moves from the cross-entropy of frames to CTC. In 30 epochs of CTC
alone the network learned the order of the kinds of words, which all sentences share, and little else."""


@dataclass(frozen=True)
class Settings:
    """What a training depends on, beside the corpus.

    Attributes:
        reads: "words" or "sentences".
        task: The kind of words, or "words" for all kinds.
        front_end: Name of the front end.
        frames: "flat" or "conv2d", what the front end sees of a frame.
        seed: For initial weights, order, dropout and augmentation.
        epochs: Passes over the training examples.
        hidden_size: Units of each direction of the LSTM.
        context: Frames that are read before and after a word, where the clip has them.
        batch_size: Examples of a step.
        lr: Highest learning rate of AdamW.
        shift: In training the frames of an example are moved by up to so many pixels to each side, and by half as many
            up and down.
        flip: In training every second example is mirrored.
    """

    reads: Literal["words", "sentences"]
    task: str = ALL_WORDS
    front_end: str = "clstm"
    frames: Literal["flat", "conv2d"] = "conv2d"
    seed: int = 0
    epochs: int = 100
    hidden_size: int = 128
    context: int = 2
    batch_size: int = 32
    lr: float = 2e-3
    shift: int = 4
    flip: bool = True


@dataclass(frozen=True)
class Epoch:
    """An epoch's number, mean losses in nats, share of wrong words on the validation partition, and duration."""

    epoch: int
    loss: float
    validation_loss: float
    validation_error: float
    seconds: float


class Progress(Protocol):
    """What shows progress: ``progress(text)`` is a context manager of a function of the numbers done and in all."""

    def __call__(self, what: str) -> AbstractContextManager[Callable[[int, int], object]]: ...  # noqa: D102


class Learner:
    """Lip reader, optimiser, and the best weights so far."""

    def __init__(self, settings: Settings, classes: tuple[str, ...], clips: Clips, examples: Sequence[Example]) -> None:
        torch.manual_seed(settings.seed)
        self.settings = settings
        self.clips = clips
        self.reader = LipReader(reader_config(settings, classes, clips, examples))
        self._standardise(examples)
        self.best: dict[str, Tensor] = {}
        self.optimizer = torch.optim.AdamW(self.reader.parameters(), lr=settings.lr)

    def _standardise(self, examples: Sequence[Example]) -> None:
        """Sets mean and deviation to those over all frames of the training examples."""
        count = 0
        total, squares = torch.zeros(2, *self.reader.mean.shape, dtype=torch.float64)
        for example in examples:
            frames, _ = batch_of([example], self.clips, self.reader.config)
            values = pooled(frames, self.reader.config.pool)[0].double()
            count += len(values)
            total += values.sum(0)
            squares += values.square().sum(0)
        mean = total / count
        self.reader.mean.copy_(mean)
        # A pixel that never changes must not become infinite.
        self.reader.deviation.copy_((squares / count - mean.square()).clamp(min=1.0).sqrt())

    def epoch(
        self, training: Sequence[Example], validation: Sequence[Example], progress: Progress, number: int
    ) -> Epoch:
        """One pass over the training examples; then validation."""
        began = time.perf_counter()
        rng = np.random.default_rng([self.settings.seed, number])
        torch.manual_seed(int(rng.integers(2**63)))
        lengths = np.array([it.end - it.start for it in training])
        batches = training_batches(lengths, self.settings.batch_size, seed=self.settings.seed, epoch=number)
        loss = 0.0
        self.reader.train()
        with progress(f"epoch {number} of {self.settings.epochs}") as tell:
            for step, positions in enumerate(batches):
                done = (number - 1 + step / len(batches)) / self.settings.epochs
                loss += self._step([training[place] for place in positions], rng, done)
                tell(step + 1, len(batches))
        texts, validation_loss = self.read(validation)
        seconds = round(time.perf_counter() - began, 2)
        return Epoch(
            number, loss / len(training), validation_loss, error_rate([it.text for it in validation], texts), seconds
        )

    def _step(self, examples: Sequence[Example], rng: np.random.Generator, done: float) -> float:
        """One step of AdamW; returns the loss, summed over the examples."""
        for group in self.optimizer.param_groups:
            group["lr"] = self.settings.lr * _schedule(done)
        frames, lengths = batch_of(examples, self.clips, self.reader.config, list(self._moves(len(examples), rng)))
        log_probabilities = self.reader(frames, lengths)
        loss = self.reader.loss(log_probabilities, lengths, [it.target for it in examples])
        aligned = max(1 - done / ALIGNED, 0.0) if self.settings.reads == "sentences" else 0.0
        if aligned:
            labels = frame_labels(examples, frames.size(1))
            loss = (1 - aligned) * loss + aligned * self.reader.aligned_loss(log_probabilities, lengths, labels)
        if not loss.isfinite():
            raise InputError(f"the loss is {loss.item()}; a lower learning rate may help")
        self.optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(self.reader.parameters(), 5.0)
        self.optimizer.step()
        return loss.item() * len(examples)

    def _moves(self, count: int, rng: np.random.Generator) -> Iterator[tuple[int, int, bool]]:
        most = self.settings.shift
        for _ in range(count):
            down, right = rng.integers(-(most // 2), most // 2 + 1), rng.integers(-most, most + 1)
            yield int(down), int(right), bool(self.settings.flip and rng.random() < 0.5)

    @torch.inference_mode()
    def read(self, examples: Sequence[Example]) -> tuple[list[str], float]:
        """What each example says, and the mean loss."""
        self.reader.eval()
        texts: list[str] = []
        loss = 0.0
        for start in range(0, len(examples), 64):
            part = examples[start : start + 64]
            frames, lengths = batch_of(part, self.clips, self.reader.config)
            log_probabilities = self.reader(frames, lengths)
            loss += len(part) * self.reader.loss(log_probabilities, lengths, [it.target for it in part]).item()
            texts += self.reader.decode(log_probabilities, lengths)
        return texts, loss / len(examples)

    def save(self, path: Path, history: Sequence[Epoch]) -> None:
        """Writes the state at the end of an epoch."""
        if best_of(history) is history[-1]:
            self.best = {name: value.clone() for name, value in self.reader.state_dict().items()}
        content = {
            "model": self.reader.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "best": self.best,
            "history": [asdict(it) for it in history],
        }
        buffer = io.BytesIO()
        torch.save(content, buffer)
        write_atomically(path, buffer.getvalue())

    def resume(self, path: Path) -> list[Epoch]:
        """Reads the state from a checkpoint, if there is one; returns the finished epochs."""
        if not path.exists():
            return []
        try:
            content = checkpoint.read(path)
            self.best = content["best"]
            self.reader.load_state_dict(content["model"])
            self.optimizer.load_state_dict(content["optimizer"])
            return [Epoch(**it) for it in content["history"]]
        except Exception as error:  # a damaged file fails in any way
            raise InputError(f"{path}: is damaged ({type(error).__name__}); delete it to start again") from error


def best_of(history: Sequence[Epoch]) -> Epoch:
    """The epoch with the lowest error rate on the validation partition; of equal ones, with the lowest loss."""
    return min(history, key=lambda it: (it.validation_error, it.validation_loss))


def error_rate(references: Sequence[str], texts: Sequence[str]) -> float:
    """Word error rate of all texts together; of single words, the share of wrong ones.

    Example:
        >>> error_rate(["bin blue at", "now"], ["bin at", "now"])
        0.25
    """
    import jiwer

    return float(jiwer.wer(list(references), list(texts)))


def batch_of(
    examples: Sequence[Example], clips: Clips, config: ReaderConfig, moves: Sequence[tuple[int, int, bool]] = ()
) -> tuple[Tensor, Tensor]:
    """Cropped frames, uint8 ``[batch, frames, height, width]``, zeros past each end, and their lengths.

    Args:
        examples: What to read.
        clips: The frames.
        config: Where to crop.
        moves: For each example by how many pixels to move the crop down and right, and whether to mirror it.
    """
    top, left, height, width = config.crop
    lengths = [it.end - it.start for it in examples]
    frames = np.zeros((len(examples), max(lengths), height, width), np.uint8)
    for number, example in enumerate(examples):
        down, right, mirrored = moves[number] if moves else (0, 0, False)
        y, x = top + down, left + right
        part = clips[example.clip][example.start : example.end, y : y + height, x : x + width]
        frames[number, : lengths[number]] = part[..., ::-1] if mirrored else part
    return torch.from_numpy(frames), torch.tensor(lengths)


def frame_labels(examples: Sequence[Example], frames: int) -> Tensor:
    """What is said at each frame, as outputs of a reader of sentences: int64 ``[batch, frames]``, 0 between words."""
    labels = torch.zeros(len(examples), frames, dtype=torch.int64)
    for row, example in zip(labels, examples, strict=True):
        for word, place in zip(example.words, example.target, strict=True):
            row[word.start - example.start : word.end - example.start] = place + 1
    return labels


def reader_config(
    settings: Settings, classes: tuple[str, ...], clips: Clips, examples: Sequence[Example]
) -> ReaderConfig:
    """What a lip reader for these examples is made of.

    Raises:
        InputError: The clips are too small, or the front end's name is unknown.
    """
    height, width = clips.size
    # The middle half of each side, in multiples of what the convolutions need.
    rows, columns = (8 * POOL * (side // 2 // (8 * POOL)) for side in clips.size)
    if not rows or not columns:
        raise InputError(f"the clips are {width} × {height} pixels; at least {16 * POOL} × {16 * POOL} are needed")
    crop = ((height - rows) // 2, (width - columns) // 2, rows, columns)
    channels = CHANNELS if settings.frames == "conv2d" else 0
    return ReaderConfig(
        reads=settings.reads,
        task=settings.task,
        classes=classes,
        size=clips.size,
        crop=crop,
        pool=POOL,
        channels=channels,
        front_end=settings.front_end,
        network=network_config(
            settings.front_end,
            crop,
            channels=channels,
            outputs=len(classes) + (settings.reads == "sentences"),
            hidden_size=settings.hidden_size,
        ),
        context=settings.context,
        usual_frames=int(np.median([it.end - it.start for it in examples])),
    )


def _schedule(done: float) -> float:
    """Share of the highest learning rate when a share of the steps is done."""
    rising = max(min(1.0, done / WARM_UP), 0.01)
    return rising * 0.5 * (1 + math.cos(math.pi * done))
