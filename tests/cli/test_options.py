"""Words and numbers that the command line cannot use: it prints one sentence and does nothing."""

import os
import re

import pytest

from convrnn.cli import options
from convrnn.errors import InputError
from convrnn.experiments.arguments import LIMITS
from convrnn.features.audio import SAMPLE_RATES
from convrnn.training import spec
from convrnn.training.config import MOST_EPOCHS, TrainingConfig


@pytest.fixture
def refused(convrnn):
    """Runs a command that has to be refused; returns its one line."""

    def run(*arguments):
        said = convrnn(*arguments)
        assert (said.code, said.out) == (2, "")
        [line] = said.err.splitlines()
        assert line.startswith("convrnn: error: ")
        return line.removeprefix("convrnn: error: ")

    return run


TRAIN = ("train", "csv:nowhere.csv", "--task", "pitch", "--out", "runs")
COMPARE = ("compare", *TRAIN[1:])


@pytest.mark.parametrize(
    ("command", "option", "value"),
    [
        *((TRAIN, "--learning-rate", value) for value in ("inf", "nan", "-inf", "1e300", "1e400", "0", "-0.1", "1.5")),
        *((TRAIN, "--sample-rate", value) for value in ("0", "999", "768001", "100000000", str(2**70))),
        *((TRAIN, "--seed", value) for value in ("-1", str(2**63), str(2**70))),
        *((TRAIN, "--split-seed", value) for value in ("-1", str(2**70))),
        *((TRAIN, "--fold", value) for value in ("0", "10001")),
        *((COMPARE, "--seeds", value) for value in ("0", "10001", str(2**70))),
        *((COMPARE, "--jobs", value) for value in ("0", "100000")),
        *((COMPARE, "--max-epochs", value) for value in ("0", str(2**40))),
        *((COMPARE, "--patience", value) for value in ("0", str(2**40))),
        *((COMPARE, "--batch-size", value) for value in ("0", str(2**40))),
        *((("models",), "--classes", value) for value in ("1", str(2**40))),
        *((("models",), "--in-features", value) for value in ("0", str(2**40))),
    ],
)
def test_numbers_out_of_bounds_are_refused(refused, command, option, value):
    assert re.match(rf"{option} \S+: must be a number from \S+ to \S+", refused(*command, option, value))


@pytest.mark.parametrize("value", ["abc", "1.5", "", "9" * 5000])
def test_only_whole_numbers_are_accepted(refused, value):
    assert refused(*TRAIN, "--seed", value).startswith("--seed: ")


def test_options_have_the_bounds_of_a_runs_spec():
    assert (LIMITS["seed"][1], LIMITS["max_epochs"][1]) == (spec.MOST_SEED, MOST_EPOCHS)
    largest = TrainingConfig(max_epochs=int(LIMITS["max_epochs"][1]), batch_size=2**16, lr=1.0)
    assert largest.batch_size == 2**16
    with pytest.raises(ValueError, match="batch_size"):
        TrainingConfig(batch_size=2**16 + 1)
    check = options.number("--sample-rate", "", *SAMPLE_RATES).callback
    assert [check(rate) for rate in (1000, 768_000, None)] == [1000, 768_000, None]
    with pytest.raises(InputError, match="sample_rate=768001: must be a number from 1000 to 768000"):
        check(768_001)


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["tran"], "No such command 'tran'"),
        (["--modles"], "No such option: --modles"),
        (["models", "--seting", "x"], "No such option: --seting"),
        (["models", "extra"], "extra"),
        (["models", "--json=1"], "--json"),
        (["models", "--classes"], "--classes"),
        (["models", "--classes", "1e2"], "--classes: must be a whole number"),
        (
            ["train", "demo", "--task", "a", "--out", "runs", "--learning-rate", "x"],
            "--learning-rate: must be a number",
        ),
        (["train", "demo", "--out", "runs"], "--task"),
    ],
)
def test_wrong_arguments_give_one_line(refused, arguments, expected):
    assert expected in refused(*arguments)


@pytest.fixture
def endless(tmp_path):
    """Paths that are not files, or are a file too large to be meant."""
    os.mkfifo(tmp_path / "pipe")
    with (tmp_path / "huge.csv").open("wb") as file:
        file.truncate(10 * 2**30)
    return {"pipe": tmp_path / "pipe", "device": "/dev/zero", "folder": tmp_path, "huge": tmp_path / "huge.csv"}


@pytest.mark.parametrize(
    ("what", "expected"),
    [
        ("pipe", "is a pipe or a device; give a file"),
        ("device", "is a pipe or a device; give a file"),
        ("folder", "cannot be read (Is a directory)"),
        ("huge", "has more than 268435456 bytes, the most that is allowed"),
    ],
)
def test_tables_have_to_be_files_of_a_sensible_size(refused, endless, what, expected):
    assert refused("check", f"csv:{endless[what]}") == f"{endless[what]}: {expected}"


@pytest.mark.parametrize("what", ["pipe", "device"])
def test_splits_models_and_recordings_have_to_be_files(convrnn, endless, corpus, trained, tmp_path, what):
    path = endless[what]
    for arguments in (
        ("train", corpus, "--task", "pitch", "--out", tmp_path / "out", "--split", f"file:{path}"),
        ("predict", path, tmp_path / "a.wav"),
        ("predict", trained, path, "--speaker", "a"),
        ("evaluate", trained, f"emodb:{path}"),
    ):
        said = convrnn(*arguments)
        assert said.code == 2
        assert str(path) in said.err + said.out
        assert "Traceback" not in said.err
