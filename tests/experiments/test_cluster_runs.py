"""Comparisons on a fake cluster in this process; ``test_ray.py`` has a real one."""

import fcntl
import os
import threading

import pytest

import fake_ray
from convrnn.cluster import Cluster, connection
from convrnn.errors import InputError
from convrnn.experiments import compare, estimate, plan_reproduction, work
from convrnn.experiments.progress import Progress
from convrnn.experiments.record import RUNS
from convrnn.experiments.resources import place
from convrnn.features.logmel import LogMelConfig
from convrnn.features.store import FeatureStore
from convrnn.training.run_directory import PARTIAL

EXPERIMENT = {"models": ["conv"], "split": "partitions", "seeds": 2, "max_epochs": 1}


@pytest.fixture
def ray(monkeypatch):
    monkeypatch.setattr(connection, "address_of_auto", lambda: "")
    monkeypatch.setattr(work, "_extracted", set())
    return fake_ray.install(monkeypatch, alpha={"CPU": 2.0}, beta={"CPU": 1.0})


class Told(Progress):
    def __init__(self):
        self.sentences, self.events = [], []

    def note(self, sentence):
        self.sentences.append(sentence)

    warning = note

    def run_started(self, run):
        self.events.append(("started", run.spec.seed))

    def run_advanced(self, run, epochs):
        self.events.append((epochs.done, run.spec.seed))

    def run_finished(self, run, _finished):
        self.events.append(("finished", run.spec.seed))


def test_results_are_those_of_this_machine(ray, all_tones, tmp_path):
    compare(all_tones, "pitch", **EXPERIMENT, out=tmp_path / "here", cache=tmp_path / "cache")
    ray.lost, told, cache = 1, Told(), tmp_path / "nodes"
    # What an earlier command left of a run on this machine makes way for the whole run.
    [first, *_] = sorted(path.name for path in (tmp_path / "here" / RUNS).iterdir())
    leftover = tmp_path / "there" / RUNS / f"{first}{PARTIAL}" / "last.ckpt"
    leftover.parent.mkdir(parents=True)
    leftover.write_bytes(b"?")
    compare(all_tones, "pitch", **EXPERIMENT, out=tmp_path / "there", cache=cache, cluster="auto", progress=told)
    for run in (tmp_path / "here" / RUNS).iterdir():
        there = tmp_path / "there" / RUNS / run.name
        for file in ("predictions.csv", "spec.json", "best/model.safetensors"):
            assert (there / file).read_bytes() == (run / file).read_bytes()
        # The largest file, of no use any more, stays away.
        assert not (there / "last.ckpt").exists()
    assert sorted(path.name for path in (tmp_path / "there" / RUNS).iterdir()) == sorted(
        path.name for path in (tmp_path / "here" / RUNS).iterdir()
    )
    assert told.events == [("started", 0), (1, 0), ("finished", 0), ("started", 1), (1, 1), ("finished", 1)]
    assert told.sentences[0] == "cluster: auto, 2 nodes; device: cpu, precision 32"
    assert "conv, seed 0: lost with node alpha, started again on node beta" in told.sentences
    assert list((cache / "runs").iterdir()) == []


def test_a_node_uses_its_own_cache_unless_one_is_given(ray, all_tones, tmp_path, monkeypatch):
    monkeypatch.setenv("CONVRNN_CACHE", str(tmp_path / "own"))
    compare(all_tones, "pitch", **EXPERIMENT, out=tmp_path / "out", cluster="auto")
    assert len(list((tmp_path / "own" / "features").glob("*/*/*.npy"))) == 48
    assert ray.options[-1]["num_gpus"] == 0


def test_features_are_extracted_once_while_others_wait(tones, tmp_path, monkeypatch):
    monkeypatch.setattr(work, "_extracted", set())
    features, folder, began = LogMelConfig(sample_rate=8000), tmp_path / "features", threading.Event()
    folder.mkdir()
    monkeypatch.setattr(FeatureStore, "extract", lambda *_, **__: began.set())
    lock = os.open(folder / ".extraction.lock", os.O_RDWR | os.O_CREAT)
    fcntl.flock(lock, fcntl.LOCK_EX)
    thread = threading.Thread(target=work._extract_once, args=(tmp_path, features, "0", tones))
    thread.start()
    assert not began.wait(0.3)
    os.close(lock)
    assert began.wait(10)
    thread.join()


def test_a_run_waits_for_the_lock_of_a_lost_node(ray, all_tones, tmp_path, monkeypatch):
    compare(all_tones, "pitch", **EXPERIMENT, out=tmp_path / "out", cache=tmp_path / "cache", cluster="auto")
    [name, *_] = [path.name for path in (tmp_path / "out" / RUNS).iterdir()]
    descriptor = os.open(tmp_path / "cache" / "runs" / f".{name}.lock", os.O_RDWR | os.O_CREAT)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    slept = []

    def sleep(seconds):
        slept.append(seconds)
        os.close(descriptor)

    monkeypatch.setattr(work.time, "sleep", sleep)
    shared = {**EXPERIMENT, "out": tmp_path / "again", "cache": tmp_path / "cache", "cluster": "auto"}
    compare(all_tones, "pitch", **shared)
    assert slept == [1.0]
    assert ray.cancelled == []


def test_a_failed_run_names_its_node(ray, all_tones, tmp_path, monkeypatch):
    def extract(*_, **__):
        raise InputError("a.wav: is empty")

    monkeypatch.setattr(FeatureStore, "extract", extract)
    with pytest.raises(InputError, match=r"conv, seed 0: a.wav: is empty \(on node alpha\); finished runs are kept"):
        compare(all_tones, "pitch", **EXPERIMENT, out=tmp_path / "out", cache=tmp_path, cluster="auto")
    assert len(ray.cancelled) == 1


def test_the_device_is_one_of_the_nodes(ray):
    with Cluster("auto").connected() as nodes:
        assert place("auto", "32", nodes).device == "cpu"
        assert place("cpu", "bf16", nodes).remarks
        with pytest.raises(InputError, match="device='cuda': no node of the cluster auto has a GPU; choose 'cpu'"):
            place("cuda", "32", nodes)
        for device in ("cuda:1", "mps", "tpu"):
            with pytest.raises(InputError, match=f"device='{device}': is not for a cluster.*allowed: auto, cpu, cuda"):
                place(device, "32", nodes)
        with pytest.raises(InputError, match="devices=2: is not for a cluster, where every run has one device"):
            place("cpu", "32", nodes, devices=2)
        ray.machines["gamma"] = {"CPU": 4.0, "GPU": 1.0}
        assert str(place("auto", "32", nodes)) == str(place("cuda", "32", nodes)) == "cuda"
        assert place("auto", "bf16", nodes).precision == "bf16-mixed"


@pytest.mark.usefixtures("ray")
def test_an_estimate_is_for_this_machine(all_tones, tmp_path):
    plan = plan_reproduction(
        "table2", corpora=all_tones, tasks=["pitch"], features=["logmel"], out=tmp_path / "out", cluster="auto"
    )
    with pytest.raises(InputError, match="cluster='auto': an estimate is for this machine; leave the cluster out"):
        estimate(plan)
