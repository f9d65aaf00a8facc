"""What an experiment needs besides its data: a cache, processes and a receiver of progress."""

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from convrnn.cache import cache_folder
from convrnn.experiments.progress import Progress
from convrnn.features.config import FeatureConfig


@dataclass(frozen=True, slots=True)
class Resources:
    """What an experiment needs besides its data.

    Attributes:
        cache_dir: folder of extracted features, findings about recordings, and synthesised speech.
        jobs: processes.
        progress: receives the progress.
    """

    cache_dir: Path
    jobs: int
    progress: Progress

    @classmethod
    @contextlib.contextmanager
    def using(cls, cache: Path | str | None, jobs: int, progress: Progress | None) -> Iterator["Resources"]:
        """A context with the requested resources, in which the whole process uses this cache folder.

        Args:
            cache: the cache folder; by default :func:`~convrnn.cache.default_cache_dir`.
            jobs: processes.
            progress: receives the progress; by default a plain :class:`~convrnn.experiments.progress.Progress`.
        """
        with cache_folder(cache) as folder:
            yield cls(folder, jobs, progress or Progress())


def extraction_jobs(features: FeatureConfig, jobs: int = 1) -> int:
    """The number of processes that extract features: one per core at least for slow features."""
    if not features.is_slow:
        return jobs
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(jobs, cores)
