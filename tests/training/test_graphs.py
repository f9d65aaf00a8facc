"""Steps as graphs: on the CPU with a recorder that only calls the step again, and on a GPU where there is one."""

import copy
import warnings
from dataclasses import asdict

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from convrnn.models import SequenceClassifier, preset
from convrnn.models.presets import FRONT_ENDS, SETTINGS
from convrnn.training import loop
from convrnn.training.checkpoint import TrainingState
from convrnn.training.config import TrainingConfig
from convrnn.training.data import Examples
from convrnn.training.environment import environment
from convrnn.training.graphs import GraphSteps, best_steps
from convrnn.training.learner import Learner
from convrnn.training.steps import HostSteps, Outcome

on_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")
BATCH_SIZE = 4


class Replay:
    """Records as CUDA graphs do, on the CPU: every call writes to the tensors of the first."""

    def __init__(self, error: Exception | None = None) -> None:
        self.count = 0
        self._error = error

    def record(self, rehearse, step):
        self.count += 1
        rehearse()
        rehearse()
        if self._error is not None:
            raise self._error
        kept = None

        def replay():
            nonlocal kept
            found = step()
            if kept is None:
                kept = Outcome(found.loss.clone(), found.predictions.clone())
            for to, tensor in zip(kept, found, strict=True):
                to.copy_(tensor)
            return kept

        return replay


def draw(count, seed) -> Examples:
    generator = np.random.default_rng(seed)
    lengths = generator.integers(20, 70, count).tolist()
    features = [generator.standard_normal((length, 8)).astype(np.float32) for length in lengths]
    return Examples(features, generator.permutation(np.arange(count) % 3))


TRAINING, VALIDATION = draw(14, 1), draw(6, 2)


@pytest.fixture
def new(make):
    def new_learner(device="cpu", precision="32"):
        return Learner(make().model, TrainingConfig(), seed=1, device=device, precision=precision)

    return new_learner


@pytest.fixture
def follow(monkeypatch):
    """Trains a learner with given steps; returns the reports and the best weights."""

    def follow(learner, make_steps, *, epochs=3, state=None, save=lambda: None):
        state = state or TrainingState()
        monkeypatch.setattr(loop, "best_steps", make_steps)
        config = TrainingConfig(batch_size=BATCH_SIZE, max_epochs=epochs)
        loop.train(learner, TRAINING, VALIDATION, state, save, config=config, seed=1, balanced=True)
        reports = [asdict(report) | {"seconds": 0} for report in state.reports]
        return reports, state.best_model

    return follow


def on_host(learner, training_set, validation_set, **_):
    return HostSteps(learner, training_set, validation_set)


def graphs(recorder, most_bytes=10**9):
    def make(learner, training_set, validation_set, *, batch_size):
        return GraphSteps(
            learner, training_set, validation_set, batch_size=batch_size, most_bytes=most_bytes, recorder=recorder
        )

    return make


def assert_close(found, expected, tolerance=1e-4):
    for one, other in zip(found[0], expected[0], strict=True):
        assert one == pytest.approx(other, rel=tolerance)
    for name, weight in expected[1].items():
        torch.testing.assert_close(found[1][name], weight, rtol=tolerance, atol=tolerance)


def assert_same(found, expected):
    assert found[0] == expected[0]
    assert all(torch.equal(found[1][name], weight) for name, weight in expected[1].items())


def test_graphs_train_as_steps_on_the_host(new, follow):
    recorder = Replay()
    assert_close(follow(new(), graphs(recorder)), follow(new(), on_host))
    # Lengths from 20 to 69 frames are rounded up to 8 or fewer, for training and validation.
    assert 2 <= recorder.count <= 16


def test_every_shape_is_recorded_once(new):
    recorder, learner = Replay(), new()
    steps = graphs(recorder)(learner, TRAINING, VALIDATION, batch_size=BATCH_SIZE)
    batches = [np.array([i]) for i in range(len(TRAINING))]
    counts = []
    for _ in range(2):
        assert len(list(steps.train(batches))) == len(batches)
        assert len(list(steps.validate(batches[: len(VALIDATION)]))) == len(VALIDATION)
        counts.append(recorder.count)
    assert counts[0] == counts[1]


def test_sets_in_the_memory_of_the_host_give_the_same_bits(new, follow):
    assert_same(follow(new(), graphs(Replay(), most_bytes=0)), follow(new(), graphs(Replay())))


def test_a_continued_training_gives_the_same_bits(new, follow):
    saved = {}

    def interrupt():
        if len(state.reports) == 2:
            saved.update(copy.deepcopy(learner.state_dict()))
            raise KeyboardInterrupt

    learner, state = new(), TrainingState()
    with pytest.raises(KeyboardInterrupt):
        follow(learner, graphs(Replay()), epochs=4, state=state, save=interrupt)
    continued = new()
    continued.load_state_dict(saved)
    assert_same(follow(continued, graphs(Replay()), epochs=4, state=state), follow(new(), graphs(Replay()), epochs=4))


@pytest.mark.parametrize("error", [RuntimeError("not permitted when stream is capturing"), None])
def test_what_cannot_be_recorded_runs_operation_by_operation(new, follow, error):
    recorder = Replay(error)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        found = follow(new(), graphs(recorder))
    assert_same(found, follow(new(), graphs(Replay())))
    told = [str(each.message) for each in caught if "CUDA graph" in str(each.message)]
    assert len(told) == (error is not None)
    if error:
        assert "so its operations are launched one by one" in told[0]
        assert str(error) in told[0]
        assert recorder.count == 1


def test_want_of_memory_is_not_taken_for_a_step_that_cannot_be_recorded(new, follow):
    with pytest.raises(torch.OutOfMemoryError):
        follow(new(), graphs(Replay(torch.OutOfMemoryError("no memory"))))


def test_a_rehearsal_leaves_the_learner_as_it_was(new):
    learner, batch = new(), TRAINING.batch(np.arange(4))
    before = copy.deepcopy(learner.state_dict())
    learner.rehearse(batch)
    for name, weight in before["model"].items():
        assert torch.equal(learner.state_dict()["model"][name], weight)
    assert learner.optimizer.state_dict() == before["optimizer"]
    assert all(parameter.grad is None for parameter in learner.model.parameters())


def test_the_state_of_adam_is_as_its_first_step_creates_it(new):
    ready, learner = new(), new()
    ready._create_state()
    for _ in range(2):
        for each in (ready, learner):
            each.train_step(TRAINING.batch(np.arange(4)))
    for name, weight in learner.model.state_dict().items():
        assert torch.equal(ready.model.state_dict()[name], weight)


def test_a_state_from_before_graphs_is_taken_as_they_need_it(new):
    # As of Adam on the CPU, whose number of steps is on the host and which cannot be recorded.
    old, learner = new(), new()
    old.train_step(TRAINING.batch(np.arange(4)))
    (group,) = learner.optimizer.param_groups
    group["capturable"] = True
    learner.load_state_dict(old.state_dict())
    (group,) = learner.optimizer.param_groups
    assert group["capturable"]
    for state in learner.optimizer.state.values():
        assert state["step"] == 1


@pytest.mark.parametrize("setting", SETTINGS)
@pytest.mark.parametrize("front_end", FRONT_ENDS)
def test_no_model_reads_values_on_a_device(front_end, setting):
    # Reading one would wait for the GPU, and cannot be recorded. Tensors of this device have no values.
    with torch.device("meta"):
        model = SequenceClassifier(preset(front_end, setting, in_features=8, num_classes=3))
        x, lengths, labels = torch.empty(4, 192, 8), *torch.empty(2, 4, dtype=torch.int64)
    loss = F.nll_loss(model(x, lengths), labels)
    loss.backward()
    assert all(parameter.grad is not None for parameter in model.parameters())


def test_on_the_cpu_steps_are_not_recorded(new):
    assert isinstance(best_steps(new(), TRAINING, VALIDATION, batch_size=4), HostSteps)


@on_gpu
@pytest.mark.parametrize("precision", ["32", "tf32", "bf16-mixed"])
def test_on_a_gpu_a_run_repeats_its_bits_and_equals_the_cpu(new, follow, precision):
    with environment(device="cuda", threads=1, precision=precision), warnings.catch_warnings():
        warnings.simplefilter("error")
        found, again = (follow(new("cuda", precision), best_steps) for _ in range(2))
        streamed = follow(new("cuda", precision), on_gpu_from_the_host)
    assert_same(again, found)
    assert_same(streamed, found)
    # Only the losses: one prediction that rounding flips is a large share of so few examples.
    tolerance = {"32": 1e-3, "tf32": 1e-2, "bf16-mixed": 5e-2}[precision]
    for ours, expected in zip(found[0], follow(new(), on_host)[0], strict=True):
        for loss in ("train_loss", "validation_loss"):
            assert ours[loss] == pytest.approx(expected[loss], rel=tolerance)


def on_gpu_from_the_host(learner, training_set, validation_set, *, batch_size):
    from convrnn.training.graphs import CudaGraphs

    return graphs(CudaGraphs(), most_bytes=0)(learner, training_set, validation_set, batch_size=batch_size)


@on_gpu
@pytest.mark.filterwarnings("ignore:Synchronization debug mode is a prototype")
def test_on_a_gpu_nothing_in_an_epoch_waits_for_it(new):
    learner = new("cuda")
    steps = best_steps(learner, TRAINING, VALIDATION, batch_size=BATCH_SIZE)
    batches = [np.array([i, i + 1]) for i in range(0, 6, 2)]
    for mode in ("default", "error"):
        training, validation = steps.train(batches), steps.validate(batches)
        first = [next(training), next(validation)]  # uploads the order
        torch.cuda.set_sync_debug_mode(mode)
        try:
            outcomes = [*first, *training, *validation]
        finally:
            torch.cuda.set_sync_debug_mode("default")
        assert all(torch.isfinite(outcome.loss) for outcome in outcomes)
