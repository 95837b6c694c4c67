"""The agent that learns a policy from whole episodes, by a rule of its own in place of a loss and an optimizer."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

import torch
from torch import Tensor

from deeprl.learning.agent import Infer, watching
from deeprl.learning.objective import Objective
from deeprl.learning.optim.own import OwnSteps
from deeprl.learning.parts.ascent import Ascent
from deeprl.learning.parts.exploration import certain
from deeprl.learning.parts.whole_episodes import WholeEpisodes
from deeprl.learning.policy_agent import PolicyAgent
from deeprl.learning.transforms.channels import check_single
from deeprl.learning.transforms.masks import divided_batch
from deeprl.learning.values.masked import only
from deeprl.types import AgentStep, Batch, NetworkNoise, Noise, Report, Term


class TrajectoryPolicy(PolicyAgent):
    """Agent for discrete or continuous actions: a policy, and a rule by which it moves.

    Args:
        ascent: the rule.
        others: as in `PolicyAgent`.

    Raises:
        ValueError: rewards have several channels.
    """

    needs = frozenset({"trajectories", "planned"})
    hands_on: ClassVar = PolicyAgent

    def __init__(self, *, seed: int, ascent: Callable[..., Ascent], **others):
        super().__init__(seed=seed, **others)
        check_single(self.rewards)
        self.ascent = ascent(policy=self.policy, seed=seed)
        self.observers += watching(self.ascent)
        self.needs, self.drawn_size = type(self).needs | self.ascent.needs, self.ascent.drawn_size
        self.remedy = self.ascent.remedy
        parameters = [*self.policy.parameters(), *self.ascent.trained()]
        optimizer = OwnSteps(parameters)
        self.ascent.__dict__["optimizer"] = optimizer
        self.objectives = {"policy": Objective(self.loss, parameters, optimizer, self.ascended)}

    def copies(self) -> dict[str, Callable[[], object]]:
        return {f"ascent.{name}": renew for name, renew in self.ascent.copies().items()}

    def infer(self, obs: Tensor, noise: NetworkNoise, *state: Tensor) -> Tensor:
        obs, valid = self.seen(obs)
        policy = self.ascent.behaviour
        return policy.sampled(only(policy.outputs(obs), valid), noise.layers["action"])

    def act(self, obs: Tensor, first: Tensor, memory: dict, step: int, noise: Noise, explore: bool, infer: Infer = None) -> AgentStep:
        if not explore or not self.drawn_size:
            return super().act(obs, first, memory, step, noise, explore, infer)
        drawn = self.ascent.drawn(noise["drawn"])
        drawn = torch.where(first[:, None].to(drawn.device), drawn, memory["drawn"].to(drawn.device)) if memory else drawn
        action = self.ascent.acted(*self.seen(obs), drawn)
        return AgentStep(action.cpu(), certain(len(obs)), {"drawn": drawn}, state=drawn)

    def act_noise(self, size: tuple[int, ...], generator) -> Noise:
        found = super().act_noise(size, generator)
        if self.drawn_size:
            found["drawn"] = torch.randn((*size, self.drawn_size), generator=generator).to(self.ascent.optimizer.flat.device)
        return found

    def episodes(self, batch: Batch) -> WholeEpisodes:
        batch = divided_batch(batch, self.spec)
        return WholeEpisodes(batch._replace(obs=self.normalize(batch.obs)))

    def loss(self, batch: Batch) -> Term:
        """What a step lessens; the error is |r|."""
        return Term(self.ascent.loss(self.episodes(batch)), error=batch.reward.abs())

    def ascended(self, batch: Batch) -> tuple[Report, Tensor]:
        """One step of the ascent."""
        episodes = self.episodes(batch)
        with torch.no_grad():
            found = {
                "train/discounted_return": (episodes.discounted / episodes.counts).sum(),
                "train/entropy": self.policy.entropy(episodes.outputs(self.policy))[batch.valid],
                "train/episode_length": batch.valid.sum(0).float(),
            }
        metrics, norm = self.ascent.step(episodes, self.updates)
        found |= metrics
        return Report(batch.reward.abs(), {name: value.detach().float() for name, value in found.items()}), norm.float()
