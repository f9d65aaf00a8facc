"""The directory of a run: how it is written, locked, finished and verified.

A run lives in ``<hash>.partial`` until it finishes; then the directory is renamed to ``<hash>``. Every file is written
to a temporary name and renamed, so that a killed run leaves no half-written file, and a lock admits one process per
run. The parent folder may be shared: symbolic links and files that convrnn did not create are neither followed nor
deleted.

A finished run is read through :class:`RunFiles`, which checks every file against its digest in ``result.json``.
"""

import contextlib
import errno
import hashlib
import json
import os
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from convrnn.errors import InputError
from convrnn.files import NO_FOLLOW, make_folder, remove, remove_leftovers, sync_folder, write_atomically, writing
from convrnn.json_files import read_json
from convrnn.locks import lock

SPEC, RESULT, PREDICTIONS, CURVES = "spec.json", "result.json", "predictions.csv", "curves.png"
METRICS, CHECKPOINT, BEST = "metrics.jsonl", "last.ckpt", "best"
"""Names in a run directory; ``best`` is the folder of the saved model."""

PARTIAL = ".partial"
"""Suffix of the directory of an unfinished run."""

_MOST_RESULT_BYTES = 2**26
"""Maximum size of ``result.json`` in bytes, enough for a confusion matrix of 2,000 classes."""

_CHECKED = (SPEC, METRICS, CHECKPOINT, f"{BEST}/config.json", f"{BEST}/model.safetensors", CURVES, PREDICTIONS)

DIGESTS = "digests"
"""The field of ``result.json`` that maps the name of each file of the run to its SHA-256.

The digest of ``result.json`` itself is computed without that entry, over JSON with sorted keys, no spaces and ASCII
characters only.
"""


class DamagedRunError(InputError):
    """A file of a finished run is missing or was changed.

    Args:
        directory: The run's directory.
        what: What is wrong.
    """

    def __init__(self, directory: Path, what: str) -> None:
        super().__init__(f"{directory}: the finished run is damaged ({what}); delete the folder to do the run again")


class BusyRunError(InputError):
    """Another process is working on the run."""


class RunFiles:
    """The files of a finished run, each checked against its digest when it is read.

    Args:
        directory: The run's directory.

    Attributes:
        directory: The run's directory.
        result: The content of ``result.json`` without the digests.
        digests: SHA-256 of each file of the run by name. Empty for runs of earlier versions, whose files cannot be
            checked; a comparison repeats such a run.

    Raises:
        DamagedRunError: ``result.json`` is missing or was changed, or a file that it lists is missing (except the
            checkpoint, which is no longer needed).
    """

    def __init__(self, directory: Path) -> None:
        self.directory = Path(directory)
        content = self._load()
        self.digests: dict[str, str] = content.pop(DIGESTS, {})
        own = self.digests.pop(RESULT, None)
        if (own or self.digests) and own != _digest_of_result(content, self.digests):
            raise DamagedRunError(self.directory, f"{RESULT} was changed since it was written")
        self.result = content
        for name in self.digests:
            # A finished run does not need its checkpoint, its largest file, so users may delete it.
            if name != CHECKPOINT and not (self.directory / name).is_file():
                raise DamagedRunError(self.directory, f"{name} is missing")

    def _load(self) -> dict[str, Any]:
        path = self.directory / RESULT
        if not path.exists():
            raise DamagedRunError(self.directory, f"{RESULT} is missing")
        try:
            content = read_json(path, most_bytes=_MOST_RESULT_BYTES)
        except InputError as error:
            raise DamagedRunError(self.directory, f"{RESULT} {str(error).removeprefix(f'{path}: ')}") from error
        digests = content.get(DIGESTS, {}) if isinstance(content, dict) else None
        if not isinstance(digests, dict) or not digests.keys() <= {*_CHECKED, RESULT}:
            raise DamagedRunError(self.directory, f"{RESULT} is not a result")
        return dict(content)

    def read(self, name: str) -> bytes:
        """Reads a file and verifies its digest.

        Args:
            name: The file, such as :data:`PREDICTIONS` or ``"best/config.json"``.

        Raises:
            DamagedRunError: The file is missing, unreadable or changed.
        """
        path = self.directory / name
        if not path.is_file():
            raise DamagedRunError(self.directory, f"{name} is missing")
        try:
            content = path.read_bytes()
        except OSError as error:
            raise DamagedRunError(self.directory, f"{name} cannot be read: {error.strerror}") from error
        if self.digests and hashlib.sha256(content).hexdigest() != self.digests.get(name):
            raise DamagedRunError(self.directory, f"{name} was changed since it was written")
        return content

    def check(self, *names: str) -> None:
        """Verifies files, or all files of a folder such as :data:`BEST`; by default all except the checkpoint.

        Raises:
            DamagedRunError: As :meth:`read`.
        """
        for name in self.digests:
            chosen = name in names or name.partition("/")[0] in names if names else name != CHECKPOINT
            if chosen:
                self.read(name)

    def contents(self) -> dict[str, bytes]:
        """All files except the checkpoint, verified, by name: what :meth:`RunDirectory.receive` needs elsewhere.

        Raises:
            DamagedRunError: As :meth:`read`.
        """
        files = {name: self.read(name) for name in self.digests if name != CHECKPOINT}
        return files | {RESULT: (self.directory / RESULT).read_bytes()}


def _digest_of_result(result: Mapping[str, Any], digests: Mapping[str, str]) -> str:
    content = {**result, DIGESTS: {name: digest for name, digest in digests.items() if name != RESULT}}
    canonical = json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(canonical.encode("ascii")).hexdigest()


class RunDirectory:
    """The directory of one run, unfinished and finished.

    Args:
        runs_dir: Folder of all runs; created when the run is locked.
        name: Name of the run, the hash of its spec.

    Attributes:
        final: Directory of the finished run; exists only once the run is finished.
        partial: Directory of the unfinished run.
    """

    def __init__(self, runs_dir: Path, name: str) -> None:
        self._runs_dir = Path(runs_dir)
        self._lock = self._runs_dir / f".{name}.lock"
        self.final = self._runs_dir / name
        self.partial = self._runs_dir / f"{name}{PARTIAL}"

    @property
    def finished(self) -> bool:
        """Whether the run is finished; :class:`RunFiles` checks whether it is also intact."""
        return os.path.lexists(self.final)

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Locks the run for this process and creates ``partial`` if the run is not finished.

        The lock is released when the process ends, however it ends. Temporary files that a killed process left in
        ``partial`` are removed.

        Raises:
            BusyRunError: Another process is working on the run.
            InputError: The folder cannot be written, or the path of the lock or of ``partial`` is taken by something
                else.
        """
        with writing(self._runs_dir):
            make_folder(self._runs_dir)
            descriptor = self._acquire()
        try:
            if not self.finished:
                with writing(self.partial):
                    self._make_partial()
                remove_leftovers(self.partial)
            yield
        finally:
            if os.name == "nt":
                # No open file can be deleted: not this one, nor one that another process has opened since.
                os.close(descriptor)
                with contextlib.suppress(PermissionError):
                    self._lock.unlink(missing_ok=True)
            else:
                # Unlinked while the lock is held, so that a process that opened this inode sees that it was deleted.
                self._lock.unlink(missing_ok=True)
                os.close(descriptor)

    def remove_old_lock(self) -> None:
        """Removes the lock file of a finished run; one remains if the process was killed just after finishing."""
        if self.finished and os.path.lexists(self._lock):
            # If another process holds it, that process removes it; in a read-only folder it does no harm.
            with contextlib.suppress(InputError, OSError), self.locked():
                pass

    def _acquire(self) -> int:
        while True:
            try:
                descriptor = os.open(self._lock, os.O_RDWR | os.O_CREAT | NO_FOLLOW, 0o644)
            except OSError as error:
                if error.errno in (errno.ELOOP, errno.EISDIR):
                    raise _not_ours(self._lock) from None
                raise
            try:
                status = os.fstat(descriptor)
                # Hard links are refused as well as symbolic ones: the process id would be written to their target.
                if not stat.S_ISREG(status.st_mode) or status.st_nlink > 1:
                    raise _not_ours(self._lock)
                lock(descriptor, wait=False)
                if os.fstat(descriptor).st_nlink:
                    os.ftruncate(descriptor, 0)
                    os.write(descriptor, str(os.getpid()).encode("ascii"))
                    return descriptor
            except BlockingIOError:
                holder = os.read(descriptor, 32).decode("ascii", "replace").strip() or "unknown"
                os.close(descriptor)
                raise BusyRunError(
                    f"{self.partial}: process {holder} is working on this run; wait for it or stop it first"
                ) from None
            except BaseException:
                os.close(descriptor)
                raise
            os.close(descriptor)

    def _make_partial(self) -> None:
        try:
            self.partial.mkdir()
        except FileExistsError:
            if not stat.S_ISDIR(self.partial.lstat().st_mode):
                raise _not_ours(self.partial) from None
        else:
            sync_folder(self._runs_dir)

    def write(self, name: str, content: str | bytes) -> None:
        """Writes a file of the unfinished run atomically.

        Raises:
            InputError: It cannot be written, for example because the disk is full.
        """
        write_atomically(self.partial / name, content)

    def append_json(self, name: str, value: dict[str, Any]) -> None:
        """Appends one line of JSON to a file of the unfinished run.

        Raises:
            InputError: It cannot be written.
        """
        line = json.dumps(value, allow_nan=False) + "\n"
        with writing(self.partial):
            flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | NO_FOLLOW | getattr(os, "O_BINARY", 0)
            with os.fdopen(os.open(self.partial / name, flags, 0o666), "wb") as file:
                file.write(line.encode())

    def finish(self, result: dict[str, Any]) -> None:
        """Writes ``result.json`` with the digests of all files, then renames the run to its final name.

        All files are flushed to disk before the rename.

        Args:
            result: Content of ``result.json`` without the digests.

        Raises:
            InputError: A file cannot be written, or the directory cannot be renamed.
        """
        with writing(self.partial):
            digests = {name: _flushed_digest(self.partial / name) for name in _CHECKED}
        content = {**result, DIGESTS: {**digests, RESULT: _digest_of_result(result, digests)}}
        self.write(RESULT, json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False) + "\n")
        with writing(self.final):
            self.partial.rename(self.final)
            sync_folder(self._runs_dir)

    def receive(self, files: Mapping[str, bytes]) -> None:
        """Stores a run that was finished elsewhere, in place of what was done of it here.

        Args:
            files: From :meth:`RunFiles.contents`.

        Raises:
            InputError: As :meth:`locked` and :meth:`finish`.
        """
        with self.locked():
            if self.finished:
                return
            with writing(self.partial):
                remove(self.partial)
                self.partial.mkdir()
            for name, content in files.items():
                with writing(self.partial):
                    (self.partial / name).parent.mkdir(exist_ok=True)
                self.write(name, content)
            with writing(self.final):
                self.partial.rename(self.final)
                sync_folder(self._runs_dir)


def _flushed_digest(path: Path) -> str:
    # Windows flushes only what is open for writing.
    with path.open("r+b") if os.name == "nt" else path.open("rb") as file:
        os.fsync(file.fileno())
        return hashlib.file_digest(file, "sha256").hexdigest()


def _not_ours(path: Path) -> InputError:
    kind = "a symbolic link" if path.is_symlink() else "not a file or folder of a run"
    return InputError(f"{path}: is {kind}; nothing is written through it; remove it")
