"""The nodes of a cluster, and how many items run on each."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Needs:
    """What Ray reserves for an item.

    Attributes:
        cpus: cores.
        gpus: GPUs, or the share of one; the work sees no others.
    """

    cpus: int = 1
    gpus: float = 0.0

    @classmethod
    def share(cls, cpus: int, items_per_gpu: int) -> "Needs":
        """Cores and the share of a GPU that this many items use together.

        Example:
            >>> Needs.share(1, 3)
            Needs(cpus=1, gpus=0.3333)
        """
        # Ray counts in steps of 1/10,000, and rounding up would leave no share for the last item.
        return cls(cpus, (10_000 // items_per_gpu) / 10_000)


ONE_CORE = Needs()
"""A core, and no GPU."""


@dataclass(frozen=True, slots=True)
class Node:
    """A node of the cluster that is alive.

    Attributes:
        id: Ray's own.
        name: what messages call it.
        cpus: cores that Ray may use.
        gpus: GPUs that Ray may use.
    """

    id: str
    name: str
    cpus: float
    gpus: float

    def slots(self, needs: Needs) -> int:
        """How many items run on it at once.

        Example:
            >>> Node("5f3a", "gpu-1", cpus=16, gpus=2).slots(Needs.share(1, 3))
            6
        """
        by_gpus = int(self.gpus / needs.gpus) if needs.gpus else int(self.cpus)
        return min(int(self.cpus // needs.cpus), by_gpus)
