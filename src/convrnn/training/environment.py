"""The process a run trains in: threads, determinism, silence, Ctrl-C."""

import logging
import os
import signal
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from convrnn.training.spec import RunSpec


@contextmanager
def environment(spec: RunSpec) -> Iterator[None]:
    """Threads, determinism and silence for the time of a run; afterwards everything is as it was."""
    threads = torch.get_num_threads()
    deterministic, warn_only = (
        torch.are_deterministic_algorithms_enabled(),
        torch.is_deterministic_algorithms_warn_only_enabled(),
    )
    loggers = [logging.getLogger(name) for name in ("lightning", "lightning.pytorch", "lightning.fabric")]
    levels = [logger.level for logger in loggers]
    if spec.device == "cuda":
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # cuBLAS is deterministic only with it
    try:
        torch.set_num_threads(spec.threads)
        # On a GPU some operations have no deterministic form; better a last digit that varies than no training at all.
        torch.use_deterministic_algorithms(True, warn_only=spec.device == "cuda")
        for logger in loggers:
            logger.setLevel(logging.ERROR)
        devices = range(torch.cuda.device_count())
        with torch.random.fork_rng(devices), warnings.catch_warnings():
            warnings.filterwarnings("ignore", module=r"lightning\..*")
            warnings.filterwarnings("ignore", message=".* does not have a deterministic implementation")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
        torch.use_deterministic_algorithms(deterministic, warn_only=warn_only)
        torch.set_num_threads(threads)


@contextmanager
def interruptible() -> Iterator[None]:
    """Lets Ctrl-C reach the caller as KeyboardInterrupt: Lightning ignores further ones and leaves with SystemExit."""
    in_main_thread = threading.current_thread() is threading.main_thread()
    handler = signal.getsignal(signal.SIGINT) if in_main_thread else None
    try:
        yield
    except BaseException as error:
        if isinstance(error.__context__, KeyboardInterrupt):
            raise KeyboardInterrupt from None
        raise
    finally:
        if in_main_thread and handler is not None:
            signal.signal(signal.SIGINT, handler)
