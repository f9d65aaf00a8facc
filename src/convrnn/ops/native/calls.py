"""What all calls of the CPU kernel have in common: checked inputs, and gradients put together."""

import torch
from torch import Tensor

from convrnn.ops.native import library
from convrnn.ops.operands import Tensors, check_shapes, contiguous, named, there


def inputs(*given: Tensor | None, positions: int | None = None) -> tuple[dict[str, int], Tensors]:
    """Sizes and contiguous tensors of a call.

    Args:
        given: The tensors, in the order of the operations' arguments.
        positions: How many input matrices there must be, where there is more than one.

    Raises:
        ValueError: for a tensor of another dtype or shape, beyond whose memory the kernel would read.
    """
    tensors = named(*given)
    for name, tensor in tensors.items():
        if tensor is not None and tensor.dtype != (torch.int64 if name == "lengths" else torch.float32):
            raise ValueError(f"{name} is {tensor.dtype}; the native kernel is for torch.float32, and int64 lengths")
    check_shapes(tensors, positions)
    x, weight_ih, weight_hh = there(tensors, "x", "weight_ih", "weight_hh")
    batch, frames, features = x.shape
    sizes = {"batch": batch, "frames": frames, "features": features, "hidden": weight_hh.size(1)}
    return sizes | {"per_position": int(weight_ih.dim() == 3)}, contiguous(tensors)


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
