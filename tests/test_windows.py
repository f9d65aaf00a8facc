"""What Windows lacks is hidden from Python here, which shows that the package does not need it.

The code that only Windows runs cannot run here: mypy checks it (`make check`), and locks are tried on a mock of the
module that Windows has for them. docs/release.md says what was run on Windows' own Python.
"""

import os
import subprocess
import sys
import types

import pytest

from convrnn import locks

# Set before anything is imported. Python's own modules that look for these at import have been loaded by then.
HIDE = """
import os, select, signal, subprocess, sys, tempfile
for name in ("fcntl", "grp", "pwd", "resource", "termios"):
    sys.modules[name] = None
for module, names in {{
    os: ("O_CLOEXEC", "O_DIRECTORY", "O_NOFOLLOW", "O_NONBLOCK", "fork", "getuid", "killpg", "sched_getaffinity"),
    select: ("poll",),
    signal: ("SIGKILL", "SIGALRM", "pthread_sigmask"),
}}.items():
    for name in names:
        delattr(module, name)
{program}
"""
COMMAND = "sys.argv = ['convrnn', *{arguments!r}]; from convrnn.cli import main; main()"


def run(program):
    result = subprocess.run(
        [sys.executable, "-c", HIDE.format(program=program)], capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr
    return result.stdout


def test_layers_train():
    program = """
import torch, convrnn
layer = convrnn.nn.CLSTM(3, 4, kernel_size=2)
layer(torch.zeros(1, 5, 3)).sum().backward()
print(tuple(layer.weight_ih_l0.grad.shape))
"""
    assert run(program) == "(16, 3)\n"


@pytest.mark.parametrize(
    "module", ["experiments", "sklearn", "training.predict", "corpora.registry", "models", "cluster"]
)
def test_modules_are_imported(module):
    run(f"import convrnn.{module}")


@pytest.mark.parametrize("arguments", [["--help"], ["models"], ["compare", "--help"], ["live", "--help"]])
def test_commands_run(arguments):
    assert run(COMMAND.format(arguments=arguments))


class FakeMsvcrt(types.ModuleType):
    """Locks of bytes of a file, as Windows has them: a locked byte cannot be locked again."""

    LK_NBLCK = 2

    def __init__(self):
        super().__init__("msvcrt")
        self.locked = set()

    def locking(self, descriptor, mode, count):
        assert (mode, count) == (self.LK_NBLCK, 1)
        byte = os.fstat(descriptor).st_ino, os.lseek(descriptor, 0, os.SEEK_CUR)
        if byte in self.locked:
            raise PermissionError(13, "Permission denied")
        self.locked.add(byte)


@pytest.fixture
def msvcrt(monkeypatch):
    fake = FakeMsvcrt()
    monkeypatch.setitem(sys.modules, "msvcrt", fake)
    monkeypatch.setattr(locks, "sys", types.SimpleNamespace(platform="win32"))
    return fake


def test_a_lock_admits_one_and_leaves_the_content_readable(msvcrt, tmp_path):
    path = tmp_path / "lock"
    path.write_text("1234")
    with path.open("r+b") as one, path.open("r+b") as two:
        locks.lock(one.fileno(), wait=False)
        with pytest.raises(BlockingIOError):
            locks.lock(two.fileno(), wait=False)
        assert two.read() == b"1234"
    ((_, byte),) = msvcrt.locked
    assert byte >= 2**20


def test_a_lock_is_waited_for(msvcrt, monkeypatch, tmp_path):
    with (tmp_path / "lock").open("w+b") as file:
        locks.lock(file.fileno(), wait=False)
        monkeypatch.setattr(locks.time, "sleep", lambda _: msvcrt.locked.clear())
        locks.lock(file.fileno(), wait=True)
    assert len(msvcrt.locked) == 1
