"""How long an epoch of a run takes, estimated from a few steps; `--dry-run` prints it."""

import time
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from convrnn.corpora.balancing import balance
from convrnn.corpora.labelled import LabelledCorpus
from convrnn.training.data import Batch, Examples, evaluation_batches, training_batches
from convrnn.training.environment import environment
from convrnn.training.learner import Learner
from convrnn.training.spec import RunSpec, split_rows


def seconds_per_epoch(spec: RunSpec, corpus: LabelledCorpus, frames: Sequence[int], *, steps: int = 3) -> float:
    """Estimates the time of one epoch on this machine: all training steps and the validation.

    It measures a few batches of noise as long as the corpus's utterances, and assumes that all others take as long per
    padded frame.

    Args:
        spec: The run.
        corpus: The corpus that the spec was made for.
        frames: Frames of each row of the corpus.
        steps: Number of training and of validation batches to measure, each after one warm-up batch.

    Returns:
        Seconds.

    Raises:
        InputError: The spec's split is not one of this corpus.
    """
    rows = split_rows(corpus, spec.split)
    rng = np.random.default_rng(spec.seed)
    noise = rng.standard_normal((max(frames), spec.features.num_features)).astype(np.float32)
    # Views of one array: the noise of a whole corpus would fill the memory.
    examples = Examples([noise[:count] for count in frames], corpus.class_indices)
    train = examples.take(np.array(rows["train"]))
    if spec.balance:
        train = train.take(balance(train.labels.tolist(), spec.seed))
    validation = examples.take(np.array(rows["validation"]))
    batch_size = spec.training.batch_size
    training_order = training_batches(train.lengths, batch_size, seed=spec.seed, epoch=1)
    validation_order = evaluation_batches(validation.lengths, batch_size)
    with environment(device=spec.device, threads=spec.threads, precision=spec.precision):
        learner = Learner(spec.model, spec.training, seed=spec.seed, device=spec.device, precision=spec.precision)
        training = _seconds(train, training_order, learner.train_step, steps)
        return training + _seconds(validation, validation_order, learner.validation_step, steps)


Step = Callable[[Batch], tuple[Tensor, Tensor]]


def _seconds(examples: Examples, batches: list[NDArray[np.int64]], step: Step, count: int) -> float:
    """Estimates the time of all batches from ``count`` of them, spaced evenly from the cheapest to the most costly."""

    def take(positions: NDArray[np.int64]) -> None:
        loss, _ = step(examples.batch(positions))
        loss.item()  # as in training; it waits for the GPU

    cost = [float(examples.lengths[batch].max() * len(batch)) for batch in batches]
    places = np.linspace(0, len(batches) - 1, min(count, len(batches)) + 2)[1:-1].round().astype(int)
    chosen: list[int] = np.argsort(cost)[places].tolist()
    take(batches[chosen[0]])
    began = time.perf_counter()
    for number in chosen:
        take(batches[number])
    seconds = time.perf_counter() - began
    return seconds * sum(cost) / sum(cost[number] for number in chosen)
