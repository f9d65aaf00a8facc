"""Section "windowed": the windowed LSTM of the paper's front end against all its peers."""

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from benchmarks import memory
from benchmarks.compare import SQUARE, TOLERANCE, Comparison, Contender, Product, answer, compare
from benchmarks.peers import PEERS, Peer, Unavailable
from benchmarks.problem import GATES, Problem, differentiated, draw, expected, upstream
from benchmarks.report import Section, Table, comparison_table, number
from benchmarks.settings import PASSES, Settings, progress, threads

BATCH = 32

FRAMES = {512: 35, 2016: 129, 20000: 1253}
"""Frames of each sequence, by their total number of windows."""

FIRST_LAYER, SECOND_LAYER = 26, 100

NO_MEMORY = "memory is left out: it is measured on Linux only"

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
class MemoryRow:
    """The memory that a peer's training step takes."""

    cell: str
    windows: int
    features: int
    threads: int
    peer: str
    memory: memory.Memory


def contenders(
    problem: Problem, training: bool, peers: Sequence[Peer], *, tolerance: float = TOLERANCE
) -> tuple[list[Contender], list[str]]:
    """The peers on a problem, and one line for each that is left out because something is missing."""
    gradient = upstream(problem, training)
    variants = {as_torch: replace(problem, as_torch=as_torch) for as_torch in {peer.as_torch for peer in peers}}
    drawn = {as_torch: draw(variant) for as_torch, variant in variants.items()}
    answers = {as_torch: expected(variant, drawn[as_torch], gradient) for as_torch, variant in variants.items()}
    found, missing = [], []
    for peer in peers:
        if training and not peer.trains:
            continue
        operands = drawn[peer.as_torch]
        try:
            forward = peer.prepare(variants[peer.as_torch], operands)
        except Unavailable as error:
            missing.append(f"{peer.name} is left out: {error}")
            continue
        run = answer(forward, differentiated(operands), gradient)
        found.append(Contender(peer.name, run, answers[peer.as_torch], peer.baseline, tolerance=tolerance))
    return found, missing


def measure_times(
    section: str, problems: Iterable[Problem], counts: Sequence[int], settings: Settings
) -> tuple[list[Comparison], list[str]]:
    """Compare all peers on problems, in both passes.

    Args:
        section: Name of the section.
        problems: The problems.
        counts: Numbers of threads.
        settings: How long to measure.

    Returns:
        The comparisons, and one line for each peer that is left out.
    """
    comparisons, notes = [], []
    for name, problem, count in itertools.product(PASSES, problems, counts):
        case: dict[str, str | int] = {"pass": name, "cell": problem.cell, "features": problem.features}
        case |= {"windows": problem.windows, "threads": count}
        with progress(section, case), threads(count):
            peers, missing = contenders(problem, PASSES[name], PEERS[problem.cell])
            columns = GATES[problem.cell] * problem.hidden
            products = (Product(problem.windows, problem.hidden, columns), Product(SQUARE, SQUARE, SQUARE))
            flops = problem.useful_flops(PASSES[name])
            comparisons.append(compare(case, peers, settings.effort, flops=flops, products=products))
        notes += missing
    return comparisons, notes


def measure_memory(problems: Iterable[Problem], comparisons: Iterable[Comparison], count: int) -> list[MemoryRow]:
    """The memory of the peers that were timed, with ``count`` threads."""
    timed = {(comparison.case["cell"], entry.name) for comparison in comparisons for entry in comparison.entries}
    rows = []
    for problem in problems:
        for peer in PEERS[problem.cell]:
            if peer.trains and (problem.cell, peer.name) in timed:
                described: dict[str, str | int] = {"cell": problem.cell, "windows": problem.windows, "of": peer.name}
                with progress("memory", described), threads(count):
                    taken = memory.measure(peer, problem)
                rows.append(MemoryRow(problem.cell, problem.windows, problem.features, count, peer.name, taken))
    return rows


def products_table(comparisons: Iterable[Comparison]) -> Table:
    """The rates of the matrix products that the peers' rates are compared with."""
    rows = [
        [
            *(str(comparison.case[key]) for key in ("pass", "cell", "features", "windows", "threads")),
            shape,
            number(rate),
        ]
        for comparison in comparisons
        for shape, rate in comparison.product_gflops.items()
    ]
    head = ["pass", "cell", "features", "windows", "threads", "matrix product", "GFLOP/s"]
    return Table("The machine's rate of matrix products, in the same rounds", head, rows, names=6)


def memory_table(rows: Iterable[MemoryRow]) -> Table:
    """What each peer keeps and takes."""
    mebibyte = 2**20
    cells = [
        [row.cell, str(row.windows), str(row.threads), row.peer]
        + [number(size / mebibyte) for size in (row.memory.saved, row.memory.peak)]
        for row in rows
    ]
    title = "Memory of a training step, 26 features"
    return Table(title, ["cell", "windows", "threads", "what", "kept, MiB", "most in use, MiB"], cells, names=4)


def run(settings: Settings) -> Section:
    """Measure the section."""
    windows, features = ((2016,), (FIRST_LAYER,)) if settings.quick else (tuple(FRAMES), (FIRST_LAYER, SECOND_LAYER))
    problems = [Problem(BATCH, FRAMES[w], k) for k, w in itertools.product(features, windows)]
    comparisons, left_out = measure_times("windowed", problems, settings.threads, settings)
    tables = [
        comparison_table(
            f"Windowed LSTM, {name}, {k} features",
            {"windows": "windows", "threads": "threads"},
            [c for c in comparisons if (c.case["pass"], c.case["features"]) == (name, k)],
            with_rates=True,
        )
        for name, k in itertools.product(PASSES, features)
    ]
    tables.append(products_table(comparisons))
    rows: list[MemoryRow] = []
    if memory.MEASURABLE:
        large = [problem for problem in problems if problem.windows >= 2016 and problem.features == FIRST_LAYER]
        rows = measure_memory(large, comparisons, settings.most_threads)
        tables.append(memory_table(rows))
    else:
        left_out.append(NO_MEMORY)
    return Section("Windowed LSTM", _TEXT, tables, comparisons, {"memory": rows}, left_out)
