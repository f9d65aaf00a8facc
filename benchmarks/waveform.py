"""Section "waveform": long windows, as the first layer of a model of the raw waveform has them (section V)."""

import itertools
from dataclasses import dataclass, replace

from benchmarks import memory
from benchmarks.compare import SQUARE, Comparison, Contender, Product, answer, compare
from benchmarks.peers import NATIVE
from benchmarks.problem import Operands, Problem, expected, upstream
from benchmarks.report import MISSING, Section, Table, number
from benchmarks.settings import PASSES, Settings, progress, threads

MILLISECONDS = (10, 25, 50, 100)
"""Lengths of the windows."""

_BATCH, _WINDOWS = 8, 198

_TEXT = """\
One windowed LSTM as the lowest layer of a model of the raw waveform at 16 kHz: 100 units, peepholes, windows of 10, 25,
50 or 100 ms with a shift of 10 ms, 1584 of them in 8 sequences of 2 s. A frame is one sample (1 feature, a shift of 160
frames) or 1 ms (16 features, a shift of 10 frames), the latter also with an input matrix for each position in the
window ("Extended"). The features are cell states. Times, rates and memory are those of the tables above, of convrnn
native alone, without the gradient of x; values and gradients are checked on 4 windows. "of matrix rate" has its
quartiles over the rounds."""


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
    operands, gradient = Operands.draw(problem), upstream(problem, training)
    run = answer(NATIVE.prepare(problem, operands), operands.differentiated(), gradient)
    # All windows of a long one would take the reference gigabytes.
    few = replace(problem, batch=1, frames=problem.kernel_size + 3 * problem.stride)
    of_few, gradient = Operands.draw(few), upstream(few, training)
    check = answer(NATIVE.prepare(few, of_few), of_few.differentiated(), gradient)
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
    case, memory_of = row.comparison.case, row.memory
    cells = [str(case[key]) for key in ("frame", "steps", "reduce", "threads", "pass")]
    entry = row.comparison.entry(NATIVE.name)
    if entry is None or entry.gflops is None or entry.share is None:
        return [*cells, *6 * [MISSING]]
    low, median, high = (f"{100 * share:.0f}" for share in (entry.share.low, entry.share.median, entry.share.high))
    cells += [number(entry.milliseconds.median), number(entry.gflops), f"{median} % ({low} to {high})"]
    cells += [MISSING, MISSING] if memory_of is None else [number(b / 2**20) for b in (memory_of.saved, memory_of.peak)]
    return [*cells, f"{entry.difference:.0e}"]


def run(settings: Settings) -> Section:
    """Measure the section."""
    rows = _measure(settings)
    head = ["a frame", "steps", "reduce", "threads", "pass", "ms", "useful GFLOP/s", "of matrix rate"]
    head += ["kept, MiB", "most in use, MiB", "difference"]
    table = Table("Long windows", head, [_cells(row) for row in rows], names=5)
    comparisons = [row.comparison for row in rows]
    return Section(
        "Long windows of a raw waveform", _TEXT, [table], comparisons, {"memory": [row.memory for row in rows]}
    )
