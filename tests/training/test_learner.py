"""What a training step and a validation step compute."""

import os

import numpy as np
import pytest
import torch

from convrnn.training.config import TrainingConfig
from convrnn.training.data import Examples
from convrnn.training.learner import Learner


@pytest.fixture
def new(make):
    def new_learner(seed=1, precision="32"):
        training = TrainingConfig(lr=0.01, betas=(0.8, 0.99), eps=1e-6)
        return Learner(make().model, training, seed=seed, precision=precision)

    return new_learner


@pytest.fixture
def learner(new):
    return new()


@pytest.fixture
def batch():
    generator = np.random.default_rng(0)
    features = [generator.standard_normal((n, 8)).astype(np.float32) for n in (30, 40, 25, 33)]
    return Examples(features, np.array([0, 1, 2, 0])).batch(np.arange(4))


@pytest.mark.parametrize("kind", ["train_step", "validation_step"])
def test_loss_is_the_cross_entropy_of_the_averaged_prediction(learner, batch, kind):
    with torch.no_grad():
        probabilities = learner.model(batch.x, batch.lengths).exp()
    assert torch.allclose(probabilities.sum(dim=1), torch.ones(4))
    expected = -torch.stack([probabilities[i, label].log() for i, label in enumerate(batch.labels)]).mean()
    loss, log_probabilities = getattr(learner, kind)(batch)
    assert torch.allclose(loss, expected, atol=1e-6)
    assert torch.allclose(log_probabilities.exp(), probabilities, atol=1e-6)
    assert log_probabilities.dtype == torch.float32
    assert not loss.requires_grad
    assert not log_probabilities.requires_grad


def test_training_changes_all_parameters_and_validation_none(learner, batch):
    before = learner.weights()
    learner.validation_step(batch)
    assert not learner.model.training
    assert all(torch.equal(value, before[name]) for name, value in learner.weights().items())
    learner.train_step(batch)
    assert learner.model.training
    moved = {name for name, value in learner.weights().items() if not torch.equal(value, before[name])}
    assert moved == {name for name, _ in learner.model.named_parameters()}


def test_a_step_is_that_of_adam_on_the_gradient_of_the_loss(learner, batch, new):
    other = new().model
    adam = torch.optim.Adam(other.parameters(), lr=0.01, betas=(0.8, 0.99), eps=1e-6)
    for _ in range(3):
        loss = torch.nn.functional.nll_loss(other(batch.x, batch.lengths), batch.labels)
        adam.zero_grad()
        loss.backward()
        adam.step()
        found, _ = learner.train_step(batch)
        assert torch.equal(found, loss)
    weights = learner.weights()
    assert all(torch.equal(value, weights[name]) for name, value in other.state_dict().items())


def test_adam_has_the_parameters_of_the_config(learner):
    assert type(learner.optimizer) is torch.optim.Adam
    (group,) = learner.optimizer.param_groups
    assert (group["lr"], group["betas"], group["eps"], group["weight_decay"]) == (0.01, (0.8, 0.99), 1e-6, 0)
    assert len(group["params"]) == len(list(learner.model.parameters()))


def test_the_seed_decides_the_initial_weights(new):
    torch.manual_seed(77)
    first = new(seed=1).weights()
    torch.manual_seed(78)
    again, other = new(seed=1).weights(), new(seed=2).weights()
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not all(torch.equal(first[name], other[name]) for name in first)


def test_weights_are_copies(learner, batch):
    weights = learner.weights()
    before = {name: value.clone() for name, value in weights.items()}
    learner.train_step(batch)
    assert all(torch.equal(weights[name], before[name]) for name in before)


def test_mixed_precision_sums_the_gradients_of_a_weight_in_float32(new, batch):
    """Weights that are used in every frame; autocast's cache would sum their gradients in bfloat16."""
    learner = new(precision="bf16-mixed")
    loss, log_probabilities = learner.train_step(batch)
    exact, _ = new().train_step(batch)
    assert loss.dtype == log_probabilities.dtype == torch.float32
    assert not torch.equal(loss, exact)
    assert torch.allclose(loss, exact, atol=0.05)
    uncached = new(precision="bf16-mixed").model
    with torch.autocast("cpu", torch.bfloat16, cache_enabled=False):
        result = uncached(batch.x, batch.lengths).float()
        torch.nn.functional.nll_loss(result, batch.labels).backward()
    gradients = {name: parameter.grad for name, parameter in learner.model.named_parameters()}
    assert all(torch.equal(p.grad, gradients[name]) for name, p in uncached.named_parameters())


def test_variables_for_fabric_are_ignored(new, monkeypatch):
    settings = {"LT_PRECISION": "bf16-true", "LT_DEVICES": "3", "LT_STRATEGY": "ddp", "LT_ACCELERATOR": "nonsense"}
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    learner = new()
    assert {value.dtype for value in learner.weights().values()} == {torch.float32}
    assert {name: os.environ[name] for name in settings} == settings
