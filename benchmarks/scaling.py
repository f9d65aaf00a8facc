"""Section "scaling": how the cost grows with the window length, the stride and the number of windows."""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

from benchmarks.compare import Comparison, Contender, answer, compare
from benchmarks.measure import Line, Spread
from benchmarks.peers import NATIVE, REFERENCE, Peer
from benchmarks.problem import Problem, differentiated, draw, expected, upstream
from benchmarks.report import MISSING, Section, Table, number, ratio
from benchmarks.settings import PASSES, Settings, progress, threads

FEATURES = 26

_TEXT = """\
The windowed LSTM as above (26 features, 100 units, peepholes, the last cell state), with one size varied at a time: the
window length, with 32 times 63 windows and a shift of 2; the shift, with as many windows of 5 frames, which then spread
over more frames, so that only the cost of projecting these should grow a little; the windows per frame, which are 1 /
shift, with 32 times 513 frames and windows of 5; and the number of windows of 5 with a shift of 2, in 32 sequences.
Straight lines are expected. All points of a line are measured in turn in the same rounds; "R²" is the share of the
variance that the fitted line explains."""


@dataclass(frozen=True)
class Sweep:
    """A size that is varied.

    Attributes:
        name: Name of the size.
        unit: The slope is in milliseconds per this unit.
        points: The position on the horizontal axis and the problem, for each point.
    """

    name: str
    unit: str
    points: Sequence[tuple[float, Problem]]


@dataclass(frozen=True)
class Curve:
    """The cost of one peer along a sweep.

    Attributes:
        sweep: Name of the sweep.
        unit: The line's slope is in milliseconds per this unit.
        mode: "forward" or "training".
        peer: Name of the peer.
        x: Positions on the horizontal axis.
        milliseconds: Time at each of them.
        line: The line fitted to the medians.
    """

    sweep: str
    unit: str
    mode: str
    peer: str
    x: Sequence[float]
    milliseconds: Sequence[Spread]
    line: Line


def sweeps(settings: Settings) -> list[Sweep]:
    """What is varied, and over which values."""
    lengths = (1, 8, 16, 32) if settings.quick else (1, 2, 4, 8, 16, 32)
    shifts = (1, 3, 5) if settings.quick else (1, 2, 3, 4, 5)
    densities = (1, 2, 4) if settings.quick else (1, 2, 3, 4, 8)
    counts = (16, 63, 128) if settings.quick else (8, 16, 32, 63, 128, 256, 500)

    def windows(count: int = 63, length: int = 5, stride: int = 2) -> Problem:
        """32 sequences of exactly ``count`` windows each."""
        return Problem(32, (count - 1) * stride + length, FEATURES, kernel_size=length, stride=stride)

    return [
        Sweep("window length", "frame of a window", [(n, windows(length=n)) for n in lengths]),
        Sweep("shift", "frame of shift", [(s, windows(stride=s)) for s in shifts]),
        Sweep(
            "windows per frame", "window per frame", [(1 / s, Problem(32, 513, FEATURES, stride=s)) for s in densities]
        ),
        Sweep("number of windows", "1000 windows", [(32 * n / 1000, windows(n)) for n in counts]),
    ]


def _contender(peer: Peer, place: float, problem: Problem, training: bool) -> Contender:
    operands, gradient = draw(problem), upstream(problem, training)
    run = answer(peer.prepare(problem, operands), differentiated(operands), gradient)
    exact = expected(problem, operands, gradient)
    return Contender(f"{peer.name} at {place:g}", run, exact, baseline=f"{NATIVE.name} at {place:g}")


def _curve(sweep: Sweep, mode: str, peer: Peer, comparison: Comparison) -> Curve | None:
    """The curve; None if too few points have right answers for a line."""
    entries = [(place, comparison.entry(f"{peer.name} at {place:g}")) for place, _ in sweep.points]
    found = [(place, entry.milliseconds) for place, entry in entries if entry is not None]
    if len(found) < 3:
        return None
    x, milliseconds = [place for place, _ in found], [spread for _, spread in found]
    line = Line.fit(x, [spread.median for spread in milliseconds])
    return Curve(sweep.name, sweep.unit, mode, peer.name, x, milliseconds, line)


def _point_rows(sweep: Sweep, mode: str, comparison: Comparison) -> list[list[str]]:
    """One row for each point, with both peers side by side."""
    rows = []
    for place, _ in sweep.points:
        entries = [comparison.entry(f"{peer.name} at {place:g}") for peer in (NATIVE, REFERENCE)]
        times = [MISSING if entry is None else number(entry.milliseconds.median) for entry in entries]
        rows.append([mode, sweep.name, f"{place:.3g}", *times, ratio(entries[-1].ratio if entries[-1] else None)])
    return rows


def _lines_table(curves: Sequence[Curve]) -> Table:
    rows = [
        [c.mode, c.sweep, c.peer, f"ms per {c.unit}", *map(number, (c.line.slope, c.line.intercept, c.line.r_squared))]
        for c in curves
    ]
    head = ["pass", "varied", "what", "unit of the slope", "slope", "intercept, ms", "R²"]
    return Table("The fitted lines", head, rows, names=4)


def run(settings: Settings) -> Section:
    """Measure the section."""
    comparisons, curves, rows = [], [], []
    for mode, sweep in itertools.product(PASSES, sweeps(settings)):
        case: dict[str, str | int] = {"pass": mode, "varied": sweep.name, "threads": settings.most_threads}
        with progress("scaling", case), threads(settings.most_threads):
            # The two peers of a point take their turns one after the other, so that their ratio drifts least.
            found = [
                _contender(peer, place, problem, PASSES[mode])
                for place, problem in sweep.points
                for peer in (NATIVE, REFERENCE)
            ]
            comparison = compare(case, found, settings.effort)
        comparisons.append(comparison)
        found_curves = (_curve(sweep, mode, peer, comparison) for peer in (NATIVE, REFERENCE))
        curves += [curve for curve in found_curves if curve is not None]
        rows += _point_rows(sweep, mode, comparison)
    head = ["pass", "varied", "at", "native, ms", "reference, ms", "reference over native (quartiles)"]
    points = Table(f"Cost, threads: {settings.most_threads}", head, rows, names=2)
    return Section("Cost and size", _TEXT, [points, _lines_table(curves)], comparisons, {"curves": curves})
