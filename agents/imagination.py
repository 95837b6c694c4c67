"""What a model imagines for MBPO: rollouts of the present policy, a few steps long, so that the model's errors have few steps to grow.

s_0 ~ replay, `rollouts` times;    a_i ~ π(·|s_i),   (r_i, s_{i+1}) ~ model(s_i, a_i),    i < k

π is the policy as it collects, with its exploration: SAC's is its policy itself, TD3's has noise, without which a deterministic policy
would imagine the same actions from a state.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from operator import itemgetter
from typing import Any, NamedTuple

import torch
from torch import Tensor

from deeprl.agents.dynamics import Model
from deeprl.choice import Group, counts, in_range, one_of
from deeprl.learning.agent import Agent
from deeprl.noise import map_tensors
from deeprl.schedules import Linear

Terminates = Callable[[Tensor], Tensor]
"""Observations after a step, (B, S) -> whether the episode terminates there, (B,) bool"""
ONE_STEP = Linear(1, 1, 1)


@dataclass(frozen=True, kw_only=True)
class Imagination(Group):
    """What a model imagines, and how much of it is learned from.

    Args:
        real: share of a batch that comes from the environment, rounded down to whole transitions. 1 is plain replay, bit for bit: no model
            is trained.
        period: steps between two trainings of the model.
        rollouts: states from which a training's rollouts start.
        horizon: k, steps of a rollout: a number, or a function of the step, whose integer part counts.
        retain: trainings whose rollouts are kept.
        termination: `auto` takes the environment's rule where it has one; `learned`: a classifier beside the dynamics predicts
            terminations.
    """

    real: float = 0.05
    period: int = 250
    rollouts: int = 100_000
    horizon: Linear = ONE_STEP
    retain: int = 4
    termination: str = "auto"

    def __post_init__(self):
        in_range(self, real=(0, 1))
        counts(self, period=1, rollouts=1, retain=1)
        one_of(self, termination=("auto", "learned"))
        k: object = self.horizon
        if isinstance(k, (int, float)) and type(k) is not bool and 1 <= k < math.inf:
            object.__setattr__(self, "horizon", Linear(k, k, 1))
        elif not isinstance(k, Linear):
            raise ValueError(f"horizon must be a number of at least 1, or have the keys start, end, begin and duration, not {k!r}")
        elif min(k.start, k.end) < 1:
            raise ValueError(f"horizon must be at least 1 from its start to its end, not {k.start} and {k.end}")

    def steps(self, step: int) -> int:
        """k at an environment step."""
        return int(self.horizon(step) + 1e-6)  # a line between equal ends may be rounded below them

    @property
    def most(self) -> int:
        """Transitions of a training's rollouts, at most."""
        return self.rollouts * int(max(self.horizon.start, self.horizon.end))


class Imagined(NamedTuple):
    """A step of R rollouts, (R, …)."""

    obs: Tensor
    action: Tensor
    reward: Tensor
    next_obs: Tensor
    terminated: Tensor
    """(R,) bool"""
    probability: Tensor
    """Of the action, as the agent says it"""


def rolled_out(
    agent: Agent, model: Model, terminates: Terminates | None, obs: Tensor, length: int, step: int, generator: torch.Generator
) -> Iterator[Imagined]:
    """Yields one `Imagined` for each of the k steps, of the R rollouts that are still running. A rollout stops after a step that
    terminates, and before a step with a number that is not finite.

    Args:
        terminates: the environment's rule; None: the model has learned it.
        obs: s_0 of all rollouts, (B, S).
        length: k.
        step: of the environment, for schedules of the agent.
        generator: on the CPU.
    """
    number = len(obs)
    noise, memory = agent.act_noise((length, number), generator), dict[str, Any]()
    going = torch.ones(number, dtype=torch.bool, device=obs.device)
    for i in range(length):
        acted = agent.act(obs, torch.full((number,), i == 0), memory, step, map_tensors(itemgetter(i), noise), explore=True)
        action, memory = acted.action.to(obs.device), acted.memory
        predicted = model.predict(obs, action, generator)
        ends = predicted.terminated if terminates is None else terminates(predicted.obs)
        found = Imagined(obs, action, predicted.reward, predicted.obs, ends, acted.probability.to(obs.device))
        sound = going & torch.stack([column.isfinite().view(number, -1).all(1) for column in found]).all(0)
        yield Imagined(*(column[sound] for column in found))
        obs, going = torch.where(sound[:, None], predicted.obs, obs), sound & ~ends
