"""The agent for continuous actions. TD3, SAC and every agent that starts from them is one choice of its parts, which the discrete agent
shares.

    y_k  =  reward + discount [ reduce_j Z̄_{k−1,j}(s', a') − α log π(a'|s') ]     a' ~ π(·|s'),    k = 1 … K
    L_Q  =  Σ_k Σ_j mean w_k D(y_k, Z_{k,j}(s, a))  +  auxiliary                  every update
    L_π  =  mean [ α log π(a|s) − reduce_j Q_j(s, a) ]                            a ~ π(·|s); every `actor_period`-th update

TD3 (Fujimoto, van Hoof, Meger, 2018): a deterministic π, noise on a', the minimum in y and the first critic in L_π, α = 0.
SAC (Haarnoja and others, 2018): a squashed Gaussian, the minimum in both, α learned.
Whole updates in plain PyTorch, to which a test holds this agent equal: tests/references/td3.py and sac.py.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any, ClassVar

import torch
from torch import Tensor

from deeprl.choice import Part, counts
from deeprl.learning.agent import CORE, Agent, Infer, of_iterations, watching
from deeprl.learning.networks.critics import Critics, ensemble_loss, ensemble_returns, for_each, pair, pair_spec
from deeprl.learning.networks.mapped import wrapped
from deeprl.learning.networks.value_network import Networks
from deeprl.learning.networks.weight_norm import initialise_with_gains
from deeprl.learning.objective import Objective, without_decay
from deeprl.learning.parts.actor_value import ActorValue
from deeprl.learning.parts.auxiliary import Auxiliary
from deeprl.learning.parts.choices import CriticChoices, ImageChoices, PolicyChoices, TargetChoices
from deeprl.learning.parts.exploration import ActorExploration, Tick
from deeprl.learning.parts.improvement import ActorView
from deeprl.learning.parts.pairs import batch_of_pairs, observed_sequences, sequences_of_pairs, sequences_with_next_pairs
from deeprl.learning.parts.rate import Rate
from deeprl.learning.parts.resets import Resets, renew_
from deeprl.learning.parts.target_actor import target_of
from deeprl.learning.parts.temperature import Temperature
from deeprl.learning.parts.weighting import Weighting, end_period_, target_copies
from deeprl.learning.plan import Plan
from deeprl.learning.transforms.channels import check_single
from deeprl.learning.transforms.masks import without_mask
from deeprl.learning.values.losses import average, weighted
from deeprl.learning.values.returns import Returns, regression_metrics
from deeprl.learning.values.view import View, transitions
from deeprl.schedules import Clock
from deeprl.types import NO_TERM, QUIET, AgentStep, Batch, NetworkNoise, Noise, Spec, Term


class ActorCritic(Agent):
    """Agent for continuous actions: an actor, and critics (K, E, *B, N).

    Args:
        spec, seed: spaces of the environment; seed of the initial weights.
        images, critic, actor, target: choices of each network, and of targets, see `deeprl.learning.parts.choices`.
        explore: behaviour while data is collected.
        rewards, normalize: as in `ValueAgent`.
        temperature: partial of a `Temperature`: weight of the entropy.
        rate: partial of a `Rate`: rate of reward that targets subtract.
        resets: updates after which all networks start anew, with other initial weights.

    Raises:
        ValueError: the actions are discrete, or the parts do not fit together.
    """

    actions = "continuous"
    main = "critic"
    argument_groups: ClassVar = {"images": ImageChoices, "critic": CriticChoices, "actor": PolicyChoices, "target": TargetChoices}

    def __init__(
        self,
        *,
        spec: Spec,
        seed: int,
        images: ImageChoices,
        critic: CriticChoices,
        actor: PolicyChoices,
        target: TargetChoices,
        explore: ActorExploration,
        rewards: Callable[..., Part],
        normalize: Callable[..., Part],
        temperature: Callable[..., Temperature] = Temperature,
        rate: Callable[..., Rate] = Rate,
        resets: Resets = Resets(),
    ):
        super().__init__()
        self.ensemble, self.actor_period, self.resets = critic.ensemble, actor.period, resets
        self.target_period = actor.period if target.period is None else target.period
        counts(self, ensemble=1, actor_period=1, target_period=1)
        if getattr(critic.torso, "every_update", False):
            raise ValueError("agent.torso.every_update=true is of actors: set agent.actor_torso.every_update=true")
        if not spec.action_dim:
            raise ValueError("this agent takes continuous actions, and the environment's actions are discrete")
        self.seed, self.backup, self.explore = seed, target.backup, explore
        self.reduce, self.actor_reduce, self.improvement = target.reduce, actor.reduce, actor.improvement
        self.set_border(spec, rewards, normalize)
        critic.head.check(self.rewards)
        check_single(self.rewards)

        spec = without_mask(spec)
        self.encoder = images.encoder.build(spec, images.torso, seed)
        observed = Networks(spec, (critic.torso if self.encoder is None else images.torso).resolve(spec), seed)
        if self.encoder is not None:
            spec = self.encoder.encoded(spec)  # what actor and critics see
        self.core, space = critic.core, pair_spec(spec)
        networks = Networks(space, critic.torso.resolve(space), seed, self.core)
        built = (critic.head, networks.scalars, observed.scalars, spec.action_dim)
        plan = Plan(space, networks.torso, self.normalize, critic.optimizer, self.targets, *built)
        self.auxiliary, self.state_value = critic.auxiliary(plan=plan), target.state_value(plan=plan)
        head = wrapped(critic.head, critic.mapping, self.rewards)
        critics = Critics(networks, head, critic.ensemble, critic.head.share, self.auxiliary.beside)
        self.chain = target.chain(critics)
        self.auxiliary.bind(self.chain)
        self.weighting = critic.weighting(plan=plan, chain=self.chain)
        self.actor_value = ActorValue(critics, self.chain, actor.reduce)
        torso, self.actor = actor.built(spec, self.core)
        self.state_size = 0 if self.actor.core is None else self.actor.core.size
        self.renews_actor = getattr(self.actor.torso, "every_update", False)
        """The actor's running averages move at every update of the critics, see `renewed`"""
        initialise_with_gains(self.actor, seed, "actor", torso.weight_norm)
        self.target_actor = target_of(self.actor, self.chain) if self.backup.target_actor else None
        self.temperature, self.rate = temperature(action_dim=spec.action_dim), rate(networks=networks)
        self.chain.companions += self.rate.companions()
        if self.backup.smoothing and "density" in self.temperature.needs:
            raise ValueError("backup.smoothing must be 0 beside a temperature, because log π is that of the action without the noise")
        own = [*self.rate.groups(without_decay(critic.optimizer)), *self.auxiliary.groups(self.chain.online.beside, critic.optimizer)]
        alpha = self.temperature.groups(without_decay(actor.optimizer))
        self.objectives = {
            **self.weighting.trained(self.views),
            **self.state_value.objectives(self.taken_value),
            "critic": Objective.of(self.critic_loss, [self.chain.online, self.encoder], critic.optimizer, own),
            "actor": Objective.of(self.actor_loss, [self.actor], actor.optimizer, alpha),
        }
        self.needs = self.rate.needs | self.weighting.needs | self.auxiliary.needs | self.core.needs
        self.core.check(self.needs)
        self.observers += watching(self.rate, self.auxiliary, self.weighting, self.chain, self.temperature, self.state_value)
        self.clock = Clock(self.chain.periods)
        neutral = [type(part) for part in (self.weighting, self.auxiliary, self.rate)] == [Weighting, Auxiliary, Rate]
        self.follows = not (self.state_value.replaces_next_action and neutral and "joint" not in self.chain.offers)
        """Whether anything reads the policy's next action"""

    def views(self, batch: Batch) -> tuple[View, View, Batch]:
        """Online and target critics at both ends of a batch, and the batch as critics see it, see `deeprl.learning.parts.pairs`."""
        follower = self.target_actor or self.actor
        if self.state_size:
            batch = sequences_with_next_pairs(batch, follower, self.backup, self.seen, self.chain.online.core)
        else:
            alone = self.state_value.replaces_next_action
            batch = batch_of_pairs(batch, follower, self.backup, self.seen, self.normalize, alone, self.follows)
        online, target = self.chain.views(batch)
        online.policy = self.actor
        return online, target, batch

    def future(self, target: View, batch: Batch) -> Returns:
        """Return of the next state, atoms (K, *B, N): that of a' with the entropy there, or V(s') of `agent/state_value`."""

        def of_policy() -> Returns:
            reduced = self.reduce(ensemble_returns(target.next, self.ensemble), batch.noise["reduce"])
            return self.temperature.add_entropy(reduced, batch.extra.get("next_log_prob"))

        return self.state_value.future(of_policy, batch, self.chain.length)

    def targets(self, online: View, target: View, batch: Batch) -> Returns:
        """y = reward + discount (min_j Q̄_j(s', a') − α log π(a'|s')), atoms (K, *B, N); `views` has taken a', `future` is the bracket."""
        return self.future(target, batch).bootstrap(self.rate.differential_reward(batch), batch.discount)

    def critic_loss(self, batch: Batch) -> Term:
        """L_Q. The error of a transition, (*B,), is the largest |y_k − Q_{k,j}| over the critics j, averaged over k."""
        renewed = self.renewed(batch)
        online, target, batch = self.views(batch)
        chosen = online.now.at(batch.action)  # Z_{k,j}(s, a), before no_grad, because `now` is computed once
        with torch.no_grad():
            returns = for_each(self.targets(online, target, batch), chosen, self.ensemble)  # y_k, for every critic j
            weight, shown = self.weighting(online, target, batch)  # w_k: batch.weight times (K, *B)
        loss, error = ensemble_loss(chosen, returns, self.ensemble)  # Σ_j D, and the largest |y_k − Q_{k,j}|, (K, *B)
        shown = {**regression_metrics("train/critic_loss", loss, chosen, returns), **shown}
        total = self.chain.combine(average(weighted(weight, loss), batch.valid))
        statistics = {**online.statistics, **target.statistics, **renewed}
        return Term(total, shown, statistics, error.mean(0)) + self.rate_loss(online, target, batch) + self.auxiliary(online, target, batch)

    def rate_loss(self, online: View, target: View, batch: Batch) -> Term:
        """Loss of the rate's own parameters, for the batch as the critics see it."""
        if not self.rate.learned:
            return NO_TERM
        with torch.no_grad():
            future = self.future(target, batch)
            now = self.reduce(ensemble_returns(target.now, self.ensemble), batch.noise["reduce"]).mean()
            each = ensemble_returns(online.now, self.ensemble).mean()
        term = self.rate.loss(future.mean(), now, each, batch)
        return replace(term, statistics={f"rate.{name}": new for name, new in term.statistics.items()})

    def renewed(self, batch: Batch) -> dict[str, Tensor]:
        """New running averages of an actor whose torso has `every_update`: by the observations of every update of the critics."""
        if not self.renews_actor:
            return {}
        with torch.no_grad():
            _, new = self.actor.learned_features(self.seen(batch.obs), transitions(batch))
        return of_torso(new)

    def seen(self, obs: Tensor, shift: Tensor | None = None) -> Tensor:
        """Observations as actor and critics see them, (*B, S)."""
        obs = self.normalize(obs)
        return obs if self.encoder is None else self.encoder(obs, shift)

    def actor_loss(self, batch: Batch) -> Term:
        """L_π, for observations (*B, S) of the batch and actions that the policy takes now. The loss of a learned temperature is added,
        because it reads the same log π(a|s). It reads images without a gradient, because the critics alone train the encoder."""
        taken, statistics = None, dict[str, Tensor]()
        if self.state_size:
            with torch.no_grad():
                rows = observed_sequences(batch, self.seen)
            obs, taken = rows.obs, sequences_of_pairs(rows, self.chain.online.core)
            outputs = self.actor.of_features(self.actor.unrolled(rows, rows.extra["state"]).now, batch.discount.shape)
        else:
            with torch.no_grad():
                obs = self.seen(batch.obs)
            outputs, statistics = self.actor.outputs_with_statistics(obs, transitions(batch))
        action, log_prob = self.actor.drawn(outputs, batch.noise.get("action"))

        def value_of(action: Tensor) -> Tensor:
            return self.actor_value(pair(obs, action), batch.noise, taken)  # (*B,)

        view = ActorView(action, value_of, partial(self.actor.log_prob, outputs), lambda: self.advantage(batch, value_of, action))
        loss = self.temperature.entropy_cost(log_prob) + self.improvement.loss(view, batch)
        total = average((loss + self.temperature.loss(log_prob)).unsqueeze(0), batch.valid).sum()
        metrics = {"train/actor_loss": loss.unsqueeze(0), **self.temperature.metrics(log_prob)}
        return Term(total, metrics, {} if self.renews_actor else of_torso(statistics), loss)

    @torch.no_grad()
    def taken_value(self, batch: Batch) -> tuple[Tensor, Batch]:
        """Q̄(s, a) of the actions that were taken, (*B,), by the target critics, and the batch as critics see it."""
        _, target, batch = self.views(batch)
        return self.reduce(ensemble_returns(target.now, self.ensemble), batch.noise["reduce"]).mean().mean(0), batch

    @torch.no_grad()
    def advantage(self, batch: Batch, value_of: Callable[[Tensor], Tensor], action: Tensor) -> Tensor:
        """See `ActorView.advantage`."""
        return self.state_value.advantage(batch, action, value_of, self.taken_value)

    def due(self, update: int) -> tuple[str, ...]:
        periods = {**dict.fromkeys(self.objectives, 1), "actor": self.actor_period, "target": self.target_period}
        return tuple([name for name, period in periods.items() if update % period == 0])

    def after_update(self, due: tuple[str, ...]) -> None:
        self.chain.after_update(due, self.updates // self.target_period)
        number = self.resets.number(self.updates)
        if number is not None:
            self.reset(number)

    @torch.no_grad()
    def reset(self, number: int) -> None:
        """Give all networks other initial weights, those of this reset, and forget the optimizers' averages. Replay and rate stay."""
        networks = {"online": self.chain.online, "actor": self.actor, "encoder": self.encoder, **self.state_value.networks()}
        for place, module in networks.items():
            if module is not None:
                renew_(module, self.seed, number, place)
        self.chain.reset_target()
        self.weighting.reset(self.chain, lambda module: renew_(module, self.seed, number, "weighting"))
        if self.target_actor is not None:
            self.target_actor.load_state_dict(self.actor.state_dict())
        self.temperature.reset()
        for objective in self.objectives.values():
            objective.optimizer.reset()

    def copies(self) -> dict[str, Callable[[], object]]:
        found = target_copies(self.chain, self.weighting)
        if self.target_actor is not None:
            found["target_actor"] = partial(self.target_actor.load_state_dict, self.actor.state_dict())
        return found

    def infer(self, obs: Tensor, noise: NetworkNoise, *state: Tensor) -> Any:
        """The policy's actions, (M, D)"""
        seen = self.seen(obs)
        outputs, *after = self.actor.advance(seen, *state) if state else (self.actor.outputs(seen),)
        action = self.actor.drawn(outputs, noise.layers["action"])[0] if self.explore.samples else self.actor.greedy(outputs)
        return (action, *after) if state else action

    def act(self, obs: Tensor, first: Tensor, memory: dict, step: int, noise: Noise, explore: bool, infer: Infer = None) -> AgentStep:
        state = self.recalled(memory, first)
        if explore:
            network, memory = noise["network"], {name: value for name, value in memory.items() if name != CORE}
            if self.explore.samples:
                kept, memory = self.explore.held(network.layers["action"], noise, memory)
                network = NetworkNoise({"action": kept}, {})
            found = (infer or self.infer)(obs, network, *state) if state else None  # a core has to see every observation
            policy = (lambda: (infer or self.infer)(obs, network)) if found is None else (lambda: found[0])
            action, probability, memory = self.explore(policy, Tick(step, first, noise), memory)
            memory = memory if found is None else {**memory, CORE: found[1]}
            return AgentStep(action, probability, memory, state=state[0] if state else None)
        if state:
            action, after = self.greedy(obs, *state)
            return AgentStep(action.cpu(), torch.ones(action.shape[0]), {**memory, CORE: after}, state=state[0])
        seen = self.seen(obs)
        action = self.actor(seen)
        value = None if self.rate.learned else self.actor_value.typical(pair(seen, action)).cpu()  # differential values are no returns
        return AgentStep(action.cpu(), torch.ones(action.shape[0]), memory, value)

    def greedy(self, obs: Tensor, *state: Tensor) -> Any:
        if not state:
            return self.actor(self.seen(obs))
        outputs, after = self.actor.advance(self.seen(obs), *state)
        return self.actor.greedy(outputs), after

    def noise(self, size: tuple[int, ...], generator) -> Noise:
        updates, shape = size[0], (*size, self.spec.action_dim)
        drawn = self.backup.noise(shape, self.actor.stochastic, generator)
        if self.actor.stochastic:
            drawn["action"] = torch.randn(shape, generator=generator)
        if self.chain.length > 1:
            drawn["iteration"] = torch.rand(updates, generator=generator, dtype=torch.float64)
        if self.encoder is not None:
            drawn |= self.encoder.noise(size, generator)
        reductions = {"reduce": self.reduce, "actor_reduce": self.actor_reduce}
        return {
            **drawn,
            **{name: reduction.noise(updates, self.ensemble, generator) for name, reduction in reductions.items()},
            **self.chain.noise(size, generator),
            **self.auxiliary.noise(size, generator),
            "critic": self.chain.online.noise(size, generator, "target"),
        }

    def act_noise(self, size: tuple[int, ...], generator) -> Noise:
        drawn: Noise = self.explore.noise((*size, self.spec.action_dim), generator)
        if not self.explore.samples:
            return {**drawn, "network": QUIET}
        device = next(self.parameters()).device
        sampled = {"action": drawn.pop("normal").to(device)}  # one copy for many ticks
        return {**drawn, "network": NetworkNoise(sampled, {})}

    def on_period(self, ended: tuple[str, ...]) -> None:
        end_period_(self.chain, self.weighting, ended, self.updates)

    def read(self, metrics: dict[str, Tensor]) -> dict[str, float]:
        """Metrics as numbers; with several iterations also one for each."""
        if "train/critic_loss" not in metrics or self.chain.length == 1:
            return super().read(metrics)
        values = metrics["train/q_values"].unflatten(0, (-1, self.ensemble)).mean(1)  # (K, *B)
        return super().read({**metrics, **of_iterations(metrics["train/critic_loss"], values)})


def of_torso(statistics: dict[str, Tensor]) -> dict[str, Tensor]:
    """Running averages of the actor's torso under their names in the agent."""
    return {f"actor.torso.{name}": value for name, value in statistics.items()}
