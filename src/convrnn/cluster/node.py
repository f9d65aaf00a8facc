"""What runs on the nodes of a cluster."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from types import ModuleType
from typing import Any

from convrnn.cluster.connection import import_ray
from convrnn.processes import Event, Failure, answer

SAME_SOFTWARE = ("convrnn", "torch", "numpy")
"""Packages that must have the same version on every node, since results depend on them."""


def software() -> dict[str, str]:
    """The versions of these packages on this machine."""
    # Builds of one version for different GPUs differ after the plus sign.
    return {package: version(package).partition("+")[0] for package in SAME_SOFTWARE}


def for_any_node(ray: ModuleType) -> tuple[Callable[..., object], type]:
    """What runs on nodes whose software is not known yet: a function and an actor's class.

    They are local because Ray sends local functions and classes whole, instead of their names in a package that the
    node may lack. They use nothing of this module.
    """

    def on_node(software: Mapping[str, str], function: str, *arguments: object) -> tuple[str, object]:
        from importlib import import_module, metadata

        node = ray.get_runtime_context().get_node_id()
        for package, expected in software.items():
            try:
                found = metadata.version(package).partition("+")[0]
            except metadata.PackageNotFoundError:
                return node, f"does not have the package {package}; it needs version {expected}, as on this machine"
            if found != expected:
                return node, f"has {package} {found}, and this machine has {expected}; install the same version"
        try:
            here = import_module("convrnn.cluster.node")
        except ImportError as error:
            return node, f"cannot import convrnn ({error})"
        return node, getattr(here, function)(*arguments)

    class Reports:
        def __init__(self) -> None:
            self._reports: list[object] = []

        def put(self, report: object) -> None:
            self._reports.append(report)

        def take(self) -> list[object]:
            reports, self._reports = self._reports, []
            return reports

    return on_node, Reports


def call(packed: Sequence[Any]) -> str | None:
    """On a node: calls the function for :meth:`Cluster.on_every_node`."""
    function, arguments = import_ray("").get(packed[0])
    found: str | None = function(*arguments)
    return found


def serve(shared: Sequence[Any], item: bytes, reports: Any, index: int) -> Event | Failure:  # noqa: ANN401 - Ray's
    """On a node: does the work on one item for :meth:`Cluster.run`.

    Args:
        shared: Ray's reference to the work function and the context.
        item: the item, pickled.
        reports: the actor that receives the reports.
        index: the item's position.
    """
    ray = import_ray("")
    reports.put.remote((index, ray.get_runtime_context().get_node_id(), None))
    key = shared[0].hex()
    if key not in _kept:
        # Only the latest: a process serves one grid at a time, and a large corpus takes memory.
        _kept.clear()
        _kept[key] = ray.get(shared[0])
    work, context = _kept[key]
    return answer(work, context, ray.cloudpickle.loads(item), lambda value: reports.put.remote((index, None, value)))


_kept: dict[str, tuple[Callable[..., object], object]] = {}


def nothing() -> None:
    """What to call if only the software is checked."""


def missing_file(files: Iterable[str]) -> str | None:
    """The first file that is not there, as the end of a sentence that begins with the node's name; None if all are."""
    for file in files:
        if not Path(file).is_file():
            return (
                f"does not see {file}; all files must have the same paths on all nodes, such as on a shared file system"
            )
    return None
