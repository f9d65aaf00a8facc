import numpy as np
import pytest
import torch
from torch.nn import functional as F

from convrnn.models.classifier import SequenceClassifier
from convrnn.training.data import EvaluationLoader, Examples, TrainingLoader
from convrnn.training.module import ClassifierModule, NonFiniteLossError, Tally
from convrnn.training.spec import TrainingConfig


@pytest.fixture
def module(make):
    generator = np.random.default_rng(0)
    features = [generator.standard_normal((n, 8)).astype(np.float32) for n in (30, 40, 25, 33)]
    examples = Examples(features, np.array([0, 1, 2, 0]))
    torch.manual_seed(0)
    training = TrainingConfig(batch_size=4, lr=0.01, betas=(0.8, 0.99), eps=1e-6)
    loader = EvaluationLoader(examples, 4)
    return ClassifierModule(
        SequenceClassifier(make().model),
        training,
        lambda epoch: TrainingLoader(examples, 4, seed=0, epoch=epoch),
        loader,
    )


def test_loss_is_the_cross_entropy_of_the_averaged_prediction(module):
    (batch,) = module.val_dataloader()
    probabilities = module.model(batch.x, batch.lengths).exp()
    assert torch.allclose(probabilities.sum(dim=1), torch.ones(4))
    expected = -torch.stack([probabilities[i, label].log() for i, label in enumerate(batch.labels)]).mean()
    loss = module.training_step(batch, 0)
    assert torch.allclose(loss, expected, atol=1e-6)
    assert loss.requires_grad
    assert module.train_tally.count == 4
    assert module.train_tally.mean_loss == pytest.approx(loss.item())
    assert module.train_tally.errors == int((probabilities.argmax(1) != batch.labels).sum())


def test_adam_has_the_specs_parameters(module):
    optimizer = module.configure_optimizers()
    assert type(optimizer) is torch.optim.Adam
    (group,) = optimizer.param_groups
    assert (group["lr"], group["betas"], group["eps"], group["weight_decay"]) == (0.01, (0.8, 0.99), 1e-6, 0)
    assert len(group["params"]) == len(list(module.model.parameters()))


@pytest.mark.parametrize("kind", ["training", "validation"])
def test_a_loss_that_is_not_finite_is_named(module, kind):
    (batch,) = module.val_dataloader()
    with torch.no_grad():
        next(module.model.parameters()).fill_(torch.nan)
    step = module.training_step if kind == "training" else module.validation_step
    with pytest.raises(NonFiniteLossError, match=rf"{kind} batch 3 in epoch 1 is nan"):
        step(batch, 2)


def test_tally_weighs_batches_by_their_size():
    tally = Tally()
    tally.add(1.0, torch.log(torch.tensor([[0.9, 0.1], [0.9, 0.1], [0.9, 0.1]])), torch.tensor([0, 0, 1]))
    tally.add(5.0, torch.log(torch.tensor([[0.2, 0.8]])), torch.tensor([0]))
    assert tally.mean_loss == 2.0
    assert tally.misclassification == 0.5
    assert tally.truth == [0, 0, 1, 0]
    assert tally.prediction == [0, 0, 0, 1]
    assert tally.loss == F.nll_loss(torch.tensor([[-8.0]]), torch.tensor([0])).item()
