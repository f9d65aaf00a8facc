"""Section "cblstm": windows read in both directions, against cuDNN's bidirectional LSTM on unfolded windows."""

import functools
import itertools

import torch
from torch import Tensor

from benchmarks.compare import Contender
from benchmarks.gpu import layers
from benchmarks.gpu.settings import DEVICE, Precision, Settings
from benchmarks.gpu.tables import comparison_table
from benchmarks.gpu.timing import compare
from benchmarks.gpu.windowed import FRAMES
from benchmarks.report import Section
from benchmarks.settings import PASSES, progress
from convrnn.nn import ConvRNN

KERNEL_SIZE, STRIDE, FEATURES, HIDDEN = 5, 2, 26, 100

_TEXT = """\
The windows of CBLSTM: 5 frames with a shift of 2, 26 features, 100 units in each direction, the last cell state of each
direction as features, without the projection that follows. "training" is the forward pass and the backward pass to all
parameters and to x. cuDNN has no peepholes and is compared with ours without peepholes, on windows that its time
includes copying. Times are measured with CUDA events, in turn."""


def contenders(frames: int, training: bool, precision: Precision) -> tuple[list[Contender], Tensor]:
    """Our layer with and without a CUDA graph, and cuDNN's; and the frames that all of them read."""
    torch.manual_seed(0)

    def make(peepholes: bool) -> ConvRNN:
        return ConvRNN(
            FEATURES,
            2 * HIDDEN,
            KERNEL_SIZE,
            STRIDE,
            bidirectional=True,
            peepholes=peepholes,
            device=DEVICE,
            dtype=precision.dtype,
        )

    both = layers.with_and_without_peepholes(make, HIDDEN)
    x = torch.randn(32, frames, FEATURES, device=DEVICE, dtype=precision.dtype, requires_grad=True)
    windows = both[1].output_lengths(frames)
    upstream = torch.randn(32, windows, 2 * HIDDEN).to(x) if training else None
    module = both[1].to_torch()

    def cudnn() -> Tensor:
        unfolded = x.unfold(1, KERNEL_SIZE, STRIDE).permute(0, 1, 3, 2).reshape(-1, KERNEL_SIZE, FEATURES)
        forward, backward = module(unfolded)[1][1]
        return torch.cat([forward, backward], dim=-1).view(32, windows, 2 * HIDDEN)

    return layers.contenders(both, module, cudnn, x, upstream, precision), x


def run(settings: Settings) -> Section:
    """Measure the section."""
    comparisons = []
    for precision in settings.precisions:
        with precision.set():
            for name, windows in itertools.product(PASSES, settings.windows):
                case: dict[str, str | int] = {"pass": name, "precision": precision.name, "windows": windows}
                with progress("cblstm", case):
                    found, x = contenders(FRAMES[windows], PASSES[name], precision)
                    refresh = functools.partial(layers.redraw, x)
                    comparisons.append(compare(case, found, settings.effort, refresh=refresh))
    columns = {key: key for key in ("precision", "windows")}
    tables = [
        comparison_table(
            f"Windows in both directions, {name}", columns, [c for c in comparisons if c.case["pass"] == name]
        )
        for name in PASSES
    ]
    return Section("Windows in both directions", _TEXT, tables, comparisons)
