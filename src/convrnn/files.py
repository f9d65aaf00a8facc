"""Files that are written whole or not at all, and the hash of what a file holds."""

import contextlib
import functools
import hashlib
import os
import threading
from collections.abc import Iterator
from pathlib import Path

from convrnn.errors import InputError


def write_atomically(path: Path, content: str | bytes, *, durable: bool = True) -> None:
    """Writes a file beside its place and renames it; whatever comes between, no half file is left.

    Several processes may write the same file at once; the last one's stays.

    Args:
        path: The file; its folder exists.
        content: Text is written as UTF-8.
        durable: Waits until the disk has it, so that not even a power failure leaves a half file; costs milliseconds.

    Raises:
        InputError: It cannot be written, for example because the disk is full.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     write_atomically(Path(folder) / "a.txt", "one")
        ...     [(file.name, file.read_text()) for file in Path(folder).iterdir()]
        [('a.txt', 'one')]
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.{threading.get_ident()}.tmp")
    data = content.encode("utf-8") if isinstance(content, str) else content
    with writing(path.parent):
        try:
            with temporary.open("wb") as file:
                file.write(data)
                if durable:
                    file.flush()
                    os.fsync(file.fileno())
            temporary.replace(path)
        except BaseException:
            # What failed may be the folder itself, and then there is nothing to remove.
            with contextlib.suppress(OSError):
                temporary.unlink(missing_ok=True)
            raise


@contextlib.contextmanager
def writing(folder: Path) -> Iterator[None]:
    """Tells of an operating system's refusal to write in one sentence that names the folder.

    Raises:
        InputError: In place of any OSError.
    """
    try:
        yield
    except OSError as error:
        reason = error.strerror or str(error)
        raise InputError(f"{folder}: cannot be written ({reason}); what was finished before is kept") from error


def file_hash(path: Path | str) -> str:
    """SHA-256 of a file's bytes, as 64 hexadecimal digits.

    The bytes are read once per process, and again when the file has changed since, as far as its size and times tell.

    Raises:
        InputError: It cannot be read.
    """
    try:
        status = Path(path).stat()
        return _hash(str(path), status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror or error})") from error


@functools.cache
def _hash(path: str, *_state: int) -> str:
    with Path(path).open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
