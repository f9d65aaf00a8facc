"""Backends: implementations of the operations."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from convrnn.ops.operands import CellOperands, Windows


@dataclass(frozen=True)
class Implementation:
    """The code that computes an operation on a device.

    Attributes:
        backend: The backend's name.
        kernel: The version of its kernels, such as "torch 2.13.0" or the digest of their sources.
        instruction_set: Instruction set of the processor, such as "avx2", or of the GPU, such as "sm_90".
        compiler: Compiler of the kernels; None if another package ships them compiled.
    """

    backend: str
    kernel: str
    instruction_set: str
    compiler: str | None = None

    def __str__(self) -> str:
        """As in "native (avx2, kernel 5d41402abc4b, GCC 12.2.0)"."""
        compiled = "" if self.compiler is None else f", {self.compiler}"
        return f"{self.backend} ({self.instruction_set}, kernel {self.kernel}{compiled})"


@dataclass(frozen=True)
class Backend:
    """One implementation of the operations.

    Attributes:
        name: Name for :func:`convrnn.ops.use_backend`.
        title: Name in messages.
        operations: Its implementations by the names of the public functions. Each takes operands and options packed by
            :mod:`convrnn.ops.functional`.
        cannot_run: Returns why it cannot run its operations on given operands, or None.
        missing: Returns why it is unavailable for any operands, such as a library that was not built, or None.
        describe: Returns the implementation that would run on a device.
    """

    name: str
    title: str
    operations: Mapping[str, Callable[..., Any]]
    cannot_run: Callable[[CellOperands], str | None]
    missing: Callable[[], str | None]
    describe: Callable[[torch.device], Implementation]

    def why_not(self, operation: str, operands: CellOperands) -> str | None:
        """Why it cannot run this operation on these operands, or None; its availability is checked separately."""
        if operation not in self.operations:
            return f"it has no {operation}"
        return self.cannot_run(operands)


_forced: str | None = None


def forced() -> str | None:
    """The name of the backend selected by :func:`convrnn.ops.use_backend`, or None.

    Example:
        >>> forced() is None
        True
    """
    return _forced


def force(name: str | None) -> str | None:
    """Select a backend, or none; returns the previous selection."""
    global _forced
    before, _forced = _forced, name
    return before


def why_no_kernel() -> str | None:
    """Why no kernel can run, whatever its operands: function transforms, which their backward passes do not support.

    Example:
        >>> torch.func.grad(lambda x: x * (why_no_kernel() is not None))(torch.tensor(2.0))
        tensor(1.)
    """
    if torch.autograd.forward_ad._current_level >= 0:
        return "the kernels have no rules for forward-mode differentiation"
    if not torch.compiler.is_compiling() and torch._C._functorch.peek_interpreter_stack() is not None:
        return "the kernels have no rules for the transforms of torch.func"
    return None


def gpu_architecture(device: torch.device) -> str:
    """The GPU's instruction set, such as "sm_90"."""
    return "sm_{}{}".format(*torch.cuda.get_device_capability(device))


def in_turn(lstm_hidden: Callable[[Any, bool], Tensor]) -> Callable[[Any, Any], Tensor]:
    """The hidden states of both directions side by side, by a function that computes those of one."""

    def both(forward: Any, backward: Any) -> Tensor:  # noqa: ANN401
        return torch.cat([lstm_hidden(forward, False), lstm_hidden(backward, True)], dim=-1)

    return both


def windows_in_turn(
    windowed_lstm: Callable[[Any, Windows], Tensor],
) -> Callable[[Any, Any, Windows], tuple[Tensor, Tensor]]:
    """The features of both directions, by a function that computes those of one."""

    def both(forward: Any, backward: Any, windows: Windows) -> tuple[Tensor, Tensor]:  # noqa: ANN401
        return windowed_lstm(forward, windows), windowed_lstm(backward, replace(windows, reverse=True))

    return both


def first_of(function: Callable[..., Any]) -> Callable[..., Any]:
    """A function that returns only the first result of another, such as the hidden states of an LSTM."""

    def first(*args: Any) -> Any:  # noqa: ANN401
        return function(*args)[0]

    return first
