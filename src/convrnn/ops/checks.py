"""The checks of operands that every operation performs itself.

Operations can also be called as ``torch.ops.convrnn.<name>``, bypassing the public functions, and with a tensor of the
wrong dtype, device or size a kernel would read out of bounds.
"""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

REDUCTIONS = ("last", "mean", "max", "none")
SEQUENCES = ("hidden", "cell")
NONLINEARITIES = ("tanh", "sigmoid", "relu")
INITIAL = ("initial_hidden", "initial_cell")


def one_of(argument: str, value: str, allowed: Sequence[str]) -> None:
    """Reject a value that is not allowed.

    Raises:
        ValueError: naming the argument, the value and what is allowed.
    """
    if value not in allowed:
        raise ValueError(f"{argument} is {value!r}; it must be one of {', '.join(map(repr, allowed))}")


def check_window(x: Tensor, kernel_size: int, stride: int, reduce: str, sequence: str = "hidden") -> None:
    """Reject window options that are invalid or do not fit ``x``.

    Raises:
        ValueError: naming the argument, its value and what is allowed.
    """
    check_frames(x)
    one_of("reduce", reduce, REDUCTIONS)
    one_of("sequence", sequence, SEQUENCES)
    if kernel_size < 1 or stride < 1:
        name, value = ("kernel_size", kernel_size) if kernel_size < 1 else ("stride", stride)
        raise ValueError(f"{name} must be at least 1, but is {value}")
    if x.size(1) < kernel_size:
        raise ValueError(f"kernel_size is {kernel_size}, longer than x with its {x.size(1)} frames")


def check_frames(x: Tensor) -> None:
    """Reject an ``x`` that is not a tensor of frames.

    Raises:
        ValueError: describing ``x``.
    """
    if x.dim() != 3:
        raise ValueError(f"x must be [batch, frames, features], but has shape {list(x.shape)}")
    if x.size(1) == 0:
        raise ValueError("x must have at least one frame, but has none")
    if not x.is_floating_point():
        raise ValueError(f"x must be of a floating dtype, but is {x.dtype}")


def check_cell(gates: int, tensors: Mapping[str, Tensor | None], kernel_size: int | None = None) -> None:
    """Reject tensors of a cell that do not fit together or are on different devices; dtypes are not checked.

    Args:
        gates: Number of gates of the cell.
        tensors: The tensors, named as the arguments of the public functions. ``lengths`` may have any values: they are
            clamped to 0 and the number of frames.
        kernel_size: Frames in a window, and the number of input matrices if there are several; None for whole
            sequences.

    Raises:
        ValueError: naming the first tensor that does not fit, its shape and what is allowed.
    """
    x, weight_ih, weight_hh, lengths = tensors["x"], tensors["weight_ih"], tensors["weight_hh"], tensors["lengths"]
    assert x is not None
    assert weight_ih is not None
    assert weight_hh is not None
    check_frames(x)
    if weight_hh.dim() != 2 or weight_hh.size(0) != gates * weight_hh.size(1):
        raise ValueError(f"weight_hh must be [{gates} * hidden, hidden], but has shape {list(weight_hh.shape)}")
    rows, hidden = weight_hh.shape
    shape = (rows, x.size(2))
    if weight_ih.shape != shape and (kernel_size is None or weight_ih.shape != (kernel_size, *shape)):
        allowed = f"{list(shape)}" if kernel_size is None else f"{list(shape)} or {[kernel_size, *shape]}"
        raise ValueError(f"weight_ih must have shape {allowed}, but has shape {list(weight_ih.shape)}")
    if lengths is not None and (lengths.dtype != torch.int64 or lengths.shape != x.shape[:1]):
        raise ValueError(
            f"lengths must be int64 with shape [{x.size(0)}], but is {lengths.dtype} with shape {list(lengths.shape)}"
        )
    device, state = x.device, (hidden,)
    shapes = {
        "bias": (rows,),
        "bias_hn": state,
        "weight_peephole": (3, hidden),
        "initial_hidden": state,
        "initial_cell": state,
    }
    for name, tensor in tensors.items():
        if tensor is None:
            continue
        # Inlined, because this runs in every call of every operation.
        shape_allowed = shapes.get(name)
        if tensor.device != device or (shape_allowed is not None and tensor.shape != shape_allowed):
            check_tensor(name, tensor, shape_allowed, device)


def check_bias_hn(bias_hn: Tensor | None, reset_after: bool) -> None:
    """Reject the second bias of a GRU whose reset gate does not act on the recurrent product.

    Raises:
        ValueError: saying which option has this bias.
    """
    if bias_hn is not None and not reset_after:
        raise ValueError("bias_hn is given, but reset_after is False; only reset_after=True has this bias")


def check_tensor(name: str, tensor: Tensor, shape: tuple[int, ...] | None, device: torch.device) -> None:
    """Reject a tensor on the wrong device or, if a shape is given, of the wrong shape.

    Raises:
        ValueError: naming the tensor, its shape or device and what is allowed.

    Example:
        >>> check_tensor("bias", torch.zeros(3), (4,), torch.device("cpu"))
        Traceback (most recent call last):
        ...
        ValueError: bias must have shape [4], but has shape [3]
    """
    if shape is not None and tensor.shape != shape:
        raise ValueError(f"{name} must have shape {list(shape)}, but has shape {list(tensor.shape)}")
    if tensor.device != device:
        _refuse_device(name, tensor, device)


def _refuse_device(name: str, tensor: Tensor, device: torch.device) -> None:
    raise ValueError(f"{name} must be on x's device, {device}, but is on {tensor.device}")


def check_devices(*given: object) -> None:
    """Reject tensors on different devices, for compilers, which only ask an operation for shapes.

    Args:
        given: The operation's arguments; those that are not tensors are ignored.

    Raises:
        ValueError: naming two devices.
    """
    devices = {str(each.device) for each in given if isinstance(each, Tensor)}
    if len(devices) > 1:
        raise ValueError(f"tensors of one operation must be on one device, but are on {' and '.join(sorted(devices))}")


def check_floating(tensors: Mapping[str, Tensor | None]) -> None:
    """Reject tensors without a floating dtype or, outside autocast, with another dtype than ``x``.

    Raises:
        ValueError: naming the tensor and its dtype.
    """
    x = tensors["x"]
    assert x is not None
    for name, tensor in tensors.items():
        if tensor is None or name == "lengths":
            continue
        if not tensor.is_floating_point():
            raise ValueError(f"{name} must be of a floating dtype, but is {tensor.dtype}")
        if tensor.dtype != x.dtype and not is_autocast_enabled(x.device):
            raise ValueError(f"{name} is {tensor.dtype}, but x is {x.dtype}; outside autocast they must be the same")


def is_autocast_enabled(device: torch.device) -> bool:
    """Whether autocast is on for a device; never for "meta", for which PyTorch cannot be asked.

    Example:
        >>> with torch.autocast("cpu"):
        ...     is_autocast_enabled(torch.device("cpu")), is_autocast_enabled(torch.device("meta"))
        (True, False)
    """
    return device.type != "meta" and torch.is_autocast_enabled(device.type)


def check_memory(name: str, tensor: Tensor) -> None:
    """Reject a tensor without memory for all its values, as left by ``untyped_storage().resize_(0)``.

    Raises:
        ValueError: naming the tensor.
    """
    if tensor.layout is not torch.strided:
        raise ValueError(f"{name} must be a dense tensor, but is {tensor.layout}")
    reach = tensor.numel()
    if reach and not tensor.is_contiguous():
        reach = 1 + sum((size - 1) * stride for size, stride in zip(tensor.shape, tensor.stride(), strict=True))
    if reach and (tensor.storage_offset() + reach) * tensor.itemsize > tensor.untyped_storage().nbytes():
        raise ValueError(f"{name} has shape {list(tensor.shape)}, but no memory for it: its storage was resized")


def check_lengths(lengths: Tensor | None, x: Tensor) -> Tensor | None:
    """Valid ``lengths`` for ``x`` ``[batch, frames, ...]``: int64 ``[batch]`` on its device, values 0 to frames.

    Values are checked in eager mode on the CPU. Elsewhere they are clamped, since reading them would synchronise the
    device or break the graph.

    Raises:
        ValueError: saying what is wrong.

    Example:
        >>> check_lengths(torch.tensor([3, 9]), torch.zeros(2, 5, 1))
        Traceback (most recent call last):
        ...
        ValueError: lengths must lie between 0 and 5, the frames of x, but lengths[1] is 9
    """
    if lengths is None:
        return None
    if not isinstance(lengths, Tensor):
        raise ValueError(f"lengths must be an int64 tensor, but is a {type(lengths).__name__}")
    if lengths.dtype != torch.int64 or lengths.dim() != 1 or lengths.size(0) != x.size(0):
        raise ValueError(
            f"lengths must be int64 with shape [{x.size(0)}], but is {lengths.dtype} with shape {list(lengths.shape)}"
        )
    if lengths.device != x.device:
        _refuse_device("lengths", lengths, x.device)
    if torch.compiler.is_compiling() or lengths.device.type != "cpu":
        return lengths.clamp(0, x.size(1))
    if len(lengths) == 0:
        return lengths
    least, most = map(int, lengths.aminmax())
    if least < 0 or most > x.size(1):
        row = int(((lengths < 0) | (lengths > x.size(1))).nonzero()[0])
        raise ValueError(
            f"lengths must lie between 0 and {x.size(1)}, the frames of x, but lengths[{row}] is {int(lengths[row])}"
        )
    return lengths
