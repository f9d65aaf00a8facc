"""A few kills, of which ``make torture`` does hundreds: the next run writes every byte as if nothing had happened."""

import errno
import os

import pytest
from torture.commands import EXTRACT
from torture.events import Action, CannotCompileError
from torture.kills import prepare, try_kills
from torture.snapshot import difference, snapshot


@pytest.fixture(scope="module")
def harness():
    try:
        with prepare(jobs=1) as ready:
            ready.record_references(["train", "predict", EXTRACT])
            yield ready
    except CannotCompileError as error:
        if os.environ.get("CONVRNN_BUILD") == "require":
            raise
        pytest.skip(str(error))


@pytest.mark.parametrize(("name", "moments", "events"), [("train", 1, 2), ("predict", 1, 0), (EXTRACT, 0, 1)])
def test_killed_commands_finish_when_run_again(harness, name, moments, events):
    tally = try_kills(harness, moments=moments, events=events, names=[name])[name]
    assert (tally.moments, tally.events) == (moments, events)
    assert not tally.faults, tally.faults


def test_a_full_disk_gives_one_sentence_and_loses_nothing(harness):
    at = int(harness.references["train"]["events"]) // 2
    trial = harness.trial("train", action=Action.REFUSE_FROM, at=at, error=errno.ENOSPC)
    [(_, outcome)] = harness.perform([trial])
    assert "work/" in outcome.failed_at
    assert not outcome.faults


def test_a_different_file_is_a_fault(harness):
    """The comparison in the trials above can fail."""
    expected = harness.references[EXTRACT]["expected"]
    entry = next(name for name in expected if name.endswith(".npy"))
    harness.references[EXTRACT]["expected"] = expected | {entry: "0" * 64}
    try:
        tally = try_kills(harness, moments=0, events=1, names=[EXTRACT])[EXTRACT]
    finally:
        harness.references[EXTRACT]["expected"] = expected
    [outcome] = tally.faults
    assert outcome.faults == (f"{entry} differs",)


def test_snapshots_ignore_only_times(tmp_path):
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
