"""Division of the kernels' work into tiles."""

import functools
import importlib.util
import os
from dataclasses import dataclass, replace

import torch

MISSING: str | None = (
    None if importlib.util.find_spec("triton") else "Triton is not installed (it comes with PyTorch for the GPU)"
)
"""Why the kernels cannot be used, or None if Triton is installed. Triton is not imported before a kernel runs."""

INTERPRETED: bool = os.environ.get("TRITON_INTERPRET", "").lower() in {"1", "true", "yes", "on", "y"}
"""Whether the kernels run in Triton's interpreter, on the CPU, for tests: ``TRITON_INTERPRET=1``."""

DTYPES = (torch.float32, torch.bfloat16, torch.float16)
"""Dtypes that operands may have."""

_PRECISIONS = {"highest": "ieee", "high": "tf32x3", "medium": "tf32"}


@dataclass(frozen=True)
class Tile:
    """The work that one program does at a time, and its compilation options.

    Attributes:
        kind: Of the kernels over windows: "resident" if the recurrent weights stay on the chip through all steps,
            "streamed" if they are read again in every step of the same launch, "stepwise" if every step is a launch;
            "sequence" for whole sequences.
        rows: Number of windows or whole sequences.
        units: Number of hidden units; all of them if the weights are resident.
        inner: Inner dimension of one product, where the weights are read in blocks: "streamed" and "sequence".
        warps: Number of warps of 32 threads.
        stages: Pipeline stages of a loop, one more than the number of loads in flight.
        inputs: Number of features, all of them, if the input weights are resident too; otherwise 0, and frames are
            projected beforehand.
        programs: Maximum number of programs if the weights are resident: each processes one tile after another.
    """

    kind: str
    rows: int
    units: int
    inner: int
    warps: int
    stages: int
    inputs: int = 0
    programs: int = 1


def power_of_2(count: int) -> int:
    """The smallest power of 2 that is at least ``count`` and at least 16, the minimum side of a product.

    Example:
        >>> power_of_2(3), power_of_2(100)
        (16, 128)
    """
    return max(16, 1 << (count - 1).bit_length())


def precision(dtype: torch.dtype) -> str:
    """The precision of products of operands of ``dtype``; for float32, PyTorch's setting decides.

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
    """Choose the tile for a number of windows and units, and operands of ``dtype``.

    The sizes were the fastest of those tried on an H100, with 100 units and 100,000 windows, forward and backward pass
    together. The weights are resident if tensor cores multiply them and they fit into shared memory: those of 128 units
    in 2 bytes on data-centre GPUs, of 64 on others, or of 64 in 4 bytes (TF32). Otherwise, few windows of at most 256
    units are streamed; of many, or with more units, a program computes one step of 2048 states.

    Args:
        rows: Number of windows.
        hidden: Number of hidden units.
        features: Features per frame; None if frames must be projected beforehand.
        dtype: Dtype of the operands.
        device: Device of the operands.

    Example:
        >>> choose(2016, 100, 26, torch.float32, torch.device("cpu")).kind
        'stepwise'
    """
    return _choose(rows, hidden, features, dtype, precision(dtype), *_chip(device))


@functools.lru_cache(1024)
def _choose(
    rows: int,
    hidden: int,
    features: int | None,
    dtype: torch.dtype,
    products: str,
    shared: int,
    processors: int,
) -> Tile:
    units = power_of_2(hidden)
    columns = min(units, 128)
    tile = Tile("stepwise", rows=2048 // columns, units=columns, inner=0, warps=8, stages=1)
    if dtype != torch.float32 or products == "tf32":
        for rows_at_once in (16, 32):
            # Rows of weights, of all gates, that fit into shared memory in addition to the staging buffers.
            capacity = (shared - _STAGING * rows_at_once * units) // (4 * units * dtype.itemsize)
            if capacity >= units:
                inputs = 0 if features is None or features > _FEW_FEATURES else power_of_2(features)
                inputs = inputs if units + inputs <= capacity else 0
                warps = 8 if units > 64 else 4
                tile = Tile("resident", rows_at_once, units, 0, warps, stages=1, inputs=inputs, programs=processors)
    if tile.kind == "stepwise" and units <= _MOST_STREAMED_UNITS and rows <= _FEW_ROWS * processors:
        inner, stages = (16, 3 if units <= 128 else 2) if products in ("ieee", "upcast") else (32, 2)
        for inner_that_fits in (inner, 16):
            streamed = Tile("streamed", 16, units, inner_that_fits, 8, stages)
            if _loads(streamed, dtype) <= shared:
                return streamed
    # Few windows are spread over the whole chip, down to 16 per tile, the minimum side of a product.
    while tile.rows > 16 and rows < tile.rows * processors:
        tile = replace(tile, rows=tile.rows // 2)
    return tile


def few(rows: int, device: torch.device) -> bool:
    """Whether these are few windows, whose launches take longer than the work in them.

    Example:
        >>> few(128, torch.device("cpu")), few(129, torch.device("cpu"))
        (True, False)
    """
    return rows <= _FEW_ROWS * _chip(device)[1]


def choose_step(batch: int, hidden: int, dtype: torch.dtype, device: torch.device, directions: int = 1) -> Tile:
    """Choose the tile for a step of whole sequences: small, so that many multiprocessors share the step.

    It is larger only if there would otherwise be more programs than multiprocessors: these could not wait for each
    other.

    Args:
        batch: Number of sequences.
        hidden: Number of hidden units.
        dtype: Dtype of the operands.
        device: Device of the operands.
        directions: 1 or 2.

    Example:
        >>> choose_step(32, 256, torch.bfloat16, torch.device("cpu")).rows
        64
    """
    tile = Tile("sequence", rows=16, units=16, inner=64, warps=4, stages=3)
    while tile.rows < 64 and not run_together(directions * -(-batch // tile.rows) * -(-hidden // tile.units), device):
        tile = replace(tile, rows=2 * tile.rows)
    return tile if _loads(tile, dtype) <= _chip(device)[0] else replace(tile, inner=tile.inner // 2)


def _loads(tile: Tile, dtype: torch.dtype) -> int:
    """Bytes of shared memory for the loads in flight: in the backward pass, the operands of one product per gate."""
    return 4 * (tile.stages - 1) * (tile.rows + tile.units) * tile.inner * dtype.itemsize


_FEW_FEATURES = 32
"""Largest number of features for which a frame is projected again in every window, not once for all of them."""

_FEW_ROWS = 128
"""Largest number of windows per multiprocessor for which all steps are one launch, though cuBLAS multiplies faster."""

_MOST_STREAMED_UNITS = 256
"""Largest number of units, in which the gates of a tile still fit into registers."""

_STAGING = 10
"""Bytes of shared memory per window and unit that a program needs in addition to resident weights."""


@functools.cache
def _chip(device: torch.device) -> tuple[int, int]:
    """Bytes of shared memory available to a program, and the number of multiprocessors."""
    if device.type != "cuda":
        return 96 * 1024, 1
    properties = torch.cuda.get_device_properties(device)
    # A program can opt in to more shared memory than the default, but not on GPUs of every vendor.
    shared = getattr(properties, "shared_memory_per_block_optin", properties.shared_memory_per_block)
    return shared, properties.multi_processor_count


def run_together(programs: int, device: torch.device) -> bool:
    """Whether this many programs of a kernel run at the same time, so that they may wait for each other.

    Each program then has a multiprocessor; other work on the GPU must not wait for them.

    Example:
        >>> run_together(2, torch.device("cpu"))  # the interpreter runs one after another
        False
    """
    return not INTERPRETED and programs <= _chip(device)[1]
