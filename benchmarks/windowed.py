"""Section "windowed": the windowed LSTM of the paper's front end against all its peers."""

import itertools
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

from benchmarks import memory
from benchmarks.compare import SQUARE, TOLERANCE, Comparison, Contender, Product, answer, compare
from benchmarks.peers import PEERS, Peer, Unavailable
from benchmarks.problem import Operands, Problem, expected, upstream
from benchmarks.report import Section, Table, comparison_table, number
from benchmarks.settings import PASSES, Settings, progress, threads

FRAMES = {512: 35, 2016: 129, 20000: 1253}
"""Frames of each of 32 sequences, by their total number of windows."""

FIRST_LAYER, SECOND_LAYER = 26, 100

_TEXT = """\
One windowed LSTM as in the paper's front end: windows of 5 frames with a shift of 2, 100 units, peepholes, initial
states of zero; the features of a window are its last cell state. 32 sequences of 35, 129 or 1253 frames give 512, 2016
or 20000 windows. "forward" is inference. "training" is the forward pass and the backward pass to all parameters, and
with 100 features (a second layer) also to x. Implementations without peepholes are compared with ours without
peepholes. The time of an implementation includes everything a user has to do to use it, such as copying the windows.
"times ours" is its time divided by that of convrnn native in the same round: median and quartiles. "useful GFLOP/s"
counts only the operations that every implementation has to do (`Problem.useful_flops` in `benchmarks/problem.py`); "of
matrix rate" is their rate as a share of the rate of PyTorch's matrix products in the same rounds: the faster of one
with the shape of the recurrent product and a large square one. "difference" is the largest deviation from the same
result in float64, over all values and gradients, as a share of the tensor's largest value. Memory is measured in a
separate process for each implementation, after a first step: what the forward pass keeps for the backward pass in
addition to x and the parameters, as allocated, and the process's peak during the step, less what it used before."""


@dataclass(frozen=True)
class _MemoryRow:
    windows: int
    features: int
    threads: int
    peer: str
    memory: memory.Memory


def contenders(
    problem: Problem, training: bool, peers: Sequence[Peer] = PEERS, *, tolerance: float = TOLERANCE
) -> tuple[list[Contender], list[str]]:
    """The peers on a problem, and one line for each that is left out because something is missing."""
    drawn = Operands.draw(problem)
    variants = {True: drawn, False: drawn.without_peepholes()}
    gradient = upstream(problem, training)
    answers = {peepholes: expected(problem, operands, gradient) for peepholes, operands in variants.items()}
    found, missing = [], []
    for peer in peers:
        if training and not peer.trains:
            continue
        operands = variants[peer.peepholes]
        try:
            forward = peer.prepare(problem, operands)
        except Unavailable as error:
            missing.append(f"{peer.name} is left out: {error}")
            continue
        run = answer(forward, operands.differentiated(), gradient)
        found.append(Contender(peer.name, run, answers[peer.peepholes], peer.baseline, tolerance=tolerance))
    return found, missing


def _measure_times(settings: Settings) -> tuple[list[Comparison], list[str]]:
    windows, features = ((2016,), (FIRST_LAYER,)) if settings.quick else (tuple(FRAMES), (FIRST_LAYER, SECOND_LAYER))
    comparisons, notes = [], []
    for name, k, w, count in itertools.product(PASSES, features, windows, settings.threads):
        problem, training = Problem(batch=32, frames=FRAMES[w], features=k), PASSES[name]
        case: dict[str, str | int] = {"pass": name, "features": k, "windows": problem.windows, "threads": count}
        with progress("windowed", case), threads(count):
            peers, missing = contenders(problem, training)
            products = (Product(problem.windows, problem.hidden, 4 * problem.hidden), Product(SQUARE, SQUARE, SQUARE))
            flops = problem.useful_flops(training)
            comparisons.append(compare(case, peers, settings.effort, flops=flops, products=products))
        notes += missing
    return comparisons, notes


def _measure_memory(settings: Settings, timed: Collection[str]) -> list[_MemoryRow]:
    """The memory of the peers that were timed."""
    rows = []
    for w in (2016,) if settings.quick else (2016, 20000):
        problem = Problem(batch=32, frames=FRAMES[w], features=FIRST_LAYER)
        for peer in PEERS:
            if peer.trains and peer.name in timed:
                with progress("memory", {"windows": w, "of": peer.name}), threads(settings.most_threads):
                    taken = memory.measure(peer, problem)
                rows.append(_MemoryRow(w, problem.features, settings.most_threads, peer.name, taken))
    return rows


def _products_table(comparisons: Iterable[Comparison]) -> Table:
    rows = [
        [*(str(comparison.case[key]) for key in ("pass", "features", "windows", "threads")), shape, number(rate)]
        for comparison in comparisons
        for shape, rate in comparison.product_gflops.items()
    ]
    head = ["pass", "features", "windows", "threads", "matrix product", "GFLOP/s"]
    return Table("The machine's rate of matrix products, in the same rounds", head, rows, names=5)


def _memory_table(rows: Iterable[_MemoryRow]) -> Table:
    mebibyte = 2**20
    cells = [
        [str(row.windows), str(row.threads), row.peer]
        + [number(size / mebibyte) for size in (row.memory.saved, row.memory.peak)]
        for row in rows
    ]
    title = "Memory of a training step, 26 features"
    return Table(title, ["windows", "threads", "what", "kept, MiB", "most in use, MiB"], cells, names=3)


def run(settings: Settings) -> Section:
    """Measure the section."""
    comparisons, left_out = _measure_times(settings)
    timed = {entry.name for comparison in comparisons for entry in comparison.entries}
    rows = _measure_memory(settings, timed) if memory.MEASURABLE else []
    tables = [
        comparison_table(
            f"Windowed LSTM, {name}, {k} features",
            {"windows": "windows", "threads": "threads"},
            [c for c in comparisons if (c.case["pass"], c.case["features"]) == (name, k)],
            with_rates=True,
        )
        for name, k in dict.fromkeys((str(c.case["pass"]), c.case["features"]) for c in comparisons)
    ]
    tables.append(_products_table(comparisons))
    if rows:
        tables.append(_memory_table(rows))
    else:
        left_out.append("memory is left out: it is measured on Linux only")
    return Section("Windowed LSTM", _TEXT, tables, comparisons, {"memory": rows}, left_out)
