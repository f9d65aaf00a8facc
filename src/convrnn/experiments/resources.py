"""What an experiment needs besides its data: a cache, processes and a receiver of progress."""

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from convrnn.cache import cache_folder
from convrnn.experiments.progress import Progress
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
    """

    cache_dir: Path
    jobs: int
    progress: Progress
    placement: Placement = CPU

    @classmethod
    @contextlib.contextmanager
    def using(
        cls, cache: Path | str | None, jobs: int, progress: Progress | None, placement: Placement
    ) -> Iterator["Resources"]:
        """A context with the requested resources, in which the whole process uses this cache folder.

        Args:
            cache: the cache folder; by default :func:`~convrnn.cache.default_cache_dir`.
            jobs: processes.
            progress: receives the progress; by default a plain :class:`~convrnn.experiments.progress.Progress`.
            placement: where models compute; anything but float32 on the CPU is reported.
        """
        with cache_folder(cache) as folder:
            resources = cls(folder, jobs, progress or Progress(), placement)
            tell_placement(placement, resources.progress)
            yield resources


def tell_placement(placement: Placement, progress: Progress) -> None:
    """Report where models compute, unless that is in float32 on the CPU."""
    for remark in placement.remarks:
        progress.warning(remark)
    if placement.device != "cpu":
        name = device_name(placement.device, placement.index)
        progress.note(f"device: {placement} ({name}), precision {placement.precision}")


def extraction_jobs(features: FeatureConfig, jobs: int = 1) -> int:
    """The number of processes that extract features: one per core at least for slow features."""
    if not features.is_slow:
        return jobs
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(jobs, cores)
