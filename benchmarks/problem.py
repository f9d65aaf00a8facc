"""The cell over windows that is measured: its sizes, its operands and the work that it takes."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.compare import answer
from convrnn import ops
from convrnn.ops import geometry

Forward = Callable[[], Tensor]

Operands = dict[str, Tensor]
"""The tensors of a problem, named as the operation's arguments; all but "x" are parameters."""

GATES = {"lstm": 4, "gru": 3, "rnn": 1}
"""The cells, with the number of their gates."""

FIRST_LAYERS = (26, 1, 16)
"""Features of what first layers take: log-mel bands, samples, and samples a millisecond at a time."""


@dataclass(frozen=True)
class Problem:
    """Sizes and options of a cell over windows, with initial states of zero.

    Attributes:
        batch: Sequences.
        frames: Frames of each sequence.
        features: Values of a frame.
        hidden: Units.
        kernel_size: Frames in a window.
        stride: Frames between the starts of two windows.
        reduce: How the features are taken from the states of a window.
        position_weights: One input matrix for each position in the window.
        cell: "lstm", whose features are cell states; "gru"; or "rnn" with tanh.
        as_torch: The cell as PyTorch has it: an LSTM without peepholes, a GRU whose reset gate acts on the product.
            Otherwise the LSTM has peepholes, and the GRU's reset gate acts on the state.
    """

    batch: int
    frames: int
    features: int
    hidden: int = 100
    kernel_size: int = 5
    stride: int = 2
    reduce: str = "last"
    position_weights: bool = False
    cell: str = "lstm"
    as_torch: bool = False

    @property
    def windows(self) -> int:
        """Windows of the whole batch.

        Example:
            >>> Problem(batch=32, frames=129, features=26).windows
            2016
        """
        return self.batch * geometry.num_windows(self.frames, self.kernel_size, self.stride)

    @property
    def x_gradient(self) -> bool:
        """Whether training needs the gradient of x: a first layer does not."""
        return self.features not in FIRST_LAYERS

    @property
    def options(self) -> dict[str, Any]:
        """The operation's arguments besides its tensors."""
        options = {"kernel_size": self.kernel_size, "stride": self.stride, "reduce": self.reduce}
        if self.cell == "lstm":
            return options | {"sequence": "cell"}
        return options | {"reset_after": self.as_torch} if self.cell == "gru" else options

    def useful_flops(self, training: bool) -> int:
        """Floating-point operations that every implementation has to do, two per multiply-add of a product.

        Forward, with ``W`` windows of ``r1`` frames, ``G`` gates (4 of an LSTM, 3 of a GRU, 1 of a simple recurrent
        network), ``H`` units and ``k`` features:

        - the projection, once for each frame however many windows share it: ``frames * GH * k``; with an input matrix
          for each position in the window, once for each frame of each window;
        - the recurrent product in every step but the first, whose state is zero: ``W * (r1 - 1) * GH * H``; of an LSTM
          less ``W * H * H``, because the last step's cell state does not need that step's output gate.

        Training adds to the forward pass the recurrent product twice (gradients of h and of ``weight_hh``) and the
        projection once (gradient of ``weight_ih``), or twice with the gradient of x. What a backward pass recomputes to
        save memory does not count as useful work, nor do the gates, which take time but are not products.

        Example:
            >>> Problem(batch=1, frames=3, features=2, hidden=1, kernel_size=2, stride=1).useful_flops(training=False)
            60
        """
        frames = self.windows * self.kernel_size if self.position_weights else self.batch * self.frames
        gates = GATES[self.cell]
        projection = frames * gates * self.hidden * self.features
        recurrent = self.windows * (self.kernel_size - 1) * gates * self.hidden**2
        if self.cell == "lstm" and self.kernel_size > 1:
            recurrent -= self.windows * self.hidden**2
        backward = 2 * recurrent + (2 if self.x_gradient else 1) * projection
        return 2 * (projection + recurrent + (backward if training else 0))


def draw(problem: Problem) -> Operands:
    """Random operands, the same for the same problem, none of them zero."""
    torch.manual_seed(0)
    hidden, rows = problem.hidden, GATES[problem.cell] * problem.hidden
    positions = (problem.kernel_size,) if problem.position_weights else ()
    x = torch.randn(problem.batch, problem.frames, problem.features, requires_grad=problem.x_gradient)
    weights = {
        "weight_ih": torch.randn(*positions, rows, problem.features) / problem.features**0.5,
        "weight_hh": torch.randn(rows, hidden) / hidden**0.5,
        "bias": 0.5 * torch.randn(rows),
    }
    if problem.cell == "lstm" and not problem.as_torch:
        weights["weight_peephole"] = 0.5 * torch.randn(3, hidden)
    if problem.cell == "gru" and problem.as_torch:
        weights["bias_hn"] = 0.5 * torch.randn(hidden)
    return {"x": x} | {name: nn.Parameter(weight) for name, weight in weights.items()}


def converted(operands: Operands, dtype: torch.dtype) -> Operands:
    """A copy in another dtype."""

    def convert(tensor: Tensor) -> Tensor:
        return tensor.detach().to(dtype, copy=True).requires_grad_(tensor.requires_grad)

    return {name: convert(tensor) for name, tensor in operands.items()}


def differentiated(operands: Operands) -> list[Tensor]:
    """The tensors whose gradients training needs."""
    return [tensor for tensor in operands.values() if tensor.requires_grad]


def windowed(problem: Problem, **operands: Tensor) -> Tensor:
    """The operation on its operands: ``[batch, windows, hidden]``."""
    y: Tensor = getattr(ops, f"windowed_{problem.cell}")(**operands, **problem.options)
    return y


def upstream(problem: Problem, training: bool) -> Tensor | None:
    """The gradient that a backward pass starts from; None for inference."""
    torch.manual_seed(1)
    shape = (problem.batch, problem.windows // problem.batch, problem.hidden)
    return torch.randn(shape) if training else None


def expected(problem: Problem, operands: Operands, gradient: Tensor | None) -> list[Tensor]:
    """The float64 answer of the equations in plain PyTorch: the value and, with ``gradient``, the gradients."""
    exact = converted(operands, torch.float64)

    def forward() -> Tensor:
        with ops.use_backend("reference"):
            return windowed(problem, **exact)

    return answer(forward, differentiated(exact), None if gradient is None else gradient.double())()
