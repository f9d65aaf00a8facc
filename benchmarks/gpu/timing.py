"""Time functions on the GPU in turns, with CUDA events, on new inputs for every turn."""

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

import numpy as np
import torch
from torch import Tensor

from benchmarks.compare import Case, Comparison, Contender, Entry, describe
from benchmarks.measure import TURN, Effort, Spread, Times

T = TypeVar("T")

_WARM_UP = 3
"""Calls before the first that counts: kernels compile, libraries load, memory is found, ``torch.compile`` records."""


def recorded(run: Callable[[], T]) -> Callable[[], T]:
    """What ``torch.compile`` records as CUDA graphs in its first calls, recorded.

    When it records, it frees the memory that cuBLAS works in, also that of graphs recorded before, whose next call then
    is of memory that is gone (https://github.com/pytorch/pytorch/issues/193402). So it has to come before them.
    """
    for _ in range(_WARM_UP):
        run()
    return run


@dataclass(frozen=True, eq=False)
class _Graph(Generic[T]):
    """A recorded function.

    Attributes:
        graph: The recording.
        result: Its result, which every replay overwrites.
        run: The function, kept because the recording reads what only the function holds.
    """

    graph: torch.cuda.CUDAGraph
    result: T
    run: Callable[[], T]

    def __call__(self) -> T:
        self.graph.replay()
        return self.result


def graphed(run: Callable[[], T]) -> Callable[[], T]:
    """The same launches as a CUDA graph: what it returns is overwritten by the next call."""
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(_WARM_UP):
            run()
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        result = run()
    return _Graph(graph, result, run)


def _seconds(run: Callable[[], object], calls: int) -> float:
    """Seconds per call, from the first launch to the end of the last kernel."""
    begin, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
    torch.cuda.synchronize()
    begin.record()
    for _ in range(calls):
        run()
    end.record()
    end.synchronize()
    milliseconds: float = begin.elapsed_time(end)
    return milliseconds / 1e3 / calls


def _calls_in_a_turn(run: Callable[[], object]) -> int:
    for _ in range(_WARM_UP):
        run()
    return max(1, math.ceil(TURN / _seconds(run, calls=2)))


def median_seconds(run: Callable[[], object], turns: int = 15) -> float:
    """Seconds that one call takes."""
    calls = _calls_in_a_turn(run)
    return float(np.median([_seconds(run, calls) for _ in range(turns)]))


def alternate(
    runs: Mapping[str, Callable[[], object]], effort: Effort, refresh: Callable[[], object]
) -> dict[str, Times]:
    """Seconds that one call of each function takes, ``[rounds]``; every round calls all of them, in their order.

    ``refresh`` draws new inputs, before every turn and not in its time.
    """
    calls = {name: _calls_in_a_turn(run) for name, run in runs.items()}
    times: dict[str, list[float]] = {name: [] for name in runs}
    began, rounds = time.perf_counter(), 0
    while not effort.is_enough(rounds, time.perf_counter() - began):
        for name, run in runs.items():
            refresh()
            times[name].append(_seconds(run, calls[name]))
        rounds += 1
    return {name: np.array(seconds) for name, seconds in times.items()}


def compare(
    case: Case,
    contenders: Sequence[Contender],
    effort: Effort,
    *,
    refresh: Callable[[], object] = lambda: None,
    floor: float | None = None,
    flops: int | None = None,
) -> Comparison:
    """Check all contenders, then time those that agree with what is expected, in turns.

    Args:
        case: What they compute, by name.
        contenders: In the order of the turns.
        effort: How long to measure.
        refresh: Draws new inputs.
        floor: Seconds that the work takes at least; an entry's share is of that.
        flops: Useful floating-point operations of one run.
    """
    differences = {contender.name: contender.difference() for contender in contenders}
    # Written so that NaN does not agree.
    agreed = [contender for contender in contenders if differences[contender.name] <= contender.tolerance]
    refused = [
        f"{c.name} was not timed at {describe(case)}: its answer is {differences[c.name]:.1e} away from float64"
        for c in contenders
        if c not in agreed
    ]
    times = alternate({contender.name: contender.run for contender in agreed}, effort, refresh)
    entries = []
    for contender in agreed:
        seconds = times[contender.name]
        entry = Entry(
            contender.name,
            Spread.of(1e3 * seconds),
            Spread.of(seconds / times[contender.baseline]) if contender.baseline in times else None,
            differences[contender.name],
            None if flops is None else Spread.of(flops / seconds).median / 1e9,
            None if floor is None else Spread.of(floor / seconds),
        )
        entries.append(entry)
    return Comparison(case, len(next(iter(times.values()), ())), entries, refused)


def detached(answer: Sequence[Tensor]) -> list[Tensor]:
    """Copies, which no later replay of a graph overwrites."""
    return [tensor.detach().clone() for tensor in answer]
