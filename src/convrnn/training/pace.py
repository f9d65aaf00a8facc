"""How long an epoch of a run takes, from a few steps of it."""

import time
from collections.abc import Callable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional as F

from convrnn.corpora.balancing import balance
from convrnn.corpora.corpus import Corpus
from convrnn.models.classifier import SequenceClassifier
from convrnn.training.data import Batch, Examples, evaluation_batches, training_batches
from convrnn.training.environment import environment
from convrnn.training.spec import RunSpec, split_rows


def seconds_per_epoch(spec: RunSpec, corpus: Corpus, frames: Sequence[int], *, steps: int = 3) -> float:
    """The time that one epoch of a run will take here: all training steps and the validation.

    A few batches of noise, as long as the corpus's utterances, are trained on and evaluated; all others are taken to
    cost as much per padded frame.

    Args:
        spec: The run.
        corpus: The corpus it was made for.
        frames: Frames of each row of ``corpus.for_task(spec.task)``.
        steps: Batches to measure of training and of validation each, after one that is not counted.

    Returns:
        Seconds.

    Raises:
        InputError: The spec's split is not one of this corpus.
    """
    corpus = corpus.for_task(spec.task)
    rows = split_rows(corpus, spec.task, spec.split)
    index = {name: i for i, name in enumerate(spec.classes)}
    labels = np.array([index[label] for label in corpus.labels(spec.task)], dtype=np.int64)
    rng = np.random.default_rng(spec.seed)
    noise = rng.standard_normal((max(frames), spec.features.num_features)).astype(np.float32)
    # Views of one array: the noise of a whole corpus would fill the memory.
    examples = Examples([noise[:count] for count in frames], labels)
    train = examples.take(np.array(rows["train"]))
    if spec.balance:
        train = train.take(balance(train.labels.tolist(), spec.seed))
    validation = examples.take(np.array(rows["validation"]))
    batch_size = spec.training.batch_size
    with environment(spec):
        torch.manual_seed(spec.seed)
        model = SequenceClassifier(spec.model).to(spec.device)
        optimizer = torch.optim.Adam(model.parameters(), lr=spec.training.lr)

        def loss(batch: Batch) -> torch.Tensor:
            x, lengths, truth = (tensor.to(spec.device) for tensor in batch)
            return F.nll_loss(model(x, lengths).float(), truth)

        def learn(batch: Batch) -> None:
            optimizer.zero_grad()
            loss(batch).backward()
            optimizer.step()

        def validate(batch: Batch) -> None:
            with torch.no_grad():
                loss(batch).item()

        training_order = training_batches(train.lengths, batch_size, seed=spec.seed, epoch=1)
        validation_order = evaluation_batches(validation.lengths, batch_size)
        return _seconds(train, training_order, learn, steps) + _seconds(validation, validation_order, validate, steps)


def _seconds(examples: Examples, batches: list[NDArray[np.int64]], step: Callable[[Batch], None], count: int) -> float:
    """The time of all batches, from ``count`` of them that lie evenly between the shortest and the longest."""
    cost = [float(examples.lengths[batch].max() * len(batch)) for batch in batches]
    places = np.linspace(0, len(batches) - 1, min(count, len(batches)) + 2)[1:-1].round().astype(int)
    chosen: list[int] = np.argsort(cost)[places].tolist()
    step(examples.batch(batches[chosen[0]]))
    began = time.perf_counter()
    for number in chosen:
        step(examples.batch(batches[number]))
    seconds = time.perf_counter() - began
    return seconds * sum(cost) / sum(cost[number] for number in chosen)
