"""Section "models": the paper's whole classifiers, in training and in use."""

import copy
import itertools
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.compare import Contender, answer, compare
from benchmarks.report import Section, comparison_table
from benchmarks.settings import PASSES, Settings, progress, threads
from convrnn import ops
from convrnn.models import SETTINGS, SequenceClassifier, preset

FRONT_ENDS = ("clstm", "extended-clstm", "cblstm", "conv", "baseline")
FEATURES, CLASSES = 26, 5
BATCH, FRAMES, UTTERANCE = 32, 180, 998
NATIVE = "convrnn native"

TOLERANCE = 1e-2
"""Tolerance of the models: if rounding moves an activation across the kink of a maximum or a rectified linear unit, a
gradient gains or loses a whole term. The LSTMs themselves are checked more closely in their own sections."""

_TEXT = """\
The paper's whole classifiers (`convrnn.models.preset`, 26 features, 5 classes), in the settings of section IV-A
("emotion") and IV-B ("paralinguistic"). "training" is a whole training step on 32 sequences of 180 frames: forward
pass, loss, backward pass, Adam. "forward" is inference on one utterance of 10 s, 998 frames. Everything except the
LSTMs runs in PyTorch on both sides. The difference from float64 is larger here: if rounding moves an activation across
the kink of a maximum or a rectified linear unit, the gradient gains or loses a whole term."""


def draw_model(front_end: str, setting: str) -> SequenceClassifier:
    """A model none of whose parameters is zero."""
    torch.manual_seed(0)
    model = SequenceClassifier(preset(front_end, setting, in_features=FEATURES, num_classes=CLASSES))
    for parameter in model.parameters():
        if not parameter.any():
            nn.init.normal_(parameter, std=0.1)
    return model


def _forward(backend: str, model: nn.Module, x: Tensor, labels: Tensor | None) -> Callable[[], Tensor]:
    """Log-probabilities, or the loss where there are labels."""

    def forward() -> Tensor:
        with ops.use_backend(backend):
            y: Tensor = model(x)
        return y if labels is None else F.nll_loss(y, labels)

    return forward


def _step(forward: Callable[[], Tensor], model: nn.Module) -> Callable[[], list[Tensor]]:
    """A training step. It changes the model, so only the results of its parts can be checked."""
    optimiser = torch.optim.Adam(model.parameters(), lr=0.002)

    def step() -> list[Tensor]:
        optimiser.zero_grad()
        loss = forward()
        loss.backward()
        optimiser.step()
        return [loss.detach()]

    return step


def contenders(front_end: str, setting: str, training: bool) -> list[Contender]:
    """A model on both backends, each with its own copy of the parameters."""
    drawn = draw_model(front_end, setting)
    x = torch.randn(BATCH if training else 1, FRAMES if training else UTTERANCE, FEATURES)
    labels = torch.randint(CLASSES, (BATCH,)) if training else None
    upstream = torch.ones(()) if training else None

    def checked(forward: Callable[[], Tensor], model: nn.Module, upstream: Tensor | None) -> Callable[[], list[Tensor]]:
        return answer(forward, list(model.parameters()), upstream)

    exact = copy.deepcopy(drawn).double()
    forward = _forward("reference", exact, x.double(), labels)
    expected = checked(forward, exact, None if upstream is None else upstream.double())()
    found = []
    for name, backend in ((NATIVE, "native"), ("convrnn reference, eager", "reference")):
        model = copy.deepcopy(drawn)
        forward = _forward(backend, model, x, labels)
        parts = checked(forward, model, upstream)
        run = _step(forward, model) if training else parts
        found.append(Contender(name, run, expected, NATIVE, answer=parts, tolerance=TOLERANCE))
    return found


def run(settings: Settings) -> Section:
    """Measure the section."""
    comparisons = []
    front_ends = ("clstm", "baseline") if settings.quick else FRONT_ENDS
    for name, setting, front_end in itertools.product(PASSES, SETTINGS, front_ends):
        case: dict[str, str | int] = {"pass": name, "setting": setting, "model": front_end}
        with progress("models", case), threads(settings.most_threads):
            found = contenders(front_end, setting, PASSES[name])
            comparisons.append(compare(case, found, settings.effort))
    tables = [
        comparison_table(
            f"{title}, threads: {settings.most_threads}",
            {"setting": "setting", "model": "model"},
            [c for c in comparisons if c.case["pass"] == name],
        )
        for name, title in (
            ("training", f"Whole models, a training step on {BATCH} sequences of {FRAMES} frames"),
            ("forward", f"Whole models, one utterance of {UTTERANCE} frames"),
        )
    ]
    return Section("Whole models", _TEXT, tables, comparisons)
