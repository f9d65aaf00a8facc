"""``--device`` and ``--precision`` of the commands, on a machine without a GPU."""

import json

import pytest
import torch

TRAIN = ("--task", "pitch", "--model", "conv", "--split", "partitions", "--max-epochs", 1, "--batch-size", 8)


@pytest.fixture(autouse=True)
def no_gpu(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)


def test_the_cpu_is_used_where_there_is_nothing_else(convrnn, corpus, cache, tmp_path):
    shared = (corpus, *TRAIN, "--cache", cache, "--out", tmp_path, "--json")
    first = convrnn("train", *shared)
    assert first.code == 0, first.err
    assert "device" not in first.err
    for options in (("--device", "cpu"), ("--precision", "bf16"), ("--device", "auto", "--precision", "tf32")):
        again = convrnn("train", *shared, *options)
        assert json.loads(again.out)["bundle"] == json.loads(first.out)["bundle"]
        needs = "needs a CUDA GPU; the CPU computes in float32"
        assert (needs in again.err) == ("--precision" in options)


@pytest.mark.parametrize(
    "command",
    [
        ("train", *TRAIN, "--out"),
        ("compare", "--task", "pitch", "--out"),
        ("reproduce", "table1", "--task", "pitch", "--setting", "emotion", "--out"),
    ],
)
def test_a_missing_gpu_stops_a_training_before_any_work(convrnn, corpus, tmp_path, command):
    place = ("--corpus", corpus) if command[0] == "reproduce" else (corpus,)
    said = convrnn(*command, tmp_path / "out", *place, "--device", "cuda")
    assert said.code == 2
    assert "--device cuda: PyTorch finds no CUDA GPU here; choose 'cpu' or 'auto'" in said.err
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_two_processes_train_one_model(convrnn, corpus, cache, tmp_path):
    shared = (corpus, *TRAIN, "--cache", cache, "--out", tmp_path, "--json", "--device", "cpu")
    together = convrnn("train", *shared, "--devices", 2)
    assert together.code == 0, together.err
    assert "precision 32; 2 processes train each model" in " ".join(together.err.split())
    alone = convrnn("train", *shared)
    assert json.loads(together.out)["bundle"] != json.loads(alone.out)["bundle"]
    assert json.loads(together.out)["ua_recall"] == json.loads(alone.out)["ua_recall"]


@pytest.mark.parametrize("devices", [0, 65, "two"])
def test_a_number_of_devices_that_cannot_be_is_refused(convrnn, corpus, tmp_path, devices):
    said = convrnn("train", corpus, *TRAIN, "--out", tmp_path / "out", "--devices", devices)
    assert said.code == 2
    assert "--devices" in said.err
    assert not (tmp_path / "out").exists()


def test_a_missing_gpu_stops_the_use_of_a_model(convrnn, trained, corpus, tmp_path):
    for command in (
        ("evaluate", corpus),
        ("predict", "a.wav"),
        ("extract", "a.wav", "--out", tmp_path / "f.csv"),
        ("live",),
    ):
        said = convrnn(command[0], trained, *command[1:], "--device", "cuda:1")
        assert said.code == 2
        assert "--device cuda:1: PyTorch finds no CUDA GPU here" in said.err
