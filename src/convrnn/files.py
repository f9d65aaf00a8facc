"""Writes files completely or not at all, and hashes them."""

import contextlib
import errno
import functools
import hashlib
import os
import platform
import re
import secrets
import shutil
import stat
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from convrnn.errors import InputError

SECONDS_TO_ABANDON = 24 * 3600.0
"""Age in seconds at which another machine's temporary file counts as abandoned."""

_TEMPORARY = re.compile(r"\.(?P<name>.+)\.(?:(?P<machine>[0-9a-f]{8})-)?(?P<process>\d+)\.[0-9a-f]+\.tmp", re.DOTALL)
# Windows has no such flags, and no way to open a folder.
NO_FOLLOW: int = getattr(os, "O_NOFOLLOW", 0)
"""The flag of ``os.open`` that refuses a symbolic link, or 0 on Windows, where only an administrator can make one."""
_FOLDER = getattr(os, "O_DIRECTORY", None)


def write_atomically(path: Path, content: str | bytes, *, durable: bool = True, leftovers: bool = True) -> None:
    r"""Writes a file under a temporary name and renames it, so that no half-written file is ever left.

    Several processes may write the same file at once; the last one wins. Temporary files left by killed processes are
    removed. A symbolic link of that name is replaced, not followed.

    Args:
        path: The file; its folder exists.
        content: Text is written as UTF-8; bytes of a file name that are not UTF-8 are escaped, as ``\udcff``.
        durable: Flush the file and its name to disk, so that not even a power failure leaves half a file; this takes
            milliseconds.
        leftovers: Whether to look for those temporary files, which takes longer the more files the folder has; a writer
            of many files calls :func:`remove_leftovers_once` instead.

    Raises:
        InputError: if it cannot be written, for example because the disk is full.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     write_atomically(Path(folder) / "a.txt", "one")
        ...     [(file.name, file.read_text()) for file in Path(folder).iterdir()]
        [('a.txt', 'one')]
    """
    temporary = temporary_path(path)
    data = content.encode("utf-8", "backslashreplace") if isinstance(content, str) else content
    with writing(path.parent):
        try:
            write_new(temporary, data, durable=durable)
            temporary.replace(path)
        except BaseException:
            # The folder itself may be what failed, and then there is nothing to remove.
            with contextlib.suppress(OSError):
                temporary.unlink(missing_ok=True)
            raise
        if durable:
            sync_folder(path.parent)
    if leftovers:
        remove_leftovers(path.parent, path.name)


def write_new(path: Path, data: bytes, *, durable: bool = True) -> None:
    """Writes a new file, with the permissions that the umask gives; a symbolic link is not followed.

    Raises:
        OSError: if it exists already or cannot be written.
    """
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | NO_FOLLOW | getattr(os, "O_BINARY", 0), 0o666)
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)
        if durable:
            file.flush()
            os.fsync(file.fileno())


def sync_folder(folder: Path) -> None:
    """Flushes the names in a folder to disk; otherwise a power failure may undo a rename.

    Raises:
        OSError: if the disk fails.
    """
    if _FOLDER is None:
        return
    try:
        descriptor = os.open(folder, os.O_RDONLY | _FOLDER)
    except PermissionError:
        # A folder may be writable without being readable.
        return
    try:
        os.fsync(descriptor)
    except OSError as error:
        # Some network file systems do not support this for folders.
        if error.errno not in (errno.EINVAL, errno.ENOTSUP, errno.EBADF):
            raise
    finally:
        os.close(descriptor)


def make_folder(folder: Path) -> None:
    """Makes a folder and its missing parents, and flushes their names to disk.

    Raises:
        OSError: if one cannot be made or is not a folder.
    """
    missing = [path for path in (folder, *folder.parents) if not path.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    for made in missing:
        sync_folder(made.parent)


def temporary_path(path: Path) -> Path:
    """A name beside ``path`` that cannot be guessed and identifies the writing process and machine.

    If that process is killed, :func:`remove_leftovers` finds the file.
    """
    return path.with_name(f".{path.name}.{_machine()}-{os.getpid()}.{secrets.token_hex(8)}.tmp")


def remove_leftovers(folder: Path, name: str | None = None) -> None:
    """Removes temporary files and folders of processes that have ended; those of running ones stay.

    A process of another machine, in a shared folder, cannot be looked up: its files are removed when a day old.

    Args:
        folder: Where to look; it may be missing.
        name: Only the temporary files of this file; by default all.
    """
    # Without permission to remove them they stay, which does no harm.
    with contextlib.suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            match = _TEMPORARY.fullmatch(entry.name)
            if match and name in (None, match["name"]) and _abandoned(Path(entry.path), match):
                with contextlib.suppress(OSError):
                    remove(Path(entry.path))


@functools.cache
def remove_leftovers_once(folder: Path) -> None:
    """As :func:`remove_leftovers`, but only the first time that this process asks for the folder."""
    remove_leftovers(folder)


def remove(path: Path) -> None:
    """Removes a file or a whole folder, which may be gone already; of a symbolic link, the link itself.

    Raises:
        OSError: if it cannot be removed.
    """
    with contextlib.suppress(FileNotFoundError):
        if stat.S_ISDIR(path.lstat().st_mode):
            shutil.rmtree(path)
        else:
            path.unlink()


def _abandoned(path: Path, match: re.Match[str]) -> bool:
    if os.name != "nt" and match["machine"] == _machine():
        try:
            os.kill(int(match["process"]), 0)
        except ProcessLookupError:
            return True
        except (OSError, OverflowError):  # another user's process
            pass
        # Another process may have the number by now.
    try:
        return time.time() - path.lstat().st_mtime > SECONDS_TO_ABANDON
    except FileNotFoundError:
        return False


@functools.cache
def _machine() -> str:
    """Identifies the processes whose ids can be looked up from here; random on Windows, where only age counts."""
    if os.name == "nt":
        return secrets.token_hex(4)
    known = [platform.node()]
    # Containers may share a host name and a folder, but have process ids of their own.
    with contextlib.suppress(OSError):
        known += [
            Path("/proc/sys/kernel/random/boot_id").read_text("ascii"),
            str(Path("/proc/self/ns/pid").stat().st_ino),
        ]
    return hashlib.sha256("\n".join(known).encode()).hexdigest()[:8]


@contextlib.contextmanager
def writing(folder: Path) -> Iterator[None]:
    """Within the context, an OSError becomes one sentence that names the folder.

    Raises:
        InputError: instead of any OSError.
    """
    try:
        yield
    except OSError as error:
        reason = error.strerror or str(error)
        raise InputError(f"{folder}: cannot be written ({reason}); finished work is kept") from error


def why_not_writable(folder: Path) -> str | None:
    """Why no file can be made in an existing folder, or None if one can; nothing is left behind.

    Example:
        >>> why_not_writable(Path("nowhere"))
        'No such file or directory'
    """
    try:
        # Permissions alone do not show a read-only file system.
        with tempfile.TemporaryFile(dir=folder):
            return None
    except OSError as error:
        return error.strerror or str(error)


def file_hash(path: Path | str) -> str:
    """SHA-256 of a file's bytes, as 64 hexadecimal digits.

    A file is read once per process, and again if its size or times have changed.

    Raises:
        InputError: if it cannot be read.
    """
    try:
        status = Path(path).stat()
        if stat.S_ISFIFO(status.st_mode) or stat.S_ISCHR(status.st_mode):
            raise InputError(f"{path}: is a pipe or a device; give a file")
        return _hash(str(path), status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror or error})") from error


@functools.cache
def _hash(path: str, *_state: int) -> str:
    with Path(path).open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def check_file(path: Path | str, what: str) -> Path:
    """Returns the path of a regular file that is not empty.

    Args:
        path: The file.
        what: What the messages call it.

    Raises:
        InputError: if it does not exist, is a folder, a pipe or a device, or is empty.

    Example:
        >>> check_file("nowhere/a.npy", "array")
        Traceback (most recent call last):
        ...
        convrnn.errors.InputError: nowhere/a.npy: array does not exist
    """
    file = Path(path)
    try:
        if file.is_dir():
            raise InputError(f"{path}: is a folder, expected {'an' if what[0] in 'aeiou' else 'a'} {what}")
        if not file.exists():
            raise InputError(f"{path}: {what} does not exist")
        if not file.is_file():
            raise InputError(f"{path}: is a pipe or a device; give a file")
        if file.stat().st_size == 0:
            raise InputError(f"{path}: {what} is empty (0 bytes)")
    except OSError as error:
        raise InputError(f"{path}: {what} cannot be read ({error.strerror or error})") from error
    return file


def read_regular(path: Path | str, most_bytes: int) -> bytes:
    """The content of a regular file; pipes and devices, which may never end, are refused.

    Args:
        path: The file.
        most_bytes: The largest size allowed.

    Raises:
        InputError: if it is missing, not a regular file, larger, or cannot be read.
    """
    try:
        with open(path, "rb", opener=_without_waiting) as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise InputError(f"{path}: is a pipe or a device; give a file")
            content = file.read(most_bytes + 1)
    except (FileNotFoundError, NotADirectoryError):
        raise InputError(f"{path}: file does not exist") from None
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror or error})") from None
    except ValueError as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{path!r}: is not a file name ({error})") from None
    if len(content) > most_bytes:
        raise InputError(f"{path}: has more than {most_bytes} bytes, the most that is allowed")
    return content


def _without_waiting(path: str, flags: int) -> int:
    """Opens a file without blocking, even if it is a pipe without a writer."""
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))
