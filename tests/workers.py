"""Threads in place of worker processes, for tests that are not about processes.

A process needs seconds for its imports; a tiny model learns in tenths of a second.
"""

import contextlib
import threading
from collections.abc import Iterator
from multiprocessing.connection import Connection, Pipe

import pytest

from convrnn import processes


class Worker(processes._Worker[processes.Context, processes.Item]):
    """A thread that gets its work and sends its results as a process does, unless one is already running.

    Seeds are set for the whole process, so two runs must not be trained in it at once.
    """

    running = False

    def __init__(self, work, context):
        self.thread = None
        if Worker.running:
            super().__init__(work, context)
            return
        self.connection, theirs = Pipe()
        self.index = -1
        self.thread = threading.Thread(target=_serve, args=(theirs,))
        self.thread.start()
        Worker.running = True
        try:
            self._send((work, context))
        except BaseException:
            self.stop()
            raise

    def stop(self):
        if self.thread is None:
            super().stop()
            return
        self.connection.close()
        self.thread.join()
        Worker.running = False


def _serve(connection: Connection) -> None:
    # The parent closes the connection during the work if it stops.
    with connection, contextlib.suppress(BrokenPipeError, ConnectionResetError):
        processes.serve(connection)


@contextlib.contextmanager
def in_threads() -> Iterator[None]:
    """Within the context, the first worker is a thread; the others are processes, as usual."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(processes, "_Worker", Worker)
        yield
