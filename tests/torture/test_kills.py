"""Five kills, as ``make torture`` does hundreds of them: run again, every byte is there."""

import errno
import os

import pytest
from torture.commands import EXTRACT
from torture.events import Action, CannotCompileError
from torture.kills import bench, kill
from torture.snapshot import difference, snapshot


@pytest.fixture(scope="module")
def made():
    try:
        with bench(jobs=1) as ready:
            ready.refer(["train", "predict", EXTRACT])
            yield ready
    except CannotCompileError as error:
        if os.environ.get("CONVRNN_BUILD") == "require":
            raise
        pytest.skip(str(error))


@pytest.mark.parametrize(("name", "moments", "events"), [("train", 1, 2), ("predict", 0, 1), (EXTRACT, 0, 1)])
def test_killed_and_run_again(made, name, moments, events):
    tally = kill(made, moments=moments, events=events, names=[name])[name]
    assert (tally.moments, tally.events) == (moments, events)
    assert not tally.faults, tally.faults


def test_a_full_disk_is_one_sentence_and_loses_nothing(made):
    at = int(made.references["train"]["events"]) // 2
    trial = made.trial("train", action=Action.REFUSE_FROM, at=at, error=errno.ENOSPC)
    [(_, outcome)] = made.perform([trial])
    assert "work/" in outcome.struck
    assert not outcome.faults


def test_what_differs_is_noticed(made):
    """The comparison of the trials above could fail."""
    expected = made.references[EXTRACT]["expected"]
    entry = next(name for name in expected if name.endswith(".npy"))
    made.references[EXTRACT]["expected"] = expected | {entry: "0" * 64}
    try:
        tally = kill(made, moments=0, events=1, names=[EXTRACT])[EXTRACT]
    finally:
        made.references[EXTRACT]["expected"] = expected
    [outcome] = tally.faults
    assert outcome.faults == (f"{entry} differs",)


def test_snapshots_leave_out_times_alone(tmp_path):
    (tmp_path / "result.json").write_text('{"seconds": 1.5, "finished": "now", "accuracy": 0.5}')
    (tmp_path / "table.csv").write_text("model,seconds\nconv,3\n")
    (tmp_path / "report.html").write_text("Finished 2026-01-01T00:00:00Z")
    before = snapshot(tmp_path)
    (tmp_path / "result.json").write_text('{"seconds": 2.5, "finished": "then", "accuracy": 0.5}')
    (tmp_path / "table.csv").write_text("model,seconds\nconv,4\n")
    (tmp_path / "report.html").write_text("Finished 2026-01-01T00:00:00Z to 2026-01-01T00:00:01Z")
    assert not difference(snapshot(tmp_path), before)
    (tmp_path / "result.json").write_text('{"seconds": 2.5, "finished": "then", "accuracy": 0.51}')
    (tmp_path / ".a.tmp").touch()
    assert difference(snapshot(tmp_path), before) == [".a.tmp was left behind", "result.json differs"]
