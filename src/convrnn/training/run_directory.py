"""The directory that a run leaves, and the rules by which it is written.

A run is worked on in ``<hash>.partial`` and renamed to ``<hash>`` when it is finished. Every file is written beside its
place and renamed, so that a killed run leaves none half written, and one process at a time works on a run.
"""

import contextlib
import fcntl
import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from convrnn.errors import InputError
from convrnn.files import write_atomically, writing

SPEC, RESULT, PREDICTIONS, CURVES = "spec.json", "result.json", "predictions.csv", "curves.png"
METRICS, CHECKPOINT, BEST = "metrics.jsonl", "last.ckpt", "best"
"""What a run directory holds; ``best`` is the model bundle."""


class RunDirectory:
    """Where one run is worked on and where it ends up.

    Args:
        runs_dir: Folder of all runs; made when the run is locked.
        name: Name of the run, the hash of its spec.

    Attributes:
        final: The finished run; exists only once the run is finished.
        partial: The run while it is worked on.
    """

    def __init__(self, runs_dir: Path, name: str) -> None:
        self._runs_dir = Path(runs_dir)
        self._lock = self._runs_dir / f".{name}.lock"
        self.final = self._runs_dir / name
        self.partial = self._runs_dir / f"{name}.partial"

    @property
    def finished(self) -> bool:
        """Whether the run is finished."""
        return (self.final / RESULT).is_file()

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Holds the run for this process, and makes ``partial`` where the run is not finished.

        The lock belongs to the process and falls with it, however it ends.

        Raises:
            InputError: Another process works on the run, or the folder cannot be written.
        """
        with writing(self._runs_dir):
            self._runs_dir.mkdir(parents=True, exist_ok=True)
            descriptor = self._acquire()
        try:
            if not self.finished:
                with writing(self.partial):
                    self.partial.mkdir(exist_ok=True)
            yield
        finally:
            # Removed while it is still held: who waits for this inode sees that it has no name any more.
            self._lock.unlink(missing_ok=True)
            os.close(descriptor)

    def _acquire(self) -> int:
        while True:
            descriptor = os.open(self._lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                holder = os.read(descriptor, 32).decode("ascii", "replace").strip() or "unknown"
                os.close(descriptor)
                raise InputError(
                    f"{self.partial}: process {holder} is working on this run; wait for it or stop it first"
                ) from None
            if os.fstat(descriptor).st_nlink:
                os.ftruncate(descriptor, 0)
                os.write(descriptor, str(os.getpid()).encode("ascii"))
                return descriptor
            os.close(descriptor)

    def write(self, name: str, content: str | bytes) -> None:
        """Writes a file of the run that is worked on, whole or not at all.

        Raises:
            InputError: It cannot be written, for example because the disk is full.
        """
        write_atomically(self.partial / name, content)

    def append_json(self, name: str, value: dict[str, Any]) -> None:
        """Appends one line of JSON to a file of the run that is worked on.

        Raises:
            InputError: It cannot be written.
        """
        with writing(self.partial), (self.partial / name).open("a", encoding="utf-8") as file:
            file.write(json.dumps(value, allow_nan=False) + "\n")

    def finish(self) -> None:
        """Gives the run its final name, without the temporary files that a killed process may have left in it.

        Raises:
            InputError: It cannot be renamed.
        """
        with writing(self.final):
            for leftover in self.partial.glob(".*"):
                if leftover.is_dir():
                    shutil.rmtree(leftover)
                else:
                    leftover.unlink()
            self.partial.rename(self.final)
