"""Section "dtypes": the windowed LSTM in bfloat16, in float16 and under autocast, against its own float32."""

import itertools
from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor

from benchmarks.compare import TOLERANCE, Contender, answer, compare
from benchmarks.peers import OURS
from benchmarks.problem import Forward, Operands, Problem, converted, differentiated, draw, expected, upstream, windowed
from benchmarks.report import Section, comparison_table
from benchmarks.settings import PASSES, Settings, progress, threads
from benchmarks.windowed import BATCH, FIRST_LAYER, FRAMES
from convrnn import ops

DTYPES = (torch.float32, torch.bfloat16, torch.float16)

FLOAT32 = f"{OURS}, float32"

_TEXT = """\
The windowed LSTM with its operands in bfloat16 and float16, and with operands in float32 under CPU autocast to
bfloat16: 2016 windows of 5 frames with a shift of 2, 26 features, 100 units. The kernel computes in float32; "times
ours" is relative to its time with operands in float32. The features and gradients have the dtype of the operands. They
are compared with float64 on the same operands, so that the difference is mostly that of rounding a result once: at most
4e-3 of its value in bfloat16 and 5e-4 in float16."""


def _forward(problem: Problem, operands: Operands, autocast: bool) -> Forward:
    def forward() -> Tensor:
        context: AbstractContextManager[object] = torch.autocast("cpu", torch.bfloat16) if autocast else nullcontext()
        with context, ops.use_backend("native"):
            return windowed(problem, **operands)

    return forward


def contenders(problem: Problem, training: bool) -> list[Contender]:
    """Our kernel on the operands in every dtype, and under autocast."""
    drawn, gradient = draw(problem), upstream(problem, training)
    found = []
    for dtype, autocast in (*((dtype, False) for dtype in DTYPES), (torch.float32, True)):
        operands = converted(drawn, dtype)
        rounded = None if gradient is None else gradient.to(dtype)
        name = f"{OURS}, {str(dtype).removeprefix('torch.')}{' under autocast' if autocast else ''}"
        run = answer(_forward(problem, operands, autocast), differentiated(operands), rounded)
        tolerance = TOLERANCE + (0 if dtype == torch.float32 else torch.finfo(dtype).eps / 2)
        found.append(Contender(name, run, expected(problem, operands, rounded), FLOAT32, tolerance=tolerance))
    return found


def run(settings: Settings) -> Section:
    """Measure the section."""
    problem = Problem(BATCH, FRAMES[2016], FIRST_LAYER)
    comparisons = []
    counts = (settings.most_threads,) if settings.quick else settings.threads
    for name, count in itertools.product(PASSES, counts):
        case: dict[str, str | int] = {"pass": name, "windows": problem.windows, "threads": count}
        with progress("dtypes", case), threads(count):
            comparisons.append(compare(case, contenders(problem, PASSES[name]), settings.effort))
    columns = {key: key for key in ("pass", "windows", "threads")}
    tables = [comparison_table("Windowed LSTM by dtype", columns, comparisons)]
    return Section("Narrow dtypes", _TEXT, tables, comparisons)
