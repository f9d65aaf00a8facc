"""Memory of a training step on the GPU, by PyTorch's own count."""

from collections.abc import Callable
from dataclasses import replace

import torch

from benchmarks.compare import answer
from benchmarks.gpu.peers import PEERS, fitted, moved
from benchmarks.gpu.settings import Precision
from benchmarks.memory import Memory, saved_bytes
from benchmarks.problem import Problem, draw, upstream


def _peak_bytes(step: Callable[[], object]) -> int:
    """Peak memory of tensors while ``step`` runs, less what they had before; after a warm-up."""
    step()
    torch.cuda.synchronize()
    before = torch.cuda.memory_allocated()
    torch.cuda.reset_peak_memory_stats()
    step()
    torch.cuda.synchronize()
    return torch.cuda.max_memory_allocated() - before


def measure(problem: Problem, precision: Precision) -> dict[str, Memory]:
    """Memory of a training step, by the name of each peer that is neither compiled nor recorded as a CUDA graph."""
    gradient = upstream(problem, training=True)
    assert gradient is not None
    found = {}
    for peer in PEERS:
        if peer.graph or peer.compiled or peer.only not in (None, precision.dtype):
            continue
        variant = replace(problem, as_torch=not peer.peepholes)
        operands = moved(draw(variant), precision.dtype)
        ready = peer.prepare(variant, operands)
        peak = _peak_bytes(answer(ready.forward, ready.differentiated, fitted(gradient.to(operands["x"]), ready)))
        found[peer.name] = Memory(saved_bytes(ready.forward, [ready.x, *ready.differentiated]), peak)
    return found
