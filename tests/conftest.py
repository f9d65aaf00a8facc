"""What every test stands on: reproducible draws, and one thread."""

import signal
from collections.abc import Iterator

import pytest
import torch
from hypothesis import settings

# The same examples in every run: a failure on someone's machine is a failure on all of them. No deadline, because the
# first example of a test pays for what later ones find cached.
settings.register_profile("convrnn", derandomize=True, deadline=None, max_examples=40, print_blob=True)
settings.load_profile("convrnn")

# The tensors are tiny: more threads would only wait for each other.
torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def interruptible() -> Iterator[None]:
    """Ctrl-C works in tests, and in what they start, also where the suite runs in the background of a shell."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)
