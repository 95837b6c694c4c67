"""The agent that observes, acts and plans again: counts or least squares in place of networks. No replay, no gradient, no deep learning.

    parameters  what acting reads: a table of actions, or coefficients       changed by `replan`
    buffers     what is learned from: counts, Gram matrices, and the meter   changed by `learn`

All are float64 or int64 tensors with NumPy views on the same memory, so that checkpoints, exact resume and `deeprl eval` need nothing more.
"""

from __future__ import annotations

from functools import cached_property
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from deeprl.extend import Agent, AgentStep, Infer, Raw, Rows, Spec, certain, seed_sequence


class PlanningAgent(Agent):
    """Base of the lab's agents. A subclass makes its state with `table` and `statistic`, and provides `choose`, `learn`, `replan`,
    `best_value` and `value`.

    The meter sums the regret of the policies that were really played, by exact evaluation of each:

        regret = Σ_k (best value − value of the policy played in episode k)

    Episodes of the lab have fixed lengths, so all M environments end together, and one policy is played in all of them.

    Args:
        spec, seed: as in every agent.
        world: the environment's own choice (`env`). The meter reads its model; the agent only what its paper takes as known, such as H.

    Raises:
        ValueError: the environment is none of the worlds that this agent is for.
    """

    actions = "discrete"
    needs = frozenset({"stream"})
    wanted: ClassVar[str] = "mdp"
    """Attribute by which a world fits this agent"""

    def __init__(self, *, spec: Spec, seed: int, world: Any):
        super().__init__()
        if not hasattr(world, self.wanted):
            name = getattr(world, "name", type(world).__name__)
            raise ValueError(f"world must have `{self.wanted}`, and {name} has none: choose another env=lab/..., `deeprl list env`")
        if spec.parts:
            raise ValueError("world must have observations of one part, and a stock is one more: take the world without it")
        self.spec, self.seed, self.world, self.objectives, self.rewards = spec, seed, world, {}, Raw()
        self.meter = self.statistic("meter", np.zeros(3))
        """Regret, episodes, and switches of the policy"""

    # State

    def table(self, name: str, value: np.ndarray) -> np.ndarray:
        """Register a parameter, which acting reads. Returns its NumPy view."""
        self.register_parameter(f"{name}_", nn.Parameter(torch.from_numpy(value.copy()), requires_grad=False))
        return self.get_parameter(f"{name}_").detach().numpy()

    def statistic(self, name: str, value: np.ndarray) -> np.ndarray:
        """Register a buffer, which learning changes. Returns its NumPy view."""
        self.register_buffer(f"{name}_", torch.from_numpy(value.copy()))
        return self.get_buffer(f"{name}_").numpy()

    def random(self, position: int) -> np.random.Generator:
        """Random numbers of learning: a function of the run's seed and of a count that is part of the state."""
        return np.random.default_rng(seed_sequence(self.seed, "update", type(self).__name__, position))

    def load_state(self, state: dict, optimizers: bool = True) -> None:
        super().load_state(state, optimizers)
        self.forget()

    # For subclasses

    def choose(self, obs: np.ndarray, u: np.ndarray | None) -> np.ndarray:
        """Actions (M,) int64 for observations (M, *obs).

        Args:
            u: (M, 2) uniform random numbers while data is collected; None in evaluation, where the policy that was learned acts.
        """
        raise NotImplementedError

    def learn(self, rows: Rows) -> None:
        """Update the statistics by one tick."""
        raise NotImplementedError

    def replan(self) -> None:
        """Compute the tables from the statistics. Called at the end of episodes."""
        raise NotImplementedError

    def best_value(self) -> float:
        """Value of the best policy."""
        raise NotImplementedError

    def value(self) -> float:
        """Value of the policy that collects data with the present tables, exploration included."""
        raise NotImplementedError

    # The agent

    @cached_property
    def optimum(self) -> float:
        """`best_value`, computed once."""
        return self.best_value()

    @cached_property
    def known(self) -> float:
        """`value` of the present policy, computed once. It follows from the state, so that no checkpoint holds it."""
        return self.value()

    def forget(self) -> None:
        """Called where the policy changes: `known` is that of another one."""
        vars(self).pop("known", None)

    def suboptimality(self) -> float:
        """Optimum minus value of the present policy."""
        return self.optimum - self.known

    def regret(self, episodes: int) -> float:
        """Regret of the last `episodes` episodes, which have just ended, side by side."""
        return episodes * self.suboptimality()

    def over(self, rows: Rows) -> bool:
        """Whether the policy played so far is now evaluated and replaced."""
        return bool(rows.ended.any())

    def observe(self, rows: Rows) -> None:
        self.learn(rows)
        if not self.over(rows):
            return
        self.meter[:2] += self.regret(len(rows.ended)), len(rows.ended)
        before = [parameter.clone() for parameter in self.parameters()]
        self.replan()
        if not all(map(torch.equal, before, self.parameters())):
            self.meter[2] += 1
            self.forget()

    def act(self, obs: Tensor, first: Tensor, memory: dict, step: int, noise: dict, explore: bool, infer: Infer = None) -> AgentStep:
        action = self.choose(obs.cpu().numpy(), noise["u"].cpu().numpy() if explore else None)
        return AgentStep(torch.from_numpy(np.asarray(action, np.int64)), certain(len(action)), memory)

    def greedy(self, obs: Tensor, *state: Tensor) -> Tensor:
        return torch.from_numpy(np.asarray(self.choose(obs.cpu().numpy(), None), np.int64))

    def act_noise(self, size: tuple[int, ...], generator) -> dict[str, Any]:
        return {"u": torch.rand(*size, 2, generator=generator, dtype=torch.float64)}

    def diagnostics(self, step: int) -> dict[str, float]:
        regret, episodes, switches = self.meter.tolist()
        own = {"rollout/regret": regret, "rollout/episodes": episodes, "rollout/policy_switches": switches}
        return {**own, "train/suboptimality": self.suboptimality()}
