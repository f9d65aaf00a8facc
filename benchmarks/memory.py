"""Memory of one training step, each measured in a separate process: ``python -m benchmarks.memory JSON``."""

import ctypes
import gc
import json
import subprocess
import sys
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from benchmarks.compare import answer
from benchmarks.peers import PEERS, Peer
from benchmarks.problem import Problem, differentiated, draw, upstream
from benchmarks.settings import threads
from convrnn.ops import native
from convrnn.ops.native import library

_STATUS, _CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")

MEASURABLE = sys.platform == "linux"
"""Whether the system reports the peak memory of a process since a given moment."""


@dataclass(frozen=True)
class Memory:
    """Bytes that a training step takes.

    Attributes:
        saved: What the forward pass keeps for the backward pass, except x and the parameters.
        peak: Peak memory of the process during the step, less what it had before.
    """

    saved: int
    peak: int


def saved_bytes(forward: Callable[[], Tensor], own: Iterable[Tensor]) -> int:
    """Bytes that a forward pass saves for its backward pass, counting each storage once and not those of ``own``.

    Example:
        >>> x = torch.ones(4, requires_grad=True)
        >>> saved_bytes(lambda: x.exp().exp(), [x])
        32
    """
    owned = {tensor.untyped_storage().data_ptr() for tensor in own}
    saved: dict[int, int] = {}

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in owned:
            saved[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        y = forward()  # kept until all is counted, so that no address is used twice
    total = sum(saved.values())
    del y
    return total


def _status(name: str) -> int:
    line = next(line for line in _STATUS.read_text().splitlines() if line.startswith(f"{name}:"))
    return 1024 * int(line.split()[1])


def peak_bytes(step: Callable[[], object]) -> int:
    """Peak memory of the process while ``step`` runs, less what it had before; after a warm-up, on Linux only.

    The peak of ``getrusage`` cannot be used: it cannot be reset, and a process inherits it from its parent.
    """
    step()
    gc.collect()
    # Memory that was freed but not given back would hide what the step needs.
    ctypes.CDLL(None).malloc_trim(0)
    _CLEAR.write_text("5")
    before = _status("VmRSS")
    step()
    return _status("VmHWM") - before


def measure(peer: Peer, problem: Problem) -> Memory:
    """Measure in a new process, with the current number of threads and the kernel's instruction set.

    Raises:
        subprocess.CalledProcessError: if that process fails.
    """
    settings = {"threads": torch.get_num_threads(), "instruction_set": library.instruction_set()}
    request = json.dumps({"peer": peer.name, "problem": asdict(problem), **settings})
    command = [sys.executable, "-m", "benchmarks.memory", request]
    root = Path(__file__).parents[1]
    reply = subprocess.run(command, cwd=root, stdout=subprocess.PIPE, text=True, check=True).stdout
    return Memory(**json.loads(reply))


def _main() -> None:
    request = json.loads(sys.argv[1])
    problem = Problem(**request["problem"])
    peer = next(peer for peer in PEERS[problem.cell] if peer.name == request["peer"])
    problem = replace(problem, as_torch=peer.as_torch)
    operands = draw(problem)
    with threads(request["threads"]), native.use_instruction_set(request["instruction_set"]):
        forward = peer.prepare(problem, operands)
        step = answer(forward, differentiated(operands), upstream(problem, training=True))
        peak = peak_bytes(step)
        memory = Memory(saved_bytes(forward, operands.values()), peak)
    print(json.dumps(asdict(memory)))


if __name__ == "__main__":
    _main()
