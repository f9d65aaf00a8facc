"""The rules of the training loop without files: what it reports, how it averages, when it stops."""

import itertools

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from convrnn.training.checkpoint import TrainingState
from convrnn.training.config import TrainingConfig
from convrnn.training.data import Examples
from convrnn.training.learner import Learner
from convrnn.training.loop import NonFiniteLossError, Tally, train
from convrnn.training.steps import Outcome


def examples(labels) -> Examples:
    generator = np.random.default_rng(0)
    return Examples([generator.standard_normal((30, 8)).astype(np.float32) for _ in labels], np.array(labels))


class Scripted:
    """A learner with given numbers of validation errors, one per epoch; training counts the batches."""

    num_classes = 3
    devices = 1
    device = torch.device("cpu")

    def __init__(self, errors):
        self.errors = iter(errors)
        self.seen = []

    def train_step(self, batch):
        self.seen.append(len(batch.labels))
        return torch.tensor(1.0), F.one_hot(batch.labels, 3).float()

    def validation_step(self, batch):
        wrong = next(self.errors)
        predicted = torch.where(torch.arange(len(batch.labels)) < wrong, (batch.labels + 1) % 3, batch.labels)
        return torch.tensor(0.5), F.one_hot(predicted, 3).float()

    def weights(self):
        return {"steps": torch.tensor(len(self.seen))}


def follow(errors, *, balanced=True, **training):
    """Runs the loop with given numbers of validation errors among 8 examples."""
    learner, state, events = Scripted(errors), TrainingState(), []
    train(
        learner,
        examples([0, 1, 1, 2, 2, 2]),
        examples([0, 1, 2, 0, 1, 2, 0, 1]),
        state,
        lambda: events.append(("save", len(state.reports), state.best.epoch)),
        config=TrainingConfig(batch_size=8, **training),
        seed=1,
        balanced=balanced,
        on_epoch=lambda report: events.append(("epoch", report.epoch, report.is_best)),
        on_step=lambda step: events.append(("step", step.epoch, step.batch, step.num_batches)),
    )
    return learner, state, events


def test_the_first_of_equally_good_epochs_is_selected():
    _, state, _ = follow([5, 3, 3, 4], max_epochs=4)
    assert state.best == state.reports[1]
    assert [report.is_best for report in state.reports] == [True, True, False, False]
    assert state.best_model == {"steps": torch.tensor(4)}  # two batches in each of two epochs
    assert [report.validation_misclassification for report in state.reports] == [5 / 8, 3 / 8, 3 / 8, 4 / 8]


def test_an_epoch_with_only_errors_can_be_the_best():
    _, state, _ = follow([8, 8], max_epochs=2)
    assert state.best == state.reports[0]


@pytest.mark.parametrize(
    ("errors", "max_epochs", "patience", "epochs"),
    [
        ([4, 4, 4, 4, 4], 100, 3, 4),  # nothing better in three epochs
        ([4, 5, 5, 3, 5, 5, 5, 0], 100, 3, 7),  # the count starts again with the fourth
        ([4, 3, 2], 3, 3, 3),
        ([4, 4], 100, 1, 2),
    ],
)
def test_training_stops_in_time(errors, max_epochs, patience, epochs):
    _, state, _ = follow(errors, max_epochs=max_epochs, patience=patience)
    assert len(state.reports) == epochs


def test_a_finished_state_is_not_trained_further():
    _, state, _ = follow([4, 4], max_epochs=2, patience=1)
    train(
        Scripted([]),
        examples([0, 1, 2]),
        examples([0]),
        state,
        lambda: pytest.fail("trained"),
        config=TrainingConfig(max_epochs=2, patience=1),
        seed=1,
        balanced=True,
    )


def test_the_training_set_is_balanced_on_request():
    learner, _, _ = follow([1], max_epochs=1)
    assert sum(learner.seen) == 9
    learner, _, _ = follow([1], balanced=False, max_epochs=1)
    assert sum(learner.seen) == 6


def test_everything_is_saved_before_it_is_reported():
    _, _, events = follow([5, 6], max_epochs=2)
    epochs = [[("step", n, 1, 2), ("step", n, 2, 2), ("save", n, 1), ("epoch", n, n == 1)] for n in (1, 2)]
    assert events == list(itertools.chain(*epochs))


@pytest.mark.parametrize("kind", ["training", "validation"])
def test_a_loss_that_is_not_finite_is_named(make, kind):
    learner = Learner(make().model, TrainingConfig(), seed=1)
    values = iter([1.0, 1.0, torch.nan])
    step = f"{'train' if kind == 'training' else kind}_step"
    original = getattr(learner, step)
    setattr(learner, step, lambda batch: (torch.tensor(next(values)), original(batch)[1]))
    config = TrainingConfig(batch_size=1, max_epochs=1)
    sets = examples([0, 1, 2]), examples([0, 1, 2])
    with pytest.raises(NonFiniteLossError, match=rf"the loss of {kind} batch 3 in epoch 1 is nan; a lower learning"):
        train(learner, *sets, TrainingState(), lambda: None, config=config, seed=1, balanced=False)


def test_batches_are_weighted_by_their_size():
    tally = Tally("batch {}")
    tally.add(Outcome(torch.tensor(1.0), torch.tensor([0, 0, 0])), np.array([0, 0, 1]))
    tally.add(Outcome(torch.tensor(5.0), torch.tensor([1, 2])), np.array([0]))  # the second is not of the batch
    assert tally.mean_loss == 2.0
    assert tally.errors == 2
    assert tally.misclassification == 0.5
    assert tally.truth == [0, 0, 1, 0]
    assert tally.prediction == [0, 0, 0, 1]
    assert tally.loss == 8.0
    with pytest.raises(NonFiniteLossError, match="the loss of batch 3 is inf"):
        tally.add(Outcome(torch.tensor(torch.inf), torch.tensor([0, 0, 1])), np.array([0, 0, 1]))
