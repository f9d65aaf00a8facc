"""The library of the CPU kernel: loading with ctypes, instruction sets, and the call."""

import ctypes
import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

import torch
from torch import Tensor

from convrnn.ops.checks import REDUCTIONS, SEQUENCES, check_memory
from convrnn.ops.operands import CellOperands, Windows

INSTRUCTION_SETS = ("portable", "avx2", "avx512")
CELLS = ("rnn", "gru", "lstm")
FORWARD, BACKWARD = 0, 1
_INTERFACE = 4  # CONVRNN_INTERFACE of csrc/call.h

_instruction_set: str | None = None


class _Call(ctypes.Structure):
    """``struct recurrent_call`` of ``csrc/call.h``, field by field."""

    _sizes = (
        *("batch", "frames", "features", "hidden", "rows", "kernel_size", "stride", "windows"),
        *("reverse", "per_position", "sequence", "reduce", "threads"),
        *("cell", "nonlinearity", "reset_after", "saved_steps"),
    )
    _tensors = (
        *("lengths", "x", "weight_ih", "weight_hh", "bias", "bias_hn", "weight_peephole"),
        *("initial_hidden", "initial_cell"),
        *("y", "states_hidden", "states_cell", "saved", "grad_y", "grad_hidden", "grad_cell"),
        *("grad_x", "grad_weight_ih", "grad_weight_hh", "grad_bias", "grad_bias_hn", "grad_weight_peephole"),
        *("grad_initial_hidden", "grad_initial_cell"),
    )
    _fields_ = (*((name, ctypes.c_int64) for name in _sizes), *((name, ctypes.c_void_p) for name in _tensors))


def library_path() -> Path:
    """The path of the library: next to this package, or the value of ``CONVRNN_NATIVE_LIBRARY``.

    Example:
        >>> library_path().suffix
        '.so'
    """
    return Path(os.environ.get("CONVRNN_NATIVE_LIBRARY", Path(__file__).parents[1] / "_native.so"))


def _load() -> ctypes.CDLL | str:
    """The library, or a sentence saying why it cannot be loaded."""
    path = library_path()
    try:
        library = ctypes.CDLL(str(path))
    except OSError as error:
        if path.exists():
            return f"{path} does not load: {error}"
        why = "there is none for Windows" if os.name == "nt" else "was there no C compiler at installation?"
        return f"{path} does not exist ({why})"
    try:
        library.convrnn_interface.restype = ctypes.c_int64
        library.convrnn_sources.restype = library.convrnn_compiler.restype = ctypes.c_char_p
        interface = library.convrnn_interface()
    except AttributeError:
        interface = None
    if interface != _INTERFACE:
        return f"{path} belongs to another version of convrnn; install convrnn again"
    library.convrnn_saved_vectors.argtypes = 6 * (ctypes.c_int64,)
    library.convrnn_saved_vectors.restype = ctypes.c_int64
    library.convrnn_run.argtypes = (ctypes.POINTER(_Call), ctypes.c_int, ctypes.c_int)
    return library


# Loaded on import, so that a compiler tracing a layer sees plain values.
_library = _load()

MISSING: str | None = _library if isinstance(_library, str) else None
"""Why the library cannot be used, or None if it can."""


def available() -> bool:
    """Whether the library was built and loads.

    Example:
        >>> available() == (MISSING is None)
        True
    """
    return MISSING is None


@cache
def instruction_sets() -> tuple[str, ...]:
    """Instruction sets that the library contains and this machine supports, best first; none without the library.

    Example:
        >>> set(instruction_sets()) <= {"avx512", "avx2", "portable"}
        True
    """
    if isinstance(_library, str):
        return ()
    return tuple(name for i, name in reversed(list(enumerate(INSTRUCTION_SETS))) if _library.convrnn_supports(i))


def instruction_set() -> str:
    """The instruction set that the kernel uses: the best, unless another is selected.

    Raises:
        RuntimeError: the library is not available.
    """
    if isinstance(_library, str):
        raise RuntimeError(f"the native backend is missing: {_library}")
    return _instruction_set or instruction_sets()[0]


@cache
def built_from() -> tuple[str, str]:
    """The digest of the kernel's sources and the compiler that built the library.

    Raises:
        RuntimeError: the library is not available.
    """
    if isinstance(_library, str):
        raise RuntimeError(f"the native backend is missing: {_library}")
    return _library.convrnn_sources().decode(), _library.convrnn_compiler().decode()


@cache
def saved_vectors(cell: str, reset_after: bool, windows: Windows | None = None, saved_steps: int = 0) -> int:
    """How many vectors of units the forward pass saves for the backward pass, of each window or frame.

    Args:
        cell: Name of the cell.
        reset_after: Where the reset gate of a GRU acts.
        windows: Options of windows; None for whole sequences, whose frames are counted.
        saved_steps: Number of a window's last steps of which it saves the gates.

    Raises:
        RuntimeError: the library is not available.
    """
    if isinstance(_library, str):
        raise RuntimeError(f"the native backend is missing: {_library}")
    options = (0, 0, 0)
    if windows is not None:
        options = (windows.kernel_size, SEQUENCES.index(windows.sequence), REDUCTIONS.index(windows.reduce))
    return int(_library.convrnn_saved_vectors(CELLS.index(cell), reset_after, *options, saved_steps))


@contextmanager
def use_instruction_set(name: str) -> Iterator[None]:
    """Run the kernel within the ``with`` block on the named instruction set instead of the best.

    A backward pass uses the instruction set of its forward pass, because the layout of what is saved depends on it.

    Raises:
        ValueError: if this machine does not support the instruction set.
    """
    global _instruction_set
    if name not in instruction_sets():
        raise ValueError(f"instruction set {name!r} does not run here; choose from {', '.join(instruction_sets())}")
    before, _instruction_set = _instruction_set, name
    try:
        yield
    finally:
        _instruction_set = before


def run(direction: int, sizes: dict[str, int], operands: CellOperands, **arrays: Tensor | None) -> None:
    """Call the kernel.

    Args:
        direction: :data:`FORWARD` or :data:`BACKWARD`.
        sizes: Sizes and options of the call, by the names of ``struct recurrent_call``.
        operands: Contiguous operands.
        arrays: Other tensors that the kernel reads and writes, by the same names; None if absent.

    Raises:
        RuntimeError: the library is not available.
        ValueError: a tensor with values has no memory.
        MemoryError: there is not enough memory for the kernel's workspace.
    """
    if isinstance(_library, str):
        raise RuntimeError(f"the native backend is missing: {_library}")
    call = _Call(**sizes, threads=torch.get_num_threads())
    # The caller's references keep the tensors alive until the kernel returns.
    for name, tensor in (*operands.named.items(), *arrays.items()):
        if tensor is None:
            continue
        pointer = tensor.data_ptr()
        if not pointer:
            # The kernel treats a null pointer as an absent tensor, or else would dereference it.
            check_memory(name, tensor)
        setattr(call, name, pointer)
    if _library.convrnn_run(ctypes.byref(call), direction, INSTRUCTION_SETS.index(instruction_set())):
        raise MemoryError("there is not enough memory for the workspace of the native kernel")
