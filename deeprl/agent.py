"""What discrete and continuous agents share: objectives taken in order, and the state a checkpoint needs."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from deeprl.choice import Choice, Part
from deeprl.errors import NotFinite
from deeprl.objective import Objective
from deeprl.optim.finite import Watch
from deeprl.types import Acted, Batch, Learned, Rows, Spec


def gradient(agent: Agent, name: str, batch: Batch) -> tuple[Sequence[Tensor], Learned]:
    """The gradient of one objective with respect to what it trains, in the order of its parameters.

    Parameters require no gradient at rest: only what is trained is switched on, so that a frozen critic costs no weight gradients."""
    objective = agent.objectives[name]
    for parameter in objective.parameters:
        parameter.requires_grad_(True)
    try:
        with torch.enable_grad():
            loss, learned = agent(name, batch)
            return torch.autograd.grad(loss, objective.parameters), learned
    finally:
        for parameter in objective.parameters:
            parameter.requires_grad_(False)


def descend(agent: Agent, name: str, batch: Batch) -> tuple[Learned, Tensor]:
    """One optimizer step of one objective.

    Returns:
        what it learned, and () the norm of its gradient.

    Raises:
        NotFinite: on a CPU, its error or gradient is NaN or Inf; nothing was changed.
    """
    gradients, learned = agent.gradient(agent, name, batch)
    agent.watch(learned.error.sum(), "its error")  # may be infinite where the gradient is not, as Huber's
    return learned, agent.objectives[name].optimizer.step(gradients, agent.step)


def watching(*parts: Part) -> list[Callable[[Rows], None]]:
    """`observe` of those parts that have one of their own."""
    return [part.observe for part in parts if type(part).observe is not Part.observe]


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
        self.updates = 0
        self.step = 0
        self.gradient: Callable[[Agent, str, Batch], tuple[Sequence[Tensor], Learned]] = gradient
        """How a gradient is computed, of what an objective trains, in its order"""
        self.descend: Callable[[Agent, str, Batch], tuple[Learned, Tensor]] = descend
        """How an optimizer step is made; `deeprl.accelerate.graph` may replace it."""
        self.exploring: Callable[[Tensor, dict], Tensor] = self.answer
        """`answer` while data is collected; `deeprl.accelerate.graph` may replace it. Evaluation always asks `answer` itself."""
        self.observers: list[Callable[[Rows], None]] = []
        """Of the parts that keep statistics of collected data"""
        self.silence: tuple[int, float] = (0, 0)
        """From this step until before that one no clock rings"""
        self._watch: Watch | None = None

    def forward(self, name: str, batch: Any, unpack: Callable[[Any], Batch] | None = None) -> tuple[Tensor, Learned]:
        """The loss of one objective: what a compiled gradient is a gradient of.

        Args:
            unpack: makes the batch, of whatever it is given as.
        """
        return self.objectives[name].loss(batch if unpack is None else unpack(batch))

    def answer(self, obs: Tensor, noise: dict) -> Tensor:
        """What the networks say of (M, *obs) when the agent acts: a pure function of parameters, buffers and its arguments."""
        raise NotImplementedError

    def act(self, obs: Tensor, first: Tensor, memory: dict, step: int, noise: dict, explore: bool) -> Acted:
        """Actions for (M, *obs). `first` (M,) marks episode starts; `step` is the environment step, for schedules."""
        raise NotImplementedError

    def noise(self, size: tuple[int, ...], generator) -> dict[str, Tensor]:
        """For updates; `size` is (updates, *B)."""
        raise NotImplementedError

    def act_noise(self, size: tuple[int, ...], generator) -> dict[str, Tensor]:
        """For acting; `size` is (ticks, M)."""
        raise NotImplementedError

    def observe(self, rows: Rows) -> None:
        """Statistics of collected data."""
        for observe in self.observers:
            observe(rows)

    def due(self, update: int) -> tuple[str, ...]:
        """Names of objectives (and "target") due at this update, 1-based: static, no data decides."""
        return tuple(self.objectives)

    @property
    def watch(self) -> Watch:
        """What looks at the losses and gradients of all objectives."""
        if self._watch is None:
            self._watch = Watch(next(self.parameters()).device)
            for objective in self.objectives.values():
                objective.optimizer.watch = self._watch
        return self._watch

    def update(self, batch: Any) -> Learned:
        """One gradient update of every due objective, in order; then whatever follows the parameters. The batch is a `Batch`, or what a
        compiled `descend` takes for one.

        Returns what the main objective learned, with the metrics of all.

        Raises:
            NotFinite: on a CPU, a loss or gradient is NaN or Inf; the weights of this objective were not changed."""
        own = self.__dict__  # nn.Module's way of setting an attribute is slow
        own["updates"] += 1
        due = self.due(self.updates)
        main: Learned | None = None
        metrics: dict[str, Tensor] = {}
        for name in due:
            if name not in self.objectives:
                continue
            try:
                learned, norm = self.descend(self, name, batch)
            except NotFinite as error:
                error.objective = name
                raise
            metrics.update(learned.metrics)
            metrics[f"train/{name}_grad_norm"] = norm
            if name == self.main:
                main = learned
        self.follow(due)
        assert main is not None
        return Learned(main.error, metrics)

    def follow(self, due: tuple[str, ...]) -> None:
        """After every update."""

    def maintain(self, before: int, after: int) -> None:
        """Clocks in environment steps; once a tick."""
        own = self.__dict__  # nn.Module's way of setting an attribute is slow
        own["step"] = after
        start, stop = self.silence
        if start <= before and after < stop:
            return
        self.ring(before, after)
        periods = self.periods
        if periods is not None:
            own["silence"] = after, min(((after // period + 1) * period for period in periods), default=math.inf)

    @property
    def periods(self) -> tuple[int, ...] | None:
        """`ring` has something to do after multiples of these only; None: it is called at every tick."""
        return None

    def ring(self, before: int, after: int) -> None:
        """What may be due after the steps (before, after]."""

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
        tensors = [*self.state_dict().values(), *(t for o in self.objectives.values() for t in o.optimizer.state_dict().values())]
        return 2 * sum(t.numel() * t.element_size() for t in tensors) + (1 << 20)

    def load_state(self, state: dict, optimizers: bool = True) -> None:
        self.load_state_dict(state["module"])
        if optimizers:
            for name, objective in self.objectives.items():
                objective.optimizer.load_state_dict(state["optimizers"][name])
        self.updates, self.step = int(state["updates"]), int(state["step"])
        if min(self.updates, self.step) < 0:
            raise ValueError(f"an agent cannot have made {self.updates} updates in {self.step} steps")
