"""Process-wide settings during training: threads, determinism, log level and warnings."""

import logging
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from convrnn.training.config import Device


@contextmanager
def environment(*, device: Device, threads: int) -> Iterator[None]:
    """Sets the number of threads and determinism, silences Fabric's messages, and restores everything afterwards."""
    import lightning_fabric  # noqa: F401 - sets its logger's level on import, so it must come first

    threads_before = torch.get_num_threads()
    deterministic, warn_only = (
        torch.are_deterministic_algorithms_enabled(),
        torch.is_deterministic_algorithms_warn_only_enabled(),
    )
    logger = logging.getLogger("lightning_fabric")
    level = logger.level
    if device == "cuda":
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # cuBLAS is deterministic only with this
    try:
        torch.set_num_threads(threads)
        # Some GPU operations have no deterministic form; a varying last digit is better than no training at all.
        torch.use_deterministic_algorithms(True, warn_only=device == "cuda")
        logger.setLevel(logging.ERROR)
        devices = range(torch.cuda.device_count())
        with torch.random.fork_rng(devices), warnings.catch_warnings():
            warnings.filterwarnings("ignore", module=r"lightning_fabric\..*")
            warnings.filterwarnings("ignore", message=".* does not have a deterministic implementation")
            yield
    finally:
        logger.setLevel(level)
        torch.use_deterministic_algorithms(deterministic, warn_only=warn_only)
        torch.set_num_threads(threads_before)
