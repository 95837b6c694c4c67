"""Ray, as far as collection uses it: an object store, and processes that are asked for chunks."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from deeprl.errors import ConfigError
from deeprl.running.collect.actor import RemoteActor
from deeprl.running.collect.choice import Here, OnRay
from deeprl.running.collect.connection import connect
from deeprl.system.machine import usable_cores
from deeprl.system.terminal import say


class Cluster:
    """A Ray cluster, joined or started.

    Args:
        choice: its address, and the number of actors that must find a core.

    Raises:
        ConfigError: Ray is missing, or there is no cluster at the address.
    """

    def __init__(self, choice: OnRay):
        own = {} if choice.address else {"num_cpus": choice.actors}
        self.ray = connect(choice.address, "collect=ray", "collect.address", **own)
        self.folder = None if choice.address else os.getcwd()
        if not choice.address and choice.actors > (machine := usable_cores()):
            say(f"collect.actors={choice.actors} share the {machine} cores of this machine with the learner")
        cores = sum(node["Resources"].get("CPU", 0) for node in self.ray.nodes() if node["Alive"])
        if cores < choice.actors:
            self.ray.shutdown()
            raise ConfigError(f"collect.actors={choice.actors}: the Ray cluster has {cores:.0f} cores, and each actor takes one.")
        self.kind = self.ray.remote(num_cpus=1)(RemoteActor)

    def start(self, build: Callable) -> Handle:
        """An actor whose collector `build` gives."""
        return Handle(self.ray, self.kind.remote(build, folder=self.folder))

    def ready(self, handle: Handle, seconds: float) -> Exception | None:
        """Wait until an actor has built its part of the run. Returns the error if it could not."""
        try:
            self.ray.get(handle.actor.ready.remote(), timeout=seconds)
        except self.ray.exceptions.GetTimeoutError:
            free = self.ray.available_resources().get("CPU", 0)
            return TimeoutError(f"it was not ready after collect.timeout={seconds:g} seconds, and the cluster has {free:g} free cores")
        except self.ray.exceptions.RayError as error:
            return error
        return None

    def alive(self) -> bool:
        """Whether the part of the cluster on this machine still works."""
        own = self.ray.get_runtime_context().get_node_id()
        return any(node["Alive"] and node["NodeID"] == own for node in self.ray.nodes())

    def put(self, value: object) -> Any:
        """Store an object. Returns its reference."""
        return self.ray.put(value)

    def arrived(self, reference: object, seconds: float) -> bool:
        """Whether an object is there, or known to be lost, after at most so many seconds."""
        return bool(self.ray.wait([reference], timeout=seconds)[0])

    def fetch(self, reference: object) -> Any:
        """The object; the error if its actor died, for whatever reason, or an object is lost.

        Raises:
            Exception: what the actor's own code raised, such as `EnvironmentFailed`.
        """
        try:
            return self.ray.get(reference)
        except self.ray.exceptions.RayTaskError as error:
            if error.cause is None or isinstance(error.cause, self.ray.exceptions.RayError):  # an argument did not reach the actor
                return error
            raise error.cause from error
        except self.ray.exceptions.RayError as error:
            return error


@contextmanager
def cluster_for(choice: Here | OnRay) -> Iterator[Cluster | None]:
    """The cluster of a run, if it collects on one. It must be there before the signals of a run are handled (`deeprl.system.signals`),
    because Ray sets handlers of its own."""
    if isinstance(choice, Here):
        yield None
        return
    cluster = Cluster(choice)
    try:
        yield cluster
    finally:
        cluster.ray.shutdown()


class Handle:
    """One actor, from the learner's side."""

    def __init__(self, ray: Any, actor: Any):
        self.ray, self.actor = ray, actor

    def collect(self, weights: Any, step: int, stride: int, ticks: int, state: Any) -> Any:
        """Reference to what `RemoteActor.collect` returns."""
        return self.actor.collect.remote(weights, step, stride, ticks, state)

    def close(self) -> Any:
        """Reference to what is there once the actor has closed its environments."""
        return self.actor.close.remote()

    def kill(self) -> None:
        self.ray.kill(self.actor)
