import os
import subprocess
import sys

import pytest

from convrnn.errors import InputError
from convrnn.training.run_directory import RunDirectory

HOLD = """
import sys, time
from pathlib import Path
from convrnn.training.run_directory import RunDirectory
with RunDirectory(Path(sys.argv[1]), "run").locked():
    print("held", flush=True)
    time.sleep(60)
"""


def test_a_lock_falls_with_its_process(tmp_path):
    directory = RunDirectory(tmp_path, "run")
    holder = subprocess.Popen([sys.executable, "-c", HOLD, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    assert holder.stdout is not None
    try:
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(InputError, match=f"process {holder.pid} is working on this run"), directory.locked():
            pass
    finally:
        holder.kill()
        holder.communicate()
    with directory.locked():
        assert directory.partial.is_dir()
    assert [path.name for path in tmp_path.iterdir()] == ["run.partial"]


def test_a_lock_is_free_again_after_an_error(tmp_path):
    directory = RunDirectory(tmp_path, "run")
    with pytest.raises(RuntimeError), directory.locked():
        raise RuntimeError
    with directory.locked():
        pass


def test_a_lock_whose_file_was_removed_is_not_taken(tmp_path, monkeypatch):
    # Another process finished between opening the lock file and locking it.
    directory = RunDirectory(tmp_path, "run")
    opened = []
    real_open = os.open

    def open_and_lose(path, *arguments):
        descriptor = real_open(path, *arguments)
        if not opened:
            path.unlink()
        opened.append(path)
        return descriptor

    monkeypatch.setattr(os, "open", open_and_lose)
    with directory.locked():
        assert len(opened) == 2
        with pytest.raises(InputError), RunDirectory(tmp_path, "run").locked():
            pass


def test_finish_renames_without_left_overs(tmp_path):
    directory = RunDirectory(tmp_path, "run")
    with directory.locked():
        directory.write("result.json", "{}")
        (directory.partial / ".best.abc").mkdir()
        (directory.partial / ".last.ckpt.tmp").touch()
        assert not directory.finished
        directory.finish()
        assert directory.finished
    assert [path.name for path in tmp_path.iterdir()] == ["run"]
    assert [path.name for path in directory.final.iterdir()] == ["result.json"]


def test_json_lines(tmp_path):
    directory = RunDirectory(tmp_path, "run")
    with directory.locked():
        directory.append_json("metrics.jsonl", {"a": 1})
        directory.append_json("metrics.jsonl", {"a": None})
        assert (directory.partial / "metrics.jsonl").read_text() == '{"a": 1}\n{"a": null}\n'
        with pytest.raises(ValueError, match="JSON"):
            directory.append_json("metrics.jsonl", {"a": float("nan")})
