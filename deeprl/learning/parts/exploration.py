"""Exploration: rules by which an agent acts while data is collected. Random numbers are arguments, on the CPU.

A rule keeps nothing between two calls. What it remembers goes out and in as `memory`, which resets, checkpoints and evaluations rely on.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from deeprl.choice import Choice, counts, in_range
from deeprl.schedules import Constant
from deeprl.types import Noise

Policy = Callable[[], Tensor]
"""Asks the network: values of the actions (M, A), or actions (M, D), on the agent's device. Greedy actions are `policy().argmax(-1)`."""
Memory = dict[str, Any]
"""Tensors (M, ...) by name, on any device; {} at the start of a run and of an evaluation. A rule returns a new one."""
Explored = tuple[Tensor, Tensor, Memory]
"""Actions (M,) or (M, D) and their probabilities (M,), on the CPU, and the memory for the next call. The probability is that of the action
given all that came before, the memory included."""


class Tick(NamedTuple):
    """What a rule knows of a tick beside the policy."""

    step: int
    """Environment step, for schedules"""
    first: Tensor
    """(M,) bool: whether an episode starts"""
    noise: Noise
    """Random numbers of this tick, from the rule's `noise`"""
    actions: int = 0
    """A; 0 for continuous actions"""
    valid: Tensor | None = None
    """(M, A) bool, the actions that exploration may take; None: all. Values of the others are `deeprl.learning.values.masked.INVALID`"""
    exact: bool = True
    """Whether the policy is needed at every step, because a part reads the probabilities or the chain's rule has a memory. If not, the
    probabilities may be `unknown`, and a rule need not ask for what it does not use."""
    collects: bool = True
    """False in evaluation"""


class ValueExploration(Choice):
    """Behaviour of an agent for discrete actions. A rule of one's own overrides `explored`, and `noise` if it draws more; a YAML in
    configs/agent/explore names it. It has a field `evaluation`; where `tick.exact` is false, any probabilities (M,) will do.
    `epsilon_greedy_action` is what most rules end with. `deeprl.extend` has all names.

    In evaluation every rule is ε-greedy with ε = `evaluation`, so that evaluations of two rules compare what was learned.
    """

    needs = frozenset({"actions"})

    evaluation: float

    def noise(self, size: tuple[int, ...], generator, actions: int, masked: bool = False) -> dict[str, Tensor]:
        """Random numbers, `size` = (ticks, M): `explore`, uniform in [0, 1), and `action`, the random actions, made here once for many
        steps; or, if `masked`, `uniform`, from which the actions follow when it is known which of them are valid."""
        explore, action = (torch.rand(size, generator=generator, dtype=torch.float64) for _ in range(2))
        return {"explore": explore, "uniform": action} if masked else {"explore": explore, "action": (action * actions).long()}

    def __call__(self, policy: Policy, tick: Tick, memory: Memory) -> Explored:
        if not tick.collects:
            return *epsilon_greedy_action(policy, tick, self.evaluation), memory
        return self.explored(policy, tick, memory)

    def explored(self, policy: Policy, tick: Tick, memory: Memory) -> Explored:
        """Actions while data is collected."""
        raise NotImplementedError

    def diagnostics(self, step: int) -> dict[str, float]:
        """Numbers for the log."""
        return {}


def epsilon_greedy_action(policy: Policy, tick: Tick, epsilon: float) -> tuple[Tensor, Tensor]:
    """With probability ε a uniformly random action, else the greedy one: actions and their probabilities, both (M,).

    The policy is not asked with ε = 1, where every valid action has the same probability; nor, unless `tick.exact`, where every environment
    explores.
    """
    noise, valid = tick.noise, tick.valid
    random = noise["action"] if valid is None else drawn(noise["uniform"], valid)
    share = epsilon / tick.actions if valid is None else (epsilon / valid.sum(-1).double()).float()
    explores = [u < epsilon for u in noise["explore"].tolist()]
    all_explore = all(explores)
    if all_explore and not tick.exact:
        return random, unknown(len(explores))
    if all_explore and epsilon >= 1.0:
        return random, unknown(len(explores)) + share
    best = policy().argmax(-1).cpu()
    action = torch.where(torch.tensor(explores), random, best) if any(explores) else best
    return action, (1.0 - epsilon) * (action == best).float() + share if tick.exact else unknown(len(explores))


@dataclass(frozen=True)
class EpsilonGreedy(ValueExploration):
    """ε-greedy exploration: with probability ε a uniformly random action.

    Args:
        schedule: ε as a function of the environment step; in published schedules ε is 1 until learning starts.
        evaluation: ε in evaluation (0.001 on Atari).
    """

    schedule: Callable[[int], float] = field(default_factory=lambda: Constant(0.05))
    evaluation: float = 0.0

    def __post_init__(self):
        check_epsilon(self)

    def explored(self, policy: Policy, tick: Tick, memory: Memory) -> Explored:
        return *epsilon_greedy_action(policy, tick, self.schedule(tick.step)), memory

    def diagnostics(self, step: int) -> dict[str, float]:
        return {"rollout/exploration_rate": self.schedule(step)}


def check_epsilon(owner: object) -> None:
    """Check `schedule` and `evaluation` of a rule.

    Raises:
        ValueError: one of them is no probability.
    """
    in_range(owner, evaluation=(0, 1))
    check_schedule(owner, "schedule", 1)


def check_schedule(owner: object, name: str, high: float | None) -> None:
    """Check a field of `owner` that is a schedule of numbers from 0 to `high`, or without an upper bound.

    Raises:
        ValueError: naming the field, its value and the range.
    """
    schedule = getattr(owner, name)
    if not callable(schedule):
        raise ValueError(f"{name} must have keys of its own, not the value {schedule!r}: for a constant set {name}.start and .end to it")
    for end in ("value", "start", "end"):  # of whatever schedule it is
        if (value := getattr(schedule, end, 0)) < 0 or (high is not None and value > high):
            raise ValueError(f"{name}.{end} must be {'at least 0' if high is None else f'between 0 and {high}'}, not {value}")


def drawn(uniform: Tensor, valid: Tensor) -> Tensor:
    """One of the valid actions each, (M, A) -> (M,), from numbers (M,) in [0, 1)."""
    number = (uniform * valid.sum(-1)).long()  # which of the valid ones, from 0
    return (valid.cumsum(-1) > number.unsqueeze(-1)).int().argmax(-1)


@lru_cache
def unknown(count: int) -> Tensor:
    """Zeros in place of probabilities that no part reads. The tensor is shared: do not write into it."""
    return torch.zeros(count)


@lru_cache
def certain(count: int) -> Tensor:
    """Ones in place of densities that are not computed. The tensor is shared: do not write into it."""
    return torch.ones(count)


class ActorExploration(Choice):
    """Behaviour of an agent for continuous actions while data is collected: uniform actions at first, then the policy's."""

    needs = frozenset({"actor"})

    random_steps: int
    samples = False
    """Whether the policy samples its action; if not, it answers with its action without noise."""

    def noise(self, size: tuple[int, ...], generator) -> dict[str, Tensor]:
        """Random numbers, `size` = (ticks, M, D): "uniform" in [-1, 1] and "normal"."""
        return {
            "normal": torch.randn(size, generator=generator),
            "uniform": torch.rand(size, generator=generator) * 2.0 - 1.0,
        }

    def held(self, fresh: Tensor, noise: Noise, memory: Memory) -> tuple[Tensor, Memory]:
        """Normal numbers of the policy's sample at this step, (M, D), and the memory for the next call; here the fresh ones.

        Args:
            fresh: on the agent's device.
        """
        return fresh, memory

    def __call__(self, policy: Policy, tick: Tick, memory: Memory) -> Explored:
        if tick.step < self.random_steps:
            action = tick.noise["uniform"]
            return action, certain(action.shape[0]), memory
        return self.explored(policy, tick, memory)

    def explored(self, policy: Policy, tick: Tick, memory: Memory) -> Explored:
        """Actions after the uniform ones. No part reads the densities: they are `certain`."""
        raise NotImplementedError


def disturbed(action: Tensor, noise: np.ndarray) -> Tensor:
    """action + noise, cut off at ± 1."""
    # NumPy, because it is faster than tensors for few numbers; float32 arithmetic is the same
    return torch.from_numpy(np.minimum(np.maximum(action.numpy() + noise, -1.0), 1.0))


@dataclass(frozen=True)
class GaussianNoise(ActorExploration):
    """Gaussian exploration: π(s) plus independent noise, cut off at the bounds; uniform actions at first (Fujimoto et al., 2018).

    Args:
        std: standard deviation in units of the half-range of the actions.
        random_steps: number of first environment steps with uniform actions.
    """

    std: float = 0.1
    random_steps: int = 25_000

    def __post_init__(self):
        in_range(self, std=(0, None), random_steps=(0, None))

    def explored(self, policy: Policy, tick: Tick, memory: Memory) -> Explored:
        action = policy().cpu()
        return disturbed(action, self.std * tick.noise["normal"].numpy()), certain(action.shape[0]), memory


@dataclass(frozen=True)
class OrnsteinUhlenbeck(ActorExploration):
    """Exploration with correlated noise x ← (1 − rate) x + std ε (Lillicrap et al., 2016). The noise goes on over the ends of episodes, as
    in ARO-DDPG.

    Args:
        rate, std: θ and σ for one environment step, in units of the half-range of the actions.
        random_steps: number of first environment steps with uniform actions.
    """

    rate: float = 0.15
    std: float = 0.2
    random_steps: int = 5_000

    def __post_init__(self):
        in_range(self, rate=(0, 1), std=(0, None), random_steps=(0, None))

    def explored(self, policy: Policy, tick: Tick, memory: Memory) -> Explored:
        action, fresh = policy().cpu(), self.std * tick.noise["normal"]
        state = (1.0 - self.rate) * memory["noise"] + fresh if "noise" in memory else fresh
        return disturbed(action, state.numpy()), certain(action.shape[0]), {"noise": state}


@dataclass(frozen=True)
class Sampled(ActorExploration):
    """Exploration by the policy's own samples, as in SAC.

    The normal numbers of a sample can be kept for k steps, P(k) ∝ 1 / k^exponent, so that exploration is correlated in time (FlashSAC: Kim,
    Lee and others, 2026). Each environment draws its own k; ends of episodes do not matter.

    Args:
        random_steps: number of first environment steps with uniform actions.
        longest: the largest k; 1 draws new numbers at every step.
        exponent: 2 in FlashSAC.
    """

    needs = frozenset({"actor", "density"})
    samples = True

    random_steps: int = 10_000
    longest: int = 1
    exponent: float = 2.0

    def __post_init__(self):
        in_range(self, random_steps=(0, None), exponent=(0, None))
        counts(self, longest=1)

    def noise(self, size: tuple[int, ...], generator) -> dict[str, Tensor]:
        """As in the base class, and "repeats", (ticks, M): k for numbers drawn at that tick."""
        drawn = super().noise(size, generator)
        if self.longest > 1:
            drawn["repeats"] = zipf(torch.rand(size[:-1], generator=generator, dtype=torch.float64), self.longest, self.exponent)
        return drawn

    def held(self, fresh: Tensor, noise: Noise, memory: Memory) -> tuple[Tensor, Memory]:
        if self.longest == 1:
            return fresh, memory
        if not memory:
            return fresh, {"held": fresh, "left": noise["repeats"] - 1}
        over = memory["left"] == 0  # (M,)
        kept = torch.where(over.unsqueeze(-1).to(fresh.device), fresh, memory["held"].to(fresh.device))
        return kept, {"held": kept, "left": torch.where(over, noise["repeats"], memory["left"]) - 1}

    def explored(self, policy: Policy, tick: Tick, memory: Memory) -> Explored:
        action = policy().cpu()
        return action, certain(action.shape[0]), memory


def zipf(uniform: Tensor, longest: int, exponent: float) -> Tensor:
    """Numbers k in 1 … longest with P(k) ∝ 1 / k^exponent, int64, from uniform float64 numbers in [0, 1)."""
    weights = torch.arange(1, longest + 1, dtype=torch.float64) ** -exponent
    bounds = weights.cumsum(0)[:-1] / weights.sum()  # P(k or less), without the last, which is 1 but for rounding
    return torch.searchsorted(bounds, uniform.contiguous(), right=True) + 1
