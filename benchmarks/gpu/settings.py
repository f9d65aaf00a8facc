"""What the command line asked for, and the precisions that are compared."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch

from benchmarks.measure import Effort

DEVICE = torch.device("cuda")
"""Where everything is measured: the current GPU."""


@dataclass(frozen=True)
class Precision:
    """The precision of the products.

    Attributes:
        name: Its name in the tables.
        dtype: Dtype of the operands.
        matmul: Argument of ``torch.set_float32_matmul_precision``.
        tolerance: Largest difference from float64 that counts as agreement, relative to the tensor's largest value:
            some ten times the unit roundoff of the products, as the operands are exact in their dtype.
    """

    name: str
    dtype: torch.dtype
    matmul: str
    tolerance: float

    @contextmanager
    def set(self) -> Iterator[None]:
        """Within the context, PyTorch and cuDNN multiply float32 with this precision."""
        before = torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32
        torch.set_float32_matmul_precision(self.matmul)
        torch.backends.cudnn.allow_tf32 = self.matmul != "highest"
        try:
            yield
        finally:
            torch.set_float32_matmul_precision(before[0])
            torch.backends.cudnn.allow_tf32 = before[1]


PRECISIONS = {
    precision.name: precision
    for precision in (
        Precision("fp32", torch.float32, "highest", 1e-4),
        Precision("tf32x3", torch.float32, "high", 5e-3),
        Precision("tf32", torch.float32, "medium", 5e-3),
        Precision("bf16", torch.bfloat16, "highest", 2e-2),
        Precision("fp16", torch.float16, "highest", 3e-3),
    )
}
"""The precisions, by name. Under "tf32x3" the products that PyTorch computes (in cuDNN, and for the windows and the
weights' gradients) are plain TF32."""


@dataclass(frozen=True)
class Settings:
    """How much to measure.

    Attributes:
        quick: Fewer cases and rounds, for a first impression.
        precisions: Precisions to measure.
        windows: Numbers of windows, each a key of ``windowed.FRAMES``.
        features: Numbers of features per frame.
        compiled: Whether to include ``torch.compile``, which takes most of the time.
    """

    quick: bool
    precisions: tuple[Precision, ...]
    windows: tuple[int, ...]
    features: tuple[int, ...]
    compiled: bool

    @property
    def effort(self) -> Effort:
        """Rounds and seconds of one comparison."""
        if self.quick:
            return Effort(rounds=7, seconds=0.3, most_seconds=5)
        return Effort(rounds=31, seconds=2, most_seconds=30, fewest_rounds=9)
