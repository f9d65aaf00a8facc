"""Injects failures at the file events of a command: the Python side of ``events.c``.

A file event is a system call that changes a file in the command's folder.
"""

import ctypes
import enum
import errno
import mmap
import os
import shlex
import shutil
import subprocess
from pathlib import Path
from typing import Self

_PATH_MAX = 4096


class Action(enum.IntEnum):
    """What happens at the chosen event."""

    COUNT = 0
    KILL_GROUP = 1
    """All processes of the command are killed before the event."""
    KILL_SELF = 2
    """Only the process that makes the system call is killed before the event."""
    TEAR = 3
    """All processes are killed after half of a write, or after any other event."""
    REFUSE_ONCE = 4
    """The event fails."""
    REFUSE_FROM = 5
    """The event fails, and so does every later one that needs disk space."""


class _Block(ctypes.Structure):
    _fields_ = (
        ("action", ctypes.c_uint),
        ("at", ctypes.c_uint),
        ("error", ctypes.c_int),
        ("count", ctypes.c_uint),
        ("happened", ctypes.c_uint),
        ("spared", ctypes.c_int),
        ("root", ctypes.c_char * _PATH_MAX),
        ("what", ctypes.c_char * (_PATH_MAX + 32)),
    )


class CannotCompileError(Exception):
    """There is no C compiler here."""


def compile_events(folder: Path) -> Path:
    """Compiles the library to preload into a folder; returns its path.

    Raises:
        CannotCompileError: there is no C compiler, or it fails.
    """
    wanted = shlex.split(os.environ.get("CC", ""))
    found = [name for name in ("cc", "gcc", "clang") if shutil.which(name)]
    compiler = wanted or found[:1]
    if not compiler:
        raise CannotCompileError("no C compiler was found (cc, gcc, clang)")
    library = folder / "events.so"
    source = Path(__file__).with_name("events.c")
    command = [*compiler, "-O1", "-shared", "-fPIC", "-o", str(library), str(source), "-ldl"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise CannotCompileError(f"{shlex.join(command)} failed:\n{done.stderr}")
    return library


class Control:
    """Memory that this process shares with the commands that have the library preloaded.

    Args:
        path: the file behind it; created if missing.
    """

    def __init__(self, path: Path) -> None:
        if not path.exists():
            path.write_bytes(bytes(ctypes.sizeof(_Block)))
        self.path = path
        with path.open("r+b") as file:
            self._map = mmap.mmap(file.fileno(), ctypes.sizeof(_Block))
        self._block = _Block.from_buffer(self._map)

    def environment(self, library: Path) -> dict[str, str]:
        """The variables that a command's environment needs."""
        return {"LD_PRELOAD": str(library), "TORTURE_CONTROL": str(self.path)}

    def arm(self, root: Path, action: Action = Action.COUNT, at: int = 0, error: int = errno.ENOSPC) -> Self:
        """Restarts counting.

        Args:
            root: the folder whose events count.
            action: what happens at the chosen event.
            at: number of the chosen event, from 1.
            error: errno of an event that fails.
        """
        self._block.action, self._block.at, self._block.error = action, at, error
        self._block.count = self._block.happened = 0
        self._block.what = b""
        # This process also writes to the folder, but its events do not count.
        self._block.spared = os.getpid()
        self._block.root = os.fsencode(root.resolve())
        return self

    def disarm(self) -> None:
        """Stops counting."""
        self._block.root = b""

    @property
    def count(self) -> int:
        """Number of events so far."""
        return int(self._block.count)

    @property
    def failed_at(self) -> str:
        """The chosen event with its path once it has happened, "" before."""
        return bytes(self._block.what).decode(errors="replace") if self._block.happened else ""
