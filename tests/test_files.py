import errno
import hashlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

from convrnn import files
from convrnn.errors import InputError
from convrnn.files import file_hash, make_folder, remove_leftovers, temporary_path, write_atomically


@pytest.mark.parametrize("durable", [True, False])
def test_a_file_is_replaced_completely(tmp_path, durable):
    path = tmp_path / "file"
    write_atomically(path, "old", durable=durable)
    inode = path.stat().st_ino
    write_atomically(path, "ä", durable=durable)
    assert path.read_bytes() == "ä".encode()
    assert path.stat().st_ino != inode
    assert [entry.name for entry in tmp_path.iterdir()] == ["file"]


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)), pytest.raises(InputError, match=r"\(No space left on dev")),
        (KeyboardInterrupt(), pytest.raises(KeyboardInterrupt)),
    ],
)
def test_an_error_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch, error, told):
    path = tmp_path / "file"
    write_atomically(path, "old")

    def fail(_):
        raise error

    monkeypatch.setattr(os, "fsync", fail)
    with told:
        write_atomically(path, "new")
    assert path.read_text() == "old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["file"]


def test_a_file_in_place_of_a_folder_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match=r"file: cannot be written \(Not a directory\)"):
        write_atomically(tmp_path / "file" / "a", "text")


def test_a_file_is_read_once_and_again_after_a_change(tmp_path, monkeypatch):
    path = tmp_path / "file"
    path.write_bytes(b"one")
    opened = []
    original = Path.open
    monkeypatch.setattr(Path, "open", lambda self, *rest: opened.append(self) or original(self, *rest))
    assert file_hash(path) == file_hash(str(path)) == hashlib.sha256(b"one").hexdigest()
    assert len(opened) == 1
    times = path.stat().st_atime_ns, path.stat().st_mtime_ns
    with original(path, "wb") as file:
        file.write(b"two")
    os.utime(path, ns=times)
    assert file_hash(path) == hashlib.sha256(b"two").hexdigest()


def test_a_file_that_cannot_be_read_is_named(tmp_path):
    with pytest.raises(InputError, match=r"gone: cannot be read \(No such file or directory\)"):
        file_hash(tmp_path / "gone")
    with pytest.raises(InputError, match=r"cannot be read \(Is a directory\)"):
        file_hash(tmp_path)


def left_by(path, process):
    """A temporary file for ``path``, as another process leaves it behind."""
    mine = temporary_path(path)
    theirs = mine.with_name(mine.name.replace(f"-{os.getpid()}.", f"-{process.pid}."))
    theirs.write_text("half a f")
    return theirs


@pytest.fixture
def gone():
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process


@pytest.fixture
def alive():
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    yield process
    process.kill()
    process.communicate()


def test_only_files_left_by_killed_processes_are_removed(tmp_path, gone, alive):
    dead, living = left_by(tmp_path / "a", gone), left_by(tmp_path / "a", alive)
    others = [tmp_path / ".hidden", tmp_path / ".a.tmp", tmp_path / "x.12.ab.tmp", left_by(tmp_path / "b", gone)]
    for path in others:
        path.touch()
    remove_leftovers(tmp_path, "a")
    assert not dead.exists()
    assert set(tmp_path.iterdir()) == {living, *others}
    write_atomically(tmp_path / "b", "whole")
    assert not others[-1].exists()
    remove_leftovers(tmp_path)
    assert set(tmp_path.iterdir()) == {living, *others[:-1], tmp_path / "b"}


def test_files_left_by_another_machine_are_removed_when_they_are_old(tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(files, "_machine", lambda: "0a1b2c3d")
        theirs = temporary_path(tmp_path / "a")
    # As earlier versions named them.
    earlier = tmp_path / ".a.123.140001.tmp"
    for path in (theirs, earlier):
        path.write_text("half a f")
    remove_leftovers(tmp_path)
    assert set(tmp_path.iterdir()) == {theirs, earlier}
    for path in (theirs, earlier):
        os.utime(path, times=(0, 0))
    remove_leftovers(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_leftover_folders_are_removed_and_links_not_followed(tmp_path, gone):
    (tmp_path / "precious").mkdir()
    (tmp_path / "precious" / "file").touch()
    folder, link = left_by(tmp_path / "a", gone), left_by(tmp_path / "a", gone)
    folder.unlink()
    folder.mkdir()
    (folder / "file").touch()
    link.unlink()
    link.symlink_to(tmp_path / "precious")
    remove_leftovers(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["precious"]
    assert (tmp_path / "precious" / "file").exists()


def test_a_missing_folder_has_no_leftovers(tmp_path):
    remove_leftovers(tmp_path / "missing")
    (tmp_path / "file").touch()
    remove_leftovers(tmp_path / "file")


@pytest.mark.parametrize("durable", [True, False])
def test_links_are_replaced_and_planted_temporary_files_not_written_to(tmp_path, monkeypatch, durable):
    precious = tmp_path / "precious"
    precious.write_text("mine")
    (tmp_path / "file").symlink_to(precious)
    write_atomically(tmp_path / "file", "new", durable=durable)
    assert (tmp_path / "file").read_text() == "new"
    assert not (tmp_path / "file").is_symlink()
    monkeypatch.setattr(files, "temporary_path", lambda _: tmp_path / "planted")
    (tmp_path / "planted").symlink_to(precious)
    with pytest.raises(InputError, match=r"cannot be written \(File exists\)"):
        write_atomically(tmp_path / "file", "newer", durable=durable)
    assert precious.read_text() == "mine"
    assert (tmp_path / "file").read_text() == "new"


def test_names_of_temporary_files_cannot_be_guessed(tmp_path):
    assert len({temporary_path(tmp_path / "a") for _ in range(100)}) == 100


def test_files_follow_the_umask(tmp_path):
    before = os.umask(0o027)
    try:
        write_atomically(tmp_path / "file", "")
    finally:
        os.umask(before)
    assert (tmp_path / "file").stat().st_mode & 0o777 == 0o640


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="names files through /proc")
def test_the_file_is_flushed_before_the_folder(tmp_path, monkeypatch):
    happened = []
    replace = Path.replace
    monkeypatch.setattr(
        os, "fsync", lambda descriptor: happened.append(str(Path(f"/proc/self/fd/{descriptor}").readlink()))
    )
    monkeypatch.setattr(Path, "replace", lambda path, target: (happened.append("renamed"), replace(path, target)))
    make_folder(tmp_path / "one" / "two")
    assert set(happened) == {str(tmp_path), str(tmp_path / "one")}
    happened.clear()
    write_atomically(tmp_path / "file", "text")
    assert happened[0].startswith(f"{tmp_path}/.file.")
    assert happened[1:] == ["renamed", str(tmp_path)]
    happened.clear()
    write_atomically(tmp_path / "file", "text", durable=False)
    assert happened == ["renamed"]


@pytest.mark.parametrize("error", [errno.EINVAL, errno.EIO])
def test_a_folder_that_fails_to_flush_is_an_error_if_the_system_supports_it(tmp_path, monkeypatch, error):
    def fail(_):
        raise OSError(error, os.strerror(error))

    monkeypatch.setattr(os, "fsync", fail)
    if error == errno.EINVAL:
        files.sync_folder(tmp_path)
    else:
        with pytest.raises(OSError, match="Input/output"):
            files.sync_folder(tmp_path)
