"""The average reward of a policy as the criterion, in place of the discounted sum (ARO-DDPG: Saxena and others, 2023).

    ρ  =  lim (1/T) E[Σ r_t]              Q(s, a)  =  E[Σ (r_t − ρ)]              differential values, without a discount

    y    =  r − ρ̄ + min_j Q̄_j(s', a')                                             critics
    L_ρ  =  ½ mean (r − ρ + min_j Q̄_j(s', a') − min_j Q̄_j(s, a))²                 rate, beside the critics
    ρ̄   ←  ρ̄ + tau (ρ − ρ̄)                                                       with the target networks

With transitions of m steps ρ counts m times. Q is defined up to a constant. docs/algorithms/aro_ddpg.md.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from deeprl.choice import in_range, one_of
from deeprl.parts.rate import Rate
from deeprl.types import Batch
from deeprl.values.losses import average


class AverageReward(Rate):
    """ρ as a parameter that is learned with the critics.

    Args:
        discount: the run's, which must be 1.
        update: `paper`, the equations above; `joint`, the authors' code: L_ρ is the loss of the critics themselves, Σ_j ½ mean (r − ρ +
            min_j Q̄_j(s', a') − Q_j(s, a))², and targets read ρ itself.
        tau: step of ρ̄.
        lr: learning rate of ρ; None: that of the critics.

    Raises:
        ValueError: the discount is not 1.
    """

    learned = True

    def __init__(self, *, discount: float, update: str = "paper", tau: float = 0.005, lr: float | None = None):
        super().__init__()
        if discount != 1.0:
            raise ValueError(f"discount must be 1 where the average reward is learned, not {discount}: set discount=1")
        self.update, self.tau, self.lr = update, tau, lr
        one_of(self, update=("paper", "joint"))
        in_range(self, tau=(0, 1), **({} if lr is None else {"lr": (0, None)}))
        self.rate, self.slow = (nn.Parameter(torch.zeros(1), requires_grad=False) for _ in range(2))

    def subtracted(self, batch: Batch) -> Tensor:
        rate = self.slow if self.update == "paper" else self.rate.detach()
        return batch.reward - rate * batch.steps

    def scalars(self) -> list[tuple[Sequence[nn.Parameter], float | None]]:
        return [([self.rate], self.lr)]

    def loss(self, future: Tensor, target_now: Tensor, online_now: Tensor, batch: Batch) -> tuple[Tensor | float, dict[str, Tensor]]:
        now = target_now.unsqueeze(1) if self.update == "paper" else online_now
        error = (batch.reward + batch.discount * future).unsqueeze(1) - now - self.rate * batch.steps  # (K, 1 or E, *B)
        loss = average((batch.weight * 0.5 * error.square()).sum(1), batch.valid).mean()
        return loss, {"train/average_reward": self.rate.detach()}

    def follow(self, due: tuple[str, ...], updates: int) -> None:
        if "target" in due:
            self.slow.lerp_(self.rate, self.tau)
