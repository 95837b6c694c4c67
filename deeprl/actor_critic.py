"""The agent for continuous actions: deterministic policy gradient with an ensemble of critics.

TD3 (Fujimoto, van Hoof, Meger, 2018), in the form of its authors' code since 2020:

    a' = clip(π̄(s') + clip(σ̃ ε, ±c), ±1)          y = r + γ (1 − d) min_j Q̄_j(s', a')
    L_Q = Σ_j mean (Q_j(s, a) − y)²                every update
    L_π = − mean Q_1(s, π(s))                      every `actor_period`-th update, which also updates the targets
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from deeprl.agent import Agent, Answer, watching
from deeprl.backups.actor import PolicyBackup
from deeprl.choice import Part, in_range
from deeprl.networks.blocks import initialise
from deeprl.objective import Objective
from deeprl.parts.exploration import GaussianNoise
from deeprl.parts.polyak import Polyak, Side
from deeprl.schedules import Clock
from deeprl.types import QUIET, Acted, Batch, Learned, NetworkNoise, Spec
from deeprl.values.losses import average, squared
from deeprl.values.reduce import Reduction


class ActorCritic(Agent):
    """Agent for continuous actions: a deterministic actor and critics (K, E, *B, N).

    Args:
        spec, seed: spaces of the environment; seed of the initial weights.
        actor: choice that builds the policy, `deeprl.networks.actors`.
        critic: choice that builds the ensemble.
        backup: target of the critics.
        chain: partial of `Polyak` or of a chain of iterations.
        reduce, actor_reduce: reduction of the ensemble to one value in the target, and in the actor's loss.
        actor_period: critic updates per update of the actor and of the targets (TD3's policy delay).
        explore, rewards, normalize: as in `ValueAgent`.
        optimizer, actor_optimizer: of the critics, and of the actor.
    """

    actions = "continuous"
    main = "critic"
    rewards: Part

    def __init__(
        self,
        *,
        spec: Spec,
        seed: int,
        actor,
        critic,
        backup: PolicyBackup,
        chain: Callable[..., Polyak],
        reduce: Reduction,
        actor_reduce: Reduction,
        actor_period: int,
        explore: GaussianNoise,
        rewards: Callable[..., Part],
        normalize: Callable[..., Part],
        optimizer,
        actor_optimizer,
    ):
        super().__init__()
        self.actor_period = actor_period
        in_range(self, actor_period=(1, None))
        if not spec.action_dim:
            raise ValueError("this agent takes continuous actions, and the environment's actions are discrete")
        if len(spec.obs_shape) != 1:
            raise ValueError(f"this agent takes vectors, and the environment's observations have shape {spec.obs_shape}")
        self.spec, self.backup, self.explore = spec, backup, explore
        self.actor_reduce = actor_reduce

        def make(place: str) -> Side:
            side = Side(actor.build(spec), critic.build(spec, iterations=1), reduce)
            initialise(side, seed, place)
            return side

        self.chain = chain(make)
        self.rewards = rewards()
        self.normalize = normalize(spec=spec)
        critics = list(self.chain.online.critic.parameters())
        actors = list(self.chain.online.actor.parameters())
        critic_state, actor_state = optimizer.build(critics), actor_optimizer.build(actors)
        self.objectives = {
            "critic": Objective(self.critic_loss, critics, critic_state),
            "actor": Objective(self.actor_loss, actors, actor_state),
        }
        self.chain.pair([actor_state.flat, critic_state.flat])
        self.observers = watching(self.normalize, self.rewards)
        self.clock = Clock(self.chain.periods)

    def critic_loss(self, batch: Batch) -> tuple[Tensor, Learned]:
        online, target = self.chain.online, self.chain.target
        batch = batch._replace(obs=self.normalize(batch.obs), next_obs=self.normalize(batch.next_obs))
        with torch.no_grad():
            target_value = self.backup(online, target, batch).mean()  # (K, *B)
        values = online.critic(batch.obs, batch.action).squeeze(-1)  # (K, E, *B)
        error = target_value.unsqueeze(1) - values
        loss = squared(error).sum(1)  # sum over the critics, not the mean
        total = self.chain.combine(average(batch.weight * loss, batch.valid))
        metrics = {"train/critic_loss": loss.detach(), "train/q_values": values.detach()}
        return total, Learned(error.detach().abs().mean((0, 1)), metrics)

    def actor_loss(self, batch: Batch) -> tuple[Tensor, Learned]:
        online = self.chain.online
        obs = self.normalize(batch.obs)
        value = self.actor_reduce(online.critic(obs, online.actor(obs), first=self.actor_reduce.first_only)).mean()  # (K, *B)
        loss = -average(value[:1], batch.valid).sum()
        return loss, Learned(value[0].detach(), {"train/actor_loss": loss.detach()})

    def due(self, update: int) -> tuple[str, ...]:
        return ("critic", "actor", "target") if update % self.actor_period == 0 else ("critic",)

    def follow(self, due: tuple[str, ...]) -> None:
        self.chain.follow(due)

    def answer(self, obs: Tensor, noise: NetworkNoise) -> Tensor:
        """The policy's actions, (M, D)"""
        return self.chain.online.actor(self.normalize(obs))

    def act(self, obs: Tensor, first: Tensor, memory: dict, step: int, noise: dict, explore: bool, answer: Answer | None = None) -> Acted:
        if not explore:
            seen = self.normalize(obs)
            action = self.chain.online.actor(seen)
            values = self.chain.online.critic(seen, action, first=self.actor_reduce.first_only)
            value = self.actor_reduce(values).mean()[0].cpu()
            return Acted(action.cpu(), torch.ones(action.shape[0]), memory, value)
        return Acted(*self.explore(lambda: (answer or self.answer)(obs, QUIET), step, noise), memory)

    def noise(self, size: tuple[int, ...], generator) -> dict[str, Tensor]:
        shapes = self.backup.noise_shapes(self.spec.action_dim)
        return {name: torch.randn((*size, *shape), generator=generator) for name, shape in shapes.items()}

    def act_noise(self, size: tuple[int, ...], generator) -> dict[str, Tensor]:
        return self.explore.noise((*size, self.spec.action_dim), generator)

    def maintain(self, due: tuple[str, ...]) -> None:
        self.chain.maintain(due, self.updates)
