"""Runs independent work as tasks of an existing Ray cluster; the counterpart of :mod:`convrnn.processes`.

Needs the extra ``ray``. Every node needs the software of this machine, and the files of the work at the same paths.
"""

import contextlib
import os
import re
import socket
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from types import ModuleType
from typing import Any

from convrnn.errors import Argument, InputError
from convrnn.processes import Context, Event, Failure, Item, WorkFailedError, answer

SAME_SOFTWARE = ("convrnn", "torch", "numpy")
"""Packages that must have the same version on every node, since results depend on them."""

MOST_RETRIES = 4
"""How often Ray tries an item again whose node or process was lost."""

SECONDS_TO_ANSWER = 300.0
"""Time for every node to start a process and answer."""

SECONDS_TO_CONNECT = 10.0
"""Time for the head node to accept a connection."""

SECONDS_BETWEEN_LOOKS = 0.5
"""How long reports of progress may wait."""

SECONDS_BETWEEN_COUNTS = 5.0
"""Nodes may come and go; they are counted again after this time."""


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


@dataclass(slots=True)
class Cluster:
    """An existing Ray cluster.

    Args:
        address: ``"auto"``, the cluster that this machine belongs to (or the one in ``$RAY_ADDRESS``); or
            ``"ray://HOST:PORT"``, the Ray Client server on the head node of another, usually at port 10001.
        cache_dir: the cache folder on every node, which may be a shared one; by default each node's own.

    Attributes:
        address: likewise.
        cache_dir: likewise.

    Raises:
        InputError: for another address.

    Example:
        >>> Cluster("10.0.0.1")
        Traceback (most recent call last):
        ...
        convrnn.errors.InputError: 'cluster': unknown value '10.0.0.1'; allowed: auto, ray://HOST:PORT
    """

    address: str
    cache_dir: Path | None = None
    _connected: bool = field(default=False, init=False)

    def __post_init__(self) -> None:
        if self.address != "auto" and not re.fullmatch(r"ray://[^\s/:]+:\d{1,5}", self.address):
            raise InputError(Argument("cluster"), f": unknown value {self.address!r}; allowed: auto, ray://HOST:PORT")

    @contextlib.contextmanager
    def connected(self) -> Iterator["Cluster"]:
        """A context with a connection to the cluster, whose nodes were found to have the same software as this machine.

        It may be entered again within itself. Ray is left as it was found: a connection that the calling program opened
        is used and stays open.

        Raises:
            InputError: Ray is not installed, the cluster does not answer, or a node lacks the software or has another
                version of it.
        """
        if self._connected:
            yield self
            return
        ray = _ray(self.address)
        ours = not ray.is_initialized()
        if ours:
            _connect(ray, self.address)
        self._connected = True
        try:
            self.on_every_node(_nothing)
            yield self
        finally:
            self._connected = False
            if ours:
                ray.shutdown()

    def nodes(self, needs: Needs = Needs()) -> list[Node]:
        """The nodes that are alive and large enough for one item."""
        ray = _ray(self.address)
        found = []
        for node in ray.nodes():
            if node["Alive"]:
                address, resources = node["NodeManagerAddress"], node["Resources"]
                name = node["NodeName"]
                name = f"{node['NodeManagerHostname']} ({address})" if name == address else name
                one = Node(node["NodeID"], name, resources.get("CPU", 0.0), resources.get("GPU", 0.0))
                if one.slots(needs):
                    found.append(one)
        return found

    def on_every_node(self, function: Callable[..., str | None], *arguments: object, needs: Needs = Needs()) -> None:
        """Calls a function of this package on every node that is large enough for an item.

        Args:
            function: returns what is wrong, as the end of a sentence that begins with the node's name, or None.
            arguments: its arguments.
            needs: what an item needs.

        Raises:
            InputError: naming the first node where something is wrong; or no node is large enough.
        """
        ray = _ray(self.address)
        if not (nodes := self.nodes(needs)):
            what = f"{needs.cpus} core{'s' if needs.cpus > 1 else ''}" + (" and a GPU" if needs.gpus else "")
            raise self._error(f": no node of the cluster has {what}")
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        on_node, _ = _travelling(ray)
        # Nested, so that a node reads them only when its software is known to be the same.
        packed = [ray.put((function, arguments))]
        told = {
            ray.remote(on_node)
            .options(num_cpus=0, max_retries=0, scheduling_strategy=NodeAffinitySchedulingStrategy(node.id, soft=False))
            .remote(_software(), "call", packed): node
            for node in nodes
        }
        ready, late = ray.wait(list(told), num_returns=len(told), timeout=SECONDS_TO_ANSWER)
        for ref in ready:
            try:
                _, wrong = ray.get(ref)
            except ray.exceptions.RayTaskError:
                raise
            except ray.exceptions.RayError:
                # A node that has gone meanwhile gets no work either.
                continue
            if wrong:
                raise self._error(f": node {told[ref].name} {wrong}")
        if late:
            raise self._error(f": node {told[late[0]].name} has not answered for {SECONDS_TO_ANSWER:.0f} seconds")

    def check_files(self, files: Iterable[str], needs: Needs) -> None:
        """Checks that every node finds the files of the work.

        Raises:
            InputError: naming a node and the first file that it does not see.
        """
        self.on_every_node(_missing_file, list(dict.fromkeys(files)), needs=needs)

    def run(
        self,
        work: Callable[[Context, Item, Callable[[object], None]], object],
        context: Context,
        items: Iterable[Item],
        *,
        needs: Needs,
        on_event: Callable[[Event], None],
    ) -> None:
        """Does ``work(context, item, report)`` for each item on the nodes of the cluster.

        As :func:`~convrnn.processes.run_in_processes`, except that results are only passed to ``on_event``, since there
        may be too many to keep. An item whose node is lost is started again on another one, up to :data:`MOST_RETRIES`
        times, with a second event ``"started"``. Reports of progress may be lost; results never are. At any end, Ctrl-C
        included, no task is left.

        Args:
            work: a function of an installed package.
            context: what all items share; sent to each node once.
            items: the items.
            needs: what Ray reserves for each of them.
            on_event: called on this machine for every start, report and result.

        Raises:
            WorkFailedError: for the first item that fails; running items are stopped and no others are started.
            InputError: the connection to the cluster is lost.
        """
        ray = _ray(self.address)
        waiting = deque(enumerate(items))
        tasks = _Tasks(self, ray, work, context, needs, on_event)
        try:
            while waiting or tasks.running:
                # A few more than can run, so that no node waits for this machine; not all, since Ray would keep looking
                # through them.
                while waiting and len(tasks.running) < tasks.most:
                    tasks.submit(*waiting.popleft())
                tasks.look()
        except ConnectionError as error:
            raise self._error(": the connection to the cluster is lost; finished work is kept") from error
        finally:
            tasks.stop()

    def _error(self, *parts: str) -> InputError:
        return InputError(Argument("cluster", self.address), *parts)


class _Tasks:
    """The tasks of one call of :meth:`Cluster.run`."""

    def __init__(
        self,
        cluster: Cluster,
        ray: ModuleType,
        work: Callable[..., object],
        context: object,
        needs: Needs,
        tell: Callable[[Event], None],
    ) -> None:
        self.running: dict[Any, int] = {}
        self._cluster = cluster
        self._ray = ray
        self._needs = needs
        self._tell = tell
        self._names: dict[str, str] = {}
        self._started: set[int] = set()
        self._counted = -SECONDS_BETWEEN_COUNTS
        self._most = 0
        on_node, reports = _travelling(ray)
        self._shared = [ray.put((work, context))]
        # On the head node, without which the cluster ends anyway.
        self._reports = ray.remote(reports).options(num_cpus=0, resources={"node:__internal_head__": 0.001}).remote()
        self._task = ray.remote(on_node).options(num_cpus=needs.cpus, num_gpus=needs.gpus, max_retries=MOST_RETRIES)

    @property
    def most(self) -> int:
        """How many items to have in the cluster now."""
        if (now := time.monotonic()) - self._counted >= SECONDS_BETWEEN_COUNTS:
            self._counted = now
            nodes = self._cluster.nodes(self._needs)
            self._names.update({node.id: node.name for node in nodes})
            self._most = 2 + 2 * sum(node.slots(self._needs) for node in nodes)
        return self._most

    def submit(self, index: int, item: object) -> None:
        packed = self._ray.cloudpickle.dumps(item)
        ref = self._task.remote(_software(), "serve", self._shared, packed, self._reports, index)
        self.running[ref] = index

    def look(self) -> None:
        """Waits for a moment and passes on what happened.

        Raises:
            WorkFailedError: for an item that failed, once the other results are passed on.
        """
        ready, _ = self._ray.wait(list(self.running), timeout=SECONDS_BETWEEN_LOOKS)
        if ready:
            ready, _ = self._ray.wait(list(self.running), num_returns=len(self.running), timeout=0)
        self._pass_on_reports()
        failures = []
        for ref in ready:
            index = self.running.pop(ref)
            found = self._answer(ref)
            if isinstance(found, Failure):
                failures.append(WorkFailedError(index, found))
            else:
                self._tell(Event("done", index, found.value))
        if failures:
            raise failures[0]

    def _answer(self, ref: object) -> Event | Failure:
        try:
            node, found = self._ray.get(ref)
        except self._ray.exceptions.RayTaskError as error:
            return Failure(str(error).strip().splitlines()[-1], str(error), is_input_error=False)
        except self._ray.exceptions.RayError as error:
            lost = f"its node or its process was lost {MOST_RETRIES + 1} times, perhaps for lack of memory"
            return Failure(f"{lost} ({type(error).__name__})", str(error), is_input_error=True)
        name = self._names.get(node, node)
        if isinstance(found, str):
            return Failure(f"node {name} {found}", "", is_input_error=True)
        if isinstance(found, Failure):
            return Failure(f"{found.message} (on node {name})", found.details, found.is_input_error)
        assert isinstance(found, Event)
        return found

    def _pass_on_reports(self) -> None:
        running = set(self.running.values())
        reports = []
        # Without the head node there is no progress, and soon no cluster.
        with contextlib.suppress(self._ray.exceptions.RayError):
            reports = self._ray.get(self._reports.take.remote())
        for index, node, value in reports:
            if index not in running:
                continue
            if node is not None:
                self._started.add(index)
                self._tell(Event("started", index, self._names.get(node, node)))
            elif index in self._started:
                self._tell(Event("report", index, value))

    def stop(self) -> None:
        """Cancels what still runs."""
        with contextlib.suppress(Exception):
            for ref in self.running:
                self._ray.cancel(ref, force=True)
            self._ray.kill(self._reports)


def _travelling(ray: ModuleType) -> tuple[Callable[..., object], type]:
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
            cluster = import_module("convrnn.cluster")
        except ImportError as error:
            return node, f"cannot import convrnn ({error})"
        return node, getattr(cluster, function)(*arguments)

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
    function, arguments = _ray("").get(packed[0])
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
    ray = _ray("")
    reports.put.remote((index, ray.get_runtime_context().get_node_id(), None))
    key = shared[0].hex()
    if key not in _kept:
        # Only the latest: a process serves one grid at a time, and a large corpus takes memory.
        _kept.clear()
        _kept[key] = ray.get(shared[0])
    work, context = _kept[key]
    return answer(work, context, ray.cloudpickle.loads(item), lambda value: reports.put.remote((index, None, value)))


_kept: dict[str, tuple[Callable[..., object], object]] = {}


def _nothing() -> None:
    """What to call if only the software is checked."""


def _missing_file(files: Iterable[str]) -> str | None:
    for file in files:
        if not Path(file).is_file():
            return (
                f"does not see {file}; all files must have the same paths on all nodes, such as on a shared file system"
            )
    return None


def _software() -> dict[str, str]:
    # Builds of one version for different GPUs differ after the plus sign.
    return {package: version(package).partition("+")[0] for package in SAME_SOFTWARE}


def _ray(address: str) -> ModuleType:
    try:
        import ray
    except ModuleNotFoundError as error:
        raise InputError(
            Argument("cluster", address),
            f": needs {error.name}, which is not installed; run: pip install 'convrnn[ray]'",
        ) from None
    module: ModuleType = ray
    return module


def _address_of_auto() -> str:
    """The address that Ray understands by "auto", or "" if there is none; a cluster that crashed leaves its file."""
    if address := os.environ.get("RAY_ADDRESS"):
        return address
    with contextlib.suppress(OSError):
        return Path(os.environ.get("RAY_TMPDIR", "/tmp"), "ray/ray_current_cluster").read_text().strip()
    return ""


def _connect(ray: ModuleType, address: str) -> None:
    given = _address_of_auto() if address == "auto" else address
    try:
        # Ray itself would try for minutes, or for ever.
        if host := re.fullmatch(r"(?:ray://)?([^/]+):(\d+)", given):
            socket.create_connection((host[1], int(host[2])), SECONDS_TO_CONNECT).close()
        ray.init(address, log_to_driver=False, logging_level="error", configure_logging=False)
    except (ConnectionError, OSError, OverflowError, RuntimeError, ValueError) as error:
        where = f" at {given}" if given not in ("", address) else ""
        reason = str(error).strip().rstrip(".") or type(error).__name__
        raise InputError(Argument("cluster", address), f": the cluster{where} does not answer ({reason})") from error
