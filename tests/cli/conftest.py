"""The command line in this process, and a small corpus of tones for it."""

from typing import NamedTuple

import pytest
from typer.testing import CliRunner

from convrnn.cli.app import app
from tones import write_tone
from workers import in_threads


class Said(NamedTuple):
    """The exit code, stdout and stderr of a command."""

    code: int
    out: str
    err: str


@pytest.fixture(scope="module", autouse=True)
def workers():
    """Trains runs in this process; modules that test worker processes override this fixture with an empty one."""
    with in_threads():
        yield


@pytest.fixture(scope="session")
def corpus(tmp_path_factory):
    """``csv:PATH`` of eight speakers with two low and two high tones each, and partitions."""
    folder = tmp_path_factory.mktemp("tones")
    lines = ["file,speaker,pitch,partition"]
    for speaker in range(8):
        partition = "train" if speaker < 4 else "validation" if speaker < 6 else "test"
        for number, name in enumerate(("low", "high", "low", "high")):
            file = f"s{speaker}-{number}.wav"
            write_tone(folder / file, 300 if name == "low" else 1500, seed=10 * speaker + number)
            lines.append(f"{file},s{speaker},{name},{partition}")
    (folder / "data.csv").write_text("\n".join(lines) + "\n")
    return f"csv:{folder / 'data.csv'}"


@pytest.fixture(scope="session")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(autouse=True)
def own_cache(cache, monkeypatch):
    monkeypatch.setenv("CONVRNN_CACHE", str(cache))


def run_command(*arguments) -> Said:
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return Said(result.exit_code, result.stdout, result.stderr)


@pytest.fixture(scope="session")
def convrnn():
    """Run a command: ``convrnn("models", "--json")`` returns exit code, stdout and stderr."""
    return run_command


@pytest.fixture(scope="session")
def trained(corpus, cache, tmp_path_factory):
    """The run directory of a model that was trained for an epoch on the corpus's own partitions."""
    out = tmp_path_factory.mktemp("runs")
    options = ("--task", "pitch", "--model", "conv", "--max-epochs", 2, "--cache", cache, "--out", out)
    with in_threads():
        said = run_command("train", corpus, *options)
    assert said.code == 0, said.err
    [directory] = [path for path in out.iterdir() if path.is_dir()]
    return directory
