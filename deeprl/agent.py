"""What discrete and continuous agents share: objectives taken in order, and the state a checkpoint needs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor, nn

from deeprl.choice import Choice, Part
from deeprl.objective import Objective
from deeprl.schedules import Clock
from deeprl.types import Acted, Batch, Learned, NetworkNoise, Rows, Spec


def watching(*parts: Part) -> list[Callable[[Rows], None]]:
    """`observe` of those parts that have one of their own."""
    return [part.observe for part in parts if type(part).observe is not Part.observe]


Answer = Callable[[Tensor, NetworkNoise], Tensor]
"""(M, *obs) and noise -> what `Agent.answer` gives"""


class Agent(nn.Module, Choice):
    """Networks, losses and target upkeep. An agent knows no environment, no replay, no generator and no budget.

    Subclasses provide `objectives`, `act`, `noise`, `act_noise`, and may override the rest.
    """

    actions: str = ""
    """"discrete" or "continuous": what it can take"""
    main: str = ""
    """The objective whose error is the priority and whose learning rate is the agent's; due at every update."""
    spec: Spec
    objectives: dict[str, Objective]
    rewards: Callable[[Tensor], Tensor]
    """raw reward (...) -> learned reward (...) or (C, ...); the replay applies it before n-step sums"""
    needs: frozenset[str] = frozenset()

    def __init__(self):
        super().__init__()
        self.clock = Clock({})
        self.observers: list[Callable[[Rows], None]] = []
        """`observe` of the parts that keep statistics of collected data"""

    @property
    def updates(self) -> int:
        """Gradient updates so far."""
        return self.clock.updates

    @property
    def step(self) -> int:
        """Environment steps so far."""
        return self.clock.step

    def forward(self, name: str, batch: Batch) -> tuple[Tensor, Learned]:
        """The loss of one objective."""
        return self.objectives[name].loss(batch)

    def answer(self, obs: Tensor, noise: NetworkNoise) -> Tensor:
        """What the networks say of (M, *obs) when the agent acts: a pure function of parameters, buffers and its arguments."""
        raise NotImplementedError

    def act(self, obs: Tensor, first: Tensor, memory: dict, step: int, noise: dict, explore: bool, answer: Answer | None = None) -> Acted:
        """Actions for (M, *obs).

        Args:
            first: (M,) whether an episode starts.
            step: environment step, for schedules.
            explore: data is collected; else the agent is evaluated.
            answer: stands for `self.answer`; a learner's may be compiled.
        """
        raise NotImplementedError

    def noise(self, size: tuple[int, ...], generator) -> dict[str, Any]:
        """For updates; `size` is (updates, *B)."""
        raise NotImplementedError

    def act_noise(self, size: tuple[int, ...], generator) -> dict[str, Any]:
        """For acting; `size` is (ticks, M)."""
        raise NotImplementedError

    def observe(self, rows: Rows) -> None:
        """Statistics of collected data."""
        for observe in self.observers:
            observe(rows)

    def due(self, update: int) -> tuple[str, ...]:
        """Names of objectives (and "target") due at this update, 1-based: static, no data decides."""
        return tuple(self.objectives)

    def follow(self, due: tuple[str, ...]) -> None:
        """What follows the parameters: called after every update, with the names that were due."""

    def tick(self, before: int, after: int) -> None:
        """The end of a tick: environment steps (before, after] are made."""
        due = self.clock.tick(before, after)
        if due:
            self.maintain(due)

    def maintain(self, due: tuple[str, ...]) -> None:
        """Called at the end of a tick in which periods of the clock ended, with their names."""

    def read(self, metrics: dict[str, Tensor]) -> dict[str, float]:
        """Numbers from what an update reported, when somebody logs them: means over every axis."""
        return {name: float(tensor.mean()) for name, tensor in metrics.items()}

    def diagnostics(self, step: int) -> dict[str, float]:
        """Numbers that are logged beside the metrics of updates."""
        return {}

    def learning_rates(self, step: int) -> dict[str, float]:
        """`train/learning_rate` of the main objective, and one more for each other one."""
        return {
            "train/learning_rate" if name == self.main else f"train/{name}_learning_rate": objective.optimizer.rate(step)
            for name, objective in self.objectives.items()
        }

    def state(self) -> dict:
        """Everything a checkpoint needs: weights, statistics, optimizers and counters."""
        return {
            "module": self.state_dict(),
            "optimizers": {name: o.optimizer.state_dict() for name, o in self.objectives.items()},
            "updates": self.updates,
            "step": self.step,
        }

    def state_bytes(self) -> int:
        """An upper bound of the size of `state()` in a file: what is larger is none."""
        tensors = [*self.state_dict().values(), *(t for o in self.objectives.values() for t in o.optimizer.tensors())]
        return 2 * sum(t.numel() * t.element_size() for t in tensors) + (1 << 20)

    def load_state(self, state: dict, optimizers: bool = True) -> None:
        self.load_state_dict(state["module"])
        if optimizers:
            for name, objective in self.objectives.items():
                objective.optimizer.load_state_dict(state["optimizers"][name])
        self.clock.updates, self.clock.step = int(state["updates"]), int(state["step"])
        if min(self.updates, self.step) < 0:
            raise ValueError(f"an agent cannot have made {self.updates} updates in {self.step} steps")
