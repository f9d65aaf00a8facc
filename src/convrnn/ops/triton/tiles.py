"""How the kernels divide their work, and how they are started."""

import importlib.util
import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch

MISSING: str | None = (
    None if importlib.util.find_spec("triton") else "Triton is not installed (it comes with PyTorch for the GPU)"
)
"""Why the kernels cannot be used, or None where Triton is there. It is not imported before a kernel runs."""

INTERPRETED: bool = os.environ.get("TRITON_INTERPRET", "").lower() in {"1", "true", "yes", "on", "y"}
"""Whether the kernels run in Triton's interpreter, on the CPU, for tests: ``TRITON_INTERPRET=1``."""

DTYPES = (torch.float32, torch.bfloat16, torch.float16)
"""Dtypes that operands may have."""

_PRECISIONS = {"highest": "ieee", "high": "tf32x3", "medium": "tf32"}


@dataclass(frozen=True)
class Tile:
    """The part of the work that one program takes at a time, and how it is compiled.

    Attributes:
        resident: Whether the recurrent weights stay on the chip through all steps.
        rows: Windows, or whole sequences.
        units: Of the hidden layer; all of them where the weights are resident.
        inner: Of whole sequences: terms of a sum in one product.
        warps: Of 32 threads each.
        stages: Loads of a loop that are under way at once, and one.
        inputs: Features, all of them, where the input weights are resident too; else 0, and frames come projected.
        programs: At most as many, where the weights are resident: each takes one tile after another.
    """

    resident: bool
    rows: int
    units: int
    inner: int
    warps: int
    stages: int
    inputs: int = 0
    programs: int = 1


def power_of_2(count: int) -> int:
    """The least power of 2 that is at least ``count``, and at least 16, the least side of a product.

    Example:
        >>> power_of_2(3), power_of_2(100)
        (16, 128)
    """
    return max(16, 1 << (count - 1).bit_length())


def precision(dtype: torch.dtype) -> str:
    """How products of operands of ``dtype`` are computed; PyTorch's setting decides for float32.

    Example:
        >>> precision(torch.bfloat16)
        'bf16'
    """
    if INTERPRETED:
        return "upcast"
    if dtype != torch.float32:
        return "bf16" if dtype == torch.bfloat16 else "fp16"
    return _PRECISIONS[torch.get_float32_matmul_precision()]


def choose(rows: int, hidden: int, features: int | None, dtype: torch.dtype, device: torch.device) -> Tile:
    """The tile for so many windows and units, and operands of ``dtype``.

    The sizes are those that were fastest of some on an H100, with 100 units and 100,000 windows, forward and backward
    pass together. The weights are resident where the matrix units multiply them and the shared memory has room: 128
    units of 2 bytes on data-centre GPUs, 64 on others, or 64 of 4 bytes in tf32. Elsewhere a program takes 2048 states
    through one step.

    Args:
        rows: Windows.
        hidden: Units.
        features: Of a frame; None where frames have to come projected.
        dtype: Of the operands.
        device: Where they are.

    Example:
        >>> choose(2016, 100, 26, torch.float32, torch.device("cpu")).resident
        False
    """
    shared, processors = _chip(device)
    units = power_of_2(hidden)
    columns = min(units, 128)
    tile = Tile(resident=False, rows=2048 // columns, units=columns, inner=0, warps=8, stages=1)
    if dtype != torch.float32 or precision(dtype) == "tf32":
        for rows_at_once in (16, 32):
            # How many rows of weights, of all gates, have room beside what is on its way through the shared memory.
            room = (shared - _STAGING * rows_at_once * units) // (4 * units * dtype.itemsize)
            if room >= units:
                inputs = 0 if features is None or features > _FEW else power_of_2(features)
                inputs = inputs if units + inputs <= room else 0
                warps = 8 if units > 64 else 4
                tile = Tile(True, rows_at_once, units, 0, warps, stages=1, inputs=inputs, programs=processors)
    # A few windows are spread over the whole chip, as far as a product's least side of 16 allows.
    while tile.rows > 16 and rows < tile.rows * processors:
        tile = replace(tile, rows=tile.rows // 2)
    return tile


def choose_step(batch: int, hidden: int, dtype: torch.dtype, device: torch.device) -> Tile:
    """The tile for a step of whole sequences: small, so that many multiprocessors share the step.

    It is larger only where there would be more programs than multiprocessors, which could not wait for each other.

    Example:
        >>> choose_step(32, 256, torch.bfloat16, torch.device("cpu")).rows
        64
    """
    inner = 32 if precision(dtype) == "ieee" else 64
    tile = Tile(resident=False, rows=16, units=16, inner=inner, warps=4, stages=3)
    while tile.rows < 64 and not run_together(-(-batch // tile.rows) * -(-hidden // tile.units), device):
        tile = replace(tile, rows=2 * tile.rows)
    return tile


_FEW = 32
"""Features that are projected for every window anew rather than once for all."""

_STAGING = 10
"""Bytes of shared memory for each window and unit that a program needs beside resident weights."""


def _chip(device: torch.device) -> tuple[int, int]:
    """Bytes of shared memory that a program can have, and the number of multiprocessors."""
    if device.type != "cuda":
        return 96 * 1024, 1
    properties = torch.cuda.get_device_properties(device)
    # More than what every program has may be asked for, but not on every make of GPU.
    shared = getattr(properties, "shared_memory_per_block_optin", properties.shared_memory_per_block)
    return shared, properties.multi_processor_count


def run_together(programs: int, device: torch.device) -> bool:
    """Whether so many programs of a kernel run at the same time, and may wait for each other.

    There is a multiprocessor for each then; what else runs on the GPU must not wait for them.

    Example:
        >>> run_together(2, torch.device("cpu"))  # the interpreter runs one after another
        False
    """
    return not INTERPRETED and programs <= _chip(device)[1]


def launch(
    kernel: Any,  # noqa: ANN401
    programs: tuple[int, ...],
    arguments: Mapping[str, Any],
    warps: int = 4,
    stages: int = 3,
) -> None:
    """Start as many programs of a kernel, on the tensors' device and its current stream.

    Raises:
        RuntimeError: the tensors are not on a GPU.
    """
    tensor = next(argument for argument in arguments.values() if isinstance(argument, torch.Tensor))
    if tensor.device.type != "cuda" and not INTERPRETED:
        raise RuntimeError(f"the Triton kernels are for the GPU, but the tensors are on {tensor.device}")
    with torch.cuda.device_of(tensor):
        kernel[programs](**arguments, num_warps=warps, num_stages=stages)
