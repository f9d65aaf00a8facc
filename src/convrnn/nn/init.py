"""Initialisation: Glorot input weights and orthogonal recurrent weights, drawn separately for each gate."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import init


def glorot_(weight: Tensor, gates: int = 1) -> None:
    """Fill ``weight`` ``[..., gates * H, in]`` with uniform Glorot values, drawn separately for each ``[H, in]`` block.

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


def linear(in_features: int, out_features: int) -> nn.Linear:
    """A linear layer with Glorot weights and zero biases.

    Example:
        >>> linear(8, 26).bias.any().item()
        False
    """
    layer = nn.Linear(in_features, out_features)
    glorot_(layer.weight)
    init.zeros_(layer.bias)
    return layer


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


def register_parameters(
    layer: nn.Module,
    shapes: Mapping[str, tuple[int, ...] | None],
    device: torch.device | str | None,
    dtype: torch.dtype | None,
) -> None:
    """Give a layer uninitialised parameters of these shapes, by name; None for those that it does not have."""
    for name, shape in shapes.items():
        parameter = None if shape is None else nn.Parameter(torch.empty(shape, device=device, dtype=dtype))
        layer.register_parameter(name, parameter)


def reset_recurrent_(layer: nn.Module, gates: int) -> None:
    """Reinitialise a recurrent layer: Glorot input weights, orthogonal recurrent weights, everything else zero.

    Args:
        layer: The layer, with parameters named as in :class:`convrnn.nn.ConvRNN`.
        gates: Number of gates, the blocks of rows in each weight of the cell.
    """
    for name, parameter in layer.named_parameters():
        if name.startswith("weight_ih"):
            glorot_(parameter, gates)
        elif name.startswith("weight_hh"):
            orthogonal_(parameter, gates)
        elif name.startswith("weight_ho"):
            glorot_(parameter)
        else:
            init.zeros_(parameter)
