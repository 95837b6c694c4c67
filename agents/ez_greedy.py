"""ε-z-greedy exploration (Dabney, Ostrovski, Barreto, "Temporally-Extended ε-Greedy Exploration", ICLR 2021).

    with probability ε:  a ~ uniform, taken for n steps,     P(n) ∝ 1 / n^μ,  n = 1 … longest
    otherwise:           a = argmax_a Q(s, a), for this step

ε is the probability that such a run of actions begins, so the share of steps that explore is larger. The paper's pseudo-code, read
literally, takes a drawn action n + 1 times; here it is n times, as its text says.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor

from deeprl.choice import counts, in_range
from deeprl.learning.parts.exploration import Explored, Memory, Policy, Tick, ValueExploration, check_epsilon, epsilon_greedy_action, zipf
from deeprl.schedules import Constant


@dataclass(frozen=True)
class EZGreedy(ValueExploration):
    """ε-greedy whose random actions last: each is held for its duration, at most to the end of the episode, and not where it is invalid.
    The probability of an action that is held is 1.

    Args:
        schedule: ε as a function of the environment step.
        evaluation: ε in evaluation, where actions last one step.
        exponent: μ; the paper has 2.
        longest: the largest n, 10,000 in the paper (from memory). 1 is ε-greedy, bit for bit.
    """

    schedule: Callable[[int], float] = field(default_factory=lambda: Constant(0.05))
    evaluation: float = 0.0
    exponent: float = 2.0
    longest: int = 10_000

    def __post_init__(self):
        check_epsilon(self)
        in_range(self, exponent=(0, None))
        counts(self, longest=1)

    def noise(self, size: tuple[int, ...], generator, actions: int, masked: bool = False) -> dict[str, Tensor]:
        """As in the base class, and "steps", (ticks, M): n for an action drawn at that tick."""
        found = super().noise(size, generator, actions, masked)
        if self.longest > 1:
            found["steps"] = zipf(torch.rand(size, generator=generator, dtype=torch.float64), self.longest, self.exponent)
        return found

    def explored(self, policy: Policy, tick: Tick, memory: Memory) -> Explored:
        epsilon = self.schedule(tick.step)
        if self.longest == 1:
            return *epsilon_greedy_action(policy, tick, epsilon), memory
        left = memory.get("left", torch.zeros_like(tick.noise["steps"]))  # (M,) steps for which the action is still to be held
        held = (left > 0) & ~tick.first
        kept = memory.get("action", torch.zeros_like(left))
        if tick.valid is not None:
            held &= tick.valid.gather(-1, kept.unsqueeze(-1)).squeeze(-1)
        draw = tick.noise["explore"].masked_fill(held, -1.0)  # who holds an action needs no greedy one
        action, probability = epsilon_greedy_action(policy, tick._replace(noise={**tick.noise, "explore": draw}), epsilon)
        action = torch.where(held, kept, action)
        left = torch.where(held, left, torch.where(draw < epsilon, tick.noise["steps"], 1)) - 1
        return action, probability.masked_fill(held, 1.0) if tick.exact else probability, {"action": action, "left": left}

    def diagnostics(self, step: int) -> dict[str, float]:
        return {"rollout/exploration_rate": self.schedule(step)}
