"""Time functions on the GPU in turns, with CUDA events, on new inputs for every turn."""

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

import numpy as np
import torch
from torch import Tensor

from benchmarks.compare import Case, Comparison, Contender, Entry, check
from benchmarks.measure import TURN, Effort, Times

T = TypeVar("T")

_WARM_UP = 3
"""Untimed calls in which kernels compile, libraries load, memory is allocated and ``torch.compile`` records graphs."""


def recorded(run: Callable[[], T]) -> Callable[[], T]:
    """The function, after the first calls in which ``torch.compile`` records its CUDA graphs.

    Recording frees the workspace of cuBLAS, even that of graphs recorded earlier, which then use freed memory when they
    run again (https://github.com/pytorch/pytorch/issues/193402). So compiled functions have to be recorded first.
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
        run: The function, kept alive because the recording reads tensors that nothing else holds.
    """

    graph: torch.cuda.CUDAGraph
    result: T
    run: Callable[[], T]

    def __call__(self) -> T:
        self.graph.replay()
        return self.result


def graphed(run: Callable[[], T]) -> Callable[[], T]:
    """The same launches as a CUDA graph; each call overwrites the result of the one before."""
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
    """Seconds that one call of each function takes, ``[rounds]``; every round calls all functions in order.

    ``refresh`` draws new inputs before every turn; this is not timed.
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
    """Check all contenders, then time those whose answers are right, in turns.

    Args:
        case: The case's sizes and options, by name.
        contenders: The contenders, in the order of their turns.
        effort: How long to measure.
        refresh: Draws new inputs.
        floor: The shortest time in seconds that the work can take; an entry's share is this over its time.
        flops: Useful floating-point operations of one run, if known.
    """
    agreed, refused = check(case, contenders)
    times = alternate({contender.name: contender.run for contender, _ in agreed}, effort, refresh)
    entries = []
    for contender, difference in agreed:
        share = None if floor is None else floor / times[contender.name]
        entries.append(Entry.of(contender, difference, times, flops, share))
    return Comparison(case, len(next(iter(times.values()), ())), entries, refused)


def detached(answer: Sequence[Tensor]) -> list[Tensor]:
    """Copies, which later replays of a graph do not overwrite."""
    return [tensor.detach().clone() for tensor in answer]
