"""What the numbers were measured on."""

import ctypes
import os
import platform
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch

from convrnn.ops import native


def cpu_model() -> str:
    """The processor's name as it gives it, or what Python knows where Linux does not tell.

    Example:
        >>> bool(cpu_model())
        True
    """
    lines = Path("/proc/cpuinfo")
    if lines.exists():
        for line in lines.read_text().splitlines():
            name, _, value = line.partition(":")
            if name.strip() == "model name":
                return value.strip()
    return platform.processor() or platform.machine()


def cores() -> int:
    """Cores that this process may use.

    Example:
        >>> cores() >= 1
        True
    """
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


_MMAP_MAX, _TRIM_THRESHOLD = -4, -1  # of glibc's malloc.h


def keep_freed_memory() -> bool:
    """Have the C library keep memory that is freed; whether it can, which glibc's alone does.

    Otherwise it gives large pieces back to the system, or does not, depending on what else lies beside them, and then
    the next call gets its memory page by page: the training step of ``nn.LSTM`` takes half as long again in one process
    as in the next.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    return mallopt is not None and bool(mallopt(_MMAP_MAX, 0) and mallopt(_TRIM_THRESHOLD, 2**31 - 1))


def installed(package: str) -> str:
    """The version of an installed package, or "not installed"."""
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"


def warning() -> str | None:
    """One line where other programs keep the cores busy, else None."""
    load = os.getloadavg()[0]
    if load < 0.5:
        return None
    return (
        f"other programs run (load {load:.1f}): times on several threads suffer most, and not all peers alike, so do "
        "not quote them"
    )


def describe() -> dict[str, str]:
    """The machine, what else runs on it, and the versions, by name."""
    load = ", ".join(f"{one:.1f}" for one in os.getloadavg())
    packages = ("convrnn", "torch", "numpy", "onnx", "onnxruntime")
    return {
        "CPU": f"{cpu_model()}, {cores()} cores for this process",
        "Instruction set": f"PyTorch {torch.backends.cpu.get_cpu_capability()}, convrnn {native.instruction_sets()[0]}",
        "Matrix library": "MKL" if torch.backends.mkl.is_available() else "no MKL",
        "Load before the start": f"{load} over 1, 5 and 15 minutes",
        "System": f"{platform.system()} {platform.release()}, {platform.machine()}",
        "Versions": f"Python {platform.python_version()}, " + ", ".join(f"{p} {installed(p)}" for p in packages),
        "dtype": "torch.float32 throughout",
        "Command": f"python -m benchmarks.cpu {' '.join(sys.argv[1:])}".strip(),
    }
