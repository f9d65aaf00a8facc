"""The GPU: its description, its measured speed, and the shortest time that some work can take on it."""

import platform
import sys
from dataclasses import dataclass

import torch

from benchmarks.gpu.settings import DEVICE, Precision
from benchmarks.gpu.timing import median_seconds
from benchmarks.machine import installed

_SPECIALS_PER_CLOCK = 16
"""Exponentials, reciprocals and the like that one multiprocessor starts per clock cycle, on every chip since 2017."""


@dataclass(frozen=True)
class Work:
    """The work that every implementation has to do.

    Attributes:
        flops: Floating-point operations of matrix products, two per multiply-add.
        specials: Exponentials and reciprocals.
        bytes: Bytes of the inputs, each read once, and of the results, each written once.
    """

    flops: int
    specials: int
    bytes: int


@dataclass(frozen=True)
class Rates:
    """What the GPU can do in a second.

    Attributes:
        flops: Floating-point operations, measured with a large matrix product in the same precision.
        specials: Exponentials and reciprocals, computed from the number of multiprocessors and their highest clock;
            None if PyTorch does not report the clock.
        bytes: Bytes read and written, measured with a large copy.
    """

    flops: float
    specials: float | None
    bytes: float

    def floor(self, work: Work) -> float:
        """The shortest time in seconds that the work can take: that of the slowest of the three.

        Example:
            >>> Rates(flops=100.0, specials=10.0, bytes=50.0).floor(Work(flops=200, specials=30, bytes=100))
            3.0
        """
        specials = 0.0 if self.specials is None else work.specials / self.specials
        return max(work.flops / self.flops, specials, work.bytes / self.bytes)


def measure_rates(precision: Precision) -> Rates:
    """Measure the GPU, with PyTorch's current settings."""
    side = 8192
    a, b = (torch.randn(side, side, device=DEVICE, dtype=precision.dtype) for _ in range(2))
    product = torch.empty_like(a)
    source = torch.randn(2**28, device=DEVICE)
    copy = torch.empty_like(source)
    properties = torch.cuda.get_device_properties()
    clock = getattr(properties, "clock_rate", None)  # in kHz
    return Rates(
        flops=2 * side**3 / median_seconds(lambda: torch.mm(a, b, out=product)),
        specials=None if clock is None else _SPECIALS_PER_CLOCK * properties.multi_processor_count * clock * 1e3,
        bytes=2 * source.nbytes / median_seconds(lambda: copy.copy_(source)),
    )


def describe() -> dict[str, str]:
    """The GPU and the versions, by name."""
    properties = torch.cuda.get_device_properties()
    capability = f"{properties.major}.{properties.minor}"
    memory = f"{properties.total_memory / 2**30:.0f} GiB"
    packages = ("convrnn", "torch", "triton")
    return {
        "GPU": f"{properties.name}, capability {capability}, {properties.multi_processor_count} SMs, {memory}",
        "CUDA": f"{torch.version.cuda}, cuDNN {torch.backends.cudnn.version()}",
        "System": f"{platform.system()} {platform.release()}, {platform.machine()}",
        "Versions": f"Python {platform.python_version()}, " + ", ".join(f"{p} {installed(p)}" for p in packages),
        "Command": f"`{' '.join(['python', '-m', 'benchmarks.gpu', *sys.argv[1:]])}`",
    }
