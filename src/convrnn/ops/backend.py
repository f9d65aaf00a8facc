"""Which implementation of the operations runs."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from convrnn.ops import native
from convrnn.ops.triton import tiles

BACKENDS: tuple[str, ...] = ("reference", "native", "triton")

_forced: str | None = None
_warned: set[str] = set()


@contextmanager
def use_backend(name: str) -> Iterator[None]:
    """Run every operation within the ``with`` block on the named backend.

    Without it, the LSTMs run on "native" or "triton" where they can, and everything else on "reference". The choice
    holds for the whole process and is made in the forward pass. A compiled function is compiled anew under another
    choice. Choose "reference" for second derivatives, for ``torch.autograd.grad(..., is_grads_batched=True)`` and for a
    compiled function with a transform of ``torch.func`` in it; other such transforms, and forward-mode differentiation,
    go there by themselves.

    Args:
        name: One of ``convrnn.ops.BACKENDS``. "reference" is the equations in plain PyTorch: any device and floating
            dtype, differentiable any number of times. "native" is the CPU kernel for float32 LSTMs; "triton" are the
            GPU kernels for LSTMs in float32, bfloat16 and float16, and under autocast, from compute capability 8.0 on.
            Both are differentiable once; what they cannot run goes to the reference with one warning.

    Raises:
        ValueError: for a name that is not a backend.

    Example:
        >>> import torch
        >>> import convrnn
        >>> with convrnn.ops.use_backend("reference"):
        ...     y = convrnn.nn.CLSTM(26, 100, kernel_size=5)(torch.zeros(1, 9, 26))
    """
    global _forced
    if name not in BACKENDS:
        raise ValueError(f"backend {name!r} does not exist; choose from {', '.join(BACKENDS)}")
    before, _forced = _forced, name
    try:
        yield
    finally:
        _forced = before


def runs_native(x: Tensor) -> bool:
    """Whether an LSTM over ``x`` runs on the CPU kernel.

    Warns, once for each reason, where the kernel was asked for and cannot run, and where it would have run but was not
    built.

    Example:
        >>> runs_native(torch.zeros(1, 9, 26, dtype=torch.float64))
        False
    """
    return _runs("native", "native", _unfit_for_native(x), native.MISSING)


def runs_triton(x: Tensor) -> bool:
    """Whether an LSTM over ``x`` runs on the GPU kernels; warns as :func:`runs_native` does.

    Example:
        >>> runs_triton(torch.zeros(1, 9, 26))
        False
    """
    return _runs("triton", "Triton", _unfit_for_triton(x), tiles.MISSING)


def runs_cudnn(x: Tensor) -> bool:
    """Whether an LSTM without peepholes over the whole of ``x`` may run on cuDNN: on the GPU, with nothing forced.

    Example:
        >>> runs_cudnn(torch.zeros(1, 9, 26))
        False
    """
    on_gpu = x.device.type == "cuda" and torch.backends.cudnn.is_acceptable(x)
    return on_gpu and _forced is None and not torch.compiler.is_compiling() and _unfit_for_kernels() is None


def _runs(backend: str, name: str, unfit: str | None, missing: str | None) -> bool:
    if _forced not in (None, backend):
        return False
    if unfit is None and missing is not None:
        _warn_once(f"the {name} backend is missing, so LSTMs run in plain PyTorch, several times slower: {missing}")
        return False
    if unfit is not None and _forced == backend:
        _warn_once(f"the {name} backend cannot run this, so it runs in plain PyTorch: {unfit}")
    # An exported program is to run where the kernel is not, unless it was asked for.
    return unfit is None and (_forced == backend or not torch.compiler.is_exporting())


def _unfit_for_native(x: Tensor) -> str | None:
    if x.device.type != "cpu":
        return f"x is on {x.device}, and the kernel is for the CPU"
    if x.dtype != torch.float32:
        return f"x is {x.dtype}, and the kernel is for torch.float32"
    if torch.is_autocast_enabled("cpu"):
        return "the kernel is for torch.float32, and autocast is on"
    return _unfit_for_kernels()


def _unfit_for_triton(x: Tensor) -> str | None:
    if x.device.type != "cuda" and not (tiles.INTERPRETED and _forced == "triton"):
        return f"x is on {x.device}, and the kernels are for the GPU"
    if x.dtype not in tiles.DTYPES and not torch.is_autocast_enabled(x.device.type):
        return f"x is {x.dtype}, and the kernels are for {', '.join(map(str, tiles.DTYPES))}"
    if x.device.type == "cuda" and not _new_enough(x.device):
        return "the kernels are for NVIDIA GPUs of compute capability 8.0 and later"
    return _unfit_for_kernels()


def _new_enough(device: torch.device) -> bool:
    nvidia = torch.version.hip is None and torch.cuda.is_available()
    return nvidia and torch.cuda.get_device_properties(device).major >= 8


def _unfit_for_kernels() -> str | None:
    if torch.autograd.forward_ad._current_level >= 0:
        return "the kernels have no rules for forward-mode differentiation"
    if not torch.compiler.is_compiling() and torch._C._functorch.peek_interpreter_stack() is not None:
        return "the kernels have no rules for the transforms of torch.func"
    return None


def _warn_once(message: str) -> None:
    if message not in _warned and not torch.compiler.is_compiling():
        _warned.add(message)
        warnings.warn(message, UserWarning, stacklevel=5)
