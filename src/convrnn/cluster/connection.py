"""Ray itself: whether it is installed, and the connection to a cluster."""

import contextlib
import os
import re
import socket
from pathlib import Path
from types import ModuleType

from convrnn.errors import Argument, InputError

SECONDS_TO_CONNECT = 10.0
"""Time for the head node to accept a connection."""


def import_ray(address: str) -> ModuleType:
    """Ray's module.

    Raises:
        InputError: It is not installed.
    """
    try:
        import ray
    except ModuleNotFoundError as error:
        raise InputError(
            Argument("cluster", address),
            f": needs {error.name}, which is not installed; run: pip install 'convrnn[ray]'",
        ) from None
    module: ModuleType = ray
    return module


def address_of_auto() -> str:
    """The address that Ray understands by "auto", or "" if there is none; a cluster that crashed leaves its file."""
    if address := os.environ.get("RAY_ADDRESS"):
        return address
    with contextlib.suppress(OSError):
        return Path(os.environ.get("RAY_TMPDIR", "/tmp"), "ray/ray_current_cluster").read_text().strip()
    return ""


def connect(ray: ModuleType, address: str) -> None:
    """Connects to a cluster, once its head node accepts a connection.

    Raises:
        InputError: It does not answer.
    """
    given = address_of_auto() if address == "auto" else address
    try:
        # Ray itself would try for minutes, or for ever.
        if host := re.fullmatch(r"(?:ray://)?([^/]+):(\d+)", given):
            socket.create_connection((host[1], int(host[2])), SECONDS_TO_CONNECT).close()
        ray.init(address, log_to_driver=False, logging_level="error", configure_logging=False)
    except (ConnectionError, OSError, OverflowError, RuntimeError, ValueError) as error:
        where = f" at {given}" if given not in ("", address) else ""
        reason = str(error).strip().rstrip(".") or type(error).__name__
        raise InputError(Argument("cluster", address), f": the cluster{where} does not answer ({reason})") from error
