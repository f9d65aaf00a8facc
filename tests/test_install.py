"""A wheel in a new environment, without a compiler and away from the repository, runs the kernel and the demo.

The wheel is built here, or is the one in ``CONVRNN_WHEEL``, such as one of a release. The packages that it needs are
those of the environment that runs the tests.
"""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FOR_A_BUILD = ("src", "csrc", "hatch_build.py", "pyproject.toml", "README.md", "LICENSE")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    if given := os.environ.get("CONVRNN_WHEEL"):
        return Path(given).absolute()
    pytest.importorskip("hatchling", reason="hatchling builds the wheel")
    if not any(map(shutil.which, ("cc", "gcc", "clang"))):
        pytest.skip("there is no C compiler")
    folder = tmp_path_factory.mktemp("build")
    for name in FOR_A_BUILD:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__", "*.so"))
        else:
            shutil.copy(ROOT / name, folder)
    command = [sys.executable, "-m", "hatchling", "build", "--target", "wheel"]
    subprocess.run(command, cwd=folder, env=os.environ | {"CONVRNN_BUILD": "require"}, check=True, capture_output=True)
    (built,) = (folder / "dist").iterdir()
    return built


@pytest.fixture(scope="module")
def run(wheel, tmp_path_factory):
    """A function that runs a program of an environment in which the wheel is installed."""
    environment = tmp_path_factory.mktemp("installed") / "environment"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", environment], check=True)
    programs = environment / "bin"
    install = [sys.executable, "-m", "pip", "--python", programs / "python", "install", "--no-deps", "--no-index"]
    subprocess.run([*install, "--disable-pip-version-check", "--quiet", wheel], check=True)
    (packages,) = environment.glob("lib/python*/site-packages")
    # Unlike a site folder, one that is only searched brings no editable installation.
    (packages / "others.pth").write_text(sysconfig.get_path("purelib") + "\n")

    def run(*command):
        variables = {"PATH": str(programs), "HOME": str(environment), "OMP_NUM_THREADS": "1"}
        result = subprocess.run(
            [programs / command[0], *command[1:]],
            cwd=environment,
            env=variables,
            capture_output=True,
            text=True,
            check=False,
        )
        assert result.returncode == 0, result.stderr
        return result.stdout

    run.folder = environment
    return run


def test_the_kernel_is_the_wheels(run):
    program = "import convrnn; from convrnn.ops import native; print(convrnn.__file__, native.MISSING)"
    file, missing = run("python", "-c", program).split()
    assert Path(file).is_relative_to(run.folder)
    assert missing == "None"


@pytest.mark.slow
def test_the_demo_trains_on_the_kernel(run):
    makefile = (ROOT / "Makefile").read_text("utf-8").replace("\\\n", "")
    (demo,) = re.findall(r"\$\(BIN\)/(convrnn compare demo .*)", makefile)
    table = run(*shlex.split(demo), "--max-epochs", "1")
    results = [json.loads(path.read_text("utf-8")) for path in (run.folder / "out" / "demo").glob("runs/*/result.json")]
    names = re.search(r"--models (\S+)", demo)[1].split(",")
    assert len(results) == len(names)
    assert all(name in table for name in names)
    recurrent = [backend for result in results for backend in result["backends"]]
    assert recurrent
    assert {backend["backend"] for backend in recurrent} == {"native"}
