import errno
import hashlib
import os
from pathlib import Path

import pytest

from convrnn.errors import InputError
from convrnn.files import file_hash, write_atomically


@pytest.mark.parametrize("durable", [True, False])
def test_a_file_is_replaced_whole(tmp_path, durable):
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
def test_what_comes_between_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch, error, told):
    path = tmp_path / "file"
    write_atomically(path, "old")

    def fail(_):
        raise error

    monkeypatch.setattr(os, "fsync", fail)
    with told:
        write_atomically(path, "new")
    assert path.read_text() == "old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["file"]


def test_a_folder_that_is_none_is_named(tmp_path):
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
