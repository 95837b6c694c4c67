"""RVI-SAC: relative value iteration with a soft actor-critic (Hisaki and Ono, 2024). The criterion is the average reward of a step.

    1  critics       y    =  r − c · term − f + V̄(s'),      V̄(s') = min_j Q̄_j(s', a') − α log π(a'|s')
    2  offset        f   ←  (1 − κ) f + κ mean V̄(s')
    3  reset critic  y_r  =  term − f_r + Q̄_r(s', a'),      f_r  ←  (1 − κ) f_r + κ mean Q̄_r(s', a')
    4  reset cost    min over c ≥ 0 of  − c (f_r − ε)

There is no discount, and no cut at a termination: s' is then the first observation of the next episode, and each termination costs c. f
approaches the average of r − c · term + α H(π), because Q + x has the offset f + x. f_r is the same for the reward `term`, the share of
steps that terminate; c rises while it is above ε. Q̄_r moves with the target critics.

Ours: all four read the values of before the update. The last layer of Q_r starts at 0, so that f_r and c stay 0 where nothing terminates.
With transitions of m steps f and f_r count m times; with K iterations f is their mean. Provenance: docs/algorithms/rvi_sac.md.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn

from deeprl.choice import in_range
from deeprl.learning.networks.torsos import MLPTorso, widths
from deeprl.learning.networks.value_network import Networks
from deeprl.learning.optim.flat import Optimizer, Trained, flatten_
from deeprl.learning.parts.rate import Rate, undiscounted
from deeprl.learning.values.losses import average, squared
from deeprl.types import Batch, Term


class RelativeValue(Rate):
    """The offset f, with a learned cost of terminations.

    Args:
        networks: builder of networks over (observation, action).
        discount: the run's, which must be 1.
        kappa: κ, step of the moving averages f and f_r.
        allowed: ε, terminations a step up to which c does not rise.
        initial_cost: c at the start, in units of the learned rewards.
        cost_lr: learning rate of c, with the critics' optimizer; None: theirs; 0 keeps c as it is.
        lr: learning rate of the reset critic; None: that of the critics.
        hidden: widths of the reset critic.

    Raises:
        ValueError: the discount is not 1, or a value is out of range.
    """

    needs = frozenset({"signed", "restart"})
    learned = True
    offset: Tensor
    frequency: Tensor

    def __init__(
        self,
        *,
        networks: Networks,
        discount: float,
        kappa: float = 5e-3,
        allowed: float = 1e-3,
        initial_cost: float = 0.0,
        cost_lr: float | None = None,
        lr: float | None = None,
        hidden: Sequence[int] = (64, 64),
    ):
        super().__init__(networks=networks)
        undiscounted(discount)
        self.kappa, self.allowed, self.initial_cost, self.cost_lr, self.lr, self.hidden = kappa, allowed, initial_cost, cost_lr, lr, hidden
        widths(self, "hidden")
        rates = {name: (0, None) for name in ("cost_lr", "lr") if getattr(self, name) is not None}
        in_range(self, kappa=(0, 1), allowed=(0, 1), initial_cost=(0, None), **rates)
        self.critic = replace(networks, torso=MLPTorso(hidden=tuple(self.hidden))).scalars("reset", stack=1, torsos=1, outputs=1)
        for parameter in self.critic.head.parameters():
            parameter.zero_()
        self.target = copy.deepcopy(self.critic)
        flatten_(list(self.target.parameters()))
        self.register_buffer("offset", torch.zeros(1))
        self.register_buffer("frequency", torch.zeros(1))
        self.cost = nn.Parameter(torch.tensor([float(initial_cost)]), requires_grad=False)

    def groups(self, optimizer: Optimizer) -> Trained:
        critic, cost = (optimizer if lr is None else replace(optimizer, lr=lr) for lr in (self.lr, self.cost_lr))
        return [(list(self.critic.parameters()), critic), ([self.cost], cost)]

    def companions(self) -> list[tuple[list[Tensor], list[Tensor]]]:
        return [(list(self.target.parameters()), list(self.critic.parameters()))]

    def project_(self) -> None:
        self.cost.clamp_(min=0.0)

    def differential_reward(self, batch: Batch) -> Tensor:
        # 1  with V̄(s'), which the agent adds: the target of the critics
        return batch.reward - self.cost.detach() * batch.extra["restart"] - self.offset * batch.steps

    def loss(self, future: Tensor, target_now: Tensor, online_now: Tensor, batch: Batch) -> Term:
        # 2
        offset = self.offset.lerp(average(future, batch.valid).mean().to(torch.float32), self.kappa)  # a mapping has float64

        # 3  without a gradient to the observations, because critics alone shape the features of images
        term, f_r = batch.extra["restart"].to(torch.float32), self.frequency
        after = self.target(batch.next_obs).mean().squeeze(-1).detach()  # Q̄_r(s', a'), (1, *B)
        error = term - f_r * batch.steps + after - self.critic(batch.obs.detach()).mean().squeeze(-1)
        critic = average(batch.weight * squared(error), batch.valid)
        frequency = f_r.lerp(average(after, batch.valid), self.kappa)

        # 4  c is cut off at 0 after the update, see `project_`
        cost = -self.cost * (f_r - self.allowed)

        metrics = {"train/average_reward": self.offset, "train/termination_rate": f_r, "train/reset_cost": self.cost}
        shown = {name: value.clone() for name, value in metrics.items()}
        return Term((critic + cost).sum(), shown, {"offset": offset, "frequency": frequency})
