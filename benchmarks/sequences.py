"""Section "sequences": recurrent layers over whole sequences, against PyTorch's."""

import copy
import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from benchmarks.compare import Contender, answer, compare
from benchmarks.peers import AS_TORCH, OURS, REFERENCE
from benchmarks.report import Section, comparison_table
from benchmarks.settings import PASSES, Settings, progress, threads
from convrnn import ops
from convrnn.nn import GRU, LSTM, RNN
from convrnn.ops import geometry

FEATURES, HIDDEN = 100, 256
Layer = LSTM | GRU | RNN

LAYERS: dict[str, tuple[Callable[..., Layer], dict[str, bool]]] = {
    "lstm": (LSTM, {"peepholes": False}),
    "gru": (GRU, {"reset_after": True}),
    "rnn": (RNN, {}),
}
"""The layers, with the options of PyTorch's own."""

_TEXT = """\
Recurrent layers over whole sequences: the LSTM as in the paper's classifiers, with 256 units, 100 features, one or two
directions; and the GRU and the simple recurrent network (tanh) of the same size, in one direction. "ragged" batches
have lengths between half of the frames and all of them. "training" is the forward pass and the backward pass to all
parameters and to x. nn.LSTM has no peepholes and is compared with ours without peepholes; nn.GRU applies its reset gate
to the recurrent product and is compared with ours that does so ("reset after"). Their input is time-major, the layout
in which they are fastest. Ragged batches are packed for them (pack_padded_sequence, enforce_sorted=False); in one
direction they are also computed in full and then set to zero past the lengths, which gives the same result. The eager
reference runs only with the largest number of threads."""


@dataclass(frozen=True)
class Case:
    """Sizes of a layer over whole sequences.

    Attributes:
        batch: Sequences.
        frames: Frames of the longest.
        bidirectional: Whether it has two directions.
        ragged: Whether the sequences differ in length.
        cell: "lstm", "gru" or "rnn".
    """

    batch: int
    frames: int
    bidirectional: bool
    ragged: bool
    cell: str = "lstm"

    def describe(self) -> dict[str, str | int]:
        """The sizes as a table shows them."""
        return {
            "cell": self.cell,
            "batch": self.batch,
            "frames": self.frames,
            "directions": 2 if self.bidirectional else 1,
            "lengths": "ragged" if self.ragged else "all",
        }


def _layers(case: Case) -> tuple[Layer, Layer]:
    """A layer none of whose parameters is zero, and one as PyTorch has it, with the same values where possible."""
    make, as_torch = LAYERS[case.cell]
    layer = make(FEATURES, HIDDEN, bidirectional=case.bidirectional)
    plain = make(FEATURES, HIDDEN, bidirectional=case.bidirectional, **as_torch)
    for parameter in (*layer.parameters(), *plain.parameters()):
        nn.init.uniform_(parameter, -(HIDDEN**-0.5), HIDDEN**-0.5)
    plain.load_state_dict({name: p for name, p in layer.state_dict().items() if "peephole" not in name}, strict=False)
    return layer, plain


def _on(backend: str, layer: Layer, x: Tensor, lengths: Tensor | None) -> Callable[[], Tensor]:
    def forward() -> Tensor:
        with ops.use_backend(backend):
            y: Tensor = layer(x, lengths)
            return y

    return forward


def _whole(module: nn.RNNBase, x: Tensor, lengths: Tensor | None) -> Callable[[], Tensor]:
    def forward() -> Tensor:
        y: Tensor = module(x)[0]
        return y if lengths is None else y * geometry.frame_mask(lengths, x.size(0)).t().unsqueeze(-1)

    return forward


def _packed(module: nn.RNNBase, x: Tensor, lengths: Tensor) -> Callable[[], Tensor]:
    def forward() -> Tensor:
        packed = module(pack_padded_sequence(x, lengths, enforce_sorted=False))[0]
        return pad_packed_sequence(packed, total_length=x.size(0))[0]

    return forward


def _aligned(theirs: Sequence[Tensor], plain: Layer) -> list[Tensor]:
    """The value and the gradients of PyTorch's module in the order and layout of ours."""
    names = [name for name, _ in plain.named_parameters()]
    # Of the second bias of a GRU only the last gate's is not redundant. Without a backward pass there are no gradients.
    gradients = [
        gradient[-HIDDEN:] if name.startswith("bias_hn") else gradient
        for name, gradient in zip(names, theirs[2:], strict=False)
    ]
    return [*(tensor.transpose(0, 1) for tensor in theirs[:2]), *gradients]


def contenders(case: Case, training: bool) -> list[Contender]:
    """Our layer on both backends, and PyTorch's."""
    torch.manual_seed(0)
    layer, plain = _layers(case)
    x = torch.randn(case.batch, case.frames, FEATURES, requires_grad=True)
    lengths = torch.randint(case.frames // 2, case.frames + 1, (case.batch,)) if case.ragged else None
    directions = 2 if case.bidirectional else 1
    upstream = torch.randn(case.batch, case.frames, directions * HIDDEN) if training else None

    def expected(layer: Layer) -> list[Tensor]:
        exact, exact_x = copy.deepcopy(layer).double(), x.detach().double().requires_grad_()
        forward = _on("reference", exact, exact_x, lengths)
        gradient = None if upstream is None else upstream.double()
        return answer(forward, [exact_x, *exact.parameters()], gradient)()

    full, without = expected(layer), expected(plain)

    def ours(name: str, backend: str, layer: Layer, expected: list[Tensor], baseline: str) -> Contender:
        run = answer(_on(backend, layer, x, lengths), [x, *layer.parameters()], upstream)
        return Contender(name, run, expected, baseline)

    module = plain.to_torch()
    module.batch_first = False
    for name, parameter in module.named_parameters():
        # Its second bias is redundant, except in a GRU; computing the gradient would be wasted work.
        parameter.requires_grad_(case.cell == "gru" or not name.startswith("bias_hh"))
    time_major = x.detach().transpose(0, 1).contiguous().requires_grad_()
    differentiated = [time_major, *(p for p in module.parameters() if p.requires_grad)]
    gradient = None if upstream is None else upstream.transpose(0, 1).contiguous()
    suffix = AS_TORCH[case.cell]

    def theirs(name: str, forward: Callable[[], Tensor]) -> Contender:
        run = answer(forward, differentiated, gradient)
        name = f"nn.{case.cell.upper()}{name}{suffix}"
        return Contender(name, run, without, OURS + suffix, answer=lambda: _aligned(run(), plain))

    found = [ours(OURS, "native", layer, full, OURS), ours(REFERENCE.name, "reference", layer, full, OURS)]
    if suffix:
        found.append(ours(OURS + suffix, "native", plain, without, OURS + suffix))
    if lengths is not None:
        found.append(theirs(", packed", _packed(module, time_major, lengths)))
    if lengths is None or not case.bidirectional:
        found.append(theirs("", _whole(module, time_major, lengths)))
    return found


def cases(settings: Settings) -> list[Case]:
    """Of the LSTM batches of both lengths in all variants, and single sequences; of the other cells one direction."""
    if settings.quick:
        found = [Case(32, 44, False, False), Case(32, 44, True, True), Case(1, 249, False, False)]
        others = [(32, 44, False, True)]
    else:
        batches = itertools.product((32,), (44, 249), (False, True), (False, True))
        found = [*itertools.starmap(Case, batches), Case(1, 249, False, False), Case(1, 249, True, False)]
        others = [(32, 249, False, False), (32, 249, False, True)]
    return [*found, *(Case(*sizes, cell) for cell in ("gru", "rnn") for sizes in others)]


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
                found = [contender for contender in found if contender.name != REFERENCE.name]
            comparisons.append(compare(described, found, settings.effort))
    columns = {key: key for key in ("batch", "frames", "directions", "lengths", "threads")}
    tables = [
        comparison_table(
            f"Whole-sequence {cell.upper()}, {name}",
            columns,
            [c for c in comparisons if (c.case["pass"], c.case["cell"]) == (name, cell)],
        )
        for cell, name in itertools.product(LAYERS, PASSES)
    ]
    return Section("Whole sequences", _TEXT, tables, comparisons)
