"""Copies of a tensor world on the device of the networks. A step of all is a function of tensors: it reads no number, and may be compiled
together with what acts.

`TensorEnvironments` takes the same steps for what lives in NumPy, such as evaluations, and is what a checkpoint holds.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor

from .backend import LARGEST
from .environments import EnvironmentFailed
from .worlds import TensorWorld, numbers


class Stepped(NamedTuple):
    """One tick of M copies, as `deeprl.envs.vector.environments.VectorStep`."""

    obs: Tensor
    next_obs: Tensor
    reward: Tensor
    terminated: Tensor
    ended: Tensor
    fault: Tensor
    """() bool: whether an observation or a reward is not finite"""


class DeviceEnvironments:
    """
    Args:
        host: the same copies as a checkpoint holds them, a `deeprl.envs.vector.tensors.TensorEnvironments`.
        world: their world, whose constants are on the device.
        device: where the networks compute.
    """

    num_restarts = num_recreated = 0

    def __init__(self, host: Any, world: TensorWorld, device: torch.device):
        self.host, self.world, self.device = host, world, device
        self.num, self.spec, self.backend, self.first = host.num, host.spec, host.backend, host.first
        self.keys = host.keys.to(device)
        bounds = (world.actions.low, world.actions.high)
        self.low, self.high = (None if each is None else torch.as_tensor(each).to(device) for each in bounds)

    def here(self) -> Any:
        """Where worlds make their tensors."""
        return contextlib.nullcontext() if self.device.type == "cpu" else self.device

    def start(self) -> dict[str, Any]:
        """State of all copies: that of `host`, whose episodes begin now if they have not."""
        if self.host.obs is None:
            self.host.reset()
        world = {name: value.to(self.device, copy=True) for name, value in self.host.state.items()}
        return {
            "world": world,
            "episode": self.host.episode.to(self.device, copy=True),
            "steps": self.host.steps.to(self.device, copy=True),
        }

    def store(self, state: dict[str, Any], obs: Tensor) -> None:
        """Give `host` the state of all copies, and their observations."""
        host = self.host
        host.state = {name: value.cpu() for name, value in state["world"].items()}
        host.episode, host.steps, host.obs = state["episode"].cpu(), state["steps"].cpu(), obs.cpu().numpy()

    def step(self, state: dict[str, Any], action: Tensor) -> tuple[dict[str, Any], Stepped]:
        """The state after a step, in which a copy whose episode ends begins the next one, and what happened."""
        world, steps = self.world, state["steps"] + 1
        with self.here():
            noise = numbers(self.keys, state["episode"], steps, world.noise)
            after, reward, terminated = world.advance(state["world"], self.to_env_action(action), noise)
            self.host.check(state["world"], after, reward, terminated)
            ended = terminated | (steps >= self.host.limit)
            next_obs = self.host.formed(world.observe(after))
            episode, steps = state["episode"] + ended, steps.masked_fill(ended, 0)
            fresh = world.begin(numbers(self.keys, episode, steps, world.draws))  # of all copies: which ones end is on the device
            after = {name: where(ended, fresh[name], value) for name, value in after.items()}
            obs = world.observe(after)
        fault = ~(reward.abs() <= LARGEST).all()
        if next_obs.is_floating_point():
            fault = fault | ~torch.isfinite(next_obs).all()
        stepped = Stepped(obs, next_obs, reward.float(), terminated, ended, fault)
        return {"world": after, "episode": episode, "steps": steps}, stepped

    def to_env_action(self, action: Tensor) -> Tensor:
        """As `deeprl.envs.vector.actions.Actions.to_env`."""
        actions = self.world.actions
        if actions.num:
            return action + int(actions.start)  # a new tensor, as a world may change it
        scaled = (self.high + self.low) / 2 + (self.high - self.low) / 2 * action.clamp(-1.0, 1.0)  # type: ignore[operator]
        return scaled.clamp(self.low, self.high).view(len(action), *actions.shape)

    def require_finite(self, fault: float) -> None:
        """
        Raises:
            EnvironmentFailed: some `Stepped.fault` was true.
        """
        if fault:
            raise EnvironmentFailed(f"{self.host.name} failed", "an observation or a reward is NaN or Inf", "its world computed it")

    def close(self) -> None:
        """Nothing to end."""


def where(mask: Tensor, one: Tensor, other: Tensor) -> Tensor:
    """Rows of `one` where the mask (M,) is true, of `other` elsewhere; (M, …) both."""
    return torch.where(mask.view(-1, *[1] * (one.dim() - 1)), one, other)


def on_device(host: Any, make: Callable[[], TensorWorld], device: str) -> DeviceEnvironments | None:
    """
    Args:
        host: see `DeviceEnvironments`.
        make: of the world, called where its constants go.

    Returns:
        None where actions are combinations of choices, which only NumPy translates.
    """
    there = torch.device(device)
    if host.world.actions.sizes:
        return None
    with contextlib.nullcontext() if there.type == "cpu" else there:
        return DeviceEnvironments(host, make(), there)
