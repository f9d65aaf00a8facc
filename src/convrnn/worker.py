"""The program of a worker process: ``python worker.py PARENT DESCRIPTOR``; :mod:`convrnn.processes` starts it.

It imports only Python's own modules until it is certain to end with its parent, since other imports take seconds.
"""

import contextlib
import os
import signal
import sys
import threading
import time

SECONDS_BETWEEN_LOOKS = 0.5


def end_with_parent(parent: int) -> None:
    """Makes this process end when its parent process does, however the parent ends."""
    if sys.platform == "linux":
        pr_set_pdeathsig = 1
        # Without it, the thread below still works.
        with contextlib.suppress(ImportError, OSError, AttributeError):
            import ctypes

            ctypes.CDLL(None).prctl(pr_set_pdeathsig, signal.SIGKILL, 0, 0, 0)

    def look() -> None:
        if sys.platform == "win32":
            _wait_for(parent)
        else:
            while os.getppid() == parent:
                time.sleep(SECONDS_BETWEEN_LOOKS)
        os._exit(1)

    threading.Thread(target=look, daemon=True).start()


if sys.platform == "win32":
    # There, getppid() stays the same after the parent's end.
    def _wait_for(process: int) -> None:
        import ctypes
        from ctypes import wintypes

        synchronize, infinite = 0x00100000, 0xFFFFFFFF
        kernel32 = ctypes.WinDLL("kernel32")
        kernel32.OpenProcess.argtypes = [wintypes.DWORD, wintypes.BOOL, wintypes.DWORD]
        kernel32.OpenProcess.restype = wintypes.HANDLE
        kernel32.WaitForSingleObject.argtypes = [wintypes.HANDLE, wintypes.DWORD]
        # None if it has ended already.
        if handle := kernel32.OpenProcess(synchronize, False, process):
            kernel32.WaitForSingleObject(handle, infinite)


def main() -> None:
    """Receives the parent's search path, then its work."""
    parent, descriptor = map(int, sys.argv[1:])
    end_with_parent(parent)
    if sys.platform == "win32":
        from multiprocessing.connection import PipeConnection as Connection
    else:
        from multiprocessing.connection import Connection

    connection = Connection(descriptor)
    try:
        sys.path[:] = connection.recv()
    except EOFError:
        return
    from convrnn.processes import serve

    serve(connection)


if __name__ == "__main__":
    main()
