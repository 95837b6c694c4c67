"""Collection by several actors, in an order that does not depend on their speed.

Round r is one chunk of every actor: L ticks. The learner takes the rows of a round tick by tick, as if it had collected them itself. When
a round is used up, the round `ahead` rounds later starts with the present weights, and the next one is taken once all its chunks are there:

    learner    | round 0 | round 1 | round 2 |            ahead = 1
    actors     0 | 1     | 2       | 3       |

So the weights of every chunk are known in advance, and the same command gives the same run. With each chunk comes the state of its actor
after it. An actor that dies is replaced: its successor goes on from the last state that arrived, and collects the missing chunks again,
with their weights and random numbers. A checkpoint holds the same states and weights, so that a resumed run does what a successor does.
The chunks come out equal where environments can be repeated from their journals (`deeprl.envs.vector.journal`); where they cannot, the
episode is cut.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from deeprl.errors import ActorsFailed
from deeprl.learning.agent import Agent
from deeprl.running.collect.actor import Chunk, joined
from deeprl.running.collect.choice import OnRay
from deeprl.running.collect.cluster import Cluster, Handle
from deeprl.running.collect.weights import Weights
from deeprl.running.training.episodes import Episodes
from deeprl.system.terminal import say
from deeprl.types import Rows, State


def reason(problem: Exception) -> str:
    """The first sentence of the last line of a message: before it Ray puts the traceback of the other process, behind it advice."""
    lines = [line.strip() for line in str(problem).splitlines() if line.strip()]
    return (lines or [type(problem).__name__])[-1].partition(". ")[0]


WAIT = 1.0
"""Seconds between two looks at the signals, while a chunk is waited for"""
PATIENCE = 2.0
"""Seconds that all actors together have to close their environments, before they are killed"""


class Round(NamedTuple):
    """What all actors were asked for at once."""

    step: int
    """Of the first tick"""
    weights: Sequence[np.ndarray]
    sent: Any
    """Reference to the weights in the object store"""
    answers: list[Any]
    """Of each actor, a reference to the result of `RemoteActor.collect`"""


class Actors:
    """The actors of a run, in place of its environments.

    Args:
        choice: how many, and how their chunks are made.
        cluster: where they run.
        build: `build(index)` gives what a `RemoteActor` is built from.
        check_stop: called while a chunk is waited for; it raises `Stopped` if a signal was received.

    Attributes:
        num: environments of all actors.
        rounds: those that are ordered and have not been taken, the oldest first.
        states: of each actor, the state after its last chunk that was taken; None before the first.
        num_replaced: actors that have died so far.
    """

    def __init__(self, choice: OnRay, cluster: Cluster, build: Callable[[int], Callable], check_stop: Callable[[], None] = lambda: None):
        self.choice, self.cluster, self.build, self.check_stop, self.num = choice, cluster, build, check_stop, choice.num
        self.handles: list[Handle] = [cluster.start(build(index)) for index in range(choice.actors)]
        for index, handle in enumerate(self.handles):
            problem = cluster.ready(handle, choice.timeout)
            if problem is not None and not isinstance(problem, TimeoutError):  # killed, or an error that a second attempt repeats
                self.handles[index] = cluster.start(build(index))
                problem = cluster.ready(self.handles[index], choice.timeout)
            if problem is not None:
                raise ActorsFailed(f"actor {index} could not start: {reason(problem)}") from problem
        self.rounds: deque[Round] = deque()
        self.states: list[State | None] = [None] * choice.actors
        self.num_restarts = self.num_replaced = 0
        self._in_a_row = [0] * choice.actors
        self._behind = [False] * choice.actors
        """Whether the next request to an actor must carry its state, because its process is new"""

    def restore(self, states: Sequence[State | None]) -> None:
        """Let actors that have collected nothing go on from the states of others."""
        self.states, self._behind = list(states), [True] * len(states)

    def order(self, weights: Sequence[np.ndarray], step: int) -> None:
        """Ask every actor for its next chunk."""
        ordered = Round(step, weights, self.cluster.put(weights), [None] * len(self.handles))
        for index in range(len(self.handles)):
            self._ask(index, ordered)
        self.rounds.append(ordered)

    def _ask(self, index: int, ordered: Round) -> None:
        state = self.states[index] if self._behind[index] else None
        self._behind[index] = False
        ordered.answers[index] = self.handles[index].collect(ordered.sent, ordered.step, self.num, self.choice.ticks, state)

    def next(self) -> Chunk:
        """The chunks of the oldest round; waits for them.

        Raises:
            ActorsFailed: an actor died too often, or the cluster ended.
            EnvironmentFailed: an environment failed, and `env.on_error` is `fail`.
            Stopped: by a signal. The round can still be taken.
        """
        found = [self._receive(index) for index in range(len(self.handles))]
        self.states = [state for _, state in found]
        self.rounds.popleft()
        return joined([chunk for chunk, _ in found], self.choice.envs)

    def _receive(self, index: int) -> tuple[Chunk, State]:
        began = time.monotonic()
        while True:
            self.check_stop()
            answer, problem = self.rounds[0].answers[index], None
            if self.cluster.arrived(answer, WAIT):
                found = self.cluster.fetch(answer)
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
        if not self.cluster.alive():
            raise ActorsFailed(f"Ray has ended on this machine, and with it actor {index}: {why}") from problem
        self._in_a_row[index] += 1
        if self._in_a_row[index] > self.choice.restarts:
            raise ActorsFailed(
                f"actor {index} died {self._in_a_row[index]} times in a row (collect.restarts={self.choice.restarts}), the last time: {why}"
            ) from problem
        say(f"actor {index} died ({why}) and is replaced")
        self.num_replaced += 1
        self.handles[index].kill()
        self.handles[index], self._behind[index] = self.cluster.start(self.build(index)), True
        for ordered in self.rounds:
            self._ask(index, ordered)

    def close(self) -> None:
        """End the actors. A second call does nothing."""
        deadline = time.monotonic() + PATIENCE
        for closed in [handle.close() for handle in self.handles]:
            self.cluster.arrived(closed, max(0.0, deadline - time.monotonic()))
        for handle in self.handles:
            handle.kill()
        self.handles = []


class RemoteCollector:
    """Collection of data by actors, in place of a `Collector`.

    Args:
        agent: the learner's.
        envs: the actors.
        append: where rows go, `Source.append`.
        truncate_episode: marks the running episode of an environment as ended at its newest row, `Source.truncate_episode`.
    """

    def __init__(self, agent: Agent, envs: Actors, append: Callable, truncate_episode: Callable[[int], None]):
        self.agent, self.envs, self.append, self.truncate_episode = agent, envs, append, truncate_episode
        self.weights = Weights(agent)
        self.episodes = Episodes(envs.num)
        self.ordered = 0
        """Rounds that were ordered so far"""
        self.chunk: Chunk | None = None
        self.at = 0
        """Ticks of `chunk` that are used"""
        self.waited = 0.0
        """Seconds that the learner has waited for actors"""

    def choose(self, step: int) -> None:
        raise NotImplementedError("actors choose for themselves; runtime.lag is refused beside them")

    def tick(self, step: int) -> None:
        """One step of all environments, numbered from `step`.

        Raises:
            Stopped: by a signal, while actors are waited for. Nothing has changed.
        """
        if self.chunk is None or self.at == len(self.chunk.rows.reward):
            self._next_round()
        assert self.chunk is not None
        rows, info = Rows(*(part[self.at] for part in self.chunk.rows)), self.chunk.info[self.at]
        self.at += 1
        self.append(rows)
        self.episodes.add(step, rows.reward, rows.ended, info)

    def _next_round(self) -> None:
        began = time.monotonic()
        while len(self.envs.rounds) <= self.envs.choice.ahead:
            self.envs.order(self.weights.read(), self._step(self.ordered))
            self.ordered += 1
        self.chunk, self.at = self.envs.next(), 0
        self.envs.num_restarts = self.chunk.restarts
        for index in self.chunk.truncated:
            say(f"environment {index} starts a new episode, because its actor could not restore the old one")
            self.truncate_episode(index)
            self.episodes.drop(index)
        self.waited += time.monotonic() - began

    def _step(self, number: int) -> int:
        """First environment step of a round."""
        return number * self.envs.choice.ticks * self.envs.num

    def metrics(self) -> dict[str, float]:
        """Statistics of the last episodes; seconds of waiting; failures, if there are any."""
        counts = {"rollout/env_restarts": self.envs.num_restarts, "time/actors_replaced": self.envs.num_replaced}
        return {
            **{name: float(count) for name, count in counts.items() if count},
            **self.episodes.metrics(),
            "time/waiting_for_actors": self.waited,
        }

    def state_dict(self) -> State:
        """Nothing is waited for: of the rounds under way it has the weights, with which a resumed run orders them again."""
        rows = None if self.chunk is None else {name: part[self.at :] for name, part in self.chunk.rows._asdict().items()}
        return {
            **self.episodes.state_dict(),
            "ordered": self.ordered,
            "rows": rows,
            "info": [] if self.chunk is None else self.chunk.info[self.at :],
            "restarts": self.envs.num_restarts,
            "weights": [list(each.weights) for each in self.envs.rounds],
            "actors": self.envs.states,
        }

    def load_state_dict(self, state: State) -> list[int]:
        """Returns no environment, because an episode that cannot be repeated is cut when its actor sends the next chunk.

        Raises:
            ValueError: the state is that of other actors, or holds a number that is not finite.
        """
        self.episodes.load_state_dict(state)
        actors, weights, self.ordered = state["actors"], state["weights"], int(state["ordered"])
        if len(actors) != len(self.envs.handles):
            raise ValueError(f"it holds the states of {len(actors)} actors, and this run has collect.actors={len(self.envs.handles)}")
        shapes = [tuple(tensor.shape) for tensor in self.weights.tensors()]
        for arrays in weights:
            if [array.shape for array in arrays] != shapes or not all(np.isfinite(array).all() for array in arrays):
                raise ValueError("it holds weights of actors that are not those of this agent, or are not finite")
        self.envs.num_restarts = int(state["restarts"])
        if state["rows"] is not None:
            stored = state["rows"]
            stateless = np.zeros((*stored["reward"].shape, 0), np.float32)  # older checkpoints have no state
            rows = self._checked(Rows(**{"state": stateless, **stored}))
            info = state.get("info") or [[{}] * self.envs.num] * len(rows.reward)  # older checkpoints lack it
            self.chunk, self.at = Chunk(rows, info, [], self.envs.num_restarts), 0
        self.envs.restore(actors)
        for number, arrays in enumerate(weights, self.ordered - len(weights)):
            self.envs.order(arrays, self._step(number))
        return []

    def _checked(self, rows: Rows) -> Rows:
        spec, axes = self.agent.spec, (len(rows.reward), self.envs.num)
        action = (spec.action_dim,) if spec.action_dim else ()
        shapes = Rows(spec.obs_shape, action, (), spec.obs_shape, (), (), (), (self.agent.state_size,))  # type: ignore[arg-type]
        for part, shape in zip(rows, shapes):
            if part.shape != (*axes, *shape) or not np.isfinite(part).all():
                raise ValueError(f"it holds rows of actors of shape {part.shape}, not {(*axes, *shape)}, or not finite")
        return rows
