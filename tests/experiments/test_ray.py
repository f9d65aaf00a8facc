"""Runs on a Ray cluster of three nodes on this machine; `make test-ray` installs Ray and runs these tests."""

import os
import re
import signal
import subprocess
import time
from pathlib import Path

import pytest

from convrnn.cluster import Cluster, Needs, tasks
from convrnn.errors import InputError
from convrnn.experiments import compare
from convrnn.experiments.grid import GridInterrupt
from convrnn.experiments.progress import Progress
from convrnn.experiments.record import RUNS

ray = pytest.importorskip("ray")
cluster_utils = pytest.importorskip("ray.cluster_utils")

# Ray's own warnings are not about this package.
pytestmark = pytest.mark.filterwarnings("default")

# Enough epochs for a run to last some seconds.
EXPERIMENT = {
    **{"models": ["conv", "clstm"], "split": "folds:3", "seeds": 2},
    **{"max_epochs": 40, "patience": 40, "batch_size": 4},
}
NODE = {"object_store_memory": 100_000_000}


@pytest.fixture(scope="module")
def started(tmp_path_factory):
    """A head node without cores, and the nodes alpha and beta with one core each, by name."""
    with pytest.MonkeyPatch.context() as patch:
        # Nodes find the tests' package as this process does.
        patch.setenv("PYTHONPATH", str(Path(__file__).parents[2] / "src"))
        patch.setenv("CONVRNN_CACHE", str(tmp_path_factory.mktemp("cache")))
        head = {**NODE, "num_cpus": 0, "include_dashboard": False}
        started = cluster_utils.Cluster(initialize_head=True, head_node_args=head)
        patch.setenv("RAY_ADDRESS", started.address)
        yield started, {name: start(started, name) for name in ("alpha", "beta")}
        started.shutdown()


def start(cluster, name, **options):
    return cluster.add_node(num_cpus=1, node_name=name, **NODE, **options)


def kill(node):
    """Ends a node and everything on it at once, as a power cut would."""
    raylets = [started.process.pid for started in node.all_processes["raylet"]]
    children = subprocess.run(["ps", "-o", "pid=", "--ppid", str(raylets[0])], capture_output=True, text=True).stdout
    for process in (*raylets, *map(int, children.split())):
        os.kill(process, signal.SIGKILL)


@pytest.fixture(scope="module")
def local(all_tones, tmp_path_factory):
    """The same comparison on this machine."""
    out = tmp_path_factory.mktemp("local")
    compare(all_tones, "pitch", **EXPERIMENT, out=out, cache=tmp_path_factory.mktemp("own"))
    return out


def same_results(out, local):
    """Whether two folders have the same runs with the same models and predictions, and the same table but for times."""
    names = {path.name for path in (local / RUNS).iterdir()}
    assert {path.name for path in (out / RUNS).iterdir()} == names
    for name in names:
        for file in ("spec.json", "predictions.csv", "best/model.safetensors", "best/config.json"):
            assert (out / RUNS / name / file).read_bytes() == (local / RUNS / name / file).read_bytes(), (name, file)
    assert without_times(out) == without_times(local)


def without_times(out):
    header, *rows = [line.split(",") for line in (out / "table.csv").read_text().splitlines()]
    timed = [position for position, name in enumerate(header) if "seconds" in name or "time" in name]
    assert timed
    return [[cell for position, cell in enumerate(row) if position not in timed] for row in (header, *rows)]


class Warnings(Progress):
    def __init__(self):
        self.all = []

    def warning(self, sentence):
        self.all.append(sentence)


def test_the_runs_of_a_killed_node_are_done_on_another_one(started, all_tones, local, tmp_path, monkeypatch):
    cluster, nodes = started
    nodes["gamma"] = start(cluster, "gamma")
    at_work, lost, told = {}, [], Warnings()
    do_all = Cluster.run

    def watched(self, *arguments, on_event, **options):
        def watch(event):
            if event.kind == "started":
                at_work[event.index] = event.value
            if event.kind == "report" and not lost:
                lost.append(at_work[event.index])
                kill(nodes[lost[0]])
            on_event(event)

        do_all(self, *arguments, on_event=watch, **options)

    monkeypatch.setattr(Cluster, "run", watched)
    # A report that is passed on late could be that of a finished run, which a node no longer loses.
    monkeypatch.setattr(tasks, "SECONDS_BETWEEN_LOOKS", 0.02)
    compare(all_tones, "pitch", **EXPERIMENT, out=tmp_path, cluster="auto", progress=told)
    assert any(f"lost with node {lost[0]}, started again on node" in sentence for sentence in told.all), told.all
    same_results(tmp_path, local)


class Interrupting(Progress):
    """Presses Ctrl-C when the first run is finished."""

    def run_finished(self, _run, finished):
        if not finished.found:
            raise KeyboardInterrupt


@pytest.mark.usefixtures("started")
def test_ctrl_c_keeps_finished_runs_and_leaves_no_task(all_tones, local, tmp_path):
    shared = {**EXPERIMENT, "out": tmp_path, "cluster": "auto", "cache": tmp_path / "cache"}
    with pytest.raises(GridInterrupt) as interrupt:
        compare(all_tones, "pitch", **shared, progress=Interrupting())
    assert 1 <= interrupt.value.finished < interrupt.value.total
    with Cluster("auto").connected():
        until = time.monotonic() + 60
        while ray.available_resources().get("CPU", 0) < ray.cluster_resources()["CPU"]:
            assert time.monotonic() < until, "tasks still hold cores"
            time.sleep(0.5)
    compare(all_tones, "pitch", **shared)
    same_results(tmp_path, local)
    assert not [path for path in (tmp_path / "cache" / "runs").iterdir() if not path.name.startswith(".")]


@pytest.mark.usefixtures("started")
def test_a_file_that_nodes_do_not_see_is_named(tmp_path):
    with Cluster("auto").connected() as cluster, pytest.raises(InputError) as error:
        cluster.check_files([__file__, str(tmp_path / "a.wav")], Needs())
    assert f"does not see {tmp_path}/a.wav; all files must have the same paths" in str(error.value)
    assert re.search("node (alpha|beta|gamma) does", str(error.value))


def test_a_node_with_another_version_is_named(started, all_tones, tmp_path):
    other = tmp_path / "convrnn-9.9.dist-info"
    other.mkdir()
    (other / "METADATA").write_text("Metadata-Version: 2.1\nName: convrnn\nVersion: 9.9\n")
    cluster, _ = started
    node = start(cluster, "delta", env_vars={"PYTHONPATH": f"{tmp_path}:{os.environ['PYTHONPATH']}"})
    try:
        with pytest.raises(InputError, match=r"cluster='auto': node delta has convrnn 9\.9, and this machine has"):
            compare(all_tones, "pitch", **EXPERIMENT, out=tmp_path / "out", cluster="auto")
    finally:
        cluster.remove_node(node)
    assert not (tmp_path / "out").exists()


@pytest.mark.usefixtures("started")
def test_the_needs_of_a_run_must_fit_a_node(all_tones, tmp_path):
    with Cluster("auto").connected() as cluster, pytest.raises(InputError, match="no node of the cluster has 64 cores"):
        cluster.check_files([], Needs(cpus=64))
    with pytest.raises(InputError, match="device='cuda': no node of the cluster auto has a GPU; choose 'cpu'"):
        compare(all_tones, "pitch", **EXPERIMENT, out=tmp_path / "out", cluster="auto", device="cuda")
