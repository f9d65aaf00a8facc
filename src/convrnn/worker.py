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
        while os.getppid() == parent:
            time.sleep(SECONDS_BETWEEN_LOOKS)
        os._exit(1)

    threading.Thread(target=look, daemon=True).start()


def main() -> None:
    """Receives the parent's search path, then its work."""
    parent, descriptor = map(int, sys.argv[1:])
    end_with_parent(parent)
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
