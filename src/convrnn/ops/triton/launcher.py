"""Launching a kernel with little work in Python: Triton itself takes as long as the kernels do on few windows."""

import functools
from collections.abc import Mapping
from typing import Any

import torch

from convrnn.ops.triton import tiles

_INT32 = 2**31

_compiled: dict[tuple[Any, ...], Any] = {}
"""The compiled kernel for everything that Triton compiles a kernel for anew."""


@functools.cache
def _parameters(kernel: Any) -> list[tuple[str, bool]]:  # noqa: ANN401
    """The kernel's parameters in order, and whether it is compiled anew for each of their values."""
    return [(each.name, each.is_constexpr or not each.do_not_specialize) for each in kernel.params]


def launch(
    kernel: Any,  # noqa: ANN401
    programs: tuple[int, ...],
    arguments: Mapping[str, Any],
    warps: int = 4,
    stages: int = 3,
) -> None:
    """Launch this many programs of a kernel on the tensors' device and its current stream.

    The first launch goes through Triton, which compiles the kernel. Later ones find it by the types of their arguments
    and start it at once.

    Raises:
        RuntimeError: the tensors are not on a GPU.
    """
    tensor = next(argument for argument in arguments.values() if isinstance(argument, torch.Tensor))
    if tensor.device.type != "cuda":
        if not tiles.INTERPRETED:
            raise RuntimeError(f"the Triton kernels are for the GPU, but the tensors are on {tensor.device}")
        kernel[programs](**arguments, num_warps=warps, num_stages=stages)
        return
    device = tensor.get_device()
    if device != torch.cuda.current_device():
        with torch.cuda.device(device):
            launch(kernel, programs, arguments, warps, stages)
        return
    key, values = [kernel.fn, device, warps, stages], []
    for name, compiled_for_value in _parameters(kernel):
        value = arguments[name]
        values.append(value)
        if isinstance(value, torch.Tensor):
            key += (value.dtype, value.data_ptr() % 16 == 0)
        elif compiled_for_value or value is None:
            key.append(value)
        else:
            key.append(-_INT32 <= value < _INT32)
    found = _compiled.get(tuple(key))
    if found is None:
        _compiled[tuple(key)] = kernel[programs](**arguments, num_warps=warps, num_stages=stages)
    else:
        found[(*programs, 1, 1)[:3]](*values)
