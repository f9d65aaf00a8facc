"""The library of the CPU kernel: loading it with ctypes, its instruction sets, and the one call."""

import ctypes
import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

import torch

from convrnn.ops.checks import check_memory
from convrnn.ops.operands import Tensors

INSTRUCTION_SETS = ("portable", "avx2", "avx512")
FORWARD, BACKWARD = 0, 1
_INTERFACE = 2  # CONVRNN_INTERFACE of csrc/lstm.h

_instruction_set: str | None = None


class _Call(ctypes.Structure):
    """``struct lstm_call`` of ``csrc/lstm.h``, field by field."""

    _sizes = (
        *("batch", "frames", "features", "hidden", "rows", "kernel_size", "stride", "windows"),
        *("reverse", "per_position", "sequence", "reduce", "threads"),
    )
    _tensors = (
        *("lengths", "x", "weight_ih", "weight_hh", "bias", "weight_peephole", "initial_hidden", "initial_cell"),
        *("y", "states_hidden", "states_cell", "gates", "grad_y", "grad_hidden", "grad_cell"),
        *("grad_x", "grad_weight_ih", "grad_weight_hh", "grad_vectors"),
    )
    _fields_ = (*((name, ctypes.c_int64) for name in _sizes), *((name, ctypes.c_void_p) for name in _tensors))


def library_path() -> Path:
    """Where the library is looked for: beside this package, or where ``CONVRNN_NATIVE_LIBRARY`` says.

    Example:
        >>> library_path().suffix
        '.so'
    """
    return Path(os.environ.get("CONVRNN_NATIVE_LIBRARY", Path(__file__).parents[1] / "_native.so"))


def _load() -> ctypes.CDLL | str:
    """The library, or a sentence that says why it is not there."""
    path = library_path()
    try:
        library = ctypes.CDLL(str(path))
        library.convrnn_interface.restype = ctypes.c_int64
        interface = library.convrnn_interface()
    except (OSError, AttributeError) as error:
        missing = not path.exists()
        return f"{path} is not there (no C compiler at installation?)" if missing else f"{path} does not load: {error}"
    if interface != _INTERFACE:
        return f"{path} belongs to another version of convrnn; install convrnn again"
    library.convrnn_lstm.argtypes = (ctypes.POINTER(_Call), ctypes.c_int, ctypes.c_int)
    return library


# Loaded when imported, so that a compiler that traces a layer meets plain values.
_library = _load()

MISSING: str | None = _library if isinstance(_library, str) else None
"""Why the library cannot be used, or None where it can."""


def available() -> bool:
    """Whether the library was built and loads.

    Example:
        >>> available() == (MISSING is None)
        True
    """
    return MISSING is None


@cache
def instruction_sets() -> tuple[str, ...]:
    """The instruction sets that the library holds and this machine runs, the best first; none without the library.

    Example:
        >>> set(instruction_sets()) <= {"avx512", "avx2", "portable"}
        True
    """
    if isinstance(_library, str):
        return ()
    return tuple(name for i, name in reversed(list(enumerate(INSTRUCTION_SETS))) if _library.convrnn_supports(i))


def instruction_set() -> str:
    """The instruction set that the kernel runs on: the best, unless another was asked for.

    Raises:
        RuntimeError: the library is not there.
    """
    if isinstance(_library, str):
        raise RuntimeError(f"the native backend is missing: {_library}")
    return _instruction_set or instruction_sets()[0]


@contextmanager
def use_instruction_set(name: str) -> Iterator[None]:
    """Run the kernel within the ``with`` block on the named instruction set, rather than on the best.

    A backward pass runs on that of its forward pass, whose kept gates lie in an order of its own.

    Raises:
        ValueError: for one that this machine does not run.
    """
    global _instruction_set
    if name not in instruction_sets():
        raise ValueError(f"instruction set {name!r} does not run here; choose from {', '.join(instruction_sets())}")
    before, _instruction_set = _instruction_set, name
    try:
        yield
    finally:
        _instruction_set = before


def run(direction: int, sizes: dict[str, int], tensors: Tensors) -> None:
    """Call the kernel; the tensors live until it returns.

    Args:
        direction: :data:`FORWARD` or :data:`BACKWARD`.
        sizes: Sizes and options of the call, by their names in ``struct lstm_call``.
        tensors: Its arrays likewise; None for those that are absent.

    Raises:
        RuntimeError: the library is not there.
        ValueError: a tensor has no memory, although it has values.
        MemoryError: there is no memory for the kernel's working space.
    """
    if isinstance(_library, str):
        raise RuntimeError(f"the native backend is missing: {_library}")
    there = {name: tensor for name, tensor in tensors.items() if tensor is not None}
    pointers = {name: tensor.data_ptr() for name, tensor in there.items()}
    if 0 in pointers.values():
        # To the kernel that is a tensor which is absent, or one to fall over.
        for name, tensor in there.items():
            check_memory(name, tensor)
    call = _Call(**sizes, **pointers, threads=torch.get_num_threads())
    if _library.convrnn_lstm(ctypes.byref(call), direction, INSTRUCTION_SETS.index(instruction_set())):
        raise MemoryError("the native LSTM kernel could not get the memory for its working space")
