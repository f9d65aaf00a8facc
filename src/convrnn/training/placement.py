"""Where a model computes, and in which precision."""

import re
from dataclasses import dataclass, replace

from convrnn.arguments import check_number
from convrnn.errors import Argument, InputError
from convrnn.training.config import MOST_DEVICES, Device, Precision

PRECISIONS: dict[str, Precision] = {"32": "32", "tf32": "tf32", "bf16": "bf16-mixed"}
"""Precisions as users name them."""

ALLOWED = "auto, cpu, cuda, cuda:N for GPU number N, mps"
"""Devices as users name them."""


@dataclass(frozen=True, slots=True)
class Placement:
    """Where a model computes, and in which precision.

    Attributes:
        device: kind of device.
        index: number of the GPU among several; None for the first.
        precision: "32" (float32), "tf32" (float32 whose matrix products are rounded to TF32) or "bf16-mixed"
            (automatic mixed precision in training).
        devices: number of devices of this kind that train one model together.
        remarks: a sentence for each request that could not be met.
    """

    device: Device = "cpu"
    index: int | None = None
    precision: Precision = "32"
    remarks: tuple[str, ...] = ()
    devices: int = 1

    def __str__(self) -> str:
        """The device as PyTorch names it."""
        return self.device if self.index is None else f"{self.device}:{self.index}"

    @classmethod
    def of(cls, device: str = "auto", precision: str | int = "32", devices: int = 1) -> "Placement":
        """The placement that a user asks for.

        Args:
            device: "auto" (a CUDA GPU if there is one, then Apple's GPU, then the CPU), "cpu", "cuda", "cuda:N" for GPU
                number N, or "mps".
            precision: "32", "tf32" or "bf16". What the device has no fast form of falls back to "32", with a remark.
            devices: number of GPUs that train one model together, or of processes on the CPU.

        Raises:
            InputError: for another name, and for devices that are not there.

        Example:
            >>> Placement.of("cpu", "tf32").remarks
            ('precision tf32 needs a CUDA GPU; the CPU computes in float32',)
        """
        kind, index = _device(device)
        check_number("devices", devices, 1, MOST_DEVICES)
        if devices > 1:
            _check_several(devices, device, kind, index)
        return replace(cls.on(kind, index, precision), devices=devices)

    @classmethod
    def on(cls, kind: Device, index: int | None = None, precision: str | int = "32") -> "Placement":
        """The placement on a device that is known to be there.

        Args:
            kind: kind of device.
            index: number of the GPU among several; None for the first.
            precision: as for :meth:`of`.

        Raises:
            InputError: for another name of a precision.

        Example:
            >>> Placement.on("cuda", precision="bf16").precision
            'bf16-mixed'
        """
        precision = str(precision)
        if precision not in PRECISIONS:
            raise InputError(Argument("precision"), f": unknown value {precision!r}; allowed: {', '.join(PRECISIONS)}")
        wanted = PRECISIONS[precision]
        if wanted == "32" or kind == "cuda":
            return cls(kind, index, wanted)
        name = "CPU" if kind == "cpu" else "Apple GPU"
        return cls(kind, index, "32", (f"precision {precision} needs a CUDA GPU; the {name} computes in float32",))


def _check_several(devices: int, device: str, kind: Device, index: int | None) -> None:
    import torch

    given = Argument("devices", devices)
    if index is not None or kind == "mps":
        raise InputError(given, ": ", Argument("device", device), " is a single one; choose 'cuda' or 'cpu'")
    if kind == "cuda" and devices > (count := torch.cuda.device_count()):
        raise InputError(given, f": there {'is' if count == 1 else 'are'} {count} GPU{'' if count == 1 else 's'}")


CPU = Placement()
"""Float32 on the CPU."""


def _device(device: str) -> tuple[Device, int | None]:
    import torch

    if device == "cpu":
        return "cpu", None
    if device == "auto":
        return ("cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"), None
    given = Argument("device", device)
    if device == "mps":
        if not torch.backends.mps.is_available():
            raise InputError(given, ": PyTorch finds no Apple GPU here; choose 'cpu' or 'auto'")
        return "mps", None
    found = re.fullmatch(r"cuda(?::(\d{1,4}))?", device)
    if found is None:
        raise InputError(Argument("device"), f": unknown value {device!r}; allowed: {ALLOWED}")
    if not torch.cuda.is_available():
        raise InputError(given, ": PyTorch finds no CUDA GPU here; choose 'cpu' or 'auto'")
    if found[1] is None:
        return "cuda", None
    count = torch.cuda.device_count()
    if int(found[1]) >= count:
        raise InputError(
            given, f": there {'is' if count == 1 else 'are'} {count} GPU{'' if count == 1 else 's'}, counted from 0"
        )
    return "cuda", int(found[1])
