"""The windowed LSTM that is measured: its sizes, its operands and the work that it takes."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from benchmarks.compare import answer
from convrnn import ops
from convrnn.ops import geometry

Forward = Callable[[], Tensor]

FIRST_LAYERS = (26, 1, 16)
"""Features of what first layers take: log-mel bands, samples, and samples a millisecond at a time."""


@dataclass(frozen=True)
class Problem:
    """Sizes of a windowed LSTM with ``sequence="cell"``, peepholes and initial states of zero."""

    batch: int
    frames: int
    features: int
    hidden: int = 100
    kernel_size: int = 5
    stride: int = 2
    reduce: str = "last"
    position_weights: bool = False

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

    def useful_flops(self, training: bool) -> int:
        """Floating-point operations that every implementation has to do, two per multiply-add of a product.

        Forward, with ``W`` windows of ``r1`` frames, ``H`` units and ``k`` features:

        - the projection, once for each frame however many windows share it: ``frames * 4H * k``; with an input matrix
          for each position in the window, once for each frame of each window;
        - the recurrent product in every step but the first, whose state is zero: ``W * (r1 - 1) * 4H * H``, less
          ``W * H * H``, because the last step's cell state does not need that step's output gate.

        Training adds to the forward pass the recurrent product twice (gradients of h and of ``weight_hh``) and the
        projection once (gradient of ``weight_ih``), or twice with the gradient of x. What a backward pass recomputes to
        save memory does not count as useful work, nor do the gates, which take time but are not products.

        Example:
            >>> Problem(batch=1, frames=3, features=2, hidden=1, kernel_size=2, stride=1).useful_flops(training=False)
            60
        """
        frames = self.windows * self.kernel_size if self.position_weights else self.batch * self.frames
        projection = frames * 4 * self.hidden * self.features
        steps = self.windows * (self.kernel_size - 1) * 4 * self.hidden**2
        recurrent = steps - self.windows * self.hidden**2 if self.kernel_size > 1 else 0
        backward = 2 * recurrent + (2 if self.x_gradient else 1) * projection
        return 2 * (projection + recurrent + (backward if training else 0))


@dataclass(frozen=True)
class Operands:
    """The tensors of a problem, laid out as in ``convrnn.ops.windowed_lstm``."""

    x: Tensor
    weight_ih: nn.Parameter
    weight_hh: nn.Parameter
    bias: nn.Parameter
    weight_peephole: nn.Parameter | None

    @classmethod
    def draw(cls, problem: Problem) -> "Operands":
        """Random operands, the same for the same problem, none of them zero."""
        torch.manual_seed(0)
        rows = 4 * problem.hidden
        positions = (problem.kernel_size,) if problem.position_weights else ()
        x = torch.randn(problem.batch, problem.frames, problem.features, requires_grad=problem.x_gradient)
        return cls(
            x,
            nn.Parameter(torch.randn(*positions, rows, problem.features) / problem.features**0.5),
            nn.Parameter(torch.randn(rows, problem.hidden) / problem.hidden**0.5),
            nn.Parameter(0.5 * torch.randn(rows)),
            nn.Parameter(0.5 * torch.randn(3, problem.hidden)),
        )

    def without_peepholes(self) -> "Operands":
        """The same tensors, without the peepholes."""
        return replace(self, weight_peephole=None)

    def to_float64(self) -> "Operands":
        """A copy in float64."""
        x = self.x.detach().double().requires_grad_(self.x.requires_grad)
        weights = [None if p is None else nn.Parameter(p.detach().double()) for p in self.tensors()[1:]]
        return Operands(x, *weights)  # type: ignore[arg-type]  # the first three are never None

    def tensors(self) -> tuple[Tensor | None, ...]:
        """All of them, in the order of the operation's arguments."""
        return self.x, self.weight_ih, self.weight_hh, self.bias, self.weight_peephole

    def differentiated(self) -> list[Tensor]:
        """The tensors whose gradients training needs."""
        return [tensor for tensor in self.tensors() if tensor is not None and tensor.requires_grad]


def windowed_lstm(problem: Problem, *tensors: Tensor | None) -> Tensor:
    """The operation on :meth:`Operands.tensors`: ``[batch, windows, hidden]``."""
    return ops.windowed_lstm(
        *tensors,  # type: ignore[arg-type]  # the first four are never None
        kernel_size=problem.kernel_size,
        stride=problem.stride,
        sequence="cell",
        reduce=problem.reduce,
    )


def upstream(problem: Problem, training: bool) -> Tensor | None:
    """The gradient that a backward pass starts from; None for inference."""
    torch.manual_seed(1)
    shape = (problem.batch, problem.windows // problem.batch, problem.hidden)
    return torch.randn(shape) if training else None


def expected(problem: Problem, operands: Operands, gradient: Tensor | None) -> list[Tensor]:
    """The float64 answer of the equations in plain PyTorch: the value and, with ``gradient``, the gradients."""
    exact = operands.to_float64()

    def forward() -> Tensor:
        with ops.use_backend("reference"):
            return windowed_lstm(problem, *exact.tensors())

    return answer(forward, exact.differentiated(), None if gradient is None else gradient.double())()
