"""Process-wide settings during training: threads, determinism, log level and warnings."""

import logging
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

from convrnn.training.config import Device, Precision


@contextmanager
def environment(*, device: Device, threads: int, precision: Precision = "32") -> Iterator[None]:
    """Sets the threads, determinism and the precision of products on a GPU, silences Fabric, and restores all this."""
    import lightning_fabric  # noqa: F401 - sets its logger's level on import, so it must come first

    threads_before = torch.get_num_threads()
    deterministic, warn_only = (
        torch.are_deterministic_algorithms_enabled(),
        torch.is_deterministic_algorithms_warn_only_enabled(),
    )
    products, convolutions = torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32
    logger = logging.getLogger("lightning_fabric")
    level = logger.level
    settings: Any = torch.utils.deterministic
    fill = settings.fill_uninitialized_memory
    if device == "cuda":
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # cuBLAS is deterministic only with this
    try:
        torch.set_num_threads(threads)
        if device == "cuda":
            torch.set_float32_matmul_precision("medium" if precision == "tf32" else "highest")
            torch.backends.cudnn.allow_tf32 = precision == "tf32"
            # It would add a kernel for every new tensor; the operations here write all of theirs.
            settings.fill_uninitialized_memory = False
        # Some GPU operations have no deterministic form; a varying last digit is better than no training at all.
        torch.use_deterministic_algorithms(True, warn_only=device == "cuda")
        logger.setLevel(logging.ERROR)
        devices = range(torch.cuda.device_count())
        with torch.random.fork_rng(devices), warnings.catch_warnings():
            warnings.filterwarnings("ignore", module=r"lightning_fabric\..*")
            warnings.filterwarnings("ignore", message=".* does not have a deterministic implementation")
            # Where something used cuBLAS before; and of DDP, whose result is right all the same.
            warnings.filterwarnings("ignore", message="Deterministic behavior was enabled .* CuBLAS")
            warnings.filterwarnings("ignore", message="The AccumulateGrad node's stream does not match")
            yield
    finally:
        logger.setLevel(level)
        if device == "cuda":
            torch.set_float32_matmul_precision(products)
            torch.backends.cudnn.allow_tf32 = convolutions
            settings.fill_uninitialized_memory = fill
        torch.use_deterministic_algorithms(deterministic, warn_only=warn_only)
        torch.set_num_threads(threads_before)
