"""Section "cells": the other recurrent cells over windows, against all their peers."""

import itertools

from benchmarks import memory
from benchmarks.problem import Problem
from benchmarks.report import Section, comparison_table
from benchmarks.settings import PASSES, Settings
from benchmarks.windowed import (
    BATCH,
    FIRST_LAYER,
    FRAMES,
    NO_MEMORY,
    MemoryRow,
    measure_memory,
    measure_times,
    memory_table,
    products_table,
)

CELLS = ("gru", "rnn")

_TEXT = """\
The gated and the simple recurrent network over windows, with the sizes of the windowed LSTM: 2016 windows of 5 frames
with a shift of 2, in 32 sequences of 129 frames with 26 features; 100 units; the features of a window are its last
hidden state. The GRU has two conventions: its reset gate acts on the state before the recurrent product, as in the
authors' code and by default, or after it on the product, as in PyTorch. nn.GRU computes only the latter and is compared
with ours likewise ("reset after"); all other implementations of the GRU compute the former, and are compared with ours
by default. For nn.GRU the function that it calls is timed. The simple recurrent network has tanh. Times, rates and
memory are those of the windowed LSTM."""


def run(settings: Settings) -> Section:
    """Measure the section."""
    problems = [Problem(BATCH, FRAMES[2016], FIRST_LAYER, cell=cell) for cell in CELLS]
    counts = (settings.most_threads,) if settings.quick else settings.threads
    comparisons, left_out = measure_times("cells", problems, counts, settings)
    tables = [
        comparison_table(
            f"Windowed {cell.upper()}, {name}",
            {"windows": "windows", "threads": "threads"},
            [c for c in comparisons if (c.case["pass"], c.case["cell"]) == (name, cell)],
            with_rates=True,
        )
        for cell, name in itertools.product(CELLS, PASSES)
    ]
    tables.append(products_table(comparisons))
    rows: list[MemoryRow] = []
    if not memory.MEASURABLE:
        left_out.append(NO_MEMORY)
    elif not settings.quick:
        rows = measure_memory(problems, comparisons, settings.most_threads)
        tables.append(memory_table(rows))
    return Section("Other cells over windows", _TEXT, tables, comparisons, {"memory": rows}, left_out)
