import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from convrnn.errors import InputError
from convrnn.files import temporary_path
from convrnn.training.run_directory import DamagedRunError, RunDirectory, RunFiles

FILES = [
    "spec.json",
    "metrics.jsonl",
    "last.ckpt",
    "curves.png",
    "predictions.csv",
    "best/config.json",
    "best/model.safetensors",
]

HOLD = """
import sys, time
from pathlib import Path
from convrnn.training.run_directory import RunDirectory
with RunDirectory(Path(sys.argv[1]), "run").locked():
    print("held", flush=True)
    time.sleep(60)
"""


def test_a_lock_ends_with_its_process(tmp_path):
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
        if path.name == ".run.lock":
            if not opened:
                path.unlink()
            opened.append(path)
        return descriptor

    monkeypatch.setattr(os, "open", open_and_lose)
    with directory.locked():
        assert len(opened) == 2
        with pytest.raises(InputError), RunDirectory(tmp_path, "run").locked():
            pass


def fill(directory):
    """Writes the files of a run with meaningless content."""
    (directory.partial / "best").mkdir()
    for name in FILES:
        (directory.partial / name).write_text(f"content of {name}")


def test_finishing_renames_the_folder_and_leaves_nothing_else(tmp_path):
    directory = RunDirectory(tmp_path, "run")
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    directory.partial.mkdir()
    for name in ("best", "last.ckpt"):
        left = temporary_path(directory.partial / name)
        left.with_name(left.name.replace(f"-{os.getpid()}.", f"-{gone.pid}.")).mkdir()
    with directory.locked():
        fill(directory)
        assert not directory.finished
        directory.finish({"accuracy": 0.5})
        assert directory.finished
    assert [path.name for path in tmp_path.iterdir()] == ["run"]
    assert {path.name for path in directory.final.iterdir()} == {*FILES[:-2], "best", "result.json"}
    files = RunFiles(directory.final)
    assert files.result == {"accuracy": 0.5}
    assert sorted(files.digests) == sorted(FILES)
    assert files.read("best/config.json") == b"content of best/config.json"
    files.check("best", *FILES)


def test_everything_is_flushed_before_a_run_is_renamed(tmp_path, monkeypatch):
    directory = RunDirectory(tmp_path, "run")
    happened = []
    fsync, rename = os.fsync, Path.rename

    def synced(descriptor):
        happened.append(str(Path(f"/proc/self/fd/{descriptor}").readlink()))
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(Path, "rename", lambda path, target: (happened.append("renamed"), rename(path, target)))
    with directory.locked():
        fill(directory)
        happened.clear()
        directory.finish({})
    partial = str(directory.partial)
    before, after = happened[: happened.index("renamed")], happened[happened.index("renamed") + 1 :]
    assert {f"{partial}/{name}" for name in FILES} <= set(before)
    assert ".result.json." in before[-2]
    assert before[-1] == partial
    assert after == [str(tmp_path)]


@pytest.fixture
def finished(tmp_path):
    directory = RunDirectory(tmp_path / "runs", "run")
    with directory.locked():
        fill(directory)
        directory.finish({"accuracy": 0.5, "epochs": 3})
    return directory.final


@pytest.mark.parametrize("name", FILES)
def test_a_changed_file_is_named(finished, name):
    (finished / name).write_text("other")
    with pytest.raises(
        DamagedRunError, match=rf"run: the finished run is damaged \({name} was changed .*delete the fol"
    ):
        RunFiles(finished).read(name)
    with pytest.raises(DamagedRunError, match=f"{name} was changed"):
        RunFiles(finished).check(name.partition("/")[0])


@pytest.mark.parametrize("name", [name for name in FILES if name != "last.ckpt"])
def test_a_missing_file_is_named(finished, name):
    (finished / name).unlink()
    with pytest.raises(DamagedRunError, match=rf"\({name} is missing\); delete the folder to do the run again$"):
        RunFiles(finished)


def test_the_checkpoint_of_a_finished_run_can_be_deleted(finished):
    (finished / "last.ckpt").unlink()
    assert RunFiles(finished).result == {"accuracy": 0.5, "epochs": 3}
    with pytest.raises(DamagedRunError, match=r"last\.ckpt is missing"):
        RunFiles(finished).read("last.ckpt")


@pytest.mark.parametrize(
    "change",
    [
        lambda content: content | {"accuracy": 0.6},
        lambda content: content | {"more": 1},
        lambda content: content | {"digests": content["digests"] | {"predictions.csv": "0" * 64}},
        lambda content: content | {"digests": {"result.json": content["digests"]["result.json"]}},
        lambda content: content | {"digests": {n: d for n, d in content["digests"].items() if n != "result.json"}},
        lambda content: content | {"digests": 1},
        lambda content: content | {"digests": content["digests"] | {"best/../../../dev/zero": "0" * 64}},
        lambda content: [content],
    ],
)
def test_a_changed_result_is_noticed(finished, change):
    path = finished / "result.json"
    path.write_text(json.dumps(change(json.loads(path.read_text()))))
    with pytest.raises(DamagedRunError, match=r"damaged \(result\.json .*\); delete the folder"):
        RunFiles(finished)


@pytest.mark.parametrize("content", [None, b"", b"\xff", b"{", b"[" * 100_000])
def test_an_invalid_result_is_named(finished, content):
    path = finished / "result.json"
    path.unlink()
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(DamagedRunError, match=r"damaged \(result\.json:? .*delete the folder to do the run again"):
        RunFiles(finished)


def test_files_of_a_run_without_digests_are_read(finished):
    # As earlier versions finished them.
    path = finished / "result.json"
    content = json.loads(path.read_text())
    del content["digests"]
    path.write_text(json.dumps(content))
    (finished / "spec.json").write_text("other")
    files = RunFiles(finished)
    assert files.digests == {}
    assert files.read("spec.json") == b"other"


@pytest.mark.parametrize("link", [Path.symlink_to, Path.hardlink_to])
def test_a_lock_that_is_a_link_is_refused_and_its_target_not_changed(tmp_path, link):
    (tmp_path / "precious").write_text("mine")
    runs = tmp_path / "runs"
    runs.mkdir()
    link(runs / ".run.lock", tmp_path / "precious")
    refused = pytest.raises(InputError, match=r"\.run\.lock: is .*nothing is written through it; remove it$")
    with refused, RunDirectory(runs, "run").locked():
        pass
    assert (tmp_path / "precious").read_text() == "mine"
    assert os.path.lexists(runs / ".run.lock")
    assert not (runs / "run.partial").exists()


@pytest.mark.parametrize("kind", ["dangling", "folder", "fifo"])
def test_a_lock_that_is_not_a_file_is_refused(tmp_path, kind):
    lock = tmp_path / ".run.lock"
    {"dangling": lambda: lock.symlink_to("nowhere"), "folder": lock.mkdir, "fifo": lambda: os.mkfifo(lock)}[kind]()
    with pytest.raises(InputError, match=r"\.run\.lock: is .*remove it$"), RunDirectory(tmp_path, "run").locked():
        pass
    assert [path.name for path in tmp_path.iterdir()] == [".run.lock"]


def test_a_partial_that_is_a_link_is_refused_and_nothing_deleted_through_it(tmp_path):
    precious = tmp_path / "precious"
    precious.mkdir()
    (precious / ".hidden").write_text("mine")
    runs = tmp_path / "runs"
    runs.mkdir()
    (runs / "run.partial").symlink_to(precious)
    refused = pytest.raises(InputError, match=r"run\.partial: is a symbolic link; .*remove it$")
    with refused, RunDirectory(runs, "run").locked():
        pass
    assert [path.name for path in precious.iterdir()] == [".hidden"]
    assert [path.name for path in runs.iterdir()] == ["run.partial"]


def test_links_within_a_partial_are_not_followed(tmp_path):
    (tmp_path / "precious").mkdir()
    (tmp_path / "precious" / "file").write_text("mine")
    directory = RunDirectory(tmp_path / "runs", "run")
    directory.partial.mkdir(parents=True)
    (directory.partial / "metrics.jsonl").symlink_to(tmp_path / "precious" / "file")
    (directory.partial / "spec.json").symlink_to(tmp_path / "precious" / "file")
    (directory.partial / ".of-another-program").symlink_to(tmp_path / "precious")
    with directory.locked():
        with pytest.raises(InputError, match=r"run\.partial: cannot be written"):
            directory.append_json("metrics.jsonl", {"a": 1})
        directory.write("spec.json", "new")
    assert (tmp_path / "precious" / "file").read_text() == "mine"
    assert (directory.partial / ".of-another-program").is_symlink()


def test_json_lines_are_appended(tmp_path):
    directory = RunDirectory(tmp_path, "run")
    with directory.locked():
        directory.append_json("metrics.jsonl", {"a": 1})
        directory.append_json("metrics.jsonl", {"a": None})
        assert (directory.partial / "metrics.jsonl").read_text() == '{"a": 1}\n{"a": null}\n'
        with pytest.raises(ValueError, match="JSON"):
            directory.append_json("metrics.jsonl", {"a": float("nan")})


def test_the_lock_of_a_finished_run_is_removed_unless_it_is_held(tmp_path):
    directory, lock = RunDirectory(tmp_path, "run"), tmp_path / ".run.lock"
    lock.touch()
    directory.remove_old_lock()
    assert lock.exists()  # the run is not finished
    directory.final.mkdir()
    with directory.locked():
        directory.remove_old_lock()
        assert lock.exists()
    lock.touch()
    directory.remove_old_lock()
    assert [path.name for path in tmp_path.iterdir()] == ["run"]
