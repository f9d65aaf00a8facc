"""Launching kernels with little overhead in Python, which for few windows exceeds the time of the kernels."""

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from operator import itemgetter
from typing import Any

import torch
from torch import Tensor

from convrnn.ops.triton import tiles

_LARGEST = 2**31
"""The first integer that Triton passes to a kernel in 64 bits."""

Getter = Callable[[Mapping[str, Any]], tuple[Any, ...]]


@dataclass(frozen=True)
class _Parameters:
    """How to take a kernel's arguments from a mapping.

    Attributes:
        all: All of them, in order.
        tensors: The tensors.
        sizes: The integers; only their width, 32 or 64 bits, needs another version of the kernel.
        constants: The compile-time constants.
    """

    all: Getter
    tensors: Getter
    sizes: Getter
    constants: Getter


@functools.cache
def parameters(kernel: Any) -> _Parameters:  # noqa: ANN401
    """The parameters of a kernel."""
    kinds: dict[str, list[str]] = {"all": [], "tensors": [], "sizes": [], "constants": []}
    for each in kernel.params:
        kind = "constants" if each.is_constexpr else "sizes" if each.do_not_specialize else "tensors"
        kinds["all"].append(each.name)
        kinds[kind].append(each.name)
    return _Parameters(**{kind: _getter(names) for kind, names in kinds.items()})


def _getter(names: Sequence[str]) -> Getter:
    return itemgetter(*names) if len(names) > 1 else lambda mapping: tuple(mapping[name] for name in names)


def variant(of: _Parameters, arguments: Mapping[str, Any]) -> tuple[Any, ...]:
    """Everything in the arguments that Triton compiles separate versions of a kernel for."""
    sizes = of.sizes(arguments)
    wide = max(sizes) >= _LARGEST and tuple(size >= _LARGEST for size in sizes)
    found: list[Any] = [of.constants(arguments), wide]
    for tensor in of.tensors(arguments):
        if tensor is None:
            found.append(None)
        else:
            found += (tensor.dtype, tensor.data_ptr() % 16)
    return tuple(found)


_compiled: dict[tuple[Any, ...], Any] = {}


def launch(
    kernel: Any,  # noqa: ANN401
    programs: tuple[int, ...],
    arguments: Mapping[str, Any],
    warps: int = 4,
    stages: int = 3,
) -> None:
    """Launch this many programs of a kernel on the tensors' device and its current stream.

    The first launch goes through Triton, which compiles the kernel; later ones reuse the compiled kernel.

    Raises:
        RuntimeError: the tensors are not on a GPU.
    """
    tensor = next(argument for argument in arguments.values() if isinstance(argument, Tensor))
    device = tensor.device
    if tiles.INTERPRETED:
        kernel[programs](**arguments, num_warps=warps, num_stages=stages)
    elif device.type != "cuda":
        raise RuntimeError(f"the Triton kernels are for the GPU, but the tensors are on {device}")
    elif device.index != torch.cuda.current_device():
        with torch.cuda.device(device):
            launch(kernel, programs, arguments, warps, stages)
    else:
        known = parameters(kernel)
        key = kernel.fn, device.index, warps, stages, *variant(known, arguments)
        compiled = _compiled.get(key)
        if compiled is None:
            _compiled[key] = kernel[programs](**arguments, num_warps=warps, num_stages=stages)
        else:
            compiled[(*programs, 1, 1)[:3]](*known.all(arguments))
