"""Settings for all tests: reproducible examples, one thread, and no waiting for the disk."""

import os
import signal
from collections.abc import Iterator

# Tensors are tiny and tests run in parallel, so more threads would only wait for each other. The variable is for
# processes that tests start; tests of threads set their own number.
os.environ["OMP_NUM_THREADS"] = "1"
# On a GPU, cuBLAS looks at it once in a process, and without it is not deterministic.
os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")

import pytest
from hypothesis import settings

# The same examples in every run, so that a failure on one machine is a failure on all. No deadline, because the first
# example of a test fills caches that the others use.
settings.register_profile("convrnn", derandomize=True, deadline=None, max_examples=40, print_blob=True)
settings.load_profile("convrnn")


@pytest.fixture(autouse=True)
def interruptible() -> Iterator[None]:
    """Makes Ctrl-C work in tests and their processes, even if a shell runs the suite in the background."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture(autouse=True)
def unsynced(monkeypatch: pytest.MonkeyPatch) -> None:
    """Skips flushing to disk, as no test has to survive a power failure. Tests of ``os.fsync`` replace it again."""
    monkeypatch.setattr(os, "fsync", lambda _: None)


LONGEST = ("ops/test_triton.py", "cli/test_compare.py", "torture/test_inputs.py", "cli/test_reproduce.py")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Puts the slowest files first, so that none of them runs alone at the end of ``make test``."""
    items.sort(key=lambda item: not item.path.as_posix().endswith(LONGEST))
