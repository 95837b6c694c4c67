"""Values of random rewards as an auxiliary loss (Tang and Munos, "Towards a Better Understanding of Representation Dynamics under
TD-learning", ICML 2023); docs/algorithms/representation.md.

    L  =  (1/h) Σ_i mean (r̂_i(s) + γ (1 − terminated) V̄_i(s') − V_i(s))²,     s' one step later,  i = 1 … h

V_i are h outputs on the shared features; they evaluate the policy that collected the data. With many random rewards the features approach
leading eigenvectors of the transition matrix, if the heads learn fast: in the paper's flow they are always optimal. Features of critics are
those of pairs: there V_i(s) is Q_i(s, a), V̄_i(s') is Q̄_i(s', a'), and a' comes from the policy of the critics' targets, which Q_i evaluate.

    W* = [Φᵀ D (I − γP) Φ]⁻¹ Φᵀ D R,     dΦ/dt = D (R − (I − γP) Φ W*) W*ᵀ,     which keeps ΦᵀΦ constant

Not verified, and so our choice: h, the scale of the loss, the agents that use it, and the distribution of the rewards. r̂ is a fixed random
network of s with a tanh, standardised over all collected data.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from torch import Tensor, nn

from deeprl.choice import in_range
from deeprl.learning.networks.blocks import Torso, stacked
from deeprl.learning.networks.mlp import MLP
from deeprl.learning.optim.flat import Optimizer, Trained
from deeprl.learning.parts.auxiliary import Auxiliary
from deeprl.learning.plan import Plan
from deeprl.learning.transforms.moments import merge_
from deeprl.learning.values.losses import average, squared
from deeprl.learning.values.view import View
from deeprl.types import Batch, Rows, Term


class RandomRewards(Auxiliary):
    """Auxiliary loss on the values of random rewards.

    Args:
        discount: γ of the auxiliary values; a configuration value, `${discount}`.
        heads: h.
        scale: factor of the loss; 0 leaves the agent unchanged, bit for bit.
        lr_multiple: learning rate of the heads, as a multiple of that of the features.
    """

    needs = frozenset({"successor", "terminated"})
    count: Tensor
    mean: Tensor
    m2: Tensor

    def __init__(self, *, plan: Plan, discount: float, heads: int = 16, scale: float = 0.1, lr_multiple: float = 10.0):
        super().__init__(plan=plan)
        self.discount, self.heads, self.scale, self.lr_multiple = discount, heads, scale, lr_multiple
        in_range(self, discount=(0, 1), heads=(1, None), scale=(0, None), lr_multiple=(0, None))
        self.init = plan.torso.init
        self.normalized = plan.normalize.forward  # the method, not the module, because the agent owns the module
        self.reward = plan.observed("auxiliary.reward", 1, 1, heads)
        for name in ("count", "mean", "m2"):
            self.register_buffer(name, torch.zeros(() if name == "count" else heads, dtype=torch.float64))

    def beside(self, torso: Torso, n: int, heads: int) -> nn.Module:
        return MLP(n, (torso.features, self.heads), activate_last=False, init=self.init)

    def groups(self, beside: nn.Module, optimizer: Optimizer) -> Trained:
        return [(list(beside.parameters()), replace(optimizer, lr=self.lr_multiple * optimizer.lr))]

    def raw(self, obs: Tensor) -> Tensor:
        """Random rewards of observations before they are standardised, (*B, h)."""
        return self.reward(obs).mean()[0].tanh()

    def rewards(self, obs: Tensor) -> Tensor:
        """r̂, (*B, h): mean 0 and variance 1 over the collected data."""
        variance = torch.where(self.count > 1, self.m2 / self.count.clamp(min=1.0), 1.0)
        return ((self.raw(obs) - self.mean) * (variance + 1e-8).rsqrt()).float()

    def observe(self, rows: Rows) -> None:
        with torch.no_grad():
            new = self.raw(self.normalized(torch.from_numpy(np.ascontiguousarray(rows.obs)).to(self.mean.device))).cpu().numpy()
        merge_(self.count, self.mean, self.m2, new)

    def forward(self, online: View, target: View, batch: Batch) -> Term:
        now, later = online.network, target.network
        values = stacked(now.beside, online.now.features)  # (torsos, *B, h)
        with torch.no_grad():
            # a chain with a shared torso has two target torsos; the first is that of Q̄_0
            after = stacked(later.beside, later.features(batch.extra["successor"]))[: values.shape[0]]
            going_on = self.discount * ~batch.extra["terminated"]
            bootstrapped = self.rewards(batch.extra.get("observed", batch.obs)) + going_on.unsqueeze(-1) * after
        loss = average(batch.weight * squared(bootstrapped - values).mean(-1), batch.valid).sum()
        return Term(self.scale * loss, {"train/auxiliary_loss": loss})
