"""Streams that are closed, full or limited to ASCII, and names that are not UTF-8, each in a separate process."""

import errno
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

COMMAND = [sys.executable, "-c", "from convrnn.cli import main; main()"]


def run(*arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE, **variables):
    command = [*COMMAND, *map(str, arguments)]
    environment = {**os.environ, **variables}
    return subprocess.run(
        command, stdin=subprocess.DEVNULL, stdout=stdout, stderr=stderr, env=environment, timeout=120, check=False
    )


@pytest.fixture
def unread():
    """The end of a pipe that nobody reads."""
    read, write = os.pipe()
    os.close(read)
    yield write
    os.close(write)


@pytest.fixture
def silent(tmp_path):
    """``csv:PATH`` of a corpus whose recordings do not exist."""
    (tmp_path / "data.csv").write_text("file,speaker,mood\ngone.wav,anna,joy\nlost.wav,bert,anger\n")
    return f"csv:{tmp_path / 'data.csv'}"


def test_a_reader_that_stops_reading_is_no_error(unread, silent):
    said = run("models", stdout=unread)
    assert (said.returncode, said.stderr) == (0, b"")
    # Nor does it hide an error.
    said = run("check", silent, stdout=unread)
    assert (said.returncode, b"Traceback" in said.stderr) == (1, False)


def test_a_closed_pipe_on_stderr_changes_nothing(unread):
    said = run("models", "--json", stderr=unread)
    assert said.returncode == 0
    assert len(json.loads(said.stdout)) > 10
    assert run("models", "--classes", "1", stderr=unread).returncode == 2


@pytest.mark.parametrize(("closed", "code"), [(">&-", 0), ("2>&-", 0), ("<&-", 0), ("<&- >&- 2>&-", 0)])
def test_closed_streams_do_no_harm(closed, code):
    said = subprocess.run(
        ["sh", "-c", f'exec "$@" {closed}', "sh", *COMMAND, "models"], capture_output=True, timeout=120, check=False
    )
    assert (said.returncode, said.stderr) == (code, b"")
    assert bool(said.stdout) == (">&-" not in closed.split())


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no full device here")
def test_a_full_disk_behind_stdout_gives_one_sentence():
    with Path("/dev/full").open("w") as full:
        said = run("models", stdout=full)
    assert said.returncode == 2
    assert said.stderr.startswith(b"convrnn: error: ")
    assert said.stderr.count(b"\n") == 1


@pytest.mark.parametrize("variables", [{"PYTHONIOENCODING": "ascii"}, {"LC_ALL": "C", "PYTHONUTF8": "0"}])
def test_output_is_readable_in_ascii(variables):
    variables = {**variables, "PYTHONCOERCECLOCALE": "0"}
    table = run("models", **variables)
    assert (table.returncode, table.stderr) == (0, b"")
    assert table.stdout.isascii()
    assert b"extended-clstm" in table.stdout
    refused = run("check", "csv:ä±.csv", **variables)
    assert refused.returncode == 2
    assert refused.stderr.isascii()
    assert refused.stderr.count(b"\n") == 1


@pytest.fixture
def folder(tmp_path):
    """A folder whose name is not UTF-8."""
    folder = tmp_path / os.fsdecode(b"caf\xe9 \xff")
    try:
        folder.mkdir()
    except OSError as error:
        if error.errno != errno.EILSEQ:
            raise
        pytest.skip("this file system has names in UTF-8 alone")
    return folder


def test_names_that_are_not_utf8_are_read_and_written(corpus, folder):
    for path in Path(corpus.removeprefix("csv:")).parent.iterdir():
        shutil.copy(path, folder)
    shutil.copy(folder / "s7-0.wav", folder / os.fsdecode(b"s7\xff.wav"))
    data, out = f"csv:{folder / 'data.csv'}", folder / "results"
    compare = ("compare", data, "--task", "pitch", "--models", "conv", "--seeds", 1, "--max-epochs", 1, "--out", out)
    for _ in range(2):
        said = run(*compare, "--cache", folder / "cache")
        assert said.returncode == 0, said.stderr.decode()
        assert "caf\\udce9 \\udcff/data.csv" in said.stdout.decode()
    assert b"1 of 1 runs were already finished" in said.stderr
    assert "udcff" in (out / "table.md").read_text()
    [bundle] = out.glob("runs/*/best")
    said = run("predict", bundle, folder / os.fsdecode(b"s7\xff.wav"), folder / "s7-0.wav", "--speaker", "a")
    assert said.returncode == 0, said.stderr.decode()
    heading, odd, plain = said.stdout.decode().splitlines()
    assert heading.startswith("file,prediction,")
    assert odd.partition("s7\\udcff.wav")[2] == plain.partition("s7-0.wav")[2] != ""
