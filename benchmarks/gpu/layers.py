"""A recurrent layer against cuDNN's: ours with peepholes and without, each called from Python and as a CUDA graph."""

import copy
from collections.abc import Callable
from typing import TypeVar

import torch
from torch import Tensor, nn

from benchmarks.compare import Answer, Contender, answer
from benchmarks.gpu.peers import GRAPH
from benchmarks.gpu.settings import Precision
from benchmarks.gpu.timing import detached, graphed
from convrnn import ops

OURS, PLAIN, CUDNN = "convrnn triton", "convrnn triton, no peepholes", "cuDNN, no peepholes"

_Layer = TypeVar("_Layer", bound=nn.Module)


def with_and_without_peepholes(make: Callable[[bool], _Layer], hidden: int) -> tuple[_Layer, _Layer]:
    """A layer none of whose parameters is zero, and the same without peepholes.

    Args:
        make: Makes a layer with peepholes, or without.
        hidden: Number of units.
    """
    layer, plain = make(True), make(False)
    for parameter in layer.parameters():
        nn.init.uniform_(parameter, -(hidden**-0.5), hidden**-0.5)
    plain.load_state_dict({name: p for name, p in layer.state_dict().items() if "peephole" not in name})
    return layer, plain


def _on(backend: str, layer: nn.Module, x: Tensor) -> Callable[[], Tensor]:
    def forward() -> Tensor:
        with ops.use_backend(backend):
            y: Tensor = layer(x)
            return y

    return forward


def contenders(
    layers: tuple[nn.Module, nn.Module],
    module: nn.RNNBase,
    cudnn: Callable[[], Tensor],
    x: Tensor,
    upstream: Tensor | None,
    precision: Precision,
) -> list[Contender]:
    """Our layer with and without peepholes, and cuDNN's, each with and without a CUDA graph.

    Args:
        layers: Ours, with peepholes and without.
        module: PyTorch's, with the weights of the second.
        cudnn: Computes with it what the second layer computes.
        x: The frames that all of them read.
        upstream: The gradient of the result; None for inference.
        precision: Of the comparison.
    """
    layer, plain = layers

    def expected(layer: nn.Module) -> Answer:
        exact, exact_x = copy.deepcopy(layer).double(), x.detach().double().requires_grad_()
        gradient = None if upstream is None else upstream.double()
        return answer(_on("reference", exact, exact_x), [exact_x, *exact.parameters()], gradient)()

    module.flatten_parameters()
    for name, parameter in module.named_parameters():
        # Its second bias is redundant; computing the gradient would be wasted work.
        parameter.requires_grad_(not name.startswith("bias_hh"))
    theirs = [parameter for parameter in module.parameters() if parameter.requires_grad]

    of_layer, of_plain = expected(layer), expected(plain)
    found = []
    for name, forward, parameters, wanted, baseline in (
        (OURS, _on("triton", layer, x), list(layer.parameters()), of_layer, OURS),
        (PLAIN, _on("triton", plain, x), list(plain.parameters()), of_plain, PLAIN),
        (CUDNN, cudnn, theirs, of_plain, PLAIN),
    ):
        run = answer(forward, [x, *parameters], upstream)
        for suffix, timed in (("", run), (GRAPH, graphed(run))):
            check = _detached(timed)
            contender = Contender(
                name + suffix, timed, wanted, baseline + suffix, answer=check, tolerance=precision.tolerance
            )
            found.append(contender)
    return found


def _detached(run: Callable[[], Answer]) -> Callable[[], list[Tensor]]:
    return lambda: detached(run())


def redraw(x: Tensor) -> None:
    """Draw new frames."""
    with torch.no_grad():
        x.normal_()
