"""Weights from and to PyTorch's own recurrent modules.

PyTorch keeps two biases per gate where one is enough; here they are added up on the way in, and the second is zero on
the way out. Only a GRU, whose reset gate multiplies one of them, needs both.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import nn

TORCH_TYPES: dict[str, Callable[..., nn.RNNBase]] = {"rnn": nn.RNN, "gru": nn.GRU, "lstm": nn.LSTM}


def rnn_type_of(module: nn.Module) -> str:
    """Which of ``TORCH_TYPES`` a module of PyTorch is: "rnn", "gru" or "lstm".

    Raises:
        ValueError: for another module, or an LSTM with a projection of its hidden state.

    Example:
        >>> rnn_type_of(nn.GRU(3, 4))
        'gru'
    """
    for rnn_type, torch_type in (("rnn", nn.RNN), ("gru", nn.GRU), ("lstm", nn.LSTM)):
        if isinstance(module, torch_type):
            if module.proj_size:
                raise ValueError(
                    f"module has proj_size={module.proj_size}; only a module without one can be taken over"
                )
            return rnn_type
    raise ValueError(f"module is a {type(module).__name__}; it must be a torch.nn.LSTM, torch.nn.GRU or torch.nn.RNN")


def factory_options(module: nn.RNNBase) -> dict[str, Any]:
    """The options that a layer has to share with ``module``: directions, biases, device and dtype.

    Example:
        >>> factory_options(nn.GRU(3, 4, bidirectional=True))["bidirectional"]
        True
    """
    weight = next(module.parameters())
    return {
        "bidirectional": module.bidirectional,
        "bias": module.bias,
        "device": weight.device,
        "dtype": weight.dtype,
    }


def copy_from_torch(layer: nn.Module, module: nn.RNNBase) -> None:
    """Copy the weights of PyTorch's ``module`` into ``layer``, whose shapes must be the same."""
    state = module.state_dict()
    new = {}
    for name, parameter in layer.named_parameters():
        kind, _, suffix = name.partition("_l")
        if kind == "bias_hn":
            new[name] = state[f"bias_hh_l{suffix}"][-parameter.size(0) :]
        elif kind == "bias":
            new[name] = state[f"bias_ih_l{suffix}"] + state[f"bias_hh_l{suffix}"]
            if f"bias_hn_l{suffix}" in layer.state_dict():
                candidate = slice(2 * parameter.size(0) // 3, None)
                new[name][candidate] = state[f"bias_ih_l{suffix}"][candidate]
        else:
            new[name] = state[name]
    layer.load_state_dict(new)


def copy_to_torch(layer: nn.Module, module: nn.RNNBase) -> None:
    """Copy the weights of ``layer`` into PyTorch's ``module``, whose shapes must be the same."""
    new = {}
    for name, parameter in layer.state_dict().items():
        kind, _, suffix = name.partition("_l")
        if kind in ("weight_ih", "weight_hh"):
            new[name] = parameter
        elif kind == "bias":
            new[f"bias_ih_l{suffix}"] = parameter
            recurrent = torch.zeros_like(parameter)
            candidate = layer.state_dict().get(f"bias_hn_l{suffix}")
            if candidate is not None:
                recurrent[-candidate.size(0) :] = candidate
            new[f"bias_hh_l{suffix}"] = recurrent
    module.load_state_dict(new)


def require_plain(layer: nn.Module) -> None:
    """Refuse a layer whose peepholes or learned initial states are in use: PyTorch's modules have neither.

    Raises:
        ValueError: naming the parameter that is not zero.
    """
    for name, parameter in layer.named_parameters():
        if name.startswith(("weight_peephole", "initial_")) and bool(parameter.any()):
            raise ValueError(f"{name} is not zero, and PyTorch's recurrent modules have no such parameter")
