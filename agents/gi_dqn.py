"""Gradient iterated temporal differences, Gi-TD and Gi-DQN (Vincent et al., arXiv 2603.07833); docs/algorithms/gi_dqn.md.

    y_k = reward + discount · max_a' Q_{k−1}(s', a'),     δ_k = y_k − Q_k(s, a),     h_k(s, a) ≈ E[δ_k | s, a]

    L  =  Σ_k mean [ δ_k² without the gradient of y_k  +  2 y_k sg(h_k)  +  2 h_k sg(h_k − δ_k) ]           sg: no gradient
    ∂L / ∂Q_k = −2 δ_k,     ∂L / ∂y_k = 2 h_k,     ∂L / ∂h_k = 2 (h_k − δ_k)

The target y_k moves with Q_{k−1}, and the gradient goes through it. Its factor is h_k and not the sampled δ_k: the product of δ_k and ∇y_k
from one transition is a biased estimate of the product of their means (double sampling). Q̄_0 is frozen. Without an anchor
(`agent/chain=online_target`) the only target moves with Q_1 itself: the regularised correction QRC (Ghiassian et al., 2020). With
categories the sum has KL(m || q) in the place of the square, m and q are the target's and the predicted probabilities, and h is the dual
variable of that divergence:

    Σ m sg(h) − [ Σ sg(m) h − ln Σ sg(q) exp h ]

h is linear in the features, which have no gradient from it, as in the authors' shared variants. Where Q̄_0 is a head on the online torso
(`agent/chain=iterated_shared`) the gradient goes through y_1 too, into that head and the torso.
"""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn

from deeprl.choice import in_range
from deeprl.learning.backups.bellman import Double, Max
from deeprl.learning.backups.mellowmax import Mellowmax
from deeprl.learning.networks.blocks import Torso, has_statistics, stacked
from deeprl.learning.networks.mlp import MLP
from deeprl.learning.optim.flat import Optimizer, Trained
from deeprl.learning.parts.auxiliary import Auxiliary
from deeprl.learning.parts.chains import Chain, follow_
from deeprl.learning.parts.window import Window
from deeprl.learning.plan import Plan
from deeprl.learning.values.distributions import CategoricalValues, pick_atoms
from deeprl.learning.values.losses import average, project_atoms
from deeprl.learning.values.returns import Returns, Values, pick
from deeprl.learning.values.view import EntriesView, Network, View
from deeprl.types import Batch, Term


def square_correction(target: Tensor, value: Tensor, h: Tensor) -> tuple[Tensor, Tensor]:
    """Loss beside δ², and δ; all (...)."""
    error = (target - value).detach()
    return 2.0 * (target * h.detach() + h * (h.detach() - error)), error


def divergence_correction(target: Tensor, logits: Tensor, h: Tensor) -> Tensor:
    """Loss beside the cross-entropy, (..., N) -> (...). `target` are probabilities. Its minimum over h is reached at h = ln(target /
    softmax(logits)) plus a constant."""
    dual = (target.detach() * h).sum(-1) - (logits.detach().log_softmax(-1) + h).logsumexp(-1)
    return (target * h.detach()).sum(-1) - dual


class IteratedLive(Window):
    """K iterations of which Q̄_0 is a network of its own, and Q̄_1 … Q̄_{K−1} are the online heads as they are.

    Q̄_1 … Q̄_{K−1} are stored as copies that are renewed after every update, so that their numbers are always those of the online heads.
    There is no sync period: T is the only clock. In Gi-TD the heads are linear on shared hidden layers.
    """

    offers = frozenset({"iterations"})
    live = True

    def reset_target(self) -> None:
        super().reset_target()
        follow_(self.target, self.online)  # Q̄_k ← Q_k  k = 1 … K − 1

    def after_update(self, due: tuple[str, ...], target_updates: int) -> None:
        follow_(self.target, self.online)


class Joined:
    """Values of Q̄_0, then those of Q_1 … Q_{K−1}, as far as the backups of `GradientCorrection` read them."""

    def __init__(self, anchor: Values, live: Values):
        self.parts = anchor.entries(slice(1)), live.entries(slice(-1))

    def mean(self) -> Tensor:
        return torch.cat([part.mean() for part in self.parts])

    def expect(self, policy: Tensor) -> Returns:
        found = [part.expect(actions) for part, actions in zip(self.parts, policy.split([1, policy.shape[0] - 1]))]
        return Returns(*(None if field[0] is None else torch.cat(field) for field in zip(*found)))  # type: ignore[arg-type]


class GradientCorrection(Auxiliary):
    """Auxiliary loss that completes the semi-gradient of a live chain.

    The weights of its samples are those of the replay; `agent/weighting` does not change them.

    Args:
        scale: factor of the loss; 0 leaves Q as the chain alone has it, bit for bit.
        decay: β. h shrinks by β times its learning rate at every update; Q, torso and the rest do not (decoupled decay, of Adam only).
        lr_multiple: learning rate of h, as a multiple of that of Q. The authors' μ is a factor of its loss, which Adam divides out again.
    """

    needs = frozenset({"residual", "actions"})

    def __init__(self, *, plan: Plan, scale: float = 1.0, decay: float = 1.0, lr_multiple: float = 1.0):
        super().__init__(plan=plan)
        self.scale, self.decay, self.lr_multiple = scale, decay, lr_multiple
        in_range(self, scale=(0, None), decay=(0, None), lr_multiple=(0, None))
        if not isinstance(plan.backup, (Max, Double, Mellowmax)):
            raise ValueError(f"the gradient goes through one step: agent/backup=max, double or mellowmax, not {type(plan.backup).__name__}")
        if decay and not hasattr(plan.optimizer, "weight_decay"):
            raise ValueError(f"decay must be 0, because {type(plan.optimizer).__name__} has none; agent/optimizer=adam has")
        self.backup, self.init = plan.backup, plan.torso.init
        self.outputs = plan.spec.num_actions * getattr(plan.head, "atoms", 1)

    def bind(self, chain: Chain) -> None:
        if not chain.live or has_statistics(chain.online.torso):
            raise ValueError(
                "auxiliary gradient_correction needs targets that move with the online network, and a torso without batch statistics: "
                "agent/chain=iterated_live, iterated_shared or online_target"
            )
        self.anchored, self.anchors = chain.target is not chain.online, chain.anchors
        self.share = chain.share

    def beside(self, torso: Torso, n: int, heads: int) -> nn.Module:
        return MLP(heads, (torso.features, self.outputs), activate_last=False, init=self.init)

    def groups(self, beside: nn.Module, optimizer: Optimizer) -> Trained:
        own = {"weight_decay": self.decay} if self.decay or hasattr(optimizer, "weight_decay") else {}
        return [(list(beside.parameters()), replace(optimizer, lr=self.lr_multiple * optimizer.lr, **own))]

    def targets(self, target: View, batch: Batch, network: Network) -> Returns:
        """[T Q_{k−1}](s, a) with the gradient of Q_{k−1}."""
        # views of its own, because the agent's may hold values without a graph
        if self.anchors:  # Q̄_0 is the first head
            heads, before = (EntriesView(network, batch, *each) for each in (("online", slice(1, None)), ("target", slice(-1))))
            return self.backup(heads, before, batch)
        live = View(network, batch, "online")
        moving: Any = SimpleNamespace(next=Joined(target.next, live.next) if self.anchored else live.next)
        return self.backup(live, moving, batch)

    def forward(self, online: View, target: View, batch: Batch) -> Term:
        network = online.network
        returns, chosen = self.targets(target, batch, network), online.now.at(batch.action)
        h = stacked(network.beside, online.now.features.detach())[self.anchors :]  # (K, *B, A · N); Q̄_0 has an h that is not read
        metrics = {}
        if isinstance(chosen, CategoricalValues):
            number = chosen.support.shape[0]
            h = pick_atoms(h.unflatten(-1, (-1, number)), batch.action)
            loss = divergence_correction(project_atoms(returns.atoms, returns.probs, chosen.low, chosen.high, number), chosen.logits, h)
        else:
            h = pick(h, batch.action)
            loss, error = square_correction(returns.mean(), chosen.mean(), h)
            metrics["train/correction_error"] = (h - error).square()
        metrics["train/correction"] = h.abs()
        total = average(batch.weight * loss, batch.valid).sum()
        return Term(self.scale * self.share * total, metrics)
