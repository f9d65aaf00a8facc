"""What every test stands on: reproducible draws, one thread, and no waiting for the disk."""

import os
import signal
from collections.abc import Iterator

# Tensors are tiny, and tests run beside each other: more threads would only wait for each other. This is for the
# processes that tests start; tests of threads set a number of their own.
os.environ["OMP_NUM_THREADS"] = "1"

import pytest
from hypothesis import settings

# The same examples in every run: a failure on someone's machine is a failure on all of them. No deadline, because the
# first example of a test pays for what later ones find cached.
settings.register_profile("convrnn", derandomize=True, deadline=None, max_examples=40, print_blob=True)
settings.load_profile("convrnn")


@pytest.fixture(autouse=True)
def interruptible() -> Iterator[None]:
    """Ctrl-C works in tests, and in what they start, also where the suite runs in the background of a shell."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture(autouse=True)
def unsynced(monkeypatch: pytest.MonkeyPatch) -> None:
    """No test has to outlive a power failure. Those that look at ``os.fsync`` itself replace it again."""
    monkeypatch.setattr(os, "fsync", lambda _: None)


LONGEST = ("ops/test_triton.py", "cli/test_compare.py", "torture/test_inputs.py", "cli/test_reproduce.py")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest files come first, so that none of them runs alone at the end of ``make test``."""
    items.sort(key=lambda item: not item.path.as_posix().endswith(LONGEST))
