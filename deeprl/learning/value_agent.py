"""The agent for discrete actions. Every value-based paper here but SQIRL (agents/sqirl.py) is one choice of its parts.

    L  =  Σ_k mean w_k · D( f([T Q̄_{k−1}](s, a)),  f(Q_k(s, a)) )  +  auxiliary        k = 1 … K

The network predicts f(Q_k), where f is the mapping; for most agents it is the identity. The whole update of DQN in plain PyTorch, to which
a test holds this agent equal: tests/references/dqn.py.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, ClassVar

import torch
from torch import Tensor

from deeprl.choice import Part
from deeprl.learning.agent import CORE, Agent, Infer, numbered, of_iterations, watching
from deeprl.learning.backups.bellman import Backup, backup_metrics
from deeprl.learning.backups.policies import action_gap
from deeprl.learning.networks.blocks import has_dropout
from deeprl.learning.networks.mapped import wrapped
from deeprl.learning.networks.value_network import Networks, quiet
from deeprl.learning.objective import Objective
from deeprl.learning.parts.chains import Chain
from deeprl.learning.parts.choices import ValueChoices
from deeprl.learning.parts.exploration import EpsilonGreedy, Tick, ValueExploration
from deeprl.learning.parts.preference import Preference
from deeprl.learning.parts.resets import Resets, renew_
from deeprl.learning.parts.weighting import end_period_, target_copies
from deeprl.learning.plan import Plan
from deeprl.learning.transforms.apart import refuse_privileged
from deeprl.learning.transforms.masks import divided, divided_batch, of_row, without_mask
from deeprl.learning.transforms.observations import normalized
from deeprl.learning.values.losses import average, weighted
from deeprl.learning.values.mapped import CHANNEL_VALUES
from deeprl.learning.values.masked import only
from deeprl.learning.values.returns import Returns, regression_metrics
from deeprl.learning.values.utility import Utility
from deeprl.learning.values.view import View
from deeprl.noise import map_tensors
from deeprl.schedules import Clock
from deeprl.types import QUIET, AgentStep, Batch, NetworkNoise, Noise, Rows, Spec, Term

EXPLORER = "explore"
"""Name in the acting memory of what the exploration remembers"""


class ValueAgent(Agent):
    """Agent for discrete actions: Q-learning with networks.

    Args:
        spec: the environment's spaces.
        seed: of the initial weights.
        network: choices of the network, see `deeprl.learning.parts.choices`.
        backup: Bellman operator.
        chain: partial of a `deeprl.learning.parts.chains.Chain`; target networks and the number of iterations learned at once.
        rewards: transforms raw rewards (the replay applies it).
        normalize: partial of a `Part` that maps observations to the networks' input.
        explore: behaviour while data is collected, such as ε-greedy.
        utility: what greedy actions maximise, in acting and in targets; the mean return, if nothing else.
        resets: updates after which all networks start anew, with other initial weights.
    """

    actions = "discrete"
    main = "value"
    argument_groups: ClassVar = {"network": ValueChoices}

    def __init__(
        self,
        *,
        spec: Spec,
        seed: int,
        network: ValueChoices,
        backup: Backup,
        chain: Callable[..., Chain],
        rewards: Callable[..., Part],
        normalize: Callable[..., Part],
        explore: ValueExploration,
        utility: Utility = Utility(),
        resets: Resets = Resets(),
    ):
        super().__init__()
        if not spec.num_actions:
            raise ValueError("this agent takes discrete actions, and the environment's actions are continuous")
        self.seed, self.backup, self.explore = seed, backup, explore
        self.resets, seen = resets, without_mask(spec)
        self.utility, self.preference = utility, Preference(utility, spec)
        refuse_privileged(spec)
        self.set_border(spec, rewards, normalize)
        self.torso, head, optimizer = network.torso.resolve(seen), network.head, network.optimizer
        head.check(self.rewards)
        self.core, networks = network.core, Networks(seen, self.torso, seed, network.core)
        plan = Plan(seen, self.torso, self.normalize, optimizer, backup, head, networks.scalars, networks.scalars)
        self.auxiliary = network.auxiliary(plan=plan)
        self.head = wrapped(head, network.mapping, self.rewards)
        self.chain = chain(partial(networks.chained, self.head, head.share, self.auxiliary.beside))
        if self.chain.anchors and getattr(optimizer, "weight_decay", 0):
            raise ValueError(
                "optimizer.weight_decay must be 0 with agent/chain=iterated_shared, because it would shrink the head that is not trained"
            )
        if self.chain.online.core is not None:
            if self.chain.rule.rule == "uniform_with_target":
                raise ValueError(
                    "chain.acting must not be uniform_with_target beside agent/core: while acting the target network has no state"
                )
            if self.chain.torsos > 1:
                shared = "agent.chain.torso=shared"
                remedy = f"set {shared}" if hasattr(self.chain, "torso") else f"choose another chain, agent/chain=iterated {shared} say"
                raise ValueError(
                    "agent/core goes with chains of one torso, because acting and the replay keep the states of a core where they are "
                    f"while a chain hands weights from one iteration to another: {remedy}"
                )
            self.state_size = self.chain.online.core.size
        self.auxiliary.bind(self.chain)
        self.weighting = network.weighting(plan=plan, chain=self.chain)
        groups = self.auxiliary.groups(self.chain.online.beside, optimizer)
        self.objectives = {
            **self.weighting.trained(self.views),
            "value": Objective.of(self.loss, [self.chain.online], optimizer, groups),
        }
        self.preference.check(backup, self.rewards, network.core, (self.weighting, self.auxiliary))
        self.needs = self.backup.needs | self.weighting.needs | self.auxiliary.needs | self.core.needs
        self.core.check(self.needs)
        if "behavior_probability" in self.needs and head.noisy:
            raise ValueError(
                f"head.noisy must be false with agent/backup={type(backup).__name__}, because noisy weights hide with which probability an "
                "action was taken, and a trace divides by it"
            )
        if "rollout" in self.needs and (head.noisy or has_dropout(self.chain.online.torso)):
            raise ValueError(
                f"head.noisy must be false and torso.dropout 0 with agent/backup={type(backup).__name__}, because its targets are "
                "values of the networks that acted, whose random numbers a rollout does not keep"
            )
        self.observers += watching(self.auxiliary, self.weighting, self.chain)
        self.clock = Clock(self.chain.periods)
        self.exact = self.chain.rule.remembers or "behavior_probability" in self.needs
        """Whether acting needs the greedy action and its probability at every step, for a rule with memory or for traces"""

    def views(self, batch: Batch) -> tuple[View, View, Batch]:
        """Online and target networks at both ends of a batch, and the batch with observations normalized."""
        batch = self.normalized(batch)
        online, target = self.chain.views(batch)
        return self.preference.shown(online), self.preference.shown(target), batch

    def targets(self, online: View, target: View, batch: Batch) -> Returns:
        """y_k, atoms (K, [C,] *B, N): the backup's; in an update on a rollout those that `prepare` computed for all of its updates."""
        if "returns" in batch.extra:
            return Returns(batch.extra["returns"].unsqueeze(-1))
        return self.backup(online, target, batch)

    def loss(self, batch: Batch) -> Term:
        """Σ_k mean w_k D(f(y_k), f(Q_k(s, a))) + auxiliary, where y_k is the target of iteration k; the error is a mean over k."""
        online, target, batch = self.views(batch)
        chosen = online.now.at(batch.action)  # Q_k(s, a), before no_grad, because `now` is computed once
        with torch.no_grad():
            returns = self.targets(online, target, batch)  # y_k
            weight, shown = self.weighting(online, target, batch)  # w_k: batch.weight times (K, *B)
            shown = {**backup_metrics(self.backup, online, target, batch), **shown}
        loss, error = chosen.loss(returns)  # D, and |y_k − Q_k| in ordinary units, (K, *B)
        shown = {**regression_metrics("train/loss", loss, chosen, returns), **shown}
        total = self.chain.combine(average(weighted(weight, loss), batch.valid))
        return Term(total, shown, {**online.statistics, **target.statistics}, error.mean(0)) + self.auxiliary(online, target, batch)

    @property
    def prepares_alike(self) -> bool:  # type: ignore[override]
        return self.inherits(ValueAgent, "prepare")

    def prepare(self, rollout: Batch) -> dict[str, Tensor]:
        """Targets (K, [1,] L, M) of a backup over rollouts. All updates on a rollout have the same targets, those of the networks that
        collected it."""
        if "rollout" not in self.backup.needs:
            return {}
        return {"returns": self.backup(*self.views(rollout)).atoms.squeeze(-1)}

    def normalized(self, batch: Batch) -> Batch:
        """The batch with observations normalized, and without action masks in them, see `divided_batch`."""
        return normalized(self.preference.of_batch(divided_batch(batch, self.spec)), self.normalize)

    def observe(self, rows: Rows) -> None:
        stock = self.preference.stock
        super().observe(rows if stock is None or not self.observers else stock.of_rows(rows))

    def infer(self, obs: Tensor, noise: NetworkNoise, *state: Tensor) -> Any:
        """Values to choose from, (K, M, A)"""
        obs, valid = of_row(obs, self.spec)
        obs, stock = self.preference.read(obs)
        obs, worth = self.normalize(obs), self.preference.worth(stock)
        if not state:
            values = self.chain.acting_values(obs, noise, worth)
            return only(values, valid)
        network = self.chain.online
        features, after = network.advance(obs, *state)
        values = self.chain.of_iterations(worth(network.values(features, obs.shape[:1], noise)))
        return only(values, valid), after

    @property
    def on_host(self) -> str:  # type: ignore[override]
        reasons = {
            "its agent acts by methods of its own": not self.inherits(ValueAgent, "act", "infer", "act_noise"),
            "agent/core remembers": self.state_size,
            "agent/explore is not epsilon_greedy": type(self.explore) is not EpsilonGreedy,
            "agent.chain.acting remembers": self.chain.rule.remembers,
            "agent/utility is not the mean": self.drawn_size or not self.preference.neutral,
            "env.mask=true": self.spec.masked,
        }
        return next((reason for reason, holds in reasons.items() if holds), "")

    def device_act(self, obs: Tensor, noise: Noise, rate: Tensor) -> tuple[Tensor, Tensor | None]:
        values, _ = self.chain.rule.choose(self.infer(obs, noise["network"]), noise, obs.new_zeros(len(obs), dtype=torch.bool), {})
        best = values.argmax(-1)
        action = torch.where(noise["explore"] < rate, noise["action"], best)
        if not self.exact:
            return action, None
        return action, (1.0 - rate).float() * (action == best).float() + (rate / self.spec.num_actions).float()

    def exploration_rate(self, step: int) -> float:
        return self.explore.schedule(step) if isinstance(self.explore, EpsilonGreedy) else 0.0

    def act(self, obs: Tensor, first: Tensor, memory: dict, step: int, noise: Noise, explore: bool, infer: Infer = None) -> AgentStep:
        remembered, acting, state = memory, None, self.recalled(memory, first)
        begun: dict[str, Tensor] = {}
        if not explore:
            obs, begun = self.preference.begun(obs, first, memory, self.greedy_values)

        def policy() -> Tensor:
            nonlocal remembered, acting
            network = noise["network"] if explore else quiet(noise["network"])
            values = (infer or self.infer)(obs, network, *state)
            if state:
                values, after = values
            acting, remembered = self.chain.rule.choose(values, noise, first, memory)  # (M, A)
            if state:
                remembered = {**remembered, CORE: after}
            return acting

        valid = divided(obs, self.spec.num_actions)[1].cpu() if self.spec.masked else None
        tick = Tick(step, first, noise, self.spec.num_actions, valid, self.exact, explore)
        before = memory.get(EXPLORER, {})
        action, probability, after = self.explore(policy, tick, before)
        if state and acting is None:  # exploration did not ask, but the core has to see every observation
            policy()
        if before or after:  # the chain's rule has names of its own
            remembered = {**remembered, EXPLORER: after}
        remembered = {**remembered, **begun} if begun else remembered
        acted = AgentStep(action, probability, remembered, state=state[0] if state else None)
        if explore or acting is None:
            return acted
        acting = acting.cpu()
        value = acting.gather(-1, action.unsqueeze(-1)).squeeze(-1) if self.preference.neutral else None  # a utility estimates no return
        return acted._replace(value=value, gap=action_gap(acting))

    def greedy(self, obs: Tensor, *state: Tensor) -> Any:
        values = self.greedy_values(obs, *state)
        return (values[0].argmax(-1), values[1]) if state else values.argmax(-1)

    def greedy_values(self, obs: Tensor, *state: Tensor) -> Any:
        values, *after = self.infer(obs, QUIET, *state) if state else (self.infer(obs, QUIET),)  # (K, M, A)
        rule = self.chain.rule
        one = rule.typical(values) if rule.draws else rule.choose(values, {}, torch.ones(obs.shape[0], dtype=torch.bool), {})[0]
        return (one, *after) if state else one

    def simplified(self) -> list[str]:
        found = []
        if self.explore.evaluation:
            found.append(f"evaluation explores with probability {self.explore.evaluation:g}, and the greedy policy never does")
        if self.chain.rule.draws:
            found.append("evaluation draws the network that acts, and the greedy policy takes the mean of their values")
        if self.chain.online.fractions is not None:
            found.append("evaluation draws the fractions of the quantiles, and the greedy policy takes evenly spaced ones")
        if self.utility.candidates is not None:
            found.append("evaluation chooses the first stock of an episode, and the greedy policy takes that of the observation")
        return found

    def noise(self, size: tuple[int, ...], generator) -> Noise:
        return {
            **self.chain.noise(size, generator),
            **self.auxiliary.noise(size, generator),
            **self.utility.noise(size, generator),
        }

    def act_noise(self, size: tuple[int, ...], generator) -> Noise:
        explorer = self.explore.noise(size, generator, self.spec.num_actions, self.spec.masked)
        network = self.chain.act_noise(size, generator)
        device = next(self.parameters()).device
        return {**explorer, **map_tensors(lambda tensor: tensor.to(device), network)}  # one copy for many ticks

    def after_update(self, due: tuple[str, ...]) -> None:
        self.chain.after_update(due, self.updates)
        number = self.resets.number(self.updates)
        if number is not None:
            self.reset(number)

    @torch.no_grad()
    def reset(self, number: int) -> None:
        """Give all networks other initial weights, those of this reset, and forget the optimizers' averages. Replay and statistics stay."""
        renew_(self.chain.online, self.seed, number, "online")
        self.chain.reset_target()
        self.weighting.reset(self.chain, lambda module: renew_(module, self.seed, number, "weighting"))
        for objective in self.objectives.values():
            objective.optimizer.reset()

    def copies(self) -> dict[str, Callable[[], object]]:
        return target_copies(self.chain, self.weighting)

    def on_period(self, ended: tuple[str, ...]) -> None:
        end_period_(self.chain, self.weighting, ended, self.updates)

    def read(self, metrics: dict[str, Tensor]) -> dict[str, float]:
        """Metrics as numbers; with several iterations or channels also one for each."""
        shown = {name: value for name, value in metrics.items() if name != CHANNEL_VALUES}
        loss = metrics["train/loss"]  # (K, *B)
        if loss.shape[0] > 1:
            shown.update(of_iterations(loss, metrics["train/q_values"]))
        if CHANNEL_VALUES in metrics:
            shown.update(numbered("train/channel_value", metrics[CHANNEL_VALUES].transpose(0, 1).flatten(1).mean(1)))
        return super().read(shown)

    def diagnostics(self, step: int) -> dict[str, float]:
        return self.explore.diagnostics(step)
