"""The agent that learns a policy from its own rollouts. A2C and PPO are two choices of its parts.

    δ_t = R_t + d_t V(s_{t+1}) − V(s_t)                    Â_t = δ_t + d_t λ Â_{t+1}, or δ_t where the episode or the rollout ends
    L   = L_π + c_v L_V − c_e mean H(π(·|s))               R_t is the reward, d_t is γ (1 − terminated)

    A2C   L_π = − mean Â log π(a|s)                                                            one update on a rollout
    PPO   L_π = − mean min(ρ Â, clip(ρ, 1 − ε, 1 + ε) Â),   ρ = π(a|s) / π_old(a|s)            several passes over it

Mnih and others, 2016; Schulman and others, 2016 and 2017. docs/algorithms/ppo.md. All updates on a rollout in plain PyTorch, to which a
test holds this agent equal: tests/references/ppo.py.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from deeprl.choice import Choice, Group, Part, bounds_above_zero, in_range, one_of
from deeprl.learning.agent import watching
from deeprl.learning.networks.actors import OutputNetwork
from deeprl.learning.networks.cores import CoreChoice, Memoryless
from deeprl.learning.networks.mlp import MLP
from deeprl.learning.networks.policies import PolicyChoice
from deeprl.learning.networks.torsos import TorsoChoice
from deeprl.learning.networks.unrolled import Unrolled
from deeprl.learning.networks.weight_norm import initialise_with_gains, zero_last_
from deeprl.learning.objective import Objective
from deeprl.learning.optim.flat import Optimizer
from deeprl.learning.parts.advantage import GAE, Advantage
from deeprl.learning.parts.baseline import Baseline
from deeprl.learning.parts.divergence import Divergence
from deeprl.learning.parts.intrinsic import Intrinsic
from deeprl.learning.policy_agent import PolicyAgent
from deeprl.learning.transforms.channels import check_single
from deeprl.learning.transforms.masks import divided_batch, without_mask
from deeprl.learning.values.masked import only
from deeprl.types import Batch, Spec, Term


@dataclass(frozen=True, kw_only=True)
class RolloutLosses(Choice):
    """The losses of policy and value. Base class: that of the policy is the subclass's.

    Args:
        value_clip: ε of L_V = ½ mean max((V − return)², (V_old + clip(V − V_old, −ε, ε) − return)²): V has no gradient where it is beyond
            V_old ± ε and nearer to the return than that bound is. None: L_V = ½ mean (V − return)².
        value_weight, entropy_weight: c_v and c_e.
        normalize: advantages of a batch have mean 0 and deviation 1.
    """

    one_update: ClassVar[bool] = False
    """Whether the loss is only for the policy that collected the rollout"""

    value_clip: float | None = None
    value_weight: float = 1.0
    entropy_weight: float = 0.0
    normalize: bool = True

    def __post_init__(self):
        in_range(self, value_weight=(0, None), entropy_weight=(0, None))
        bounds_above_zero(self, "value_clip")
        one_of(self, normalize=(True, False))

    def advantages(self, advantage: Tensor) -> Tensor:
        """Advantages of a batch as the losses take them, (B,) -> (B,)."""
        if not self.normalize or advantage.numel() == 1:  # one row has no deviation
            return advantage
        return (advantage - advantage.mean()) / (advantage.std() + 1e-8)

    def policy_loss(self, log_prob: Tensor, old: Tensor, advantage: Tensor) -> Tensor:
        """L_π of each row, (B,).

        Args:
            old: log π_old(a|s), (B,).
        """
        raise NotImplementedError

    def value_loss(self, value: Tensor, old: Tensor, returns: Tensor) -> Tensor:
        """½ (V − return)² of each row, (B,); with `value_clip` the larger one of V and of V near its old value.

        Args:
            old: V(s) before the updates, (B,).
        """
        loss = (value - returns).square()
        if self.value_clip is not None:
            near = old + (value - old).clamp(-self.value_clip, self.value_clip)
            loss = torch.maximum(loss, (near - returns).square())
        return 0.5 * loss

    def metrics(self, log_ratio: Tensor) -> dict[str, Tensor]:
        """How far the policy has moved, for log ρ of each row, (B,)."""
        ratio = log_ratio.exp()
        return {"train/approx_kl": ratio - 1.0 - log_ratio}  # KL(π_old || π) by Schulman's estimator k3, which is never negative


@dataclass(frozen=True, kw_only=True)
class PlainGradient(RolloutLosses):
    """The losses of A2C: the policy's is −Â log π, whose gradient holds for one update on a rollout."""

    one_update: ClassVar[bool] = True

    def policy_loss(self, log_prob: Tensor, old: Tensor, advantage: Tensor) -> Tensor:
        return -advantage * log_prob


@dataclass(frozen=True, kw_only=True)
class Surrogate(RolloutLosses):
    """The losses of PPO: the policy's is the clipped surrogate, which takes several updates on a rollout.

    Args:
        clip: ε.
    """

    clip: float

    def __post_init__(self):
        super().__post_init__()
        if not isinstance(self.clip, (int, float)) or isinstance(self.clip, bool) or not self.clip > 0:
            raise ValueError(f"clip must be above 0, not {self.clip!r}; without a bound: agent/surrogate=plain (`PlainGradient`)")

    def policy_loss(self, log_prob: Tensor, old: Tensor, advantage: Tensor) -> Tensor:
        ratio = (log_prob - old).exp()
        return -torch.minimum(ratio * advantage, ratio.clamp(1.0 - self.clip, 1.0 + self.clip) * advantage)

    def metrics(self, log_ratio: Tensor) -> dict[str, Tensor]:
        return {**super().metrics(log_ratio), "train/clip_fraction": ((log_ratio.exp() - 1.0).abs() > self.clip).to(torch.float32)}


@dataclass(frozen=True, kw_only=True)
class RolloutChoices(Group):
    """What is made of a rollout.

    Args:
        advantage: how good the actions were.
        baseline: the value that advantages and returns are made with.
        kl: what is done when the policy moves far.
        intrinsic: rewards that the agent gives itself.
    """

    advantage: Advantage = field(default_factory=GAE)
    baseline: Callable[..., Baseline] = Baseline
    kl: Callable[..., Divergence] = Divergence
    intrinsic: Callable[..., Intrinsic] = Intrinsic


def of_shape(like: Tensor, found: Tensor, part: object, name: str = "__call__") -> Tensor:
    """What a part gives, one number for each step: another shape would be broadcast, and its mean hides that.

    Raises:
        ValueError: it has another shape.
    """
    if found.shape != like.shape:
        raise ValueError(f"{type(part).__name__}.{name} gives {tuple(found.shape)}, not {tuple(like.shape)}, a number for each step")
    return found


class PolicyGradient(PolicyAgent):
    """Agent for discrete or continuous actions: a policy, and a value of states.

    Args:
        spec, seed: spaces of the environment; seed of the initial weights.
        torso: choice of the features of policy and value.
        shared: whether policy and value have one torso.
        policy: choice that builds the policy.
        lam: λ of the advantages.
        surrogate: the losses.
        rewards, normalize: as in `ValueAgent`.
        optimizer: of all weights, with one norm.
        core: choice of what remembers between torso and last layers; policy and value have one each, unless they are `shared`.
        rollout: what is made of a rollout.

    Raises:
        ValueError: a value is out of range, or the torso has running averages, or parts do not go together.
    """

    needs = frozenset({"rollout"})
    argument_groups: ClassVar = {"rollout": RolloutChoices}

    def __init__(
        self,
        *,
        spec: Spec,
        seed: int,
        torso: TorsoChoice,
        shared: bool,
        policy: PolicyChoice,
        lam: float,
        surrogate: RolloutLosses,
        rewards: Callable[..., Part],
        normalize: Callable[..., Part],
        optimizer: Optimizer,
        core: CoreChoice = Memoryless(),
        rollout: RolloutChoices = RolloutChoices(),
    ):
        super().__init__(core, spec=spec, seed=seed, torso=torso, policy=policy, rewards=rewards, normalize=normalize)
        torso, inner = self.torso, without_mask(spec)
        self.core, self.needs = core, type(self).needs | core.needs | rollout.advantage.needs
        self.lam, self.surrogate, self.shared, self.kl, self.advantage = lam, surrogate, shared, rollout.kl(), rollout.advantage
        in_range(self, lam=(0, 1))
        check_single(self.rewards)
        if shared:
            if any(part.privileged for part in spec.parts):
                raise ValueError("env.privileged needs agent.shared=false, because policy and value would have one torso")
            sizes = ((self.policy.core or self.policy.torso).features, *torso.head_hidden, 1)
            self.value: nn.Module = MLP(1, sizes, activate_last=False, init=torso.init, last_init="orthogonal")
        else:
            self.value = OutputNetwork(inner, torso, 1, "orthogonal", unit=False, core=core)
        self.state_size = sum(network.core.size for network in self.recurrent if network.core is not None)
        initialise_with_gains(self.value, seed, "value", torso.weight_norm)
        self.baseline = rollout.baseline(spec=self.spec)
        if self.baseline.zero_start:
            zero_last_(self.value if shared else self.value.last)  # type: ignore[arg-type]
        self.intrinsic = rollout.intrinsic(spec=inner, torso=torso, optimizer=optimizer, seed=seed)
        if spec.parts and self.intrinsic.gives:
            raise ValueError("env.parts must be flat with rewards of the agent's own (agent/intrinsic), which read one array")
        if self.intrinsic.keeps_policy and type(self.normalize).observe is not Part.observe:
            raise ValueError("normalize has running statistics, by which rollouts that agent/intrinsic drops move the policy: take another")
        self.observers += watching(self.intrinsic, self.baseline, self.kl)
        parameters = [*self.policy.parameters(), *self.value.parameters()]
        self.objectives = {"policy": Objective(self.loss, parameters, self.kl.optimizer(optimizer).build(parameters))}
        if (own := self.intrinsic.trained()) is not None:
            self.objectives["intrinsic"] = Objective(self.intrinsic_loss, own[0], own[1].build(own[0]))

    @property
    def recurrent(self) -> list[OutputNetwork]:
        """The networks whose states follow one another in that of the agent, if there is a core: that of the policy, that of the value."""
        return [self.policy] if self.shared else [self.policy, self.value]  # type: ignore[list-item]  # a value of its own is one

    def states(self, state: Tensor) -> list[Tensor]:
        """States (B, S) by network."""
        return list(state.split([network.core.size for network in self.recurrent], -1))  # type: ignore[union-attr]

    def of_features(self, features: list[Tensor], lead: torch.Size) -> tuple[Tensor, Tensor]:
        """`outputs` from the features after each core, (1, B, F) each."""
        value = self.value(features[-1])[0] if self.shared else self.value.of_features(features[-1], lead)  # type: ignore[operator]
        return self.policy.of_features(features[0], lead), value.squeeze(-1).reshape(lead)

    def both_ends(self, batch: Batch) -> tuple[Tensor, Tensor, Callable[[], Tensor]]:
        """`outputs` of a batch of the replay, in which only valid actions have a probability, and what gives values (*B,) of `next_obs`."""
        batch, lead = divided_batch(batch, self.spec), batch.discount.shape
        valid = batch.extra.get("valid")
        obs = self.normalize(batch.obs)
        if not self.state_size:
            outputs, value = self.outputs(obs)
            return only(outputs, valid), value, lambda: self.outputs(self.normalize(batch.next_obs))[1]
        batch = batch._replace(obs=obs, next_obs=self.normalize(batch.next_obs))
        states = self.states(batch.extra["state"])
        ends = [Unrolled(network.torso, network.core, batch, state) for network, state in zip(self.recurrent, states)]  # type: ignore[arg-type]
        outputs, value = self.of_features([each.now for each in ends], lead)
        return only(outputs, valid), value, lambda: self.of_features([each.next() for each in ends], lead)[1]

    def evaluated(self, obs: Tensor, *state: Tensor) -> tuple[Any, ...]:
        return self.advance(obs, *state) if state else self.outputs(obs)

    def state_value(self, obs: Tensor, learned: Tensor) -> Tensor | None:
        return None if self.intrinsic.gives else self.baseline_value(obs, learned)  # its own rewards are in no return of the environment

    def baseline_value(self, obs: Tensor, learned: Tensor) -> Tensor:
        """V(s) with the baseline's own part, arguments as in `state_value`."""
        return self.baseline(learned, self.baseline.columns(obs, self.step))

    def advance(self, obs: Tensor, state: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """`outputs` of (M, *obs), and the new state (M, S)."""
        found = []
        for network, own in zip(self.recurrent, self.states(state)):
            assert network.core is not None
            found.append(network.core.step(network.core.prepare(network.torso(obs)), network.core.of_rows(own)))
        outputs, value = self.of_features([features for features, _ in found], obs.shape[:1])
        return outputs, value, torch.cat([after[0] for _, after in found], -1)

    def outputs(self, obs: Tensor) -> tuple[Tensor, Tensor]:
        """Parameters of the policy (*B, outputs), and values (*B,), of normalised observations."""
        if not self.shared:
            return self.policy.outputs(obs), self.value.outputs(obs).squeeze(-1)  # type: ignore[operator]
        lead = obs.shape[: obs.dim() - self.policy.obs_dims]
        features = self.policy.torso(obs.flatten(0, len(lead) - 1))  # (1, B, F)
        return self.policy.last(features)[0].unflatten(0, lead), self.value(features)[0].squeeze(-1).unflatten(0, lead)

    @property
    def prepares_alike(self) -> bool:  # type: ignore[override]
        return self.inherits(PolicyGradient, "prepare") and type(self.baseline) is Baseline and not self.intrinsic.gives

    def prepare(self, rollout: Batch) -> dict[str, Tensor]:
        """Advantages, returns, log π(a|s) and V(s), (L, M) each, of the networks before the updates."""
        if self.intrinsic.gives:
            bonus = of_shape(rollout.reward, self.intrinsic(divided_batch(rollout, self.spec)), self.intrinsic)
            rollout = rollout._replace(reward=rollout.reward + bonus)
        outputs, value, after = self.both_ends(rollout)
        log_prob, known = self.policy.log_prob(outputs, rollout.action), self.baseline.columns(rollout.obs, self.step)
        value, following = self.baseline(value, known), self.baseline_value(rollout.next_obs, after())
        found = self.advantage(rollout, value, following, log_prob, self.lam)
        advantage, returns = (of_shape(rollout.reward, each, self.advantage) for each in found)
        return {"advantage": advantage, "returns": returns, "log_prob": log_prob, "value": value, **known}

    def loss(self, batch: Batch) -> Term:
        """L; the error is |return − V(s)|."""
        old, surrogate = batch.extra, self.surrogate  # old: before the updates, see `prepare`
        outputs, value, _ = self.both_ends(batch)
        value = self.baseline(value, old)
        log_prob, entropy = self.policy.log_prob(outputs, batch.action), self.policy.entropy(outputs)
        advantage = of_shape(value, surrogate.advantages(old["advantage"]), surrogate, "advantages")
        policy_loss = of_shape(value, surrogate.policy_loss(log_prob, old["log_prob"], advantage), surrogate, "policy_loss").mean()  # L_π
        value_loss = of_shape(value, surrogate.value_loss(value, old["value"], old["returns"]), surrogate, "value_loss").mean()  # L_V
        total = policy_loss + surrogate.value_weight * value_loss - surrogate.entropy_weight * entropy.mean()
        losses = {"train/policy_loss": policy_loss, "train/value_loss": value_loss, "train/entropy": entropy, "train/values": value}
        with torch.no_grad():
            log_ratio = log_prob - old["log_prob"]
            statistics = {f"kl.{name}": value for name, value in self.kl.statistics(log_ratio).items()}
            return Term(total, {**losses, **surrogate.metrics(log_ratio)}, statistics, error=(old["returns"] - value).abs())

    def intrinsic_loss(self, batch: Batch) -> Term:
        return self.intrinsic.loss(divided_batch(batch, self.spec))

    def before_pass(self, number: int) -> bool:
        return self.intrinsic.before_pass(number) and self.kl.before_pass(number)

    def diagnostics(self, step: int) -> dict[str, float]:
        return self.intrinsic.diagnostics()
