"""Section "small": single short utterances, whose calls take less time than some Python around them."""

import copy
import itertools
import logging
import statistics
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from unittest import mock

import torch
from torch import Tensor, nn

from benchmarks.compare import Contender, answer, compare
from benchmarks.measure import Spread
from benchmarks.models import draw_model
from benchmarks.peers import OURS, REFERENCE, Unavailable, onnx_runtime, onnx_session
from benchmarks.problem import Forward, Problem, draw
from benchmarks.report import Section, Table, comparison_table
from benchmarks.settings import Settings, progress, threads
from convrnn import ops
from convrnn.nn import CLSTM
from convrnn.ops.native import library

PROBLEM = Problem(batch=1, frames=100, features=26)
"""One utterance of 1 s through the first layer."""

LAYER, MODEL = "CLSTM layer", "model of section IV-A"

_CALLS = 50
"""Calls in a row of which the median is taken."""

_TEXT = """\
One utterance of 1 s: 100 frames of 26 features in a batch of 1, in inference mode, through a single CLSTM layer
(windows of 5 frames with a shift of 2, 100 units) and through the whole CLSTM classifier of section IV-A (5 classes).
ONNX Runtime runs both as `convrnn export` writes them, without the standardisation of the features: the steps of a
window are unrolled, and the LSTM over whole sequences is ONNX's own operator. The layer is also compared with that
operator on unfolded windows. The second table divides the time of our calls: "kernel" is the time of the C functions
alone, called again with the same arguments, and "outside the kernel" is the rest, both by the median of 50 calls in a
row, in turns. For the layer the rest is Python's part; for the model it includes PyTorch's pooling, dense layers and
softmax."""


@dataclass(frozen=True)
class Overhead:
    """How the time of our call divides, in microseconds.

    Attributes:
        what: What is called.
        threads: Number of threads.
        call: Time of the whole call.
        kernel: Time of the C functions that it calls.
        outside: The difference.
    """

    what: str
    threads: int
    call: Spread
    kernel: Spread
    outside: Spread


def _layer() -> CLSTM:
    """The layer with the operands of the problem as its parameters."""
    layer = CLSTM(PROBLEM.features, PROBLEM.hidden, PROBLEM.kernel_size, PROBLEM.stride)
    layer.load_state_dict({f"{name}_l0": tensor for name, tensor in draw(PROBLEM).items() if name != "x"})
    return layer


def _on(backend: str, module: nn.Module, x: Tensor) -> Forward:
    def forward() -> Tensor:
        with ops.use_backend(backend):
            y: Tensor = module(x)
            return y

    return forward


def _exported(module: nn.Module, x: Tensor) -> Forward:
    """The module in ONNX Runtime, translated as by ``convrnn.models.export_onnx``.

    Raises:
        Unavailable: a package is not installed.
    """
    try:
        import onnx  # noqa: F401
        import onnxscript  # noqa: F401

        from convrnn.models.export import OPSET
        from convrnn.models.onnx_sequences import translations
    except ImportError as error:
        raise Unavailable(f"{error.name} is not installed (pip install onnx onnxscript onnxruntime)") from None
    level = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(), torch.inference_mode(), ops.use_backend("reference"):
            warnings.simplefilter("ignore")
            program = torch.onnx.export(
                copy.deepcopy(module),
                (x,),
                input_names=["x"],
                output_names=["y"],
                opset_version=OPSET,
                custom_translation_table=translations(),
                dynamo=True,
                verbose=False,
            )
    finally:
        logging.disable(level)
    assert program is not None
    session = onnx_session(program.model_proto.SerializeToString())
    inputs = {"x": x.numpy()}
    return lambda: torch.from_numpy(session.run(None, inputs)[0])


def contenders(what: str) -> tuple[list[Contender], list[str]]:
    """Our layer or model on both backends and in ONNX Runtime, and one line for each peer that is left out."""
    module = _layer() if what == LAYER else draw_model("clstm", "emotion").eval()
    operands = draw(PROBLEM)
    x = operands["x"]
    exact = answer(_on("reference", copy.deepcopy(module).double(), x.double()), [], None)()
    peers: dict[str, Callable[[], Forward]] = {
        OURS: lambda: _on("native", module, x),
        REFERENCE.name: lambda: _on("reference", module, x),
        "ONNX Runtime, exported": lambda: _exported(module, x),
    }
    if what == LAYER:
        peers["ONNX Runtime LSTM on unfolded windows"] = lambda: onnx_runtime(PROBLEM, operands)
    found, missing = [], []
    for name, prepare in peers.items():
        try:
            found.append(Contender(name, answer(prepare(), [], None), exact, OURS))
        except Unavailable as error:
            missing.append(f"{name} is left out: {error}")
    return found, missing


def kernel_alone(run: Callable[[], object]) -> Callable[[], None]:
    """A function that calls the kernel's C functions as ``run`` does, but nothing else.

    Args:
        run: A function that calls the kernel; it is called once to learn how.
    """
    kept: list[object] = []  # the tensors that the recorded calls point to
    calls: list[tuple[object, ...]] = []
    run_kernel, loaded = library.run, library._library
    function = loaded.convrnn_run  # type: ignore[union-attr]

    def keep(*arguments: object, **arrays: object) -> None:
        kept.append((arguments, arrays))
        run_kernel(*arguments, **arrays)  # type: ignore[arg-type]

    def record(*arguments: object) -> object:
        calls.append(arguments)
        return function(*arguments)

    with mock.patch.object(library, "run", keep), mock.patch.object(loaded, "convrnn_run", record):
        run()

    def repeat(_: object = kept) -> None:
        for arguments in calls:
            function(*arguments)

    return repeat


def _median_call(run: Callable[[], object]) -> float:
    """Median of single calls in microseconds: a mean would count what other programs did meanwhile as ours."""
    times = []
    for _ in range(_CALLS):
        began = time.perf_counter()
        run()
        times.append(time.perf_counter() - began)
    return 1e6 * statistics.median(times)


def overhead(what: str, run: Callable[[], object], rounds: int) -> Overhead:
    """Time a call and the kernel's part of it, in turns."""
    alone = kernel_alone(run)
    pairs = [(_median_call(run), _median_call(alone)) for _ in range(rounds + 1)][1:]  # the first warms up
    calls, kernels = zip(*pairs, strict=True)
    outside = [call - kernel for call, kernel in pairs]
    return Overhead(what, torch.get_num_threads(), Spread.of(calls), Spread.of(kernels), Spread.of(outside))


def _overhead_table(rows: list[Overhead]) -> Table:
    def quartiles(spread: Spread) -> str:
        return f"{spread.median:.0f} ({spread.low:.0f} to {spread.high:.0f})"

    cells = [
        [
            row.what,
            str(row.threads),
            *(f"{spread.median:.0f}" for spread in (row.call, row.kernel)),
            quartiles(row.outside),
        ]
        for row in rows
    ]
    head = ["what", "threads", "call, µs", "kernel, µs", "outside the kernel, µs (quartiles)"]
    return Table("The parts of our calls", head, cells, names=2)


def run(settings: Settings) -> Section:
    """Measure the section."""
    comparisons, rows, notes = [], [], []
    counts = (settings.most_threads,) if settings.quick else settings.threads
    for what, count in itertools.product((LAYER, MODEL), counts):
        case: dict[str, str | int] = {"call": what, "threads": count}
        with progress("small", case), threads(count):
            found, missing = contenders(what)
            comparisons.append(compare(case, found, settings.effort))
            rows.append(overhead(what, found[0].run, settings.effort.rounds))
        notes += missing
    columns = {key: key for key in ("call", "threads")}
    tables = [comparison_table("One utterance of 1 s", columns, comparisons), _overhead_table(rows)]
    return Section("Small calls", _TEXT, tables, comparisons, {"overhead": rows}, notes)
