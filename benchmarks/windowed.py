"""Section "windowed": the windowed LSTM of the paper's front end against all its peers."""

import itertools
from collections.abc import Collection, Iterable
from dataclasses import dataclass

from benchmarks import memory
from benchmarks.compare import SQUARE, Comparison, Contender, Product, answer, compare
from benchmarks.peers import PEERS, Unavailable
from benchmarks.problem import Operands, Problem, expected, upstream
from benchmarks.report import Section, Table, comparison_table, number
from benchmarks.settings import PASSES, Settings, progress, threads

FRAMES = {512: 35, 2016: 129, 20000: 1253}
"""Frames of each of 32 sequences, by the windows that they give together."""

FIRST_LAYER, SECOND_LAYER = 26, 100

_TEXT = """\
One windowed LSTM as in the paper's front end: windows of 5 frames with a shift of 2, 100 units, the last cell state of
each window, peepholes, initial states of zero. 32 sequences of 35, 129 or 1253 frames give 512, 2016 or 20000 windows.
"forward" is inference. "training" is the forward and the backward pass to all parameters, and to x where it has 100
features (a second layer), not where it has 26 (a first layer). Peers that cannot have peepholes compute the LSTM
without and are compared with ours without. What a user has to do in order to use a peer, such as copying the windows
apart, is in its time. "times ours" is the time over that of convrnn native, by rounds: median and quartiles. "useful
GFLOP/s" counts the operations that no implementation can do without (`Problem.useful_flops` in
`benchmarks/problem.py`); "of matrix rate" is their share of the rate of the faster of two matrix products of PyTorch in
the same rounds, one of the recurrent product's shape and one large and square. "difference" is the largest from the
same answer in float64, over all values and gradients, as a share of a tensor's largest value. Memory is measured in a
process for each peer, after a first step: what the forward pass keeps for the backward pass beside x and the
parameters, as allocated, and the most that the process had in use during the step beyond what it had before."""


@dataclass(frozen=True)
class _MemoryRow:
    windows: int
    features: int
    threads: int
    peer: str
    memory: memory.Memory


def contenders(problem: Problem, training: bool) -> tuple[list[Contender], list[str]]:
    """The peers on a problem, and one line for each that is left out because something is missing."""
    drawn = Operands.draw(problem)
    variants = {True: drawn, False: drawn.without_peepholes()}
    gradient = upstream(problem, training)
    answers = {peepholes: expected(problem, operands, gradient) for peepholes, operands in variants.items()}
    found, missing = [], []
    for peer in PEERS:
        if training and not peer.trains:
            continue
        operands = variants[peer.peepholes]
        try:
            forward = peer.prepare(problem, operands)
        except Unavailable as error:
            missing.append(f"{peer.name} is left out: {error}")
            continue
        run = answer(forward, operands.differentiated(), gradient)
        found.append(Contender(peer.name, run, answers[peer.peepholes], peer.baseline))
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
    """Of those peers that could be timed."""
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
