"""Section "waveform": long windows, as the first layer of a model of the raw waveform has them (section V)."""

import itertools
from dataclasses import dataclass, replace

from benchmarks import memory
from benchmarks.compare import SQUARE, TOLERANCE, Comparison, Contender, Product, answer, compare
from benchmarks.peers import COMPILED, NATIVE, PEERS, Peer
from benchmarks.problem import Problem, differentiated, draw, expected, upstream
from benchmarks.report import MISSING, Section, Table, number, ratio
from benchmarks.settings import PASSES, Settings, progress, threads
from benchmarks.windowed import contenders

MILLISECONDS = (10, 25, 50, 100)
"""Lengths of the windows."""

_BATCH, _WINDOWS = 8, 198

MOST_COMPILED = 100
"""Steps up to which torch.compile takes part: it unrolls them, and takes a second or more to compile each."""

LONG, TOLERANCE_OF_LONG = 100, 1e-3
"""Rounding errors grow with the steps of a window. With more than this, and the peepholes drawn here, those of the
reference in float32 come close to the usual tolerance."""

_TEXT = """\
One windowed LSTM as the lowest layer of a model of the raw waveform at 16 kHz: 100 units, peepholes, windows of 10, 25,
50 or 100 ms with a shift of 10 ms, 1584 of them in 8 sequences of 2 s. A frame is one sample (1 feature, a shift of 160
frames) or 1 ms (16 features, a shift of 10 frames), the latter also with an input matrix for each position in the
window ("Extended"). The features are cell states. Times, rates and memory are those of the tables above, without the
gradient of x. The first table is of convrnn native alone, with values and gradients checked on 4 windows; "of matrix
rate" has its quartiles over the rounds. The second compares a training step with the peers' on a quarter of the
sequences, 396 windows, all of them checked; torch.compile is left out of windows with more than 100 steps, since it
unrolls them and takes a second or more to compile each."""


@dataclass(frozen=True)
class _PeerRow:
    peer: Peer
    comparison: Comparison
    memory: memory.Memory | None


@dataclass(frozen=True)
class _Row:
    comparison: Comparison
    memory: memory.Memory | None


def problems(settings: Settings) -> dict[str, list[Problem]]:
    """What is measured, by what a frame is; the problems differ in the window's length, and in the reduction."""

    def of(features: int, *, position_weights: bool = False) -> list[Problem]:
        frames_of_one = 16 // features  # frames of a millisecond
        stride = 10 * frames_of_one
        return [
            Problem(
                _BATCH,
                (_WINDOWS - 1) * stride + length * frames_of_one,
                features,
                kernel_size=length * frames_of_one,
                stride=stride,
                reduce=reduce,
                position_weights=position_weights,
            )
            for length in ((25,) if settings.quick else MILLISECONDS)
            for reduce in (("last", "max") if length == 25 else ("last",))
        ]

    return {"1 sample": of(1), "1 ms": of(16), "1 ms, Extended": of(16, position_weights=True)}


def _contender(problem: Problem, training: bool) -> Contender:
    operands, gradient = draw(problem), upstream(problem, training)
    run = answer(NATIVE.prepare(problem, operands), differentiated(operands), gradient)
    # All windows of a long one would take the reference gigabytes.
    few = replace(problem, batch=1, frames=problem.kernel_size + 3 * problem.stride)
    of_few, gradient = draw(few), upstream(few, training)
    check = answer(NATIVE.prepare(few, of_few), differentiated(of_few), gradient)
    return Contender(NATIVE.name, run, expected(few, of_few, gradient), NATIVE.name, check)


def _measure(settings: Settings) -> list[_Row]:
    rows = []
    for (frame, found), count in itertools.product(problems(settings).items(), settings.threads):
        for problem, name in itertools.product(found, PASSES):
            case: dict[str, str | int] = {
                "frame": frame,
                "steps": problem.kernel_size,
                "reduce": problem.reduce,
                "pass": name,
                "threads": count,
            }
            with progress("waveform", case), threads(count):
                products = (Product(problem.windows, problem.hidden, 4 * problem.hidden), Product(*3 * (SQUARE,)))
                flops = problem.useful_flops(PASSES[name])
                contender = _contender(problem, PASSES[name])
                compared = compare(case, [contender], settings.effort, flops=flops, products=products)
                taken = memory.measure(NATIVE, problem) if PASSES[name] and memory.MEASURABLE else None
            rows.append(_Row(compared, taken))
    return rows


def _cells(row: _Row) -> list[str]:
    cells = [str(row.comparison.case[key]) for key in ("frame", "steps", "reduce", "threads", "pass")]
    entry = row.comparison.entry(NATIVE.name)
    if entry is None or entry.gflops is None or entry.share is None:
        return [*cells, *6 * [MISSING]]
    low, median, high = (f"{100 * share:.0f}" for share in (entry.share.low, entry.share.median, entry.share.high))
    cells += [number(entry.milliseconds.median), number(entry.gflops), f"{median} % ({low} to {high})"]
    return [*cells, *_memory_cells(row.memory), f"{entry.difference:.0e}"]


def _memory_cells(taken: memory.Memory | None) -> list[str]:
    return [MISSING, MISSING] if taken is None else [number(size / 2**20) for size in (taken.saved, taken.peak)]


def _measure_peers(settings: Settings) -> tuple[list[_PeerRow], list[Comparison], list[str]]:
    """A training step of all peers, with the last state of each window."""
    rows, comparisons, notes = [], [], []
    of_samples, of_milliseconds = (problems(settings)[frame] for frame in ("1 sample", "1 ms"))
    cases = [("1 ms", problem) for problem in of_milliseconds] + [("1 sample", problem) for problem in of_samples[:2]]
    for frame, whole in cases:
        if whole.reduce != "last":
            continue
        problem = replace(whole, batch=2)
        slow = problem.kernel_size > MOST_COMPILED
        peers = [peer for peer in PEERS["lstm"] if peer.trains and not (slow and peer is COMPILED)]
        case: dict[str, str | int] = {"frame": frame, "steps": problem.kernel_size, "threads": settings.most_threads}
        with progress("waveform", case), threads(settings.most_threads):
            tolerance = TOLERANCE_OF_LONG if problem.kernel_size > LONG else TOLERANCE
            found, missing = contenders(problem, True, peers, tolerance=tolerance)
            compared = compare(case, found, settings.effort)
            comparisons.append(compared)
            notes += missing
            for peer in peers:
                if compared.entry(peer.name) is not None:
                    taken = memory.measure(peer, problem) if memory.MEASURABLE else None
                    rows.append(_PeerRow(peer, compared, taken))
    return rows, comparisons, notes


def _peer_cells(row: _PeerRow) -> list[str]:
    entry = row.comparison.entry(row.peer.name)
    assert entry is not None
    cells = [*(str(row.comparison.case[key]) for key in ("frame", "steps", "threads")), entry.name]
    cells += [number(entry.milliseconds.median), ratio(entry.ratio)]
    return [*cells, *_memory_cells(row.memory), f"{entry.difference:.0e}"]


def run(settings: Settings) -> Section:
    """Measure the section."""
    rows = _measure(settings)
    head = ["a frame", "steps", "reduce", "threads", "pass", "ms", "useful GFLOP/s", "of matrix rate"]
    head += ["kept, MiB", "most in use, MiB", "difference"]
    table = Table("Long windows", head, [_cells(row) for row in rows], names=5)
    of_peers, compared, notes = _measure_peers(settings)
    head = ["a frame", "steps", "threads", "what", "ms", "times ours (quartiles)", "kept, MiB", "most in use, MiB"]
    against = Table("A training step", [*head, "difference"], [_peer_cells(row) for row in of_peers], names=4)
    comparisons = [row.comparison for row in rows] + compared
    measured = {"memory": [row.memory for row in rows], "memory of peers": [row.memory for row in of_peers]}
    return Section("Long windows of a raw waveform", _TEXT, [table, against], comparisons, measured, notes)
