"""Weights from and to PyTorch's own recurrent modules.

PyTorch has two biases per gate where one is enough: importing adds them, and exporting sets the second to zero. Only a
GRU, whose reset gate multiplies one of them, needs both.
"""

import inspect
from collections.abc import Sequence
from typing import TypeVar

import torch
from torch import nn

from convrnn.nn.cells import CELLS, Cell, TorchModule

_Layer = TypeVar("_Layer", bound=nn.Module)


def cell_of(module: nn.Module) -> Cell:
    """The cell of one of PyTorch's recurrent modules.

    Raises:
        ValueError: for any other module, or an LSTM that projects its hidden state.

    Example:
        >>> cell_of(nn.GRU(3, 4)).name
        'gru'
    """
    for cell in CELLS.values():
        if cell.torch is not None and isinstance(module, cell.torch.type):
            if module.proj_size:
                raise ValueError(f"module has proj_size={module.proj_size}; only modules without it can be converted")
            return cell
    allowed = ", ".join(f"torch.nn.{cell.torch.type.__name__}" for cell in CELLS.values() if cell.torch is not None)
    raise ValueError(f"module is a {type(module).__name__}; it must be one of {allowed}")


def layer_from_torch(make: type[_Layer], module: nn.RNNBase, sizes: Sequence[int], **options: object) -> _Layer:
    """A layer with a copy of the weights of PyTorch's ``module``.

    Args:
        make: Class of the layer.
        module: One of PyTorch's recurrent modules.
        sizes: The class's first arguments.
        options: Its other arguments, except those that follow from the module.

    Raises:
        ValueError: if the class fixes an option that such a layer cannot have.
    """
    cell = cell_of(module)
    assert cell.torch is not None
    weight = next(module.parameters())
    options = {"bidirectional": module.bidirectional, "bias": module.bias, **options}
    options |= {"device": weight.device, "dtype": weight.dtype}
    options |= {name: getattr(module, name, values[0]) for name, values in cell.torch.options.items()}
    parameters = inspect.signature(make).parameters
    takes_any = any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values())
    layer = make(*sizes, **{name: value for name, value in options.items() if takes_any or name in parameters})
    # The constructors of named layers do not accept the options that the name fixes.
    for name, value in options.items():
        if name not in parameters and getattr(layer, name, value) != value:
            raise ValueError(
                f"{make.__name__} has {name}={getattr(layer, name)!r}, but a layer with the weights of this "
                f"{type(module).__name__} needs {name}={value!r}"
            )
    _copy_from_torch(layer, module, cell.torch)
    return layer


def _copy_from_torch(layer: nn.Module, module: nn.RNNBase, counterpart: TorchModule) -> None:
    apart = counterpart.last_gate_bias
    state, mine = module.state_dict(), dict(layer.named_parameters())
    new = {}
    for name, parameter in mine.items():
        kind, _, suffix = name.partition("_l")
        if kind == "bias":
            new[name] = state[f"bias_ih_l{suffix}"] + state[f"bias_hh_l{suffix}"]
            if f"{apart}_l{suffix}" in mine:
                last_gate = slice(-module.hidden_size, None)
                new[name][last_gate] = state[f"bias_ih_l{suffix}"][last_gate]
        else:
            new[name] = state[f"bias_hh_l{suffix}"][-parameter.size(0) :] if kind == apart else state[name]
    layer.load_state_dict(new)


def to_torch(layer: nn.Module, cell: Cell, input_size: int, hidden_size: int, num_layers: int = 1) -> nn.RNNBase:
    """PyTorch's own module (``batch_first=True``) with a copy of the weights of ``layer``.

    Args:
        layer: A layer with the parameters of ``cell``, and with ``bias``, ``bidirectional`` and the cell's options as
            attributes.
        cell: The layer's cell.
        input_size: Values of a frame.
        hidden_size: Units of each direction.
        num_layers: Recurrent layers.

    Raises:
        ValueError: if PyTorch lacks the cell or an option, or lacks a parameter that is not zero.
    """
    if cell.torch is None:
        raise ValueError(f"rnn_type is {cell.name!r}, which PyTorch does not have")
    options = {}
    for option in cell.options:
        value, allowed = getattr(layer, option.name), cell.torch.options[option.name]
        # A tensor that an option adds is accepted if it is zero.
        if option.in_step and value not in allowed:
            refuse(option.name, value)
        if len(allowed) > 1:
            options[option.name] = value
    apart = cell.torch.last_gate_bias
    state, new = layer.state_dict(), {}
    for name, parameter in state.items():
        kind, _, suffix = name.partition("_l")
        if kind in ("weight_ih", "weight_hh"):
            new[name] = parameter
        elif kind == "bias":
            new[f"bias_ih_l{suffix}"] = parameter
            new[f"bias_hh_l{suffix}"] = torch.zeros_like(parameter)
            if (last_gate := state.get(f"{apart}_l{suffix}")) is not None:
                new[f"bias_hh_l{suffix}"][-hidden_size:] = last_gate
        elif kind != apart and bool(parameter.any()):
            raise ValueError(f"{name} is not zero, and PyTorch's recurrent modules have no such parameter")
    weight = next(layer.parameters())
    module = cell.torch.type(
        input_size,
        hidden_size,
        num_layers,
        bias=bool(layer.bias),
        batch_first=True,
        bidirectional=bool(layer.bidirectional),
        device=weight.device,
        dtype=weight.dtype,
        **options,
    )
    module.load_state_dict(new)
    return module


def refuse(option: str, value: object) -> None:
    """Raise the ValueError for an option that PyTorch's recurrent modules do not have."""
    raise ValueError(f"{option} is {value!r}, which PyTorch's recurrent modules do not have")
