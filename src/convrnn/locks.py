"""Locks that other processes respect, on files; a lock ends with its process, however that ends."""

import os
import sys
import time

SECONDS_BETWEEN_TRIES = 0.1
"""How often a process that waits for a lock looks again, on Windows."""

# Windows locks bytes, which no other process can then read: one beyond all that is ever written.
_BYTE = 2**30


def lock(descriptor: int, *, wait: bool) -> None:
    """Locks an open file for this process until the descriptor is closed.

    Args:
        descriptor: of the file, which is open for writing; its position is then the beginning.
        wait: whether to wait while another process has the lock.

    Raises:
        BlockingIOError: another process has the lock, and ``wait`` is False.
        OSError: the file system has no locks.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryFile() as file:
        ...     lock(file.fileno(), wait=False)
    """
    if sys.platform != "win32":
        import fcntl

        fcntl.flock(descriptor, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
        return
    import msvcrt

    while True:
        os.lseek(descriptor, _BYTE, os.SEEK_SET)
        try:
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
            return
        except OSError as error:
            if not wait:
                raise BlockingIOError(error.errno, error.strerror) from None
            time.sleep(SECONDS_BETWEEN_TRIES)
        finally:
            os.lseek(descriptor, 0, os.SEEK_SET)
