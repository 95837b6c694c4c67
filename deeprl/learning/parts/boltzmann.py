"""Boltzmann exploration: the probability of an action grows with its value.

    P(a|s) ∝ exp(Q(s, a) / temperature)

Sampled as argmax_a Q(s, a) + temperature · G_a with standard Gumbel numbers G_a, so that temperature 0 needs no case of its own.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor

from deeprl.choice import in_range
from deeprl.learning.parts.exploration import Explored, Memory, Policy, Tick, ValueExploration, check_schedule, unknown
from deeprl.schedules import Constant


@dataclass(frozen=True)
class Boltzmann(ValueExploration):
    """Actions drawn from the softmax of the values that act.

    Args:
        temperature: as a function of the environment step, in units of Q. 0 is greedy, bit for bit.
        evaluation: ε of ε-greedy in evaluation.
    """

    temperature: Callable[[int], float] = field(default_factory=lambda: Constant(0.1))
    evaluation: float = 0.0

    def __post_init__(self):
        in_range(self, evaluation=(0, 1))
        check_schedule(self, "temperature", None)

    def noise(self, size: tuple[int, ...], generator, actions: int, masked: bool = False) -> dict[str, Tensor]:
        """As in the base class, and "gumbel", (ticks, M, A)."""
        uniform = torch.rand((*size, actions), generator=generator, dtype=torch.float64).clamp_(min=2.0**-54)  # 0 would give -inf
        return {**super().noise(size, generator, actions, masked), "gumbel": -(-uniform.log()).log()}

    def explored(self, policy: Policy, tick: Tick, memory: Memory) -> Explored:
        values, temperature = policy().cpu().double(), self.temperature(tick.step)  # (M, A)
        if tick.valid is not None:
            values = values.where(tick.valid, -torch.inf)
        action = (values + temperature * tick.noise["gumbel"]).argmax(-1)
        probability = probabilities(values, temperature).gather(-1, action.unsqueeze(-1)).squeeze(-1).float() if tick.exact else None
        return action, unknown(len(action)) if probability is None else probability, memory

    def diagnostics(self, step: int) -> dict[str, float]:
        return {"rollout/temperature": self.temperature(step)}


def probabilities(values: Tensor, temperature: float) -> Tensor:
    """softmax(values / temperature), (M, A); with temperature 0 all of it is on the first of the largest values."""
    if not temperature:
        return torch.zeros_like(values).scatter(-1, values.argmax(-1, keepdim=True), 1.0)
    return ((values - values.amax(-1, keepdim=True)) / temperature).softmax(-1)
