"""Collection by several actors, in an order that does not depend on their speed.

Round r is one chunk of every actor: L ticks. The learner takes the rows of a round tick by tick, as if it had collected them itself. When
a round is used up, the round `ahead` rounds later starts with the present weights, and the next one is taken once all its chunks are there:

    learner    | round 0 | round 1 | round 2 |            ahead = 1
    actors     0 | 1     | 2       | 3       |

So the weights of every chunk are known in advance, and the same command gives the same run. An actor that dies is replaced: its successor
goes on from the state after the last chunk that arrived, and collects the missing ones again, with their weights and random numbers. They
come out equal where environments can be repeated from their journals (`deeprl.envs.vector.journal`); where they cannot, the episode is cut.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from deeprl.agent import Agent
from deeprl.errors import ActorsFailed
from deeprl.remote.actor import Chunk, joined
from deeprl.remote.choice import OnRay
from deeprl.remote.cluster import Cluster, Handle
from deeprl.remote.weights import Weights
from deeprl.system.terminal import say
from deeprl.training.episodes import Episodes
from deeprl.types import Rows


def reason(problem: Exception) -> str:
    """The first sentence of the last line of a message: before it Ray puts the traceback of the other process, behind it advice."""
    lines = [line.strip() for line in str(problem).splitlines() if line.strip()]
    return (lines or [type(problem).__name__])[-1].partition(". ")[0]


LATE = 5.0
"""Seconds between two looks at whether a late actor is alive"""


class Order(NamedTuple):
    """What one actor is asked for."""

    weights: Any
    """Reference to the weights in the object store"""
    step: int
    """Of the first tick"""
    answer: tuple[Any, Any]
    """References to the chunk and to the state after it"""


class Actors:
    """The actors of a run, in place of its environments.

    Args:
        choice: how many, and how their chunks are made.
        cluster: where they run.
        build: `build(index)` gives what an `Actor` is built from.

    Attributes:
        num: environments of all actors.
        states: of each actor, a reference to the state after its last chunk that has arrived; None before the first.
        num_replaced: actors that have died so far.
    """

    def __init__(self, choice: OnRay, cluster: Cluster, build: Callable[[int], Callable]):
        self.choice, self.cluster, self.build, self.num = choice, cluster, build, choice.num
        self.handles: list[Handle] = [cluster.start(build(index)) for index in range(choice.actors)]
        for index, handle in enumerate(self.handles):
            if cluster.ready(handle) is not None:  # killed, or an error that a second attempt repeats
                self.handles[index] = cluster.start(build(index))
                if (problem := cluster.ready(self.handles[index])) is not None:
                    raise ActorsFailed(f"actor {index} could not start: {reason(problem)}") from problem
        self.states: list[Any] = [None] * choice.actors
        self.orders: list[deque[Order]] = [deque() for _ in self.handles]
        self.num_restarts = self.num_replaced = 0
        self._in_a_row = [0] * choice.actors

    def order(self, weights: Any, step: int) -> None:
        """Ask every actor for its next chunk."""
        for index, handle in enumerate(self.handles):
            self.orders[index].append(Order(weights, step, handle.collect(weights, step, self.num, self.choice.ticks)))

    def next(self) -> Chunk:
        """The oldest chunks that are ordered, of all actors; waits for them.

        Raises:
            ActorsFailed: an actor died too often.
            EnvironmentFailed: an environment failed, and `env.on_error` is `fail`.
        """
        chunks = [self._receive(index) for index in range(len(self.handles))]
        for index, orders in enumerate(self.orders):
            self.states[index] = orders.popleft().answer[1]
        return joined(chunks, self.choice.envs)

    def _receive(self, index: int) -> Chunk:
        began = time.monotonic()
        while True:
            order = self.orders[index][0]
            problem = None
            if self.cluster.arrived(order.answer[0], LATE):
                found = self.cluster.fetch(order.answer[0])
                if not isinstance(found, Exception):
                    self._in_a_row[index] = 0
                    return found
                problem = found
            elif time.monotonic() - began > self.choice.timeout:
                problem = TimeoutError(f"it sent nothing for collect.timeout={self.choice.timeout:g} seconds")
            if problem is not None:
                self._replace(index, problem)
                began = time.monotonic()

    def _replace(self, index: int, problem: Exception) -> None:
        """Let a new actor do what the old one was asked for."""
        why = reason(problem)
        self._in_a_row[index] += 1
        if self._in_a_row[index] > self.choice.restarts:
            raise ActorsFailed(
                f"actor {index} died {self._in_a_row[index]} times in a row (collect.restarts={self.choice.restarts}), the last time: {why}"
            ) from problem
        say(f"actor {index} died ({why}) and is replaced")
        self.num_replaced += 1
        self.handles[index].kill()
        self.handles[index] = self.cluster.start(self.build(index))
        state = self.states[index]
        if state is not None:
            state = self.cluster.fetch(state)
            self.restore(index, None if isinstance(state, Exception) else state, self.orders[index][0].step)
        self._repeat_orders(index)

    def restore(self, index: int, state: dict[str, Any] | None, step: int) -> None:
        """Let an actor go on from a state; None: from new episodes, because it is lost. `step` is that of its next chunk."""
        self.handles[index].restore(state, step // self.num)

    def _repeat_orders(self, index: int) -> None:
        collect, choice = self.handles[index].collect, self.choice
        self.orders[index] = deque(
            Order(each.weights, each.step, collect(each.weights, each.step, self.num, choice.ticks)) for each in self.orders[index]
        )

    def close(self) -> None:
        """End the actors. A second call does nothing."""
        for handle in self.handles:
            handle.kill()
        self.handles = []


class RemoteCollector:
    """Collection of data by actors, in place of a `Collector`.

    Args:
        agent: the learner's; it observes the rows.
        envs: the actors.
        append: where rows go, `Replay.append`.
        cut: marks the running episode of an environment as ended at its newest row, `Replay.cut`.
        observe: called with the rows of each tick; None: `agent.observe`.
    """

    def __init__(self, agent: Agent, envs: Actors, append: Callable, cut: Callable[[int], None], observe: Callable | None = None):
        self.agent, self.envs, self.append, self.cut = agent, envs, append, cut
        self.observe = agent.observe if observe is None else observe
        self.weights = Weights(agent)
        self.episodes = Episodes(envs.num)
        self.ordered = 0
        """Rounds that were ordered so far"""
        self.ready: deque[Chunk] = deque()
        """Rounds that have arrived before they were needed, because a checkpoint holds them"""
        self.chunk: Chunk | None = None
        self.at = 0
        """Ticks of `chunk` that are used"""
        self.waited = 0.0
        """Seconds that the learner has waited for actors"""
        self._sent: tuple[int, Any] = -1, None
        """Number of updates of the weights that were sent last, and their reference"""

    def choose(self, step: int) -> None:
        raise NotImplementedError("actors choose for themselves; runtime.lag is refused beside them")

    def tick(self, step: int) -> None:
        """One step of all environments, numbered from `step`."""
        if self.chunk is None or self.at == len(self.chunk.rows.reward):
            self._next_round()
        assert self.chunk is not None
        rows = Rows(*(part[self.at] for part in self.chunk.rows))
        self.at += 1
        self.append(rows)
        self.observe(rows)
        self.episodes.add(step, rows.reward, rows.ended)

    def _next_round(self) -> None:
        began, choice = time.monotonic(), self.envs.choice
        while self.pending <= choice.ahead:
            self.envs.order(self._present(), self.ordered * choice.ticks * self.envs.num)
            self.ordered += 1
        self.chunk, self.at = self.ready.popleft() if self.ready else self.envs.next(), 0
        self.envs.num_restarts = self.chunk.restarts
        for index in self.chunk.cut:
            self.cut(index)
            self.episodes.drop(index)
        self.waited += time.monotonic() - began

    @property
    def pending(self) -> int:
        """Rounds that are ordered, and not begun."""
        return len(self.ready) + len(self.envs.orders[0])

    def _present(self) -> Any:
        updates, sent = self._sent
        if sent is None or updates != self.agent.updates:
            self._sent = updates, sent = self.agent.updates, self.envs.cluster.put(self.weights.read())
        return sent

    def metrics(self) -> dict[str, float]:
        """Statistics of the last episodes; seconds of waiting; failures, if there are any."""
        counts = {"rollout/env_restarts": self.envs.num_restarts, "time/actors_replaced": self.envs.num_replaced}
        return {
            **{name: float(count) for name, count in counts.items() if count},
            **self.episodes.metrics(),
            "time/waiting_for_actors": self.waited,
        }

    # Checkpoints: rounds that are under way are waited for, because their weights are not kept

    def state_dict(self) -> dict:
        while self.envs.orders[0]:
            self.ready.append(self.envs.next())
        states = [None if state is None else self.envs.cluster.fetch(state) for state in self.envs.states]
        rest = [] if self.chunk is None else [Chunk(Rows(*(part[self.at :] for part in self.chunk.rows)), [], self.chunk.restarts)]
        return {
            **self.episodes.state_dict(),
            "ordered": self.ordered,
            "chunks": [{"rows": each.rows._asdict(), "cut": each.cut, "restarts": each.restarts} for each in (*rest, *self.ready)],
            "begun": self.chunk is not None,
            "actors": [None if isinstance(state, Exception) else state for state in states],
        }

    def load_state_dict(self, state: dict) -> list[int]:
        """Returns no environment, because an episode that cannot be repeated is cut when its actor sends the next chunk."""
        self.episodes.load_state_dict(state)
        actors, self.ordered = state["actors"], int(state["ordered"])
        if len(actors) != len(self.envs.handles):
            raise ValueError(f"it holds the states of {len(actors)} actors, and this run has collect.actors={len(self.envs.handles)}")
        chunks = [Chunk(Rows(**each["rows"]), list(map(int, each["cut"])), int(each["restarts"])) for each in state["chunks"]]
        for chunk in chunks:
            if any(part.shape[1] != self.envs.num or not np.isfinite(part).all() for part in chunk.rows):
                raise ValueError("it holds rows of another number of environments, or numbers that are not finite")
        self.ready = deque(chunks)
        self.chunk, self.at = (self.ready.popleft() if state["begun"] else None), 0
        for index, each in enumerate(actors if self.ordered else ()):
            self.envs.states[index] = self.envs.cluster.put(each)
            self.envs.restore(index, each, self.ordered * self.envs.choice.ticks * self.envs.num)
        return []
