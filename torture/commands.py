"""Commands of convrnn in process groups of their own: as fresh processes, or forked from one with everything loaded."""

import contextlib
import ctypes
import os
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

EXTRACT = "extract"
"""Feature extraction alone, ``extract CSV JOBS``, which convrnn has no command for."""

_PR_SET_CHILD_SUBREAPER = 36


def adopt_orphans() -> None:
    """Makes this process the parent of orphaned descendants, so that it can wait for them."""
    if ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0):
        raise OSError(ctypes.get_errno(), "prctl")


@dataclass
class Running:
    """A started command, in a process group of its own.

    Attributes:
        group: id of the process group, which is that of its first process.
        output: folder of its ``stdout`` and ``stderr``.
    """

    group: int
    output: Path

    def kill(self, *, whole: bool) -> None:
        """Kills all its processes, or only the first."""
        with contextlib.suppress(ProcessLookupError):
            (os.killpg if whole else os.kill)(self.group, signal.SIGKILL)

    def wait(self, seconds: float) -> int:
        """The exit code, or minus the signal's number if it was killed.

        Raises:
            TimeoutError: it did not end within this many seconds and was killed.
        """
        end = time.monotonic() + seconds
        while True:
            found, status = os.waitpid(self.group, os.WNOHANG)
            if found:
                return os.waitstatus_to_exitcode(status)
            if time.monotonic() > end:
                self.kill(whole=True)
                os.waitpid(self.group, 0)
                raise TimeoutError(f"no end after {seconds:g} s")
            time.sleep(0.005)

    def outlived(self, seconds: float) -> float:
        """By how many seconds the group's last process outlives the first, which has already been waited for.

        Processes still running after this many seconds are killed.
        """
        began = time.monotonic()
        while True:
            try:
                found, _ = os.waitpid(-self.group, os.WNOHANG)
            except ChildProcessError:
                return time.monotonic() - began
            if not found:
                if time.monotonic() - began > seconds:
                    self.kill(whole=True)
                time.sleep(0.005)


WORK = "work"
"""Subfolder of a trial's folder in which its command runs, next to its output."""


def start(words: Sequence[str], folder: Path, *, warm: bool, output: Path | None = None) -> Running:
    """Starts a command in a folder's :data:`WORK`, with its cache and temporary files there.

    Args:
        words: the command and its arguments.
        folder: the trial's folder.
        warm: fork this process, which has called :func:`preload`, instead of starting a fresh one. Its worker processes
            are forked too.
        output: folder for its stdout and stderr; by default the trial's.
    """
    output = output or folder
    work = folder / WORK
    (work / "tmp").mkdir(parents=True, exist_ok=True)
    return Running((_fork if warm else _spawn)(words, work, output), output)


def _environment(work: Path) -> dict[str, str]:
    return {"CONVRNN_CACHE": str(work / "cache"), "TMPDIR": str(work / "tmp")}


def _spawn(words: Sequence[str], work: Path, output: Path) -> int:
    with (output / "stdout").open("wb") as stdout, (output / "stderr").open("wb") as stderr:
        process = subprocess.Popen(
            [sys.executable, "-m", "torture.commands", *words],
            cwd=work,
            env=os.environ | _environment(work),
            stdin=subprocess.DEVNULL,
            stdout=stdout,
            stderr=stderr,
            start_new_session=True,
        )
    # It is waited for by its id, as forked processes are; with a return code, Popen does not warn.
    process.returncode = 0
    return process.pid


def preload() -> None:
    """Loads everything that any command loads, without starting a thread."""
    import lightning_fabric
    import matplotlib.backends.backend_agg
    import sklearn.svm
    import soxr

    del lightning_fabric, matplotlib, sklearn, soxr


def _fork(words: Sequence[str], work: Path, output: Path) -> int:
    sys.stdout.flush()
    sys.stderr.flush()
    child = os.fork()
    if child:
        return child
    code = 1
    try:
        os.setsid()
        os.chdir(work)
        for name, place, flags in (
            (Path("/dev/null"), 0, os.O_RDONLY),
            (output / "stdout", 1, os.O_WRONLY | os.O_CREAT | os.O_TRUNC),
            (output / "stderr", 2, os.O_WRONLY | os.O_CREAT | os.O_TRUNC),
        ):
            os.dup2(os.open(name, flags, 0o644), place)
        os.environ.update(_environment(work))
        tempfile.tempdir = None
        subprocess.Popen = _popen  # type: ignore[assignment,misc]
        code = _run(words)
    except BaseException:  # noqa: BLE001 - as a fresh process ends
        traceback.print_exc()
    finally:
        with contextlib.suppress(OSError):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code)


_Popen = subprocess.Popen


def _popen(arguments: Sequence[str], **options: Any) -> Any:  # noqa: ANN401 - it replaces Popen
    """Forks this process for a worker of convrnn; starts any other program as usual."""
    from convrnn.processes import _PROGRAM

    return _ForkedWorker(arguments) if str(_PROGRAM) in arguments else _Popen(arguments, **options)


class _ForkedWorker:
    """A forked worker process, with the part of Popen that convrnn uses."""

    def __init__(self, arguments: Sequence[str]) -> None:
        self.returncode: int | None = None
        self.pid = os.fork()
        if self.pid:
            return
        code = 1
        try:
            from convrnn import worker

            sys.argv = [*arguments[-3:]]
            worker.main()
            code = 0
        except BaseException:  # noqa: BLE001 - as a fresh process ends
            traceback.print_exc()
        finally:
            with contextlib.suppress(OSError):
                sys.stderr.flush()
            os._exit(code)

    def wait(self, timeout: float | None = None) -> int:
        end = None if timeout is None else time.monotonic() + timeout
        while self.returncode is None:
            found, status = os.waitpid(self.pid, 0 if end is None else os.WNOHANG)
            if found:
                self.returncode = os.waitstatus_to_exitcode(status)
            elif end is not None and time.monotonic() > end:
                raise subprocess.TimeoutExpired("a worker", timeout or 0.0)
            else:
                time.sleep(0.002)
        return self.returncode

    def kill(self) -> None:
        if self.returncode is None:
            os.kill(self.pid, signal.SIGKILL)


def _run(words: Sequence[str]) -> int:
    """Runs the command in this process; returns its exit code."""
    if words[0] == EXTRACT:
        return _extract(words[1], int(words[2]))
    from convrnn.cli import main

    sys.argv = ["convrnn", *words]
    try:
        main()
    except SystemExit as ended:
        return ended.code if isinstance(ended.code, int) else int(ended.code is not None)
    return 0


def _extract(table: str, jobs: int) -> int:
    from convrnn.cache import default_cache_dir
    from convrnn.corpora.registry import open_corpus
    from convrnn.errors import InputError
    from convrnn.features.logmel import LogMelConfig
    from convrnn.features.store import FeatureStore

    corpus = open_corpus(f"csv:{table}")
    store = FeatureStore(default_cache_dir() / "features", LogMelConfig(sample_rate=8000))
    try:
        store.extract(corpus.segments(), jobs=jobs)
    except InputError as error:
        print(f"convrnn: error: {error}", file=sys.stderr)
        return 2
    return 0


def python_path() -> str:
    """The PYTHONPATH with which fresh processes find this package and convrnn."""
    root = Path(__file__).parents[1]
    return os.pathsep.join([str(root), str(root / "src"), *filter(None, [os.environ.get("PYTHONPATH")])])


if __name__ == "__main__":
    sys.exit(_run(sys.argv[1:]))
