"""Steps on a GPU as CUDA graphs: a step is one launch from Python, and nothing within an epoch waits for the GPU."""

import functools
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch

from convrnn.errors import one_sentence
from convrnn.training.data import Batch, Examples
from convrnn.training.device_sets import DeviceSet, new_batch, padded_length, place
from convrnn.training.learner import Learner
from convrnn.training.ranks import RankSteps
from convrnn.training.steps import HostSteps, Outcome, Positions, Steps

WARM_UP = 2
"""Times that a step is tried before it is recorded: kernels are compiled, libraries loaded and memory allocated."""


class Recorder(Protocol):
    """Records a step, so that it can run again without Python."""

    def record(self, rehearse: Callable[[], object], step: Callable[[], Outcome]) -> Callable[[], Outcome]:
        """Record a step; its kernels do not run while they are recorded.

        Args:
            rehearse: Runs the kernels of the step without any lasting effect.
            step: The step. It reads and writes the same memory every time that it runs.

        Returns:
            A function that runs the step. Each call overwrites the outcome of the one before.
        """
        ...


@functools.cache
def _stream(device: int) -> torch.cuda.Stream:
    """The stream of a GPU on which all steps are recorded: cuBLAS keeps a workspace for every stream that it saw."""
    return torch.cuda.Stream(device)


class CudaGraphs:
    """Records CUDA graphs, which share memory for what lives only within a step."""

    def __init__(self) -> None:
        self._pool = torch.cuda.graph_pool_handle()
        self._stream = _stream(torch.cuda.current_device())

    def record(self, rehearse: Callable[[], object], step: Callable[[], Outcome]) -> Callable[[], Outcome]:
        """See :class:`Recorder`."""
        before = torch.cuda.current_stream()
        self._stream.wait_stream(before)
        with torch.cuda.stream(self._stream):
            for _ in range(WARM_UP):
                rehearse()
        before.wait_stream(self._stream)
        graph = torch.cuda.CUDAGraph()
        try:
            # Other threads, such as that of a progress bar, may use CUDA meanwhile.
            with torch.cuda.graph(graph, pool=self._pool, stream=self._stream, capture_error_mode="thread_local"):
                outcome = step()
        except RuntimeError as error:
            # If a step cannot be captured, ending the capture fails too, and leaves its stream as the current one.
            torch.cuda.set_stream(before)
            if isinstance(error.__context__, RuntimeError):
                raise error.__context__ from None
            raise

        def replay() -> Outcome:
            graph.replay()
            return outcome

        return replay


@dataclass(frozen=True)
class _Recorded:
    """A step on batches of one shape, and the batch that it reads."""

    batch: Batch
    replay: Callable[[], Outcome]


class GraphSteps:
    """Steps on batches that are gathered on the device, recorded once for each shape.

    All batches of a set have the same number of rows, and their lengths are rounded up to a few
    (:func:`~convrnn.training.device_sets.padded_length`). Padding changes no result. If a step cannot be recorded, all
    are run operation by operation, with a warning.

    The learner's state must not be loaded any more: what is recorded reads and writes the tensors of its first step.

    Args:
        learner: The model and its optimiser, on the device.
        training_set: The training set, balanced if it has to be.
        validation_set: The validation set.
        batch_size: Maximum number of examples in a batch.
        most_bytes: How much of the device's memory the sets may take; what does not fit stays in the host's.
        recorder: Records the steps.
    """

    def __init__(
        self,
        learner: Learner,
        training_set: Examples,
        validation_set: Examples,
        *,
        batch_size: int,
        most_bytes: int,
        recorder: Recorder,
    ) -> None:
        self._learner = learner
        self._training, self._validation = place((training_set, validation_set), learner.device, most_bytes)
        self._batch_size = batch_size
        self._recorder: Recorder | None = recorder
        self._recorded: dict[tuple[bool, int], _Recorded] = {}

    def train(self, batches: Sequence[Positions]) -> Iterator[Outcome]:
        """One training step on each batch of the training set, in order."""
        return self._run(batches, self._training, training=True)

    def validate(self, batches: Sequence[Positions]) -> Iterator[Outcome]:
        """One validation step on each batch of the validation set, in order."""
        return self._run(batches, self._validation, training=False)

    def _run(self, batches: Sequence[Positions], examples: DeviceSet, *, training: bool) -> Iterator[Outcome]:
        rows = min(self._batch_size, len(examples.lengths))
        examples.begin(batches, rows)
        for number, positions in enumerate(batches):
            frames = padded_length(int(examples.lengths[positions].max()))
            recorded = self._recorded.get((training, frames))
            batch = recorded.batch if recorded else new_batch(rows, frames, examples.features, self._learner.device)
            examples.fill(number, batch)
            if recorded is None:
                recorded = self._recorded[training, frames] = _Recorded(batch, self._record(batch, training=training))
            outcome = recorded.replay()
            yield Outcome(outcome.loss.clone(), outcome.predictions.clone())

    def _record(self, batch: Batch, *, training: bool) -> Callable[[], Outcome]:
        run = self._learner.train_step if training else self._learner.validation_step

        def step() -> Outcome:
            loss, log_probabilities = run(batch)
            return Outcome(loss, log_probabilities.argmax(dim=1))

        def rehearse() -> None:
            if training:
                self._learner.rehearse(batch)
            else:
                step()

        if self._recorder is None:
            return step
        try:
            return self._recorder.record(rehearse, step)
        except torch.OutOfMemoryError:
            raise
        except RuntimeError as error:
            warnings.warn(
                "a step cannot be recorded as a CUDA graph, so its operations are launched one by one, which takes "
                f"longer: {one_sentence(str(error), 200)}",
                UserWarning,
                stacklevel=2,
            )
            self._recorder = None
            return step


def best_steps(learner: Learner, training_set: Examples, validation_set: Examples, *, batch_size: int) -> Steps:
    """The fastest way to run the steps of an epoch on the learner's device.

    That is CUDA graphs on an NVIDIA GPU, where the sets take at most half of its free memory. For devices that train
    together, shares of batches are put together in the host's memory.

    Args:
        learner: The model and its optimiser.
        training_set: The training set, balanced if it has to be.
        validation_set: The validation set.
        batch_size: Maximum number of examples in a batch.
    """
    if learner.devices > 1:
        return RankSteps(learner, training_set, validation_set)
    if learner.device.type != "cuda":
        return HostSteps(learner, training_set, validation_set)
    free, _ = torch.cuda.mem_get_info(learner.device)
    return GraphSteps(
        learner, training_set, validation_set, batch_size=batch_size, most_bytes=free // 2, recorder=CudaGraphs()
    )
