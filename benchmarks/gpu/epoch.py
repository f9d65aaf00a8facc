"""Section "epoch": one epoch of training of the paper's model of section IV-A, with the corpus on the GPU."""

import copy
import functools
import itertools
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.compare import Contender, answer
from benchmarks.gpu.settings import DEVICE, PRECISIONS, Precision, Settings
from benchmarks.gpu.tables import comparison_table
from benchmarks.gpu.timing import compare, detached, graphed, recorded
from benchmarks.measure import Effort
from benchmarks.report import Section
from benchmarks.settings import progress
from convrnn import ops
from convrnn.models import SequenceClassifier, preset

UTTERANCES, FRAMES, FEATURES, CLASSES = 10_000, 180, 26, 5
EAGER, REDUCED, GRAPH = "triton, eager", "triton, torch.compile, reduce-overhead", "triton, whole step as a CUDA graph"
REFERENCE = "reference, torch.compile, reduce-overhead"

_TEXT = f"""\
One epoch of the CLSTM model of section IV-A (`preset("clstm", "emotion")`, {FEATURES} features, {CLASSES} classes) on
{UTTERANCES} utterances of {FRAMES} frames, as many as FAU-Aibo has for training, which are on the GPU already. An epoch
draws a new order; a step gathers the frames of a batch and does the forward pass, the loss, the backward pass and Adam.
The last batch is filled up from the beginning of the order. The goal is an epoch in at most 1 s at batch 128. "fp32"
and "tf32" are the precision of products; "bf16" is autocast. The loss of the first step is checked against float64, and
in fp32 its gradients too: if rounding moves an activation across the kink of a maximum or a rectified linear unit, the
gradient gains or loses a whole term, so the tolerance is wide, and at coarser precision this happens too often to
check."""

TOLERANCE = 1e-2

Step = Callable[[Tensor, Tensor], Tensor]
"""From frames and labels to the loss."""


def _draw() -> nn.Module:
    """A model none of whose parameters is zero."""
    torch.manual_seed(0)
    model = SequenceClassifier(preset("clstm", "emotion", in_features=FEATURES, num_classes=CLASSES))
    for parameter in model.parameters():
        if not parameter.any():
            nn.init.normal_(parameter, std=0.1)
    return model.to(DEVICE)


def _autocast(precision: Precision) -> AbstractContextManager[object]:
    on = precision.dtype != torch.float32
    return torch.autocast(DEVICE.type, dtype=precision.dtype) if on else nullcontext()


def _loss(model: Callable[[Tensor], Tensor], backend: str, precision: Precision) -> Step:
    def loss(x: Tensor, labels: Tensor) -> Tensor:
        with ops.use_backend(backend), _autocast(precision):
            return F.nll_loss(model(x), labels)

    return loss


def _step(loss: Step, model: nn.Module) -> Step:
    optimiser = torch.optim.Adam(model.parameters(), lr=0.002, fused=True, capturable=True)

    def step(x: Tensor, labels: Tensor) -> Tensor:
        torch.compiler.cudagraph_mark_step_begin()
        optimiser.zero_grad()
        value = loss(x, labels)
        value.backward()
        optimiser.step()
        return value.detach()

    return step


def _graphed(step: Step, batch: int) -> Step:
    """The step as a CUDA graph, which reads frames and labels from tensors of its own."""
    x = torch.randn(batch, FRAMES, FEATURES, device=DEVICE)
    labels = torch.randint(CLASSES, (batch,), device=DEVICE)
    replay = graphed(lambda: step(x, labels))

    def copy_and_replay(new_x: Tensor, new_labels: Tensor) -> Tensor:
        x.copy_(new_x)
        labels.copy_(new_labels)
        return replay()

    return copy_and_replay


def _epoch(step: Step, x: Tensor, labels: Tensor, batch: int) -> Callable[[], list[Tensor]]:
    def epoch() -> list[Tensor]:
        order = torch.randperm(len(x), device=x.device)
        order = torch.cat([order, order[: -len(order) % batch]])
        return [step(x[rows], labels[rows]) for rows in order.split(batch)]

    return epoch


def _first_step(step: Step, model: nn.Module, drawn: nn.Module, x: Tensor, labels: Tensor, count: int) -> list[Tensor]:
    """The first ``count`` of the loss and its gradients in a step from the drawn parameters, which it restores."""
    model.load_state_dict(drawn.state_dict())
    loss = step(x, labels)
    gradients = [parameter.grad for parameter in model.parameters() if parameter.grad is not None]
    result = detached([loss, *gradients][:count])
    model.load_state_dict(drawn.state_dict())
    return result


def contenders(batch: int, precision: Precision, x: Tensor, labels: Tensor, with_compiled: bool) -> list[Contender]:
    """Ways to run the epoch, each with its own copy of the parameters."""
    drawn = _draw()
    first = x[:batch], labels[:batch]
    exact = copy.deepcopy(drawn).double()
    loss = _loss(exact, "reference", PRECISIONS["fp32"])
    ones = torch.ones((), device=DEVICE, dtype=torch.float64)
    expected = answer(lambda: loss(first[0].double(), first[1]), list(exact.parameters()), ones)()
    if precision != PRECISIONS["fp32"]:
        expected = expected[:1]
    found = []
    # Compiled models come first: see `recorded`.
    for name, backend, compiled, graph in (
        (REDUCED, "triton", True, False),
        (REFERENCE, "reference", True, False),
        (EAGER, "triton", False, False),
        (GRAPH, "triton", False, True),
    ):
        if compiled and not with_compiled:
            continue
        model = copy.deepcopy(drawn)
        forward = torch.compile(model, fullgraph=True, mode="reduce-overhead") if compiled else model
        step = _step(_loss(forward, backend, precision), model)
        if compiled:
            recorded(functools.partial(step, *first))
        if graph:
            step = _graphed(step, batch)
        check = functools.partial(_first_step, step, model, drawn, *first, len(expected))
        run = _epoch(step, x, labels, batch)
        found.append(Contender(name, run, expected, GRAPH, answer=check, tolerance=TOLERANCE))
    return found


def run(settings: Settings) -> Section:
    """Measure the section."""
    torch.manual_seed(0)
    x = torch.randn(UTTERANCES, FRAMES, FEATURES, device=DEVICE)
    labels = torch.randint(CLASSES, (UTTERANCES,), device=DEVICE)
    effort = Effort(rounds=5, seconds=0, most_seconds=60)
    comparisons = []
    precisions = [p for p in settings.precisions if p.name in ("fp32", "tf32", "bf16")]
    for precision, batch in itertools.product(precisions, (128,) if settings.quick else (32, 128, 256)):
        case: dict[str, str | int] = {"precision": precision.name, "batch": batch}
        with progress("epoch", case), precision.set():
            comparisons.append(compare(case, contenders(batch, precision, x, labels, settings.compiled), effort))
    columns = {"precision": "precision", "batch": "batch"}
    return Section("One epoch", _TEXT, [comparison_table("One epoch", columns, comparisons)], comparisons)
