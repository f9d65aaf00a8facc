"""Runs that two processes train together, on the CPU."""

import json

import pytest
import torch

from convrnn.processes import WorkFailedError
from convrnn.training.config import TrainingConfig
from convrnn.training.fit import run
from convrnn.training.ranks import on_every_rank
from convrnn.training.run_directory import CHECKPOINT, METRICS, RunDirectory
from rank_work import fail_as_second, tell_rank

# 16 training examples after balancing and 7 for validation: the last batches have 1 and 2 examples.
TRAINING = TrainingConfig(batch_size=5, lr=0.01, max_epochs=3, patience=3)


def numbers(directory):
    """The metrics without times, the predictions and the weights."""
    metrics = [json.loads(line) | {"seconds": 0} for line in (directory / METRICS).read_text().splitlines()]
    return metrics, (directory / "predictions.csv").read_bytes(), (directory / "best/model.safetensors").read_bytes()


@pytest.fixture(scope="module")
def together(make, tones, cache, tmp_path_factory):
    steps, epochs = [], []
    result = run(
        make(training=TRAINING, devices=2),
        tones,
        cache_dir=cache,
        runs_dir=tmp_path_factory.mktemp("together"),
        on_epoch=epochs.append,
        on_step=steps.append,
    )
    return result, epochs, steps


def test_two_processes_train_the_same_model_as_one(together, make, tones, folders):
    result, epochs, steps = together
    alone = run(make(training=TRAINING), tones, **folders)
    ours, expected = numbers(result.directory)[0], numbers(alone.directory)[0]
    assert [report.epoch for report in epochs] == [1, 2, 3]
    assert len(steps) == 3 * steps[0].num_batches
    for one, other in zip(ours, expected, strict=True):
        assert one == pytest.approx(other, rel=1e-4)
    states = [torch.load(each.directory / CHECKPOINT, weights_only=True)["best_model"] for each in (result, alone)]
    for name, weight in states[1].items():
        torch.testing.assert_close(states[0][name], weight, rtol=1e-3, atol=1e-4)
    assert result.confusion == alone.confusion


@pytest.mark.slow
def test_a_continued_run_gives_the_same_bits(together, make, tones, folders, monkeypatch):
    # Also in a job of torchrun, which its processes do not join.
    job = {"RANK": "6", "WORLD_SIZE": "8", "GROUP_RANK": "3", "MASTER_ADDR": "192.0.2.1", "MASTER_PORT": "1"}
    for name, value in (job | {"TORCHELASTIC_RUN_ID": "1", "TORCHELASTIC_USE_AGENT_STORE": "True"}).items():
        monkeypatch.setenv(name, value)

    def interrupt(report):
        if report.epoch == 2:
            raise KeyboardInterrupt

    spec = make(training=TRAINING, devices=2)
    with pytest.raises(KeyboardInterrupt):
        run(spec, tones, **folders, on_epoch=interrupt)
    assert not RunDirectory(folders["runs_dir"], spec.hash).finished
    assert numbers(run(spec, tones, **folders).directory) == numbers(together[0].directory)


@pytest.mark.slow
def test_an_error_is_that_of_the_rank(make, tones, folders):
    # No config allows such a rate, but it is the fastest way to an infinite loss.
    spec = make(training=TRAINING.model_copy(update={"lr": 1e30}), devices=2)
    with pytest.raises(WorkFailedError, match=r"^NonFiniteLossError: the loss of training batch \d in epoch 1 is"):
        run(spec, tones, **folders)


def test_only_several_devices_change_the_name_of_a_run(make):
    assert make(devices=1).hash == make().hash
    assert len({make().hash, make(devices=2).hash, make(devices=3).hash}) == 3


def test_every_rank_does_the_work_and_the_first_reports():
    said = []
    assert on_every_rank(tell_rank, "work", 3, said.append) == ("work", 0)
    assert said == [0]
    with pytest.raises(WorkFailedError, match="ValueError: rank 1") as error:
        on_every_rank(fail_as_second, None, 2)
    assert error.value.index == 1
