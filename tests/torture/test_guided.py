"""Inputs guided by coverage are counted and kept like those drawn from the seed."""

import os
import subprocess
import sys

import pytest
from torture.commands import python_path
from torture.fuzz import try_inputs

from torture import guided

with_atheris = pytest.mark.skipif(not guided.available(), reason="atheris is not installed")
BY_COVERAGE = [False, pytest.param(True, marks=with_atheris)]


def run(script, folder, *arguments):
    """The lines that a program prints; worker processes import it and so know its reader too."""
    path = folder / "program.py"
    path.write_text(script)
    environment = os.environ | {"PYTHONPATH": python_path()}
    command = [sys.executable, str(path), *map(str, arguments)]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout.split()


CRASHES = """
import os, signal, sys
from torture.fuzz import try_inputs
from torture.mutate import damage_bytes
from torture.readers import READERS
from torture.target import Target

def read(data):
    if len(data) > 6:
        os.kill(os.getpid(), signal.SIGSEGV)
    if data[:1] != b"a":
        raise KeyError

READERS["toy"] = lambda folder: Target([b"abcdef", b"ab"], damage_bytes, read)
if __name__ == "__main__":
    tally = try_inputs(["toy"], 40, seed=3, jobs=1, by_coverage=sys.argv[1] == "True")["toy"]
    print(tally.inputs, tally.successes)
    for found in tally.examples:
        print(found.kind.replace(" ", "-"), len(found.data), found.data[:1] == b"a")
"""


@pytest.mark.parametrize("by_coverage", BY_COVERAGE)
def test_a_crash_is_counted_and_its_input_kept(tmp_path, by_coverage):
    inputs, successes, *found = run(CRASHES, tmp_path, by_coverage)
    assert inputs == "40"
    assert int(successes) > 0
    assert {"the-process-ended-with-code--11", "KeyError"} == set(found[::3])
    for kind, size, begins_with_a in zip(found[::3], found[1::3], found[2::3], strict=True):
        assert (int(size) > 6) == (kind != "KeyError")
        assert kind != "KeyError" or begins_with_a == "False"


KEEPS = """
import os, sys
from pathlib import Path
from random import Random
from torture import guided
from torture.mutate import damage_json
from torture.target import Target

with guided.instrumented():
    from convrnn.json_files import read_json
from convrnn.errors import InputError

place = Path(sys.argv[1])
count = 0

def read(data):
    global count
    (place / "a.json").write_bytes(data)
    try:
        read_json(place / "a.json")
    except InputError:
        pass
    count += 1
    if count == 100:
        print(len(list((place / "kept").iterdir())), flush=True)
        os._exit(0)

guided.drive(Target([b'{"a": 1}', b"[1]"], damage_json, read), read, place / "kept", "0")
"""


@with_atheris
def test_inputs_that_reach_new_code_are_kept(tmp_path):
    [kept] = run(KEEPS, tmp_path, tmp_path)
    assert 2 < int(kept) < 90


@with_atheris
def test_every_input_ends_in_success_or_one_sentence():
    tally = try_inputs(["split"], 200, seed=1, by_coverage=True)["split"]
    assert not tally.others, "\n".join(f"{found.kind}\n{found.details}" for found in tally.examples)
    assert tally.inputs == 200
    assert tally.sentences > 0
