"""The GPU kernels: the LSTM in Triton, for float32, bfloat16 and float16.

The operations registered here are differentiable once. The kernels, and with them Triton, are imported when they first
run.
"""

import hashlib
from functools import cache
from importlib.metadata import version
from pathlib import Path

import torch

from convrnn.ops import backend
from convrnn.ops.backend import Backend, Implementation, first_of, why_no_kernel
from convrnn.ops.operands import CellOperands
from convrnn.ops.triton import tiles
from convrnn.ops.triton.sequence import bilstm_hidden, lstm
from convrnn.ops.triton.windowed import windowed_bilstm, windowed_lstm

__all__ = ["BACKEND"]


def _cannot_run(operands: CellOperands) -> str | None:
    x = operands.x
    if x.device.type != "cuda" and not (tiles.INTERPRETED and backend.forced() == "triton"):
        return f"x is on {x.device}, and the kernels are for the GPU"
    if x.dtype not in tiles.DTYPES and not torch.is_autocast_enabled(x.device.type):
        return f"x is {x.dtype}, and the kernels are for {', '.join(map(str, tiles.DTYPES))}"
    if x.device.type == "cuda" and not _new_enough(x.device):
        return "the kernels are for NVIDIA GPUs of compute capability 8.0 and later"
    return why_no_kernel()


@cache
def _new_enough(device: torch.device) -> bool:
    nvidia = torch.version.hip is None and torch.cuda.is_available()
    return nvidia and torch.cuda.get_device_properties(device).major >= 8


def _missing() -> str | None:
    return tiles.MISSING


@cache
def _sources() -> str:
    """A digest of the package's source files."""
    digest = hashlib.sha256()
    folder = Path(__file__).parent
    for path in sorted(folder.rglob("*.py")):
        digest.update(path.relative_to(folder).as_posix().encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()[:12]


def _describe(device: torch.device) -> Implementation:
    on_gpu = device.type == "cuda"
    architecture = backend.gpu_architecture(device) if on_gpu else "interpreter"
    return Implementation("triton", _sources(), architecture, f"Triton {version('triton')}")


BACKEND = Backend(
    name="triton",
    title="Triton",
    operations={
        "windowed_lstm": windowed_lstm,
        "windowed_bilstm": windowed_bilstm,
        "lstm": lstm,
        "lstm_hidden": first_of(lstm),
        "bilstm_hidden": bilstm_hidden,
    },
    cannot_run=_cannot_run,
    missing=_missing,
    describe=_describe,
)
