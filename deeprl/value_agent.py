"""The agent for discrete actions. Every value-based paper is a choice of its parts.

ℓ_k(s, a)  =  w_k · D( f([T Q̄_{k−1}](s, a)),  Q_k(s, a) )  +  auxiliary,      k = 1 … K
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor

from deeprl.agent import Agent, Objective, watching
from deeprl.backups import Backup, action_gap, report
from deeprl.chains import Chain
from deeprl.choice import Auxiliary, Part, Weighting
from deeprl.exploration import EpsilonGreedy
from deeprl.losses import average, over_valid
from deeprl.mapped_values import CHANNEL_VALUES
from deeprl.mappings import Identity, Mapping
from deeprl.networks.blocks import initialise
from deeprl.networks.heads import Scalar, ValueNetwork, quiet
from deeprl.networks.weight_norm import weight_normalise
from deeprl.optim import Groups
from deeprl.types import Acted, Batch, Learned, Spec


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
    main = "value"
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
        mapping: Mapping = Identity(),
        weighting: Callable[..., Weighting] = Weighting,
        auxiliary: Callable[..., Auxiliary] = Auxiliary,
    ):
        super().__init__()
        if not spec.num_actions:
            raise ValueError("this agent takes discrete actions, and the environment's actions are continuous")
        self.spec, self.seed, self.backup, self.explore, self.optimizer = spec, seed, backup, explore, optimizer
        self.torso = torso.resolve(spec)
        self.rewards = rewards()
        head.check(self.rewards)
        self.head, self.share = mapping.wrap(head, self.rewards), head.share
        self.normalize = normalize(spec=spec)
        self.auxiliary = auxiliary(agent=self)
        self.chain = chain(self.network)
        self.weighting = weighting(agent=self)
        own = {name: replace(objective, loss=self.seen(objective.loss)) for name, objective in self.weighting.objectives().items()}
        self.objectives = {**own, "value": self.regression()}
        self.needs = self.backup.needs | self.auxiliary.needs
        self.observers = watching(self.normalize, self.rewards, self.auxiliary)
        self.remembers = self.chain.remembers

    def network(self, place: str, stack: int, torsos: int, index: list[int] | None = None, outputs: int | None = None) -> ValueNetwork:
        """A network over this agent's torso, its weights drawn by the name of its place.

        Args:
            outputs: None for one of the chain, with the agent's head and what the auxiliary loss has beside it; a part's own network
                has as many scalars.
        """
        body = self.torso.build(self.spec, torsos)
        head, width = (self.head, self.spec.num_actions) if outputs is None else (Scalar(), outputs)
        top = head.build(body.features, self.torso.head_hidden, width, stack, self.torso.init)
        fractions = self.share(body.features, torsos, self.torso.init) if outputs is None else None
        beside = self.auxiliary.beside(body, torsos) if outputs is None else None
        network = ValueNetwork(body, top, len(self.spec.obs_shape), index, fractions, beside)
        initialise(network, self.seed, place)
        weight_normalise(network, self.torso.weight_norm)
        return network

    def regression(self) -> Objective:
        """The loss of the online network, and of what is beside its head at a learning rate of its own."""
        beside = self.chain.online.beside
        groups = self.auxiliary.groups(beside) if beside is not None else []
        others = {id(parameter) for group, _ in groups for parameter in group}
        plain = [parameter for parameter in self.chain.online.parameters() if id(parameter) not in others]
        if not groups:
            return Objective(self.loss, plain, self.optimizer.build(plain))
        grouped = Groups(self.optimizer, [(plain, 1.0), *groups])
        return Objective(self.loss, grouped.parameters, grouped)

    def seen(self, loss: Callable[..., tuple[Tensor, Learned]]) -> Callable[[Batch], tuple[Tensor, Learned]]:
        """From a part's loss of (online, target, batch) to one of the batch as the replay gives it."""

        def of_batch(batch: Batch) -> tuple[Tensor, Learned]:
            batch = self.normalized(batch)
            return loss(*self.chain.views(batch), batch)

        return of_batch

    def loss(self, batch: Batch) -> tuple[Tensor, Learned]:
        batch = self.normalized(batch)
        online, target = self.chain.views(batch)
        with torch.no_grad():
            returns = self.backup(online, target, batch)  # atoms (K, [C,] *B, N)
            weight, weights = self.weighting(online, target, batch)  # batch.weight times (K, *B)
            reported = {**report(self.backup, online, target, batch), **weights}
        chosen = online.now.at(batch.action)
        loss, error = chosen.loss(returns)  # (K, *B)
        total = self.chain.combine(average(weight * loss, batch.valid))
        extra, metrics = self.auxiliary(online, target, batch)
        said = chosen.metrics(returns) if hasattr(chosen, "metrics") else {}  # see `Values`
        shown = {"train/loss": loss.detach(), "train/q_values": chosen.mean().detach(), **said}
        metrics = {**{name: over_valid(value, batch.valid) for name, value in shown.items()}, **reported, **metrics}
        return total + extra, Learned(error.mean(0), metrics)

    def normalized(self, batch: Batch) -> Batch:
        """What the networks see."""
        extra = {name: self.normalize(value) if name == "successor" else value for name, value in batch.extra.items()}
        return batch._replace(obs=self.normalize(batch.obs), next_obs=self.normalize(batch.next_obs), extra=extra)

    def answer(self, obs: Tensor, noise: dict) -> Tensor:
        """Values to choose from, (K, M, A)"""
        return self.chain.acting_values(self.normalize(obs), noise)

    def act(self, obs: Tensor, first: Tensor, memory: dict, step: int, noise: dict, explore: bool) -> Acted:
        remembered, chosen = memory, None

        def greedy() -> Tensor:
            nonlocal remembered, chosen
            values = self.exploring(obs, noise) if explore else self.answer(obs, quiet(noise))
            chosen, remembered = self.chain.choose(values, noise, first, memory)  # (M, A)
            return chosen.argmax(-1)

        epsilon = self.explore.epsilon(step, explore)
        exact = self.remembers or "behavior_probability" in self.needs
        action, probability = self.explore(greedy, self.spec.num_actions, epsilon, noise, exact)
        if explore or chosen is None:
            return Acted(action, probability, remembered)
        chosen = chosen.cpu()
        return Acted(action, probability, remembered, chosen.gather(-1, action.unsqueeze(-1)).squeeze(-1), action_gap(chosen))

    def noise(self, size: tuple[int, ...], generator) -> dict[str, Tensor]:
        return {**self.chain.noise(size, generator), **self.auxiliary.noise(size, generator)}

    def act_noise(self, size: tuple[int, ...], generator) -> dict[str, Tensor]:
        return {**self.explore.noise(size, generator, self.spec.num_actions), **self.chain.act_noise(size, generator)}

    def follow(self, due: tuple[str, ...]) -> None:
        self.auxiliary.follow(due)

    @property
    def periods(self) -> tuple[int, ...] | None:
        return self.chain.periods

    def ring(self, before: int, after: int) -> None:
        if self.chain.shifting(before, after, self.updates):
            self.weighting.shift(self.chain.target)
        self.chain.maintain(before, after, self.updates)

    def read(self, metrics: dict[str, Tensor]) -> dict[str, float]:
        """Along the chain, and for each channel, where there are several."""
        values = super().read({name: value for name, value in metrics.items() if name != CHANNEL_VALUES})
        loss = metrics["train/loss"]  # (K, *B)
        if loss.shape[0] > 1:
            values.update(each("train/chain_loss", loss.flatten(1).mean(1)))
            values["train/chain_spread"] = float(metrics["train/q_values"].std(0, correction=0).mean())
        if CHANNEL_VALUES in metrics:
            values.update(each("train/channel_value", metrics[CHANNEL_VALUES].transpose(0, 1).flatten(1).mean(1)))
        return values

    def diagnostics(self, step: int) -> dict[str, float]:
        return {"rollout/exploration_rate": self.explore.epsilon(step, True)}


def each(name: str, numbers: Tensor) -> dict[str, float]:
    """(n,) -> one metric for each, counted from 1."""
    return {f"{name}/{k}": float(number) for k, number in enumerate(numbers, start=1)}
