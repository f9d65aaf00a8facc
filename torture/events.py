"""Strikes at the file events of a command: the side in Python of ``events.c``."""

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
    """What happens at the event that is struck."""

    COUNT = 0
    KILL_GROUP = 1
    """All processes of the command are killed before it."""
    KILL_SELF = 2
    """The process whose event it is is killed before it."""
    TEAR = 3
    """Half of a write happens, or the whole of any other event, and then all processes are killed."""
    REFUSE_ONCE = 4
    """It fails."""
    REFUSE_FROM = 5
    """It fails, and every later one that takes room on the disk."""


class _Block(ctypes.Structure):
    _fields_ = (
        ("action", ctypes.c_uint),
        ("at", ctypes.c_uint),
        ("error", ctypes.c_int),
        ("count", ctypes.c_uint),
        ("struck", ctypes.c_uint),
        ("spared", ctypes.c_int),
        ("root", ctypes.c_char * _PATH_MAX),
        ("what", ctypes.c_char * (_PATH_MAX + 32)),
    )


class CannotCompileError(Exception):
    """There is no C compiler here."""


def compile_events(folder: Path) -> Path:
    """The library to be preloaded, in a folder.

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
    """What commands that have the library preloaded share with this process.

    Args:
        path: the file that holds it; made where it is missing.
    """

    def __init__(self, path: Path) -> None:
        if not path.exists():
            path.write_bytes(bytes(ctypes.sizeof(_Block)))
        self.path = path
        with path.open("r+b") as file:
            self._map = mmap.mmap(file.fileno(), ctypes.sizeof(_Block))
        self._block = _Block.from_buffer(self._map)

    def environment(self, library: Path) -> dict[str, str]:
        """What a command's environment needs for it."""
        return {"LD_PRELOAD": str(library), "TORTURE_CONTROL": str(self.path)}

    def arm(self, root: Path, action: Action = Action.COUNT, at: int = 0, error: int = errno.ENOSPC) -> Self:
        """Restart counting.

        Args:
            root: the folder whose events count.
            action: what happens.
            at: at which event, from 1.
            error: of a refusal.
        """
        self._block.action, self._block.at, self._block.error = action, at, error
        self._block.count = self._block.struck = 0
        self._block.what = b""
        # What this process itself does to the folder is not the command's.
        self._block.spared = os.getpid()
        self._block.root = os.fsencode(root.resolve())
        return self

    def disarm(self) -> None:
        """Nothing counts any more."""
        self._block.root = b""

    @property
    def count(self) -> int:
        """Events so far."""
        return int(self._block.count)

    @property
    def struck(self) -> str:
        """The event that was struck, with its path; "" before."""
        return bytes(self._block.what).decode(errors="replace") if self._block.struck else ""
