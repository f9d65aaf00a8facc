"""What all calls of the CPU kernel have in common: checked inputs, and gradients put together."""

import torch
from torch import Tensor

from convrnn.ops.checks import check_cell, check_memory, check_tensor
from convrnn.ops.native import library
from convrnn.ops.operands import Tensors, contiguous, named, there


def inputs(*given: Tensor | None, kernel_size: int | None = None) -> tuple[dict[str, int], Tensors]:
    """Sizes and contiguous tensors of a call.

    Args:
        given: The tensors, in the order of the operations' arguments.
        kernel_size: Frames of a window; None for whole sequences.

    Raises:
        ValueError: for a tensor of another dtype or shape, beyond whose memory the kernel would read.
    """
    tensors = named(*given)
    check_cell(4, tensors, kernel_size)
    if tensors["lengths"] is not None:
        # Of all tensors it is read first, by PyTorch, which does not look whether there is memory.
        check_memory("lengths", tensors["lengths"])
    for name, tensor in tensors.items():
        if tensor is not None and tensor.dtype != torch.float32 and name != "lengths":
            _refuse_dtype(name, tensor)
    x, weight_ih, weight_hh = there(tensors, "x", "weight_ih", "weight_hh")
    batch, frames, features = x.shape
    sizes = {"batch": batch, "frames": frames, "features": features, "hidden": weight_hh.size(1)}
    return sizes | {"per_position": int(weight_ih.dim() == 3)}, contiguous(tensors)


def beside(tensors: Tensors, shapes: dict[str, tuple[int, ...]], device: torch.device) -> Tensors:
    """The contiguous tensors of a backward pass that are not its operation's inputs.

    Raises:
        ValueError: for a tensor of another dtype or shape, beyond whose memory the kernel would read.
    """
    for name, tensor in tensors.items():
        if tensor is not None:
            if tensor.dtype != torch.float32:
                _refuse_dtype(name, tensor)
            check_tensor(name, tensor, shapes[name], device)
    return contiguous(tensors)


def _refuse_dtype(name: str, tensor: Tensor) -> None:
    if name == "x":
        raise ValueError(f"x is {tensor.dtype}; the native kernel is for torch.float32")
    raise ValueError(f"{name} is {tensor.dtype}, but x is torch.float32; they must be the same")


def run_backward(sizes: dict[str, int], tensors: Tensors, with_x: bool) -> list[Tensor]:
    """Gradients of x (empty unless ``with_x``) and of those of the parameters that are there, in their order."""
    x, weight_ih, weight_hh = there(tensors, "x", "weight_ih", "weight_hh")
    grad_x = torch.zeros_like(x) if with_x else None
    grad_ih, grad_hh = torch.zeros_like(weight_ih), torch.zeros_like(weight_hh)
    vectors = x.new_zeros(13, sizes["hidden"])
    if sizes["rows"]:
        gradients = {"grad_x": grad_x, "grad_weight_ih": grad_ih, "grad_weight_hh": grad_hh, "grad_vectors": vectors}
        library.run(library.BACKWARD, sizes, tensors | gradients)
    # The gates in all steps but the first, and in the first, where every row has the same initial state.
    later, first, peepholes, cell, hidden = vectors.split([4, 4, 3, 1, 1])
    initial_hidden = tensors["initial_hidden"]
    if initial_hidden is not None:
        grad_hh += first.flatten().outer(initial_hidden)
    parameters = {
        "bias": (later + first).flatten(),
        "weight_peephole": peepholes.clone(),
        "initial_hidden": hidden.flatten().clone(),
        "initial_cell": cell.flatten().clone(),
    }
    given = [gradient for name, gradient in parameters.items() if tensors[name] is not None]
    return [x.new_empty(0) if grad_x is None else grad_x, grad_ih, grad_hh, *given]
