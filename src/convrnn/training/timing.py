"""How long an epoch of a run takes, estimated from a few steps; `--dry-run` prints it."""

import time
from collections.abc import Callable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from convrnn.corpora.balancing import balance
from convrnn.corpora.labelled import LabelledCorpus
from convrnn.training.data import Examples, evaluation_batches, training_batches
from convrnn.training.environment import environment
from convrnn.training.graphs import best_steps
from convrnn.training.learner import Learner
from convrnn.training.spec import RunSpec, split_rows
from convrnn.training.steps import Outcome, Positions


def seconds_per_epoch(spec: RunSpec, corpus: LabelledCorpus, frames: Sequence[int], *, steps: int = 3) -> float:
    """Estimates the time of one epoch on this machine: all training steps and the validation.

    It measures a few batches of noise as long as the corpus's utterances, and assumes that all others take as long per
    padded frame.

    Args:
        spec: The run.
        corpus: The corpus that the spec was made for.
        frames: Frames of each row of the corpus.
        steps: Number of training and of validation batches to measure, after a round to warm up.

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
        training, validating = _Sample(train, training_order, steps), _Sample(validation, validation_order, steps)
        measured = best_steps(learner, training.examples, validating.examples, batch_size=batch_size)
        return training.seconds(measured.train) + validating.seconds(measured.validate)


class _Sample:
    """A few batches of a set, spaced evenly from the cheapest to the most costly.

    Attributes:
        examples: Their examples.
    """

    def __init__(self, examples: Examples, batches: list[NDArray[np.int64]], count: int) -> None:
        lengths = examples.lengths
        cost = [float(lengths[batch].max() * len(batch)) for batch in batches]
        places = np.linspace(0, len(batches) - 1, min(count, len(batches)) + 2)[1:-1].round().astype(int)
        chosen: list[int] = np.argsort(cost)[places].tolist()
        self.examples = examples.take(np.concatenate([batches[number] for number in chosen]))
        ends = np.cumsum([len(batches[number]) for number in chosen])
        self._batches = np.split(np.arange(len(self.examples)), ends[:-1])
        self._share = sum(cost[number] for number in chosen) / sum(cost)

    def seconds(self, run: Callable[[Sequence[Positions]], Iterator[Outcome]]) -> float:
        """Estimates the time of all batches of the set.

        Args:
            run: Runs a step on each batch.
        """

        def wait_for(batches: Sequence[Positions]) -> None:
            *_, last = run(batches)
            last.loss.item()  # waits for the GPU

        wait_for(self._batches)  # kernels are compiled, and graphs recorded
        began = time.perf_counter()
        wait_for(self._batches)
        return (time.perf_counter() - began) / self._share
