"""What the command line asked for."""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch

from benchmarks.compare import Case, describe
from benchmarks.measure import Effort

PASSES = {"forward": False, "training": True}
"""The passes that are measured, and whether they are training."""


@dataclass(frozen=True)
class Settings:
    """How much to measure.

    Attributes:
        quick: Fewer cases and rounds, for a first impression.
        threads: Numbers of threads; sections that use one number use the largest.
    """

    quick: bool
    threads: tuple[int, ...]

    @property
    def effort(self) -> Effort:
        """Rounds and seconds of one comparison."""
        if self.quick:
            return Effort(rounds=7, seconds=0.5, most_seconds=8)
        return Effort(rounds=15, seconds=2, most_seconds=40, fewest_rounds=9)

    @property
    def most_threads(self) -> int:
        """The largest number of threads."""
        return max(self.threads)


@contextmanager
def threads(count: int) -> Iterator[None]:
    """Within the context, PyTorch and the kernel use this many threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextmanager
def progress(section: str, case: Case) -> Iterator[None]:
    """Report on stderr what is being measured and how long it took."""
    print(f"{section}: {describe(case)} ...", end=" ", file=sys.stderr, flush=True)
    began = time.monotonic()
    yield
    print(f"{time.monotonic() - began:.1f} s", file=sys.stderr, flush=True)
