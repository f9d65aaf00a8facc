"""A description of the machine that the numbers were measured on."""

import ctypes
import os
import platform
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch

from convrnn.ops.native import library


def cpu_model() -> str:
    """The processor's name as Linux reports it, elsewhere as Python does.

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
    """Make the C library keep freed memory; returns whether it can, as only glibc does.

    Otherwise it may return a large block to the system or not, depending on what lies next to it, and the next call
    then gets its memory page by page: a training step of ``nn.LSTM`` can take 50 % longer in one process than in the
    next.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    return mallopt is not None and bool(mallopt(_MMAP_MAX, 0) and mallopt(_TRIM_THRESHOLD, 2**31 - 1))


_AVX2 = {"ATEN_CPU_CAPABILITY": "avx2", "MKL_ENABLE_INSTRUCTIONS": "AVX2", "ONEDNN_MAX_CPU_ISA": "AVX2"}
"""Environment variables that limit PyTorch (and what torch.compile makes), MKL and oneDNN; they are read on import."""


def limit_to_avx2() -> None:
    """Start this program again with PyTorch and its libraries limited to AVX2, unless they are already.

    The new program takes the place of this one, with the same arguments.
    """
    if not _AVX2.items() <= os.environ.items():
        sys.stdout.flush()
        os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], os.environ | _AVX2)


@contextmanager
def own_compiler_cache() -> Iterator[None]:
    """Keep what ``torch.compile`` makes within the ``with`` block in a folder of its own, and delete it afterwards.

    Its usual cache does not tell instruction sets apart reliably: a program that was compiled with AVX-512 and runs
    again limited to AVX2, or the other way round, gives wrong answers or crashes.
    """
    name = "TORCHINDUCTOR_CACHE_DIR"
    before = os.environ.get(name)
    with tempfile.TemporaryDirectory(prefix="convrnn-benchmark-") as folder:
        os.environ[name] = folder
        try:
            yield
        finally:
            os.environ.pop(name)
            os.environ.update({} if before is None else {name: before})


def limits() -> str:
    """The limits that the environment sets to the peers' instruction sets.

    Example:
        >>> "ONNX Runtime" in limits()
        True
    """
    found = ", ".join(f"{name}={os.environ[name]}" for name in _AVX2 if name in os.environ)
    return f"{found or 'none'}; ONNX Runtime always uses the best instruction set, since it has no such limit"


def installed(package: str) -> str:
    """The version of an installed package, or "not installed"."""
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"


def warning() -> str | None:
    """A warning if other programs keep the cores busy, else None."""
    load = os.getloadavg()[0]
    if load < 0.5:
        return None
    return (
        f"other programs are running (load {load:.1f}); they slow some peers more than others, above all on several "
        "threads, so do not quote these times"
    )


def describe() -> dict[str, str]:
    """The machine, its load and the versions, by name."""
    load = ", ".join(f"{one:.1f}" for one in os.getloadavg())
    packages = ("convrnn", "torch", "numpy", "onnx", "onnxruntime")
    return {
        "CPU": f"{cpu_model()}, {cores()} cores for this process",
        "Instruction set": f"PyTorch {torch.backends.cpu.get_cpu_capability()}, convrnn {library.instruction_set()}",
        "Limits of the peers": limits(),
        "Matrix library": "MKL" if torch.backends.mkl.is_available() else "no MKL",
        "Load before the start": f"{load} over 1, 5 and 15 minutes",
        "System": f"{platform.system()} {platform.release()}, {platform.machine()}",
        "Versions": f"Python {platform.python_version()}, " + ", ".join(f"{p} {installed(p)}" for p in packages),
        "dtype": "torch.float32, except in the section dtypes",
        "Command": f"`{' '.join(['python', '-m', 'benchmarks.cpu', *sys.argv[1:]])}`",
    }
