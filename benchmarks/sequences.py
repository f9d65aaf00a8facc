"""Section "sequences": the LSTM over whole sequences that follows the front end, against PyTorch's."""

import copy
import itertools
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from benchmarks.compare import Contender, answer, compare
from benchmarks.report import Section, comparison_table
from benchmarks.settings import PASSES, Settings, progress, threads
from convrnn import ops
from convrnn.nn import LSTM
from convrnn.ops import geometry

FEATURES, HIDDEN = 100, 256
NATIVE, NATIVE_PLAIN, REFERENCE = "convrnn native", "convrnn native, no peepholes", "convrnn reference, eager"

_TEXT = """\
The LSTM over whole sequences as in the paper's classifiers: 256 units, 100 features, one or two directions. "ragged"
batches have lengths between half of the frames and all of them. "training" is the forward pass and the backward pass to
all parameters and to x. nn.LSTM has no peepholes and is compared with ours without peepholes. Its input is time-major,
the layout in which it is fastest. Ragged batches are packed for it (pack_padded_sequence, enforce_sorted=False); in one
direction they are also computed in full and then set to zero past the lengths, which gives the same result. The eager
reference runs only with the largest number of threads."""


@dataclass(frozen=True)
class Case:
    """Sizes of an LSTM over whole sequences."""

    batch: int
    frames: int
    bidirectional: bool
    ragged: bool

    def describe(self) -> dict[str, str | int]:
        """The sizes as a table shows them."""
        return {
            "batch": self.batch,
            "frames": self.frames,
            "directions": 2 if self.bidirectional else 1,
            "lengths": "ragged" if self.ragged else "all",
        }


def _layers(case: Case) -> tuple[LSTM, LSTM]:
    """A layer none of whose parameters is zero, and the same without peepholes."""
    layer = LSTM(FEATURES, HIDDEN, bidirectional=case.bidirectional)
    for parameter in layer.parameters():
        nn.init.uniform_(parameter, -(HIDDEN**-0.5), HIDDEN**-0.5)
    plain = LSTM(FEATURES, HIDDEN, bidirectional=case.bidirectional, peepholes=False)
    plain.load_state_dict({name: p for name, p in layer.state_dict().items() if "peephole" not in name})
    return layer, plain


def _on(backend: str, layer: LSTM, x: Tensor, lengths: Tensor | None) -> Callable[[], Tensor]:
    def forward() -> Tensor:
        with ops.use_backend(backend):
            y: Tensor = layer(x, lengths)
            return y

    return forward


def _whole(module: nn.LSTM, x: Tensor, lengths: Tensor | None) -> Callable[[], Tensor]:
    def forward() -> Tensor:
        y: Tensor = module(x)[0]
        return y if lengths is None else y * geometry.frame_mask(lengths, x.size(0)).t().unsqueeze(-1)

    return forward


def _packed(module: nn.LSTM, x: Tensor, lengths: Tensor) -> Callable[[], Tensor]:
    def forward() -> Tensor:
        packed = module(pack_padded_sequence(x, lengths, enforce_sorted=False))[0]
        return pad_packed_sequence(packed, total_length=x.size(0))[0]

    return forward


def contenders(case: Case, training: bool) -> list[Contender]:
    """Our layer on both backends, and PyTorch's."""
    torch.manual_seed(0)
    layer, plain = _layers(case)
    x = torch.randn(case.batch, case.frames, FEATURES, requires_grad=True)
    lengths = torch.randint(case.frames // 2, case.frames + 1, (case.batch,)) if case.ragged else None
    directions = 2 if case.bidirectional else 1
    upstream = torch.randn(case.batch, case.frames, directions * HIDDEN) if training else None

    def expected(layer: LSTM) -> list[Tensor]:
        exact, exact_x = copy.deepcopy(layer).double(), x.detach().double().requires_grad_()
        forward = _on("reference", exact, exact_x, lengths)
        gradient = None if upstream is None else upstream.double()
        return answer(forward, [exact_x, *exact.parameters()], gradient)()

    full, without = expected(layer), expected(plain)

    def ours(name: str, backend: str, layer: LSTM, expected: list[Tensor], baseline: str) -> Contender:
        run = answer(_on(backend, layer, x, lengths), [x, *layer.parameters()], upstream)
        return Contender(name, run, expected, baseline)

    module = plain.to_torch()
    module.batch_first = False
    for name, parameter in module.named_parameters():
        # Its second bias is redundant; computing the gradient would be wasted work.
        parameter.requires_grad_(not name.startswith("bias_hh"))
    time_major = x.detach().transpose(0, 1).contiguous().requires_grad_()
    differentiated = [time_major, *(p for p in module.parameters() if p.requires_grad)]
    # The value and the gradient of x; the parameters' gradients follow, in the same order as ours.
    turned = [*(tensor.transpose(0, 1) for tensor in without[:2]), *without[2:]]
    gradient = None if upstream is None else upstream.transpose(0, 1).contiguous()

    def theirs(name: str, forward: Callable[[], Tensor]) -> Contender:
        return Contender(name, answer(forward, differentiated, gradient), turned, NATIVE_PLAIN)

    found = [
        ours(NATIVE, "native", layer, full, NATIVE),
        ours(REFERENCE, "reference", layer, full, NATIVE),
        ours(NATIVE_PLAIN, "native", plain, without, NATIVE_PLAIN),
    ]
    if lengths is not None:
        found.append(theirs("nn.LSTM, packed, no peepholes", _packed(module, time_major, lengths)))
    if lengths is None or not case.bidirectional:
        found.append(theirs("nn.LSTM, no peepholes", _whole(module, time_major, lengths)))
    return found


def cases(settings: Settings) -> list[Case]:
    """Batches of both lengths in all variants, and single sequences."""
    if settings.quick:
        return [Case(32, 44, False, False), Case(32, 44, True, True), Case(1, 249, False, False)]
    batches = itertools.product((32,), (44, 249), (False, True), (False, True))
    return [*itertools.starmap(Case, batches), Case(1, 249, False, False), Case(1, 249, True, False)]


def run(settings: Settings) -> Section:
    """Measure the section."""
    comparisons = []
    counts = (settings.most_threads,) if settings.quick else settings.threads
    for name, case, count in itertools.product(PASSES, cases(settings), counts):
        described = {"pass": name, **case.describe(), "threads": count}
        with progress("sequences", described), threads(count):
            found = contenders(case, PASSES[name])
            if count != settings.most_threads:
                # The reference is slow, and one number of threads is enough to show it.
                found = [contender for contender in found if contender.name != REFERENCE]
            comparisons.append(compare(described, found, settings.effort))
    columns = {key: key for key in ("batch", "frames", "directions", "lengths", "threads")}
    tables = [
        comparison_table(f"Whole-sequence LSTM, {name}", columns, [c for c in comparisons if c.case["pass"] == name])
        for name in PASSES
    ]
    return Section("Whole-sequence LSTM", _TEXT, tables, comparisons)
