"""The implementations of the windowed LSTM that are compared on the GPU, each in its best configuration."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.compare import Answer, answer
from benchmarks.gpu.settings import DEVICE
from benchmarks.gpu.timing import detached, graphed, recorded
from benchmarks.problem import Forward, Operands, Problem, differentiated, windowed
from convrnn import ops


@dataclass(frozen=True, eq=False)
class Prepared:
    """A peer that is ready to compute a problem.

    Attributes:
        forward: The forward pass, which returns ``[batch, windows, hidden]``.
        x: The frames that it reads, each with ``features`` values or more.
        differentiated: The tensors whose gradients training needs, in the order of ``problem.differentiated``.
        trim: Removes the padding from a value or gradient.
    """

    forward: Forward
    x: Tensor
    differentiated: Sequence[Tensor]
    trim: Callable[[Tensor, Tensor], Tensor] = lambda tensor, _: tensor


@dataclass(frozen=True)
class Peer:
    """One way to compute a windowed LSTM.

    Attributes:
        name: Its name in the tables.
        prepare: Prepares it for a problem.
        peepholes: Whether it has peepholes; if not, it is compared with ours without peepholes.
        graph: Whether its launches are recorded as a CUDA graph; if it is compiled, ``torch.compile`` does this.
        only: The only dtype to measure it in; None for all.
        compiled: Whether it is ``torch.compile``'s.
    """

    name: str
    prepare: Callable[[Problem, Operands], Prepared]
    peepholes: bool = True
    graph: bool = False
    only: torch.dtype | None = None
    compiled: bool = False

    @property
    def baseline(self) -> str:
        """Name of our peer that computes the same and is launched in the same way."""
        return (OURS if self.peepholes else OURS_PLAIN).name + (GRAPH if self.graph else "")

    def run(self, prepared: Prepared, upstream: Tensor | None) -> Callable[[], Answer]:
        """The function to time: inference, or with ``upstream`` a forward and a backward pass."""
        run = answer(prepared.forward, prepared.differentiated, upstream)
        if self.compiled:
            return recorded(run)
        return graphed(run) if self.graph else run

    def answer(self, run: Callable[[], Answer], prepared: Prepared, expected: Answer) -> Callable[[], list[Tensor]]:
        """The function whose result is checked."""
        return lambda: [prepared.trim(*pair) for pair in zip(detached(run()), expected, strict=True)]


def moved(operands: Operands, dtype: torch.dtype) -> Operands:
    """A copy on the GPU."""

    def move(tensor: Tensor) -> Tensor:
        return tensor.detach().to(DEVICE, dtype, copy=True).requires_grad_(tensor.requires_grad)

    return {name: move(tensor) if name == "x" else nn.Parameter(move(tensor)) for name, tensor in operands.items()}


def _on(backend: str) -> Callable[[Problem, Operands], Prepared]:
    def prepare(problem: Problem, operands: Operands) -> Prepared:
        def forward() -> Tensor:
            with ops.use_backend(backend):
                return windowed(problem, **operands)

        return Prepared(forward, operands["x"], differentiated(operands))

    return prepare


def _compiled(mode: str) -> Callable[[Problem, Operands], Prepared]:
    def prepare(problem: Problem, operands: Operands) -> Prepared:
        compiled = torch.compile(windowed, fullgraph=True, dynamic=False, mode=mode)

        def forward() -> Tensor:
            torch.compiler.cudagraph_mark_step_begin()
            with ops.use_backend("reference"):
                y: Tensor = compiled(problem, **operands)
                return y

        return Prepared(forward, operands["x"], differentiated(operands))

    return prepare


def _unfold(x: Tensor, problem: Problem) -> Tensor:
    """The windows as separate sequences: ``[kernel_size, batch * windows, features]``, contiguous."""
    windows = x.unfold(1, problem.kernel_size, problem.stride)
    return windows.permute(3, 0, 1, 2).reshape(problem.kernel_size, problem.windows, x.size(2))


def _padded(tensor: Tensor, shape: Sequence[int]) -> Tensor:
    """The tensor, with zeros appended along every axis up to this shape."""
    missing = [size - there for size, there in zip(shape, tensor.shape, strict=True)]
    return F.pad(tensor.detach(), [side for more in reversed(missing) for side in (0, more)])


def _cudnn(multiple: int) -> Callable[[Problem, Operands], Prepared]:
    """nn.LSTM with features and units padded to a multiple, which decides the cuDNN algorithm that PyTorch requests."""

    def prepare(problem: Problem, operands: Operands) -> Prepared:
        k, h = (-(-size // multiple) * multiple for size in (problem.features, problem.hidden))
        x = _padded(operands["x"], (problem.batch, problem.frames, k)).contiguous()
        x.requires_grad_(operands["x"].requires_grad)
        module = nn.LSTM(k, h, device=x.device, dtype=x.dtype)

        def gates(tensor: Tensor, *shape: int) -> Tensor:
            return _padded(tensor.unflatten(0, (4, problem.hidden)), (4, h, *shape)).flatten(0, 1)

        weight_ih, weight_hh, bias, second_bias = module.parameters()
        with torch.no_grad():
            weight_ih.copy_(gates(operands["weight_ih"], k))
            weight_hh.copy_(gates(operands["weight_hh"], h))
            bias.copy_(gates(operands["bias"]))
            # Its second bias is redundant; computing the gradient would be wasted work.
            second_bias.zero_().requires_grad_(False)

        def forward() -> Tensor:
            cell: Tensor = module(_unfold(x, problem))[1][1]
            return cell.view(problem.batch, -1, h)

        def trim(tensor: Tensor, like: Tensor) -> Tensor:
            if tensor.shape[0] == 4 * h:
                tensor = tensor.unflatten(0, (4, h))[:, : problem.hidden].flatten(0, 1)
            return tensor[tuple(slice(size) for size in like.shape)]

        return Prepared(forward, x, [*([x] if x.requires_grad else []), weight_ih, weight_hh, bias], trim)

    return prepare


def fitted(gradient: Tensor | None, prepared: Prepared) -> Tensor | None:
    """The gradient of the result, with zeros for the peer's padding units."""
    if gradient is None:
        return None
    with torch.no_grad():
        missing = prepared.forward().size(2) - gradient.size(2)
    return F.pad(gradient, (0, missing))


GRAPH = ", CUDA graph"
OURS = Peer("convrnn triton", _on("triton"))
OURS_PLAIN = Peer("convrnn triton, no peepholes", _on("triton"), peepholes=False)
ORDINARY = Peer("cuDNN on unfolded windows, no peepholes", _cudnn(1), peepholes=False)
BEST = Peer("cuDNN likewise, padded to 128, no peepholes", _cudnn(128), peepholes=False, only=torch.float16)


def _as_graph(peer: Peer) -> Peer:
    return replace(peer, name=peer.name + GRAPH, graph=True)


# torch.compile first: see `recorded`.
PEERS = (
    Peer("convrnn reference, torch.compile", _compiled("default"), compiled=True),
    Peer("convrnn reference, torch.compile, reduce-overhead", _compiled("reduce-overhead"), graph=True, compiled=True),
    Peer("convrnn reference, eager", _on("reference")),
    OURS,
    _as_graph(OURS),
    OURS_PLAIN,
    _as_graph(OURS_PLAIN),
    ORDINARY,
    _as_graph(ORDINARY),
    BEST,
    _as_graph(BEST),
)
