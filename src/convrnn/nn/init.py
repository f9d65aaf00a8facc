"""Initialisation: Glorot input weights and orthogonal recurrent weights, each gate on its own."""

import torch
from torch import Tensor
from torch.nn import init


def glorot_(weight: Tensor, gates: int = 1) -> None:
    """Fill ``weight`` ``[..., gates * H, in]`` with uniform Glorot values, each ``[H, in]`` block on its own.

    Example:
        >>> weight = torch.empty(4 * 8, 26)
        >>> glorot_(weight, gates=4)
        >>> bool(weight.abs().max() <= (6 / (8 + 26)) ** 0.5)
        True
    """
    if weight.is_meta:
        return
    for matrix in weight.detach().unsqueeze(0).flatten(0, -3):
        for block in matrix.chunk(gates):
            block.copy_(init.xavier_uniform_(torch.empty_like(block, dtype=torch.float32)))


def orthogonal_(weight: Tensor, gates: int = 1) -> None:
    """Fill ``weight`` ``[gates * H, H]`` with one random orthogonal matrix per gate.

    Example:
        >>> weight = torch.empty(3 * 8, 8)
        >>> orthogonal_(weight, gates=3)
        >>> torch.allclose(weight[:8] @ weight[:8].T, torch.eye(8), atol=1e-5)
        True
    """
    if weight.is_meta:
        return
    for block in weight.detach().chunk(gates):
        block.copy_(init.orthogonal_(torch.empty_like(block, dtype=torch.float32)))
