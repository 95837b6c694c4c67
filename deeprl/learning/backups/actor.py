"""The next action of an actor-critic's target."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from deeprl.choice import Choice, in_range


class ActionSampler(Protocol):
    """An actor, see `deeprl.learning.networks.actors.Actor`."""

    def sample(self, obs: Tensor, noise: Tensor | None) -> tuple[Tensor, Tensor | None]: ...


@dataclass(frozen=True)
class PolicyBackup(Choice):
    """Next action of an actor-critic's target; the target y itself is `ActorCritic.targets`.

    TD3 (Fujimoto, van Hoof, Meger, 2018) adds clipped Gaussian noise to the target actor, one draw for each sample and action dimension.
    With `smoothing` 0 and one critic this is DDPG's target. SAC has neither: its next action is a sample of the online actor.

    Args:
        target_actor: use a target actor, which moves with the target critics, not the online one.
        smoothing: standard deviation of the noise, in units of the half-range of the actions.
        clip: bound of the noise, ± clip.
    """

    needs = frozenset({"actor"})

    target_actor: bool = True
    smoothing: float = 0.2
    clip: float = 0.5

    def __post_init__(self):
        in_range(self, smoothing=(0, None), clip=(0, None))

    def noise(self, shape: tuple[int, ...], stochastic: bool, generator) -> dict[str, Tensor]:
        """Standard normal numbers by name, (updates, *B, D) each.

        Args:
            stochastic: whether the policy samples its actions.
        """
        names = [*(["smoothing"] if self.smoothing else []), *(["next_action"] if stochastic else [])]
        return {name: torch.randn(shape, generator=generator) for name in names}

    def next_action(self, actor: ActionSampler, obs: Tensor, noise: Mapping[str, Tensor]) -> tuple[Tensor, Tensor | None]:
        """Action at a later observation, (*B, D) in [-1, 1], and the logarithm of its density (*B,), None without one.

        Args:
            noise: entries of `noise` for this update.
        """
        action, log_prob = actor.sample(obs, noise.get("next_action"))
        if not self.smoothing:
            return action, log_prob
        smoothing = (self.smoothing * noise["smoothing"]).clamp(-self.clip, self.clip)
        return (action + smoothing).clamp(-1.0, 1.0), log_prob
