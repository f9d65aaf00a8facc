"""The example with DistributedDataParallel."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from examples import data_parallel


def test_gradients_are_those_of_the_whole_batch():
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    run = subprocess.run([*torchrun, Path(data_parallel.__file__)], capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    first, *steps = run.stdout.splitlines()
    difference = re.fullmatch(r"2 processes; largest difference of a gradient: (\S+)", first)[1]
    assert float(difference) < 1e-6
    losses = [float(step.split()[-1]) for step in steps]
    assert len(losses) == 4
    assert losses == sorted(losses, reverse=True)


def test_it_has_to_be_started_by_torchrun(capsys, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["data_parallel.py"])
    with pytest.raises(SystemExit) as stopped:
        data_parallel.main()
    assert stopped.value.code == 2
    assert "error: start it with torchrun" in capsys.readouterr().err
