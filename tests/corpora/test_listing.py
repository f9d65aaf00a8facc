import os

import pytest

from convrnn.corpora.listing import audio_files, find_list, read_list
from convrnn.errors import InputError


def test_the_nearest_list_is_found(tmp_path):
    assert find_list(tmp_path, "list.txt") is None
    for folder in ("a/b/c/d", ".hidden", "a/b/c", "b"):
        (tmp_path / folder).mkdir(parents=True, exist_ok=True)
    for folder, found in (("a/b/c/d", False), (".hidden", False), ("a/b/c", True), ("b", True), (".", True)):
        (tmp_path / folder / "list.txt").write_text(folder)
        assert find_list(tmp_path, "list.txt") == (tmp_path / folder / "list.txt" if found else None)


def test_all_line_endings_are_accepted(tmp_path):
    path = tmp_path / "list.txt"
    path.write_bytes(b"\xef\xbb\xbfa  1\r\n\r\n\tb 2 \rc\t3")
    rows = read_list(path, ("name", "number"))
    assert [row.values for row in rows] == [("a", "1"), ("b", "2"), ("c", "3")]
    assert [row.where for row in rows] == [f"{path}, line {number}" for number in (1, 3, 4)]


def test_the_nearest_audio_is_found(tmp_path):
    for name in ("b/a.wav", "b/z/a.WAV", "z.raw", "a.wav", "notes.txt", ".a.wav", ".trash/a.wav", "b/wav"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "b" / "up").symlink_to(tmp_path)
    names = [file.relative_to(tmp_path).as_posix() for file in audio_files(tmp_path, {".wav", ".raw"})]
    assert names == ["a.wav", "z.raw", "b/a.wav", "b/z/a.WAV"]
    assert audio_files(tmp_path / "nowhere", {".wav"}) == []


def test_folders_and_files_that_cannot_be_read_are_named(tmp_path, monkeypatch):
    (tmp_path / "closed").mkdir()
    (tmp_path / "list.txt").touch()

    def refuse(path, *_, **__):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(os, "scandir", refuse)
    for use in (lambda: find_list(tmp_path, "other.txt"), lambda: audio_files(tmp_path, {".wav"})):
        with pytest.raises(InputError, match=rf"^{tmp_path}: cannot be read \(Permission denied\)$"):
            use()
    monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(InputError, match=r"list\.txt: cannot be read \(Permission denied\)$"):
        read_list(tmp_path / "list.txt", ("name",))
