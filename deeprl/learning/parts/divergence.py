"""What is done when a policy moves far from the one that collected its rollout: nothing, no more passes, or another learning rate.

    KL = mean (ρ − 1 − ln ρ),   ρ = π(a|s) / π_old(a|s)      Schulman's estimator k3, of the newest update, before its step

The KL is read once before each pass, because reading it makes the host wait for the device. Stable-Baselines3 looks at every batch, CleanRL
after every pass, as here.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import ClassVar

import torch
from torch import Tensor

from deeprl.choice import Part, bounds_above_zero, in_range
from deeprl.learning.optim.flat import Optimizer


class Divergence(Part):
    """This base class is neutral: every pass is made, by the learning rate of the optimizer."""

    former: ClassVar = {"wants_pass": "before_pass"}

    @classmethod
    def acts(cls, epochs: int, minibatches: int) -> bool:
        """Whether it can change anything, with so many passes over a rollout and batches of a pass."""
        return True

    def optimizer(self, choice: Optimizer) -> Optimizer:
        """The optimizer of the policy."""
        return choice

    def statistics(self, log_ratio: Tensor) -> dict[str, Tensor]:
        """New values of its buffers, from log ρ (*B,) of an update."""
        return {}

    def before_pass(self, number: int) -> bool:
        """See `Agent.before_pass`; it may change the part, for example its learning rate."""
        return True


class Measured(Divergence):
    """It knows the KL of the newest update.

    Args:
        target: KL, in nats.
    """

    kl: Tensor
    starts_anew: ClassVar[tuple[str, ...]] = ("kl",)

    @classmethod
    def acts(cls, epochs: int, minibatches: int) -> bool:
        return epochs * minibatches > 1  # the first update of a rollout is at the policy that collected it, where KL = 0

    def __init__(self, *, target: float):
        super().__init__()
        self.target = target
        in_range(self, target=(0, None))
        bounds_above_zero(self, "target")
        self.register_buffer("kl", torch.zeros(()))

    def statistics(self, log_ratio: Tensor) -> dict[str, Tensor]:
        return {"kl": (log_ratio.exp() - 1.0 - log_ratio).mean().to(torch.float32)}


class Stop(Measured):
    """No further pass where KL > target (`target_kl` of CleanRL; Stable-Baselines3 stops at 1.5 target)."""

    @classmethod
    def acts(cls, epochs: int, minibatches: int) -> bool:
        return epochs > 1

    def before_pass(self, number: int) -> bool:
        return number == 0 or self.kl.item() <= self.target


class AdaptiveRate(Measured):
    """The learning rate keeps the KL near its target, as in rl_games and RSL-RL, there at every batch.

        rate ← max(low, rate / factor)   where KL > 2 target
        rate ← min(high, rate · factor)  where KL < target / 2

    Args:
        factor: of one change, above 1.
        low, high: bounds of the learning rate, to which the schedule of the optimizer is a factor of its own.
    """

    scale: Tensor
    """Factor of the optimizer's learning rate, on the host, which computes rates"""
    starts_anew = ("kl", "scale")

    def __init__(self, *, target: float, factor: float = 1.5, low: float = 1e-5, high: float = 1e-2):
        super().__init__(target=target)
        self.factor, self.low, self.high = factor, low, high
        in_range(self, factor=(1, None), low=(0, None), high=(low, None))
        self.register_buffer("scale", torch.ones((), dtype=torch.float64, device="cpu"))
        self.base = 1.0
        self.plain: Callable[[int], float] | None = None

    def optimizer(self, choice: Optimizer) -> Optimizer:
        self.base, self.plain = choice.lr, choice.schedule
        return replace(choice, schedule=self.schedule)

    def schedule(self, step: int) -> float:
        return self.scale.item() * (1.0 if self.plain is None else self.plain(step))

    def before_pass(self, number: int) -> bool:
        kl, rate = self.kl.item(), self.base * self.scale.item()
        if kl > 2.0 * self.target:
            self.scale.fill_(max(self.low, rate / self.factor) / self.base)
        elif 0.0 < kl < 0.5 * self.target:  # 0 before the first update
            self.scale.fill_(min(self.high, rate * self.factor) / self.base)
        return True
