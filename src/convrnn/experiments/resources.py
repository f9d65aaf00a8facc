"""What an experiment needs besides its data: a cache, processes and a receiver of progress."""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from convrnn.cache import cache_folder
from convrnn.cluster import Cluster
from convrnn.errors import Argument, InputError
from convrnn.experiments.progress import Progress
from convrnn.experiments.work import cores
from convrnn.features.config import FeatureConfig
from convrnn.training.placement import CPU, Placement
from convrnn.training.result import device_name


@dataclass(frozen=True, slots=True)
class Resources:
    """What an experiment needs besides its data.

    Attributes:
        cache_dir: folder of extracted features, findings about recordings, and synthesised speech.
        jobs: processes.
        progress: receives the progress.
        placement: where models compute.
        cluster: where runs are trained, if not on this machine.
    """

    cache_dir: Path
    jobs: int
    progress: Progress
    placement: Placement = CPU
    cluster: Cluster | None = None

    @classmethod
    @contextlib.contextmanager
    def using(
        cls,
        cache: Path | str | None,
        jobs: int,
        progress: Progress | None,
        placement: Placement,
        cluster: Cluster | None = None,
    ) -> Iterator["Resources"]:
        """A context with the requested resources, in which the whole process uses this cache folder.

        Args:
            cache: the cache folder; by default :func:`~convrnn.cache.default_cache_dir`.
            jobs: processes.
            progress: receives the progress; by default a plain :class:`~convrnn.experiments.progress.Progress`.
            placement: where models compute; anything but float32 on the CPU is reported.
            cluster: where runs are trained, connected; by default on this machine.
        """
        with cache_folder(cache) as folder:
            resources = cls(folder, jobs, progress or Progress(), placement, cluster)
            tell_placement(placement, resources.progress, cluster)
            yield resources


def cluster_of(address: str | None, cache: Path | str | None) -> Cluster | None:
    """The cluster that a user asks for.

    Args:
        address: as for :class:`~convrnn.cluster.Cluster`; None for this machine.
        cache: the cache folder, for the nodes too; by default each machine's own.

    Raises:
        InputError: for another address.
    """
    if address is None:
        return None
    return Cluster(address, None if cache is None else Path(cache).expanduser().absolute())


def connected(cluster: Cluster | None) -> contextlib.AbstractContextManager[object]:
    """A context with a connection to the cluster, if there is one."""
    return contextlib.nullcontext() if cluster is None else cluster.connected()


def place(device: str, precision: str, cluster: Cluster | None, devices: int = 1) -> Placement:
    """Where models compute: on this machine or on the nodes of a cluster, which may have other devices.

    Args:
        device: as for :meth:`Placement.of`; on a cluster ``"auto"`` (CUDA if a node has a GPU), ``"cpu"`` or
            ``"cuda"``.
        precision: likewise.
        cluster: connected.
        devices: as for :meth:`Placement.of`; on a cluster only 1.

    Raises:
        InputError: for another name, and for a device that is not there.
    """
    if cluster is None:
        return Placement.of(device, precision, devices)
    if devices != 1:
        raise InputError(Argument("devices", devices), ": is not for a cluster, where every run has one device")
    if device not in (allowed := ("auto", "cpu", "cuda")):
        raise InputError(
            Argument("device", device),
            f": is not for a cluster, which chooses among its GPUs; allowed: {', '.join(allowed)}",
        )
    gpu = device != "cpu" and any(node.gpus for node in cluster.nodes())
    if device == "cuda" and not gpu:
        raise InputError(
            Argument("device", device), f": no node of the cluster {cluster.address} has a GPU; choose 'cpu'"
        )
    return Placement.on("cuda" if gpu else "cpu", precision=precision)


def tell_placement(placement: Placement, progress: Progress, cluster: Cluster | None = None) -> None:
    """Report where models compute, unless that is in float32 on the CPU of this machine."""
    for remark in placement.remarks:
        progress.warning(remark)
    if cluster is not None:
        nodes = len(cluster.nodes())
        progress.note(
            f"cluster: {cluster.address}, {nodes} node{'' if nodes == 1 else 's'}; device: {placement}, precision "
            f"{placement.precision}"
        )
    elif placement.device != "cpu" or placement.devices > 1:
        name = device_name(placement.device, placement.index, placement.devices)
        together = f"; {placement.devices} processes train each model" if placement.devices > 1 else ""
        progress.note(f"device: {placement} ({name}), precision {placement.precision}{together}")


def extraction_jobs(features: FeatureConfig, jobs: int = 1) -> int:
    """The number of processes that extract features: one per core at least for slow features."""
    return max(jobs, cores()) if features.is_slow else jobs
