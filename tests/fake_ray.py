"""A Ray cluster in this process: tasks run when their results are waited for, one at a time."""

import pickle
import sys
from types import ModuleType, SimpleNamespace


class RayError(Exception):
    """What Ray raises for a lost task."""


class RayTaskError(RayError):
    """What Ray raises for an exception in a task."""


class Actor:
    """Calls the methods of an object as Ray's actors are called."""

    def __init__(self, made):
        self.made = made

    def __getattr__(self, name):
        return SimpleNamespace(remote=lambda *arguments: Ref(getattr(self.made, name)(*arguments)))


class Ref:
    """A reference to an object, or to the result of a task."""

    def __init__(self, value=None, task=None):
        self.value, self.task, self.done = value, task, task is None

    def hex(self):
        return f"{id(self):x}"


class FakeRay(ModuleType):
    """What :mod:`convrnn.cluster` uses of Ray.

    Attributes:
        machines: node id to its resources.
        lost: how often the next task is lost with its node while it is at work.
        gives_up: whether it is not tried again after that.
        cancelled: references of cancelled tasks.
        options: of each task that was made.
        most_running: the largest number of tasks that were in the cluster at once.
    """

    def __init__(self, machines):
        super().__init__("ray")
        self.machines, self.cancelled, self.options, self.initialised = machines, [], [], False
        self.lost, self.gives_up = 0, False
        self.exceptions = SimpleNamespace(RayError=RayError, RayTaskError=RayTaskError)
        self.cloudpickle = pickle
        self.here = next(iter(machines), None)
        self.most_running = 0

    def is_initialized(self):
        return self.initialised

    def init(self, *_arguments, **_options):
        self.initialised = True

    def shutdown(self):
        self.initialised = False

    def nodes(self):
        where = {"Alive": True, "NodeManagerAddress": "10.0.0.1", "NodeManagerHostname": "host"}
        return [{**where, "NodeID": name, "NodeName": name, "Resources": own} for name, own in self.machines.items()]

    def put(self, value):
        return Ref(value)

    def get(self, ref):
        if isinstance(ref.value, RayError):
            raise ref.value
        return ref.value

    def get_runtime_context(self):
        return SimpleNamespace(get_node_id=lambda: self.here)

    def remote(self, what):
        def options(**given):
            def remote(*arguments):
                if isinstance(what, type):
                    return Actor(what(*arguments))
                strategy = given.get("scheduling_strategy")
                self.options.append(given)
                return Ref(task=(what, arguments, strategy and strategy.node_id))

            return SimpleNamespace(remote=remote)

        return SimpleNamespace(options=options)

    def wait(self, refs, num_returns=1, timeout=None):  # noqa: ARG002 - as Ray's
        self.most_running = max(self.most_running, len(refs))
        if not any(ref.done for ref in refs):
            self.work(refs[0])
        for ref in refs if num_returns > 1 and refs[0].task[2] else ():
            self.work(ref)
        done = [ref for ref in refs if ref.done][:num_returns]
        return done, [ref for ref in refs if ref not in done]

    def work(self, ref):
        function, arguments, node = ref.task
        self.here = node or next(iter(self.machines))
        while self.lost and node is None:
            # The task was at work when the node was lost.
            self.lost -= 1
            *_, reports, index = arguments
            reports.put.remote((index, self.here, None))
            self.here = list(self.machines)[-1]
            if not self.lost and self.gives_up:
                ref.value, ref.done = RayError("lost"), True
                return
        try:
            ref.value = function(*arguments)
        except Exception as error:  # noqa: BLE001 - Ray does so too
            ref.value = RayTaskError(f"task failed\n{type(error).__name__}: {error}")
        ref.done = True

    def cancel(self, ref, force):
        assert force
        self.cancelled.append(ref)

    def kill(self, _actor):
        pass


def install(monkeypatch, **machines):
    """Puts a cluster of these nodes in place of Ray."""
    ray = FakeRay(machines)
    strategies = ModuleType("ray.util.scheduling_strategies")
    strategies.NodeAffinitySchedulingStrategy = lambda node_id, soft: SimpleNamespace(node_id=node_id, soft=soft)
    monkeypatch.setitem(sys.modules, "ray", ray)
    monkeypatch.setitem(sys.modules, "ray.util", ModuleType("ray.util"))
    monkeypatch.setitem(sys.modules, "ray.util.scheduling_strategies", strategies)
    return ray
