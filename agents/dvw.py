"""Deep variance weighting (Kitamura et al., ICML 2023, arXiv 2305.13185; the authors' Deep-Variance-Weighting-MinAtar).

    F(s, a) = exp(net_ω(s)_a) + ε_w                                 the variance of the target at (s, a)
    1  variance   v = ([T Q̄⁻](s, a) − Q̄(s, a))²                     mean Huber(F_ω − v)         → ω
    2  scale      w = η / F_ω̄(s, a)                                 (mean w − 1)²               → log η
    3  value      w = max(η / F_ω̄(s, a), w_min), no gradient        mean w ([T Q̄](s, a) − Q)²   → θ
    at a shift     ω̄ ← ω,  Q̄⁻ ← Q̄,  then Q̄ ← Q             with one network at each copy into the target network

Least squares is optimal only if the noise has the same variance everywhere. Q̄ was fitted to targets from Q̄⁻, so that their difference is
the noise of those targets. T is the agent's backup; with Munchausen's this is DVW-M-DQN.

The paper has one network, a uniform replay and scalar values; our extensions are these. ω and η are stacks of K. Q̄⁻ is the target network
before the last *shift* of the chain, because the present entry k was fitted to entry k of that network. Losses 1 and 3 have the replay's
importance weight, loss 2 has not. For other heads the variance is that of the mean. The E critics of an actor are fitted to one target,
which has one variance: v is the mean of their squares. T is then the operator of the present policy. Numbers and provenance:
docs/algorithms/dvw.md.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor, nn

from deeprl.choice import in_range
from deeprl.learning.networks.value_network import ValueNetwork
from deeprl.learning.objective import Objective
from deeprl.learning.optim.adam import Adam
from deeprl.learning.parts.chains import Chain
from deeprl.learning.parts.weighting import Weighting
from deeprl.learning.plan import Plan
from deeprl.learning.values.losses import average, huber
from deeprl.learning.values.returns import pick
from deeprl.learning.values.view import View
from deeprl.types import Batch, Term


class InverseVariance(Weighting):
    """Weights that divide each squared error by the variance of its target, scaled so that their mean in a batch is one.

    Args:
        least_variance: ε_w. It and `threshold` need another value for rewards far above 1.
        least_weight: w_min. Weights raised to it do not lower the others, so that the mean may exceed one (as in the authors' code).
        log_scale: initial log η; the first weights are about e / (1 + ε_w).
        threshold: error above which the Huber loss of the variance is linear, because single large squares would dominate a squared loss.
        lr: learning rate of ω; None: the agent's optimizer unchanged, as in the paper.
        scale_lr: learning rate of log η, with Adam.
    """

    needs = frozenset({"returns", "iterations"})
    copied = ("frozen", "previous")

    def __init__(
        self,
        *,
        plan: Plan,
        chain: Chain,
        least_variance: float = 0.1,
        least_weight: float = 0.1,
        log_scale: float = 1.0,
        threshold: float = 1.0,
        lr: float | None = None,
        scale_lr: float = 1e-3,
    ):
        super().__init__(plan=plan, chain=chain)
        if "rollout" in getattr(plan.backup, "needs", ()):  # a policy in place of a backup has none
            raise ValueError(
                "weights need targets of single transitions, and this one gives those of whole rollouts: choose another agent/backup"
            )
        if not chain.has_copied_target():  # Q̄⁻ is one network as it was, of which `variance_loss` takes a plain view
            raise ValueError(
                f"weights are renewed with copies of one target network, and the chain {type(chain).__name__} has none, or makes its "
                "targets of more: choose another agent/chain, such as single or iterated"
            )
        self.least_variance, self.least_weight, self.threshold, self.scale_lr = least_variance, least_weight, threshold, scale_lr
        in_range(self, least_variance=(0, None), least_weight=(0, None), threshold=(0, None), scale_lr=(0, None))
        if threshold == 0:
            raise ValueError("threshold must be above 0, because the loss of the variance would be 0 everywhere")
        self.backup, self.ensemble = plan.backup, chain.online.ensemble
        self.optimizer = plan.optimizer if lr is None else replace(plan.optimizer, lr=lr)
        self.net = plan.network("weighting", chain.length, chain.torsos, plan.spec.num_actions)
        self.frozen, self.previous = copy.deepcopy(self.net), copy.deepcopy(chain.target)
        if isinstance(log_scale, bool) or not (isinstance(log_scale, (int, float)) and -40 <= log_scale <= 40):
            raise ValueError(f"log_scale must be between -40 and 40, not {log_scale!r}")
        self.start = float(log_scale)
        self.log_scale = nn.Parameter(torch.full((chain.length,), self.start), requires_grad=False)

    def objectives(self) -> dict[str, Objective]:
        omega = list(self.net.parameters())
        return {
            "variance": Objective(self.variance_loss, omega, self.optimizer.build(omega)),
            "scale": Objective(self.scale_loss, [self.log_scale], Adam(lr=self.scale_lr).build([self.log_scale])),
        }

    def variance(self, net: ValueNetwork, batch: Batch) -> Tensor:
        """F at the actions taken, (K, *B)."""
        return pick(net(batch.obs).mean(), batch.action).exp() + self.least_variance

    def weights(self, batch: Batch) -> Tensor:
        """η / F_ω̄, (K, *B), before the floor."""
        with torch.no_grad():
            variance = self.variance(self.frozen, batch)
        return self.log_scale.exp().view(-1, *(1 for _ in variance.shape[1:])) / variance

    def variance_loss(self, online: View, target: View, batch: Batch) -> Term:
        with torch.no_grad():
            # the previous target uses the target's noise, so that it needs no noise stream of its own
            returns = self.backup(online, View(self.previous, batch, "target"), batch).mean()
            residual = returns.unsqueeze(1) - target.now.at(batch.action).mean().unflatten(0, (-1, self.ensemble))  # (K, E, *B)
        variance = self.variance(self.net, batch)
        loss = huber(variance - residual.square().mean(1), self.threshold)
        metrics = {"train/variance_loss": loss, "train/variance": variance}
        return Term(average(batch.weight * loss, batch.valid).sum(), metrics, error=residual.abs().flatten(0, 1).mean(0))

    def scale_loss(self, online: View, target: View, batch: Batch) -> Term:
        off = average(self.weights(batch), batch.valid) - 1.0  # (K,)
        return Term(off.square().sum(), {"train/weight_scale": self.log_scale.exp()})

    def forward(self, online: View, target: View, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        weight = self.weights(batch).clamp(min=self.least_weight)
        ends = weight.where(batch.valid, torch.inf).amin(), weight.where(batch.valid, -torch.inf).amax()
        return batch.weight * weight, {"train/weight_mean": weight, "train/weight_min": ends[0], "train/weight_max": ends[1]}

    def shift(self, target: nn.Module) -> None:
        self.frozen.load_state_dict(self.net.state_dict())
        self.previous.load_state_dict(target.state_dict())

    def reset(self, chain: Chain, renew_: Callable[[nn.Module], None]) -> None:
        renew_(self.net)
        self.shift(chain.target)
        self.log_scale.fill_(self.start)
