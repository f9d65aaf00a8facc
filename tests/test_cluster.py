"""The cluster's own logic, on a fake of Ray; ``tests/experiments/test_ray.py`` runs it on a real cluster."""

import sys

import pytest

import cluster_work as work
import fake_ray
from convrnn.cluster import Cluster, Needs, Node, connection, node, tasks
from convrnn.cluster import cluster as module
from convrnn.errors import InputError
from convrnn.processes import WorkFailedError


@pytest.fixture
def ray(monkeypatch):
    monkeypatch.setattr(connection, "address_of_auto", lambda: "")
    return fake_ray.install(monkeypatch, alpha={"CPU": 2.0}, beta={"CPU": 1.0, "GPU": 1.0})


def run(work, items, **options):
    events = []
    with Cluster("auto").connected() as cluster:
        cluster.run(work, "item ", items, needs=Needs(), on_event=events.append, **options)
    return [(event.kind, event.index, event.value) for event in events]


def test_results_and_reports_come_home(ray):
    assert run(work.double, [3, 1]) == [
        ("started", 0, "alpha"),
        ("report", 0, "3 begins"),
        ("done", 0, "item 6"),
        ("started", 1, "alpha"),
        ("report", 1, "1 begins"),
        ("done", 1, "item 2"),
    ]
    assert ray.options[-1] == {"num_cpus": 1, "num_gpus": 0.0, "max_retries": tasks.MOST_RETRIES}
    assert ray.cancelled == []
    assert not ray.initialised


def test_only_a_few_more_items_than_can_run_are_in_the_cluster(ray):
    run(work.double, range(50))
    assert ray.most_running == 2 + 2 * 3


def test_an_item_that_is_started_again_is_reported_twice(ray):
    with Cluster("auto").connected() as cluster:
        ray.lost, events = 1, []
        cluster.run(work.double, "item ", [3], needs=Needs(), on_event=events.append)
    assert [(event.kind, event.value) for event in events] == [
        ("started", "alpha"),
        ("started", "beta"),
        ("report", "3 begins"),
        ("done", "item 6"),
    ]


def test_an_item_that_is_lost_too_often_fails(ray):
    with Cluster("auto").connected() as cluster:
        ray.lost, ray.gives_up = 1, True
        with pytest.raises(WorkFailedError, match="was lost 5 times"):
            cluster.run(work.double, "item ", [3, 4], needs=Needs(), on_event=print)
    assert len(ray.cancelled) == 1


def test_the_first_failure_stops_the_others_and_names_the_node(ray):
    with pytest.raises(WorkFailedError) as error:
        run(work.fail_at_two, [1, 2, 3, 4])
    assert (error.value.index, error.value.is_input_error) == (1, True)
    assert error.value.message == "a.wav: is empty (on node alpha)"
    assert len(ray.cancelled) == 2
    with pytest.raises(WorkFailedError) as error:
        run(work.crash, [1])
    assert error.value.message == "KeyError: 'x' (on node alpha)"
    assert "cluster_work.py" in error.value.details


def test_ctrl_c_cancels_what_runs(ray):
    def interrupt(event):
        if event.kind == "done":
            raise KeyboardInterrupt

    with Cluster("auto").connected() as cluster, pytest.raises(KeyboardInterrupt):
        cluster.run(work.double, "", [1, 2, 3], needs=Needs(), on_event=interrupt)
    assert len(ray.cancelled) == 2
    assert not ray.initialised


def test_a_lost_connection_is_one_sentence(ray, monkeypatch):
    def lost(*_, **__):
        raise ConnectionError("gone")

    with Cluster("auto").connected() as cluster:
        monkeypatch.setattr(ray, "wait", lost)
        with pytest.raises(InputError, match="cluster='auto': the connection to the cluster is lost; finished work"):
            cluster.run(work.double, "", [1], needs=Needs(), on_event=print)


@pytest.mark.usefixtures("ray")
@pytest.mark.parametrize(
    ("software", "sentence"),
    [
        ({"no-such-package": "1"}, "node alpha does not have the package no-such-package; it needs version 1"),
        ({"convrnn": "9.9"}, r"node alpha has convrnn [\d.]+, and this machine has 9.9; install the same version"),
    ],
)
def test_a_node_with_other_software_is_named(monkeypatch, software, sentence):
    with monkeypatch.context() as patch:
        patch.setattr(module, "software", lambda: software)
        with pytest.raises(InputError, match=sentence), Cluster("auto").connected():
            pytest.fail("connected")
    # A node may also come later.
    monkeypatch.setattr(tasks, "software", lambda: software)
    with Cluster("auto").connected() as cluster, pytest.raises(WorkFailedError, match=sentence) as error:
        cluster.run(work.double, "", [1], needs=Needs(), on_event=print)
    assert error.value.is_input_error


@pytest.mark.usefixtures("ray")
def test_a_node_that_cannot_import_the_package_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "convrnn.cluster.node", None)
    with pytest.raises(InputError, match=r"node alpha cannot import convrnn \(import of convrnn.cluster.node halted"):
        Cluster("auto").connected().__enter__()


def test_an_exception_of_a_task_is_not_taken_for_a_lost_node(ray, monkeypatch):
    with Cluster("auto").connected() as cluster:
        monkeypatch.setattr(node, "serve", lambda *_: {}["x"])
        monkeypatch.setattr(node, "call", lambda *_: {}["y"])
        with pytest.raises(WorkFailedError, match="KeyError: 'x'") as error:
            cluster.run(work.double, "", [1], needs=Needs(), on_event=print)
        assert not error.value.is_input_error
        with pytest.raises(ray.exceptions.RayTaskError, match="KeyError: 'y'"):
            cluster.check_files([], Needs())


@pytest.mark.usefixtures("ray")
def test_a_missing_file_is_named_with_the_node():
    with Cluster("auto").connected() as cluster:
        cluster.check_files([__file__], Needs())
        with pytest.raises(InputError, match=r"node alpha does not see nowhere/a\.wav; all files must have the same"):
            cluster.check_files([__file__, "nowhere/a.wav"], Needs())
        with pytest.raises(InputError, match="node beta does not see"):
            cluster.check_files(["nowhere/a.wav"], Needs(gpus=0.5))


@pytest.mark.usefixtures("ray")
def test_some_node_must_be_large_enough():
    with Cluster("auto").connected() as cluster:
        with pytest.raises(InputError, match=r"no node of the cluster has 3 cores$"):
            cluster.check_files([], Needs(cpus=3))
        with pytest.raises(InputError, match=r"no node of the cluster has 2 cores and a GPU$"):
            cluster.check_files([], Needs(cpus=2, gpus=1.0))


def test_a_connection_of_the_calling_program_stays_open(ray):
    ray.initialised = True
    with Cluster("auto").connected():
        pass
    assert ray.initialised


def test_without_ray_one_sentence_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(InputError, match=r"cluster='auto': needs ray, .* run: pip install 'convrnn\[ray\]'"):
        Cluster("auto").connected().__enter__()


def test_a_cluster_that_does_not_answer_is_named(ray, monkeypatch):
    ray.init = None
    with pytest.raises(InputError, match=r"'ray://127.0.0.1:1': the cluster does not answer \(.*refused\)"):
        Cluster("ray://127.0.0.1:1").connected().__enter__()
    monkeypatch.undo()
    fake_ray.install(monkeypatch)
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:1")
    with pytest.raises(InputError, match=r"'auto': the cluster at 127.0.0.1:1 does not answer \(.*refused\)"):
        Cluster("auto").connected().__enter__()


def test_the_address_of_a_cluster_that_crashed_is_found(monkeypatch, tmp_path):
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path))
    assert connection.address_of_auto() == ""
    (tmp_path / "ray").mkdir()
    (tmp_path / "ray" / "ray_current_cluster").write_text("10.0.0.7:6379\n")
    assert connection.address_of_auto() == "10.0.0.7:6379"


@pytest.mark.parametrize(
    "address", ["", "10.0.0.1:6379", "ray://", "ray://host", "ray://host:x", "tcp://host:1", "a\nb"]
)
def test_other_addresses_are_refused(address):
    with pytest.raises(InputError, match=r"'cluster': unknown value .*; allowed: auto, ray://HOST:PORT"):
        Cluster(address)


def test_shares_of_a_gpu_add_up():
    for items in range(1, 257):
        needs = Needs.share(1, items)
        assert items * needs.gpus <= 1.0
        assert Node("", "", cpus=1000, gpus=1).slots(needs) >= items
