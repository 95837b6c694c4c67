"""The greedy policy of an agent as one module: raw observations in, the environment's actions out; with a core its state in and out too."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from deeprl.learning.agent import Agent


class ExportedPolicy(nn.Module):
    """(M, *obs) raw observations -> actions as the environment takes them: (M,) int64, or (M, *shape) int64 of several components, or
    (M, *shape) float32 within the bounds.

    Args:
        agent: normalises observations itself, see `Agent.greedy`.
        actions: the environment's `deeprl.envs.vector.spaces.Actions`; `forward` computes its `to_env`.
    """

    low: Tensor
    high: Tensor
    centre: Tensor
    reach: Tensor
    """(D,) half-range of an action"""

    def __init__(self, agent: Agent, actions: Any):
        super().__init__()
        self.agent, self.discrete, self.first, self.shape = agent, bool(actions.num), actions.start, tuple(actions.shape)
        self.sizes = tuple(actions.sizes) or (actions.num,)
        if not self.discrete:
            low, high = inside(actions.low, np.inf), inside(actions.high, -np.inf)
            for name, value in {"low": low, "high": high, "centre": (high + low) / 2, "reach": (high - low) / 2}.items():
                self.register_buffer(name, torch.from_numpy(value))

    def forward(self, obs: Tensor) -> Any:
        return self.to_env(self.agent.greedy(obs))

    def to_env(self, action: Tensor) -> Tensor:
        """The agent's actions as the environment takes them."""
        rows = action.shape[0]
        if self.discrete:
            firsts = np.broadcast_to(self.first, self.shape).reshape(-1).tolist()
            parts: list[Tensor] = []
            for size, first in zip(reversed(self.sizes), reversed(firsts)):  # the last component changes fastest
                parts.insert(0, action % size + first)
                action = action // size
            return torch.stack(parts, -1).reshape(rows, *self.shape)
        scaled = self.centre + self.reach * action.clamp(-1.0, 1.0)  # (M, D)
        return torch.minimum(torch.maximum(scaled, self.low), self.high).reshape(rows, *self.shape)


class RecurrentPolicy(ExportedPolicy):
    """The same of an agent with a core: observations and its state (M, S) -> actions, new state. Zeros start an episode."""

    def forward(self, obs: Tensor, state: Tensor) -> Any:  # type: ignore[override]  # one argument more
        action, after = self.agent.greedy(obs, state)
        return self.to_env(action), after


def policy_of(agent: Agent, actions: Any) -> ExportedPolicy:
    return (RecurrentPolicy if agent.state_size else ExportedPolicy)(agent, actions)


def inside(bound: np.ndarray, towards: float) -> np.ndarray:
    """A bound in float32, moved to the next number if rounding put it outside of the environment's own bounds."""
    rounded = bound.astype(np.float32)
    outside = rounded < bound if towards > 0 else rounded > bound
    return np.where(outside, np.nextafter(rounded, np.float32(towards)), rounded)
