"""Section "sequences": the LSTM over whole sequences that follows the front end, against cuDNN's."""

import functools
import itertools

import torch
from torch import Tensor

from benchmarks.compare import Contender
from benchmarks.gpu import layers
from benchmarks.gpu.settings import DEVICE, Precision, Settings
from benchmarks.gpu.tables import comparison_table
from benchmarks.gpu.timing import compare
from benchmarks.report import Section
from benchmarks.settings import PASSES, progress
from convrnn.nn import LSTM

FEATURES, HIDDEN = 100, 256

_TEXT = """\
The LSTM over whole sequences as in the paper's classifiers: 256 units, 100 features, one or two directions. "training"
is the forward pass and the backward pass to all parameters and to x. cuDNN has no peepholes and is compared with ours
without peepholes; by default the layer itself uses cuDNN in that case, so our backend is forced here. In "fp32" cuDNN
may not use TF32; PyTorch allows it by default, so "tf32" is its usual speed. Times are measured with CUDA events, in
turn."""


def contenders(
    batch: int, frames: int, bidirectional: bool, training: bool, precision: Precision
) -> tuple[list[Contender], Tensor]:
    """Our layer with and without a CUDA graph, and cuDNN's; and the frames that all of them read."""
    torch.manual_seed(0)

    def make(peepholes: bool) -> LSTM:
        options = {"bidirectional": bidirectional, "peepholes": peepholes}
        return LSTM(FEATURES, HIDDEN, **options, device=DEVICE, dtype=precision.dtype)

    both = layers.with_and_without_peepholes(make, HIDDEN)
    x = torch.randn(batch, frames, FEATURES, device=DEVICE, dtype=precision.dtype, requires_grad=True)
    upstream = torch.randn(batch, frames, (2 if bidirectional else 1) * HIDDEN).to(x) if training else None
    module = both[1].to_torch()
    return layers.contenders(both, module, lambda: module(x)[0], x, upstream, precision), x


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
                    refresh = functools.partial(layers.redraw, x)
                    comparisons.append(compare(case, found, settings.effort, refresh=refresh))
    columns = {key: key for key in ("precision", "batch", "frames", "directions")}
    tables = [
        comparison_table(f"Whole-sequence LSTM, {name}", columns, [c for c in comparisons if c.case["pass"] == name])
        for name in PASSES
    ]
    return Section("Whole-sequence LSTM", _TEXT, tables, comparisons)
