"""The agent for discrete actions. Every value-based paper is a choice of its parts.

ℓ_k(s, a)  =  w_k · D( f([T Q̄_{k−1}](s, a)),  Q_k(s, a) )  +  auxiliary,      k = 1 … K
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from deeprl.agent import Agent, Objective
from deeprl.backups import Backup
from deeprl.chains import Chain
from deeprl.choice import Auxiliary, Part, Weighting
from deeprl.exploration import EpsilonGreedy
from deeprl.losses import average, over_valid
from deeprl.mappings import Identity
from deeprl.networks.blocks import initialise
from deeprl.networks.heads import ValueNetwork
from deeprl.types import Acted, Batch, Learned, Rows, Spec


class ValueAgent(Agent):
    """Q-learning over networks.

    Args:
        spec: the environment's spaces.
        seed: of the initial weights.
        torso, head: choices that build the network, `deeprl.networks`.
        mapping: in which units the head predicts, and over how many reward channels.
        backup: Bellman operator.
        chain: partial of a `deeprl.chains.Chain`; target networks and the number of iterations learned at once.
        rewards: transforms raw rewards (the replay applies it).
        weighting: partial of a `Weighting`: how much each sample of the regression counts.
        auxiliary: partial of an `Auxiliary`: a loss of its own on the shared features.
        normalize: partial of a `Part` that maps observations, or statistics of them.
        explore: ε-greedy.
        optimizer: `deeprl.optim.Adam`.
    """

    actions = "discrete"
    rewards: Part

    def __init__(
        self,
        *,
        spec: Spec,
        seed: int,
        torso,
        head,
        backup: Backup,
        chain: Callable[..., Chain],
        rewards: Callable[..., Part],
        normalize: Callable[..., Part],
        explore: EpsilonGreedy,
        optimizer,
        mapping: Identity = Identity(),
        weighting: Callable[..., Weighting] = Weighting,
        auxiliary: Callable[..., Auxiliary] = Auxiliary,
    ):
        super().__init__()
        if not spec.num_actions:
            raise ValueError("this agent takes discrete actions, and the environment's actions are continuous")
        self.spec, self.backup, self.explore = spec, backup, explore
        torso = torso.resolve(spec)
        self.rewards = rewards()
        head = mapping.wrap(head, getattr(self.rewards, "channels", 1))

        def make(place: str, stack: int, torsos: int, index: list[int] | None) -> ValueNetwork:
            body = torso.build(spec, torsos)
            top = head.build(body.features, torso.head_hidden, spec.num_actions, stack, torso.init)
            network = ValueNetwork(body, top, len(spec.obs_shape), index)
            initialise(network, seed, place)
            return network

        self.chain = chain(make)
        self.normalize = normalize(spec=spec)
        self.weighting = weighting(agent=self)
        self.auxiliary = auxiliary(agent=self)
        parameters = [*self.chain.online.parameters(), *self.auxiliary.trained()]
        self.objectives = {**self.weighting.objectives(), "value": Objective(self.loss, parameters, optimizer.build(parameters))}
        self.needs = self.backup.needs | self.auxiliary.needs

    def loss(self, batch: Batch) -> tuple[Tensor, Learned]:
        batch = self.normalized(batch)
        online, target = self.chain.views(batch)
        with torch.no_grad():
            returns = self.backup(online, target, batch)  # atoms (K, [C,] *B, N)
            weight = self.weighting(online, target, batch)  # batch.weight times (K, *B)
        chosen = online.now.at(batch.action)
        loss, error = chosen.loss(returns)  # (K, *B)
        total = self.chain.combine(average(weight * loss, batch.valid))
        extra, metrics = self.auxiliary(online, target, batch)
        shown = {"train/loss": loss.detach(), "train/q_values": chosen.mean().detach()}
        metrics = {**{name: over_valid(value, batch.valid) for name, value in shown.items()}, **metrics}
        return total + extra, Learned(error.mean(0), metrics)

    def normalized(self, batch: Batch) -> Batch:
        """What the networks see."""
        return batch._replace(obs=self.normalize(batch.obs), next_obs=self.normalize(batch.next_obs))

    def act(self, obs: Tensor, first: Tensor, memory: dict, step: int, noise: dict, explore: bool) -> Acted:
        remembered = memory

        def greedy() -> Tensor:
            nonlocal remembered
            values = self.chain.acting_values(self.normalize(obs), noise if explore else {})  # noisy layers are an exploration
            chosen, remembered = self.chain.choose(values, noise, first, memory)  # (M, A)
            return chosen.argmax(-1)

        epsilon = self.explore.epsilon(step, explore)
        action, probability = self.explore(greedy, self.spec.num_actions, epsilon, noise)
        return Acted(action, probability, remembered)

    def noise(self, size: tuple[int, ...], generator) -> dict[str, Tensor]:
        return {**self.chain.noise(size, generator), **self.auxiliary.noise(size, generator)}

    def act_noise(self, size: tuple[int, ...], generator) -> dict[str, Tensor]:
        return {**self.explore.noise(size, generator), **self.chain.act_noise(size, generator)}

    def observe(self, rows: Rows) -> None:
        self.normalize.observe(rows)
        self.rewards.observe(rows)

    def follow(self, due: tuple[str, ...]) -> None:
        self.auxiliary.follow(due)

    def maintain(self, before: int, after: int) -> None:
        super().maintain(before, after)
        self.chain.maintain(before, after, self.updates)

    def read(self, metrics: dict[str, Tensor]) -> dict[str, float]:
        values = super().read(metrics)
        loss = metrics["train/loss"]  # (K, *B)
        if loss.shape[0] > 1:
            values.update({f"train/chain_loss/{k}": float(each) for k, each in enumerate(loss.flatten(1).mean(1), start=1)})
        return values

    def diagnostics(self, step: int) -> dict[str, float]:
        return {"rollout/exploration_rate": self.explore.epsilon(step, True)}
