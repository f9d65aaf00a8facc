"""One run on several devices of a machine: a process for each, which takes its share of every batch (Fabric's DDP)."""

import math
import os
import socket
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

import numpy as np
import torch
from torch.nn import functional as F

from convrnn.processes import Event, run_in_processes
from convrnn.training.data import Batch, Examples
from convrnn.training.device_sets import NO_LABEL
from convrnn.training.steps import HostSteps, Outcome, Positions

Shared = TypeVar("Shared")
Result = TypeVar("Result")

NO_PREDICTION = -1
"""In the place of an example that a rank does not have."""


def on_every_rank(
    work: Callable[[Shared, int, Callable[[object], None]], Result],
    shared: Shared,
    devices: int,
    on_report: Callable[[object], None] = lambda _: None,
) -> Result:
    """The result of ``work(shared, 0, report)``, while other processes do the same with ranks from 1.

    Args:
        work: A function that a fresh interpreter can import; it gets what is shared, its rank, and a function to report
            with. A :class:`~convrnn.training.learner.Learner` for several devices, created in it, connects the ranks.
        shared: Anything that can be pickled.
        devices: Number of ranks.
        on_report: Receives the reports of rank 0.

    Raises:
        WorkFailedError: A rank failed; the others are stopped.
    """

    def on_event(event: Event) -> None:
        if event.kind == "report" and event.index == 0:
            on_report(event.value)

    context = work, shared, _free_port()
    first: Result = run_in_processes(_as_rank, context, range(devices), jobs=devices, on_event=on_event)[0]
    return first


def _free_port() -> int:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        port: int = server.getsockname()[1]
        return port


def _as_rank(context: tuple[Callable[..., Any], Any, int], rank: int, report: Callable[[object], None]) -> Any:  # noqa: ANN401
    work, shared, port = context
    # Fabric reads these, and takes the first as a sign that something else starts the processes; those of a torchrun or
    # SLURM job must not count.
    os.environ |= {"LOCAL_RANK": str(rank), "NODE_RANK": "0", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    os.environ.pop("TORCHELASTIC_USE_AGENT_STORE", None)
    result = work(shared, rank, report)
    return result if rank == 0 else None


class RankSteps(HostSteps):
    """Steps on the shares of this rank: of every batch, each ``devices``-th example from that of its rank on.

    All ranks yield the same outcomes, those of the whole batches. The learner is the same on every rank.
    """

    def _run(
        self, batches: Sequence[Positions], examples: Examples, step: Callable[..., tuple[torch.Tensor, torch.Tensor]]
    ) -> Iterator[Outcome]:
        fabric, devices = self._learner.fabric, self._learner.devices
        for positions in batches:
            share = positions[fabric.global_rank :: devices]
            batch = examples.batch(share) if len(share) else _without_examples(examples)
            loss, log_probabilities = step(batch, of=len(positions))
            own = F.pad(
                log_probabilities.argmax(dim=1)[: len(share)],
                (0, math.ceil(len(positions) / devices) - len(share)),
                value=NO_PREDICTION,
            )
            # Example i of the batch is on rank i % devices.
            gathered = fabric.all_gather(own)
            assert isinstance(gathered, torch.Tensor)
            # Not Fabric's all_reduce, which waits for the GPU in every call; and a copy, since what inference mode gave
            # cannot be changed in place.
            mean_loss = loss.clone()
            torch.distributed.all_reduce(mean_loss)
            mean_loss /= devices
            yield Outcome(mean_loss, gathered.view(devices, -1).mT.flatten()[: len(positions)])


def _without_examples(examples: Examples) -> Batch:
    """A batch whose loss is 0: one frame of zeros with the label that is ignored."""
    batch = examples.batch(np.array([0]))
    return Batch(
        torch.zeros_like(batch.x[:, :1]), torch.ones_like(batch.lengths), torch.full_like(batch.labels, NO_LABEL)
    )
