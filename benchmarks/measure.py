"""Time functions in turns, in one process, and report how much the times vary.

A machine's speed drifts: other programs come and go, the clock changes. Functions are therefore run in turns, A B C
A B C ..., and compared round by round.
"""

import gc
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

Times = NDArray[np.float64]

REST = 0.01
"""Seconds of sleep before each turn: after their work, OpenMP's threads spin for some milliseconds and would take a
core from the next function."""

TURN = 0.01
"""Shortest turn in seconds: a shorter call is repeated, after one that is not timed."""


@dataclass(frozen=True)
class Effort:
    """How long to measure.

    Attributes:
        rounds: Minimum number of rounds.
        seconds: Minimum time.
        most_seconds: Maximum time, which overrides both once there are ``fewest_rounds``.
        fewest_rounds: Number of rounds that is enough for quartiles.
    """

    rounds: int
    seconds: float
    most_seconds: float
    fewest_rounds: int = 5

    def __str__(self) -> str:
        return (
            f"at least {self.rounds} and {self.seconds:g} s for each comparison, but no more than fit into "
            f"{self.most_seconds:g} s (at least {self.fewest_rounds})"
        )

    def is_enough(self, rounds: int, seconds: float) -> bool:
        """Whether to stop after this many rounds and seconds.

        Example:
            >>> effort = Effort(rounds=15, seconds=2, most_seconds=40)
            >>> effort.is_enough(15, 1.0), effort.is_enough(15, 3.0), effort.is_enough(6, 41.0)
            (False, True, True)
        """
        if seconds > self.most_seconds:
            return rounds >= self.fewest_rounds
        return rounds >= self.rounds and seconds >= self.seconds


@dataclass(frozen=True)
class Spread:
    """Median and quartiles over the rounds."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float] | Times) -> Self:
        """The spread of ``values``.

        Example:
            >>> Spread.of([1.0, 2.0, 3.0, 4.0, 5.0])
            Spread(median=3.0, low=2.0, high=4.0)
        """
        low, median, high = np.quantile(np.asarray(values), (0.25, 0.5, 0.75)).tolist()
        return cls(median, low, high)


@dataclass(frozen=True)
class Line:
    """The straight line ``intercept + slope * x`` of least squares, and the share of the variance that it explains."""

    slope: float
    intercept: float
    r_squared: float

    @classmethod
    def fit(cls, x: Sequence[float], y: Sequence[float]) -> Self:
        """Fit a line to points that do not all have the same y.

        Example:
            >>> line = Line.fit([1, 2, 3], [5, 7, 9])
            >>> round(line.slope, 6), round(line.intercept, 6), round(line.r_squared, 6)
            (2.0, 3.0, 1.0)
        """
        xs, ys = np.asarray(x, dtype=np.float64), np.asarray(y, dtype=np.float64)
        slope, intercept = np.polyfit(xs, ys, 1).tolist()
        rest = ys - (intercept + slope * xs)
        return cls(slope, intercept, float(1 - rest.var() / ys.var()))


@contextmanager
def _no_surprising_garbage_collection() -> Iterator[None]:
    """Within the context, only explicit collections run, and only on objects created within it."""
    gc.collect()
    gc.freeze()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
        gc.unfreeze()


def _turn(run: Callable[[], object], calls: int) -> float:
    """Seconds per call."""
    time.sleep(REST)
    if calls > 1:
        run()
    began = time.perf_counter()
    for _ in range(calls):
        run()
    return (time.perf_counter() - began) / calls


def _calls_in_a_turn(run: Callable[[], object]) -> int:
    if _turn(run, calls=1) > 5 * TURN:
        return 1
    # The shortest of several: one that was held up would give too few calls.
    return math.ceil(TURN / min(_turn(run, calls=2) for _ in range(3)))


def alternate(runs: Mapping[str, Callable[[], object]], effort: Effort) -> dict[str, Times]:
    """Seconds that one call of each function takes, ``[rounds]``; every round calls all functions in order.

    Each function is called before the rounds to find out how many calls make a turn, which also warms it up.
    """
    calls = {name: _calls_in_a_turn(run) for name, run in runs.items()}
    times: dict[str, list[float]] = {name: [] for name in runs}
    began, rounds = time.perf_counter(), 0
    with _no_surprising_garbage_collection():
        while not effort.is_enough(rounds, time.perf_counter() - began):
            for name, run in runs.items():
                times[name].append(_turn(run, calls[name]))
            gc.collect()
            rounds += 1
    return {name: np.array(seconds) for name, seconds in times.items()}
