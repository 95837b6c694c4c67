"""The average reward of a policy as the criterion, in place of the discounted sum (ARO-DDPG: Saxena and others, 2023).

    ρ  =  lim (1/T) E[Σ r_t]              Q(s, a)  =  E[Σ (r_t − ρ)]              differential values, without a discount

    y    =  r − ρ̄ + min_j Q̄_j(s', a')                                             critics
    L_ρ  =  ½ mean (r − ρ + min_j Q̄_j(s', a') − min_j Q̄_j(s, a))²                 rate, beside the critics
    ρ̄   ←  ρ̄ + tau (ρ − ρ̄)                                                       with the target networks, by their tau

With transitions of m steps ρ counts m times. Q is defined up to a constant. docs/algorithms/aro_ddpg.md.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor, nn

from deeprl.choice import in_range, of_rewards, one_of
from deeprl.errors import ConfigError
from deeprl.learning.networks.value_network import Networks
from deeprl.learning.optim.flat import Optimizer, Trained
from deeprl.learning.parts.rate import Rate, undiscounted
from deeprl.learning.values.losses import average
from deeprl.types import Batch, Rows, Term


class AverageReward(Rate):
    """ρ as a parameter that is learned with the critics.

    Args:
        networks: see `Rate`.
        discount: the run's, which must be 1.
        update: `paper`, the equations above; `joint`, the authors' code: ρ is fitted with each critic's own prediction,
            L_ρ = Σ_j ½ mean (r − ρ + min_j Q̄_j(s', a') − Q_j(s, a))², and targets read ρ itself.
        lr: learning rate of ρ; None: that of the critics.

    Raises:
        ValueError: the discount is not 1; or, in training, the environment terminates.
    """

    needs = frozenset({"signed"})
    learned = True
    keeps_statistics = False  # ρ is a parameter

    def __init__(self, *, networks: Networks, discount: float, update: str = "paper", lr: float | None = None):
        super().__init__(networks=networks)
        undiscounted(discount)
        self.update, self.lr = update, lr
        one_of(self, update=("paper", "joint"))
        if lr is not None:
            in_range(self, lr=(0, None))
        self.average, self.slow = (nn.Parameter(torch.zeros(1), requires_grad=False) for _ in range(2))

    def differential_reward(self, batch: Batch) -> Tensor:
        rate = self.slow if self.update == "paper" else self.average.detach()
        return batch.reward - rate * batch.steps

    def groups(self, optimizer: Optimizer) -> Trained:
        return [([self.average], optimizer if self.lr is None else replace(optimizer, lr=self.lr))]

    def companions(self) -> list[tuple[list[Tensor], list[Tensor]]]:
        return [([self.slow], [self.average])]

    def loss(self, future: Tensor, target_now: Tensor, online_now: Tensor, batch: Batch) -> Term:
        now = target_now.unsqueeze(1) if self.update == "paper" else online_now
        error = (batch.reward + batch.discount * future).unsqueeze(1) - now - self.average * batch.steps  # (K, 1 or E, *B)
        loss = average((batch.weight * 0.5 * error.square()).sum(1), batch.valid).mean()
        return Term(loss, {"train/average_reward": self.average.clone()})

    @of_rewards
    def observe(self, rows: Rows) -> None:
        if rows.terminated.any():
            raise ConfigError(
                "agent/rate=average learns values up to a constant, and this environment terminates, where a value is 0: "
                "the result would depend on the constant. Use a task that does not terminate, agent/rate=relative, or agent/rate=none "
                "with a discount"
            )
