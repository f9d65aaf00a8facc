"""Section "eager": the windowed LSTM called from Python, as in a model of one's own, against cuDNN."""

import functools
import itertools

import torch

from benchmarks.gpu.peers import ORDINARY, OURS_PLAIN
from benchmarks.gpu.settings import Settings
from benchmarks.gpu.tables import comparison_table
from benchmarks.gpu.timing import compare
from benchmarks.gpu.windowed import contenders, redraw
from benchmarks.problem import Problem
from benchmarks.report import Section
from benchmarks.settings import PASSES, progress

FRAMES = {128: 11, 512: 35, 1024: 67, 4096: 259, 8192: 515, 10016: 629, 20000: 1253}
"""Frames of each of 32 sequences, by their total number of windows."""

FEATURES = 26

_TEXT = """\
The layer of the section "windowed" without peepholes, which cuDNN does not have, both called from Python, in float32
and TF32: with few windows, what is measured is mostly the work of the host."""


def run(settings: Settings) -> Section:
    """Measure the section."""
    comparisons = []
    for precision in settings.precisions:
        if precision.dtype != torch.float32:
            continue
        with precision.set():
            for name, w in itertools.product(PASSES, FRAMES):
                problem = Problem(batch=32, frames=FRAMES[w], features=FEATURES)
                case: dict[str, str | int] = {"pass": name, "precision": precision.name, "windows": problem.windows}
                with progress("eager", case):
                    found, prepared = contenders(
                        problem, PASSES[name], precision, compiled=False, peers=(OURS_PLAIN, ORDINARY)
                    )
                    refresh = functools.partial(redraw, prepared, FEATURES)
                    comparisons.append(compare(case, found, settings.effort, refresh=refresh))
    columns = {key: key for key in ("precision", "windows")}
    tables = [
        comparison_table(f"Called from Python, {name}", columns, [c for c in comparisons if c.case["pass"] == name])
        for name in PASSES
    ]
    return Section("Windowed LSTM, called from Python", _TEXT, tables, comparisons)
