"""An existing Ray cluster."""

import contextlib
import re
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from convrnn.cluster.connection import connect, import_ray
from convrnn.cluster.node import for_any_node, missing_file, nothing, software
from convrnn.cluster.nodes import ONE_CORE, Needs, Node
from convrnn.cluster.tasks import Tasks
from convrnn.errors import Argument, InputError
from convrnn.processes import Context, Event, Item

SECONDS_TO_ANSWER = 300.0
"""Time for every node to start a process and answer."""


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
        ray = import_ray(self.address)
        ours = not ray.is_initialized()
        if ours:
            connect(ray, self.address)
        self._connected = True
        try:
            self.on_every_node(nothing)
            yield self
        finally:
            self._connected = False
            if ours:
                ray.shutdown()

    def nodes(self, needs: Needs = ONE_CORE) -> list[Node]:
        """The nodes that are alive and large enough for one item."""
        ray = import_ray(self.address)
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

    def on_every_node(self, function: Callable[..., str | None], *arguments: object, needs: Needs = ONE_CORE) -> None:
        """Calls a function of this package on every node that is large enough for an item.

        Args:
            function: returns what is wrong, as the end of a sentence that begins with the node's name, or None.
            arguments: its arguments.
            needs: what an item needs.

        Raises:
            InputError: naming the first node where something is wrong; or no node is large enough.
        """
        ray = import_ray(self.address)
        if not (nodes := self.nodes(needs)):
            what = f"{needs.cpus} core{'s' if needs.cpus > 1 else ''}" + (" and a GPU" if needs.gpus else "")
            raise self._error(f": no node of the cluster has {what}")
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        on_node, _ = for_any_node(ray)
        # Nested, so that a node reads them only when its software is known to be the same.
        packed = [ray.put((function, arguments))]
        told = {
            ray.remote(on_node)
            .options(num_cpus=0, max_retries=0, scheduling_strategy=NodeAffinitySchedulingStrategy(node.id, soft=False))
            .remote(software(), "call", packed): node
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
        self.on_every_node(missing_file, list(dict.fromkeys(files)), needs=needs)

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
        may be too many to keep. An item whose node is lost is started again on another one, up to
        :data:`~convrnn.cluster.tasks.MOST_RETRIES` times, with a second event ``"started"``. Reports of progress may be
        lost; results never are. At any end, Ctrl-C included, no task is left.

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
        ray = import_ray(self.address)
        waiting = deque(enumerate(items))
        tasks = Tasks(lambda: self.nodes(needs), ray, work, context, needs, on_event)
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
