"""Section "sequences": the LSTM over whole sequences that follows the front end, against cuDNN's."""

import copy
import functools
import itertools
from collections.abc import Callable

import torch
from torch import Tensor, nn

from benchmarks.compare import Answer, Contender, answer
from benchmarks.gpu.peers import GRAPH
from benchmarks.gpu.settings import DEVICE, Precision, Settings
from benchmarks.gpu.tables import comparison_table
from benchmarks.gpu.timing import compare, detached, graphed
from benchmarks.report import Section
from benchmarks.settings import PASSES, progress
from convrnn import ops
from convrnn.nn import LSTM

FEATURES, HIDDEN = 100, 256
OURS, PLAIN, CUDNN = "convrnn triton", "convrnn triton, no peepholes", "cuDNN, no peepholes"

_TEXT = """\
The LSTM over whole sequences as in the paper's classifiers: 256 units, 100 features, one or two directions. "training"
is the forward pass and the backward pass to all parameters and to x. cuDNN has no peepholes and is compared with ours
without peepholes; by default the layer itself uses cuDNN in that case, so our backend is forced here. In "fp32" cuDNN
may not use TF32; PyTorch allows it by default, so "tf32" is its usual speed. Times are measured with CUDA events, in
turn."""


def _layers(bidirectional: bool, dtype: torch.dtype) -> tuple[LSTM, LSTM]:
    """A layer none of whose parameters is zero, and the same without peepholes."""
    layer = LSTM(FEATURES, HIDDEN, bidirectional=bidirectional, device=DEVICE, dtype=dtype)
    for parameter in layer.parameters():
        nn.init.uniform_(parameter, -(HIDDEN**-0.5), HIDDEN**-0.5)
    plain = LSTM(FEATURES, HIDDEN, bidirectional=bidirectional, peepholes=False, device=DEVICE, dtype=dtype)
    plain.load_state_dict({name: p for name, p in layer.state_dict().items() if "peephole" not in name})
    return layer, plain


def _on(backend: str, layer: LSTM, x: Tensor) -> Callable[[], Tensor]:
    def forward() -> Tensor:
        with ops.use_backend(backend):
            y: Tensor = layer(x)
            return y

    return forward


def contenders(
    batch: int, frames: int, bidirectional: bool, training: bool, precision: Precision
) -> tuple[list[Contender], Tensor]:
    """Our layer with and without a CUDA graph, and cuDNN's; and the frames that all of them read."""
    torch.manual_seed(0)
    layer, plain = _layers(bidirectional, precision.dtype)
    x = torch.randn(batch, frames, FEATURES, device=DEVICE, dtype=precision.dtype, requires_grad=True)
    upstream = torch.randn(batch, frames, (2 if bidirectional else 1) * HIDDEN).to(x) if training else None

    def expected(layer: LSTM) -> Answer:
        exact, exact_x = copy.deepcopy(layer).double(), x.detach().double().requires_grad_()
        gradient = None if upstream is None else upstream.double()
        return answer(_on("reference", exact, exact_x), [exact_x, *exact.parameters()], gradient)()

    module = plain.to_torch()
    module.flatten_parameters()
    for name, parameter in module.named_parameters():
        # Its second bias is redundant; computing the gradient would be wasted work.
        parameter.requires_grad_(not name.startswith("bias_hh"))
    theirs = [parameter for parameter in module.parameters() if parameter.requires_grad]

    found = []
    for name, forward, parameters, wanted, baseline in (
        (OURS, _on("triton", layer, x), list(layer.parameters()), expected(layer), OURS),
        (PLAIN, _on("triton", plain, x), list(plain.parameters()), expected(plain), PLAIN),
        (CUDNN, lambda: module(x)[0], theirs, expected(plain), PLAIN),
    ):
        run = answer(forward, [x, *parameters], upstream)
        for suffix, timed in (("", run), (GRAPH, graphed(run))):
            check = _detached(timed)
            contender = Contender(
                name + suffix, timed, wanted, baseline + suffix, answer=check, tolerance=precision.tolerance
            )
            found.append(contender)
    return found, x


def _detached(run: Callable[[], Answer]) -> Callable[[], list[Tensor]]:
    return lambda: detached(run())


def _redraw(x: Tensor) -> None:
    with torch.no_grad():
        x.normal_()


def run(settings: Settings) -> Section:
    """Measure the section."""
    lengths, batches = ((249,), (32,)) if settings.quick else ((44, 249), (32, 128, 256))
    comparisons = []
    for precision in settings.precisions:
        with precision.set():
            for name, frames, batch, two in itertools.product(PASSES, lengths, batches, (False, True)):
                case: dict[str, str | int] = {"pass": name, "precision": precision.name}
                case |= {"batch": batch, "frames": frames, "directions": 2 if two else 1}
                with progress("sequences", case):
                    found, x = contenders(batch, frames, two, PASSES[name], precision)
                    comparisons.append(compare(case, found, settings.effort, refresh=functools.partial(_redraw, x)))
    columns = {key: key for key in ("precision", "batch", "frames", "directions")}
    tables = [
        comparison_table(f"Whole-sequence LSTM, {name}", columns, [c for c in comparisons if c.case["pass"] == name])
        for name in PASSES
    ]
    return Section("Whole-sequence LSTM", _TEXT, tables, comparisons)
