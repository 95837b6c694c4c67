"""The greedy policy of an agent as one module: raw observations in, the environment's actions out; with a core its state in and out too."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from deeprl.learning.agent import Agent
from deeprl.packing import common, pack, unpacked, width_of
from deeprl.types import Spec


class ExportedPolicy(nn.Module):
    """(M, *obs) raw observations -> actions as the environment takes them: (M,) int64, or (M, *shape) int64 of several components, or
    (M, *shape) float32 within the bounds. With a core it takes its state (M, S) too, zeros at the start of an episode, and gives the next.

    Args:
        agent: normalises observations itself, see `Agent.greedy`.
        actions: the environment's `deeprl.envs.vector.actions.Actions`; `forward` computes its `to_env`.
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

    def forward(self, *inputs: Tensor) -> Any:
        """
        Args:
            inputs: as `inputs_of` names them.
        """
        if not self.agent.state_size:
            return self.to_env(self.agent.greedy(self.row(*inputs)))
        action, after = self.agent.greedy(self.row(*inputs[:-1]), inputs[-1])
        return self.to_env(action), after

    def row(self, *inputs: Tensor) -> Tensor:
        """Observations as the agent takes them, of several parts the vector of `deeprl.packing`, zeros where they are privileged."""
        spec = self.agent.spec
        if not spec.parts:
            return inputs[0]
        seen = [part.to(torch.float32).flatten(1) for part in inputs]
        columns, hidden = seen[: len(common(spec.parts))], width_of(spec.parts) - width_of(common(spec.parts))
        return torch.cat([*columns, columns[0].new_zeros(columns[0].shape[0], hidden), *seen[len(columns) :]], -1)

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


class Input(NamedTuple):
    """An input of a policy, (M, *shape)."""

    name: str
    shape: tuple[int, ...]
    dtype: torch.dtype


INPUT, STATE = "obs", "state"


def inputs_of(agent: Agent) -> list[Input]:
    """The inputs of its policy: the observation, or the parts that all networks see and the mask of actions; with a core its state."""
    spec = agent.spec
    found = [Input(f"{INPUT}.{part.name}", part.shape, part.dtype) for part in common(spec.parts)]
    if not spec.parts:
        found = [Input(INPUT, tuple(spec.obs_shape), spec.obs_dtype)]
    elif spec.masked:
        found.append(Input(f"{INPUT}.action_mask", (spec.mask_size,), torch.float32))
    return found + ([Input(STATE, (agent.state_size,), torch.float32)] if agent.state_size else [])


def divided(agent: Agent, obs: np.ndarray) -> list[np.ndarray]:
    """Rows (M, *obs) as the first of `inputs_of`."""
    if not agent.spec.parts:
        return [obs]
    values, mask = unpacked(agent.spec, obs)
    seen = [value for value, part in zip(values, agent.spec.parts) if not part.privileged]
    return seen if mask is None else [*seen, mask.astype(np.float32)]


def without_privileged(spec: Spec, obs: np.ndarray) -> np.ndarray:
    """Rows (M, *obs) with zeros in place of privileged parts: no action depends on them, but the state of a critic's core does."""
    if not any(part.privileged for part in spec.parts):
        return obs
    values, mask = unpacked(spec, obs)
    return pack(spec, [np.zeros_like(value) if part.privileged else value for value, part in zip(values, spec.parts)], mask)


def inside(bound: np.ndarray, towards: float) -> np.ndarray:
    """A bound in float32, moved to the next number if rounding put it outside of the environment's own bounds."""
    rounded = bound.astype(np.float32)
    outside = rounded < bound if towards > 0 else rounded > bound
    return np.where(outside, np.nextafter(rounded, np.float32(towards)), rounded)
