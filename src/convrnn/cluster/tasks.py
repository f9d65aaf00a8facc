"""The tasks of a cluster in which items are worked on."""

import contextlib
import time
from collections.abc import Callable
from types import ModuleType
from typing import Any

from convrnn.cluster.node import for_any_node, software
from convrnn.cluster.nodes import Needs, Node
from convrnn.processes import Event, Failure, WorkFailedError

MOST_RETRIES = 4
"""How often Ray tries an item again whose node or process was lost."""

SECONDS_BETWEEN_LOOKS = 0.5
"""How long reports of progress may wait."""

SECONDS_BETWEEN_COUNTS = 5.0
"""Nodes may come and go; they are counted again after this time."""


class Tasks:
    """The tasks of one call of :meth:`~convrnn.cluster.Cluster.run`.

    Args:
        nodes: Counts the nodes that are large enough for an item.
        ray: Ray's module.
        work: As for that method, and so are the others.
        context: Likewise.
        needs: Likewise.
        tell: Likewise.

    Attributes:
        running: The position of each item that is worked on, by Ray's reference to its result.
    """

    def __init__(
        self,
        nodes: Callable[[], list[Node]],
        ray: ModuleType,
        work: Callable[..., object],
        context: object,
        needs: Needs,
        tell: Callable[[Event], None],
    ) -> None:
        self.running: dict[Any, int] = {}
        self._nodes = nodes
        self._ray = ray
        self._needs = needs
        self._tell = tell
        self._names: dict[str, str] = {}
        self._started: set[int] = set()
        self._counted = -SECONDS_BETWEEN_COUNTS
        self._most = 0
        on_node, reports = for_any_node(ray)
        self._shared = [ray.put((work, context))]
        # On the head node, without which the cluster ends anyway.
        self._reports = ray.remote(reports).options(num_cpus=0, resources={"node:__internal_head__": 0.001}).remote()
        self._task = ray.remote(on_node).options(num_cpus=needs.cpus, num_gpus=needs.gpus, max_retries=MOST_RETRIES)

    @property
    def most(self) -> int:
        """How many items to have in the cluster now."""
        if (now := time.monotonic()) - self._counted >= SECONDS_BETWEEN_COUNTS:
            self._counted = now
            nodes = self._nodes()
            self._names.update({node.id: node.name for node in nodes})
            self._most = 2 + 2 * sum(node.slots(self._needs) for node in nodes)
        return self._most

    def submit(self, index: int, item: object) -> None:
        """Starts a task."""
        packed = self._ray.cloudpickle.dumps(item)
        ref = self._task.remote(software(), "serve", self._shared, packed, self._reports, index)
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
