"""The choice of the backend: one table for all operations."""

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from convrnn.ops import backend, cudnn, native, reference_backend, triton
from convrnn.ops.backend import Backend, Implementation
from convrnn.ops.operands import CellOperands, LSTMOperands

TABLE: tuple[Backend, ...] = (native.BACKEND, cudnn.BACKEND, triton.BACKEND, reference_backend.BACKEND)
"""All backends, in the order in which they are tried for every operation; the last one runs everything."""

_REFERENCE = TABLE[-1]

_warned: set[str] = set()
_recording: set[tuple[str, Implementation]] | None = None


@contextmanager
def use_backend(name: str) -> Iterator[None]:
    """Run every operation within the ``with`` block on the named backend.

    Without it, operations run on "native", "triton" or "cudnn" where they can, and otherwise on "reference". The
    choice holds for the whole process and is made in the forward pass. A function compiled under one choice is compiled
    again under another. Choose "reference" for second derivatives, for ``torch.autograd.grad(...,
    is_grads_batched=True)`` and for a compiled function with a transform of ``torch.func`` in it; other transforms of
    ``torch.func``, and forward-mode differentiation, use it automatically.

    Args:
        name: "reference" is the equations in plain PyTorch, for any device and floating dtype, differentiable any
            number of times. "native" is the CPU kernel for all three cells in float32, bfloat16 and float16, and under
            autocast; "triton" is the GPU kernels for LSTMs in the same dtypes, from compute capability 8.0; "cudnn" is
            PyTorch's own LSTM, for the hidden states of whole sequences without peepholes on the GPU. Operations that
            the named backend cannot run fall back to the reference with one warning.

    Raises:
        ValueError: for a name that is not a backend.

    Example:
        >>> import torch
        >>> import convrnn
        >>> with convrnn.ops.use_backend("reference"):
        ...     y = convrnn.nn.CLSTM(26, 100, kernel_size=5)(torch.zeros(1, 9, 26))
    """
    names = [_REFERENCE.name, *(each.name for each in TABLE[:-1])]
    if name not in names:
        raise ValueError(f"backend {name!r} does not exist; choose from {', '.join(names)}")
    before = backend.force(name)
    try:
        yield
    finally:
        backend.force(before)


def choose(operation: str, operands: CellOperands) -> Callable[..., Any]:
    """The implementation that runs an operation on these operands.

    Warns, once for each reason, if the selected backend cannot run, or if one that could run is missing.

    Args:
        operation: The name of a public function.
        operands: Its operands.
    """
    chosen = _first_that_runs(operation, operands)
    if _recording is not None and not torch.compiler.is_compiling():
        _recording.add((operation, chosen.describe(operands.x.device)))
    return chosen.operations[operation]


def _first_that_runs(operation: str, operands: CellOperands) -> Backend:
    forced = backend.forced()
    for candidate in TABLE:
        if forced not in (None, candidate.name):
            continue
        reason = candidate.why_not(operation, operands)
        if reason is None and (missing := candidate.missing()):
            instead = "its operations run in plain PyTorch, several times slower"
            _warn_once(f"the {candidate.title} backend is missing, so {instead}: {missing}")
        elif reason is not None:
            if forced is not None:
                _warn_once(f"the {candidate.title} backend cannot run this, so it runs in plain PyTorch: {reason}")
        elif forced is not None or candidate is _REFERENCE or not torch.compiler.is_exporting():
            # An exported program must also run without the kernels, unless they were selected explicitly.
            return candidate
    return _REFERENCE


def what_runs(x: Tensor, operation: str = "windowed_lstm") -> Implementation:
    """The code that an operation over ``x`` would currently run; of an LSTM, one without peepholes.

    Args:
        x: Frames ``[batch, frames, in]``; only the device and dtype matter.
        operation: The name of a public function.

    Raises:
        ValueError: for a name that is not one.

    Example:
        >>> with use_backend("reference"):
        ...     what_runs(torch.zeros(1, 9, 26)).backend
        'reference'
    """
    if operation not in _REFERENCE.operations:
        raise ValueError(f"operation is {operation!r}; it must be one of {', '.join(map(repr, _REFERENCE.operations))}")
    operands = LSTMOperands(x, x.new_empty(4, x.size(-1)), x.new_empty(4, 1), None)
    return _first_that_runs(operation, operands).describe(x.device)


@contextmanager
def record() -> Iterator[set[tuple[str, Implementation]]]:
    """Record what runs within the ``with`` block in this process; compiled functions are not recorded.

    Yields:
        Pairs of an operation's name and the code that computed it, filled as operations are called.

    Example:
        >>> from convrnn import ops
        >>> with record() as ran, use_backend("reference"):
        ...     _ = ops.lstm(torch.zeros(1, 9, 26), torch.zeros(32, 26), torch.zeros(32, 8), None)
        >>> [(operation, implementation.backend) for operation, implementation in ran]
        [('lstm', 'reference')]
    """
    global _recording
    before, _recording = _recording, set()
    try:
        yield _recording
    finally:
        _recording = before


def recorded() -> set[tuple[str, Implementation]]:
    """The contents of the innermost :func:`record` so far; empty outside one.

    Example:
        >>> recorded()
        set()
    """
    return set() if _recording is None else set(_recording)


def _warn_once(message: str) -> None:
    if message not in _warned and not torch.compiler.is_compiling():
        _warned.add(message)
        # Points to the line that called the public function.
        warnings.warn(message, UserWarning, stacklevel=5)
