"""What can only be tested in a separate process: imports, pipes, signals, a full disk."""

import os
import resource
import subprocess
import sys
from importlib.metadata import version

import pytest

MAIN = "from convrnn.cli import main; main()"


def run(*arguments, code=MAIN, **options):
    command = [sys.executable, "-c", code, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False, **options)


def test_help_names_every_command_and_shows_an_example():
    said = run("--help")
    assert said.returncode == 0
    assert said.stderr == ""
    for command in ("check", "compare", "train", "evaluate", "predict", "models"):
        assert f" {command} " in said.stdout
    assert "convrnn compare demo" in said.stdout


@pytest.mark.parametrize("command", ["check", "compare", "train", "evaluate", "predict", "models"])
def test_every_command_has_help_with_an_example(convrnn, command):
    said = convrnn(command, "--help")
    assert said.code == 0
    assert f"convrnn {command} " in said.out.partition("Examples:")[2]


def test_help_shows_the_defaults_of_compare_in_full():
    said = " ".join(run("compare", "--help", env={**os.environ, "COLUMNS": "80"}).stdout.replace("│", " ").split())
    assert (
        "By default baseline, conv, clstm, extended-clstm, cblstm, or those of them that can take the raw waveform."
        in said
    )
    assert "By default partitions if the corpus has any, else random." in said
    assert "a table with columns file for audio or frames for .npy arrays, speaker, labels" in said


def test_without_arguments_the_help_is_printed():
    said = run()
    assert "Usage: " in said.stdout + said.stderr


def test_version_is_printed():
    assert run("--version").stdout == f"convrnn {version('convrnn')}\n"


def test_help_loads_no_heavy_library():
    heavy = ("torch", "pandas", "lightning_fabric", "sklearn", "matplotlib", "soundfile")
    code = f"import sys\nfrom convrnn.cli.app import app\nprint([name for name in {heavy} if name in sys.modules])"
    assert run(code=code).stdout == "[]\n"


@pytest.mark.parametrize("missing", ["typer", "rich", "pandas"])
def test_without_the_extra_a_sentence_says_what_to_install(missing):
    said = run("check", "csv:x.csv", code=f"import sys; sys.modules[{missing!r}] = None; {MAIN}")
    assert said.returncode == 2
    assert said.stdout == ""
    assert said.stderr.splitlines() == [
        f"convrnn: error: the command line needs {missing}, which is not installed; run: pip install 'convrnn[speech]'"
    ]


def test_bad_input_gives_one_sentence():
    said = run("check", "csv:nowhere.csv")
    assert (said.returncode, said.stdout) == (2, "")
    assert said.stderr.startswith("convrnn: error: nowhere.csv: file does not exist")
    assert len(said.stderr.splitlines()) == 1


def test_unknown_option_is_a_usage_error():
    said = run("models", "--colour", "red")
    assert said.returncode == 2
    assert "--colour" in said.stderr
    assert "Traceback" not in said.stderr


def test_a_bug_keeps_its_traceback():
    code = f"import json; json.dumps = None; {MAIN}"
    said = run("models", "--setting", "emotion", "--json", code=code)
    assert said.returncode == 1
    assert "Traceback" in said.stderr


def test_ctrl_c_before_a_command_begins_gives_one_sentence():
    code = "from typer.core import TyperGroup\ndef pressed(*_, **__): raise KeyboardInterrupt\n"
    said = run("models", code=f"{code}TyperGroup.make_context = pressed\n{MAIN}")
    assert said.returncode == 130
    assert said.stderr == (
        "convrnn: error: interrupted: finished work is kept; the same command continues from there\n"
    )


def test_a_reader_that_stops_reading_is_no_error(tmp_path):
    command = f"sleep 0 | ( {sys.executable} -c '{MAIN}' models --json; echo $? >{tmp_path}/code ) | true"
    said = subprocess.run(["bash", "-c", command], capture_output=True, text=True, timeout=120, check=False)
    assert said.stderr == ""


def test_a_full_disk_gives_one_sentence_and_keeps_the_old_files(corpus, tmp_path):
    def no_large_files():
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))

    command = ("train", corpus, "--task", "pitch", "--max-epochs", 1, "--out", tmp_path)
    said = run(*command, preexec_fn=no_large_files, env=os.environ.copy())
    assert said.returncode == 2
    assert said.stdout == ""
    assert "Traceback" not in said.stderr
    assert "File too large" in said.stderr.splitlines()[-1]
    assert "kept" in said.stderr.splitlines()[-1]
