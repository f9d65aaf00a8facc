"""Section "windowed": the windowed LSTM of the paper's front end against all its peers."""

import functools
import itertools
from collections.abc import Mapping, Sequence
from dataclasses import replace

import torch

from benchmarks.compare import Contender
from benchmarks.gpu import memory
from benchmarks.gpu.device import Rates, Work, measure_rates
from benchmarks.gpu.peers import PEERS, Peer, Prepared, fitted, moved
from benchmarks.gpu.settings import Precision, Settings
from benchmarks.gpu.tables import comparison_table
from benchmarks.gpu.timing import compare
from benchmarks.memory import Memory
from benchmarks.problem import Problem, draw, expected, upstream
from benchmarks.report import Section, Table, number
from benchmarks.settings import PASSES, progress

FRAMES = {128: 11, 1024: 67, 10016: 629, 100000: 6253}
"""Frames of each of 32 sequences, by their total number of windows: multiples of 8, which cuDNN is fastest with."""

FEATURES = (26, 100)
"""Features per frame of a first and of a second layer."""

QUICK_WINDOWS, QUICK_FEATURES = (10016,), (26,)

_TEXT = """\
One windowed LSTM as in the paper's front end: windows of 5 frames with a shift of 2, 100 units, peepholes, initial
states of zero; the features of a window are its last cell state. "forward" is inference. "training" is the forward pass
and the backward pass to all parameters, and with 100 features (a second layer) also to x. cuDNN has no peepholes and is
compared with ours without peepholes, launched in the same way. Its time includes copying the windows, but not padding
features and units to multiples of 128, which makes PyTorch ask for cuDNN's persistent algorithm in fp16. Times are
measured with CUDA events, in turn, on new random frames in every turn: medians, and for "times ours" the median and
quartiles over the rounds. "of the floor" is the least time that the work can take on this GPU, divided by the measured
time. That least time is the longest of three: the operations of the products, at the rate of a large product of
PyTorch's in the same precision; the exponentials and reciprocals, at 16 per clock and multiprocessor; and the bytes of
inputs and results, at the rate of a large copy. "difference" is the largest deviation from the same result in float64,
over all values and gradients, as a share of the tensor's largest value. Memory is as PyTorch counts it: what the
forward pass keeps for the backward pass in addition to x and the parameters, and the peak of all tensors during the
step, less what they took before."""


def work(problem: Problem, training: bool, itemsize: int) -> Work:
    """The work that every implementation has to do.

    An activation function takes an exponential and a reciprocal. Each step has five of them, the last only three, as
    only its cell state is needed. Training also reads the gradient of the result and, where needed, writes that of x.

    Example:
        >>> work(Problem(batch=1, frames=3, features=2, hidden=1, kernel_size=2, stride=1), training=False, itemsize=4)
        Work(flops=60, specials=32, bytes=32)
    """
    x, y = problem.batch * problem.frames * problem.features, problem.windows * problem.hidden
    backward = y + (x if problem.x_gradient else 0) if training else 0
    activations = problem.windows * problem.hidden * (5 * problem.kernel_size - 2)
    return Work(problem.useful_flops(training), 2 * activations, itemsize * (x + y + backward))


def contenders(
    problem: Problem, training: bool, precision: Precision, compiled: bool, peers: Sequence[Peer] = PEERS
) -> tuple[list[Contender], list[Prepared]]:
    """The peers on a problem."""
    variants = [problem, replace(problem, as_torch=True)]
    drawn = {variant: moved(draw(variant), precision.dtype) for variant in variants}
    gradient = upstream(problem, training)
    gradient = None if gradient is None else gradient.to(drawn[problem]["x"])
    answers = {variant: expected(variant, operands, gradient) for variant, operands in drawn.items()}
    # Functions compiled for other sizes would count towards the recompilation limit.
    torch.compiler.reset()
    found, prepared = [], []
    for peer in peers:
        if peer.only not in (None, precision.dtype) or (peer.compiled and not compiled):
            continue
        # Each peer gets its own copy: what torch.compile recorded keeps nodes of its parameters' gradients, which
        # belong to another stream than the one that records a graph.
        variant = replace(problem, as_torch=not peer.peepholes)
        ready = peer.prepare(variant, moved(drawn[variant], precision.dtype))
        wanted = answers[variant]
        run = peer.run(ready, fitted(gradient, ready))
        check = peer.answer(run, ready, wanted)
        found.append(Contender(peer.name, run, wanted, peer.baseline, answer=check, tolerance=precision.tolerance))
        prepared.append(ready)
    return found, prepared


def redraw(prepared: list[Prepared], features: int) -> None:
    """Draw new frames."""
    with torch.no_grad():
        for x in {id(ready.x): ready.x for ready in prepared}.values():
            x[..., :features].normal_()


def run(settings: Settings) -> Section:
    """Measure the section."""
    comparisons = []
    rates: dict[str, Rates] = {}
    taken: dict[str, dict[str, Memory]] = {}
    for precision in settings.precisions:
        with precision.set():
            rates[precision.name] = measure_rates(precision)
            for name, k, w in itertools.product(PASSES, settings.features, settings.windows):
                problem, training = Problem(batch=32, frames=FRAMES[w], features=k), PASSES[name]
                case: dict[str, str | int] = {"pass": name, "precision": precision.name}
                case |= {"features": k, "windows": problem.windows}
                with progress("windowed", case):
                    found, prepared = contenders(problem, training, precision, settings.compiled)
                    needed = work(problem, training, precision.dtype.itemsize)
                    comparison = compare(
                        case,
                        found,
                        settings.effort,
                        refresh=functools.partial(redraw, prepared, k),
                        floor=rates[precision.name].floor(needed),
                        flops=needed.flops,
                    )
                comparisons.append(comparison)
            with progress("memory", {"windows": max(settings.windows), "precision": precision.name}):
                problem = Problem(batch=32, frames=FRAMES[max(settings.windows)], features=settings.features[0])
                taken[precision.name] = memory.measure(problem, precision)
    columns = {key: key for key in ("precision", "features", "windows")}
    tables = [
        comparison_table(f"Windowed LSTM, {name}", columns, [c for c in comparisons if c.case["pass"] == name])
        for name in PASSES
    ]
    title = f"Memory of a training step, {max(settings.windows)} windows, {settings.features[0]} features"
    tables += [_memory_table(title, taken), _rates_table(rates)]
    return Section("Windowed LSTM", _TEXT, tables, comparisons, {"rates": rates, "memory": taken})


def _memory_table(title: str, taken: Mapping[str, Mapping[str, Memory]]) -> Table:
    mebibyte = 2**20
    rows = [
        [precision, peer, number(of_peer.saved / mebibyte), number(of_peer.peak / mebibyte)]
        for precision, peers in taken.items()
        for peer, of_peer in peers.items()
    ]
    return Table(title, ["precision", "what", "kept, MiB", "most in use, MiB"], rows, names=2)


def _rates_table(rates: dict[str, Rates]) -> Table:
    rows = [
        [name, number(rate.flops / 1e12), number((rate.specials or 0) / 1e12), number(rate.bytes / 1e12)]
        for name, rate in rates.items()
    ]
    head = ["precision", "products, TFLOP/s", "special functions, 1e12/s (0: not known)", "copy, TB/s"]
    return Table("What the GPU can do", head, rows)
