"""Self-predictive representations, and their bidirectional form (Tang et al., "Understanding Self-Predictive Learning for RL", ICML 2023);
docs/algorithms/representation.md.

    L   = E D( f(Φ(s), a), sg Φ(s') )                                   s' one step later, sg: no gradient
    L_f = E D( f(Φ(s), a), sg Ψ(s') ),   L_b = E D( b(Ψ(s'), a), sg Φ(s) )      bidirectional: Ψ is a second encoder

An encoder can learn to predict its own next latent without collapse to a constant, if no gradient flows through the target and the
predictor learns fast. With the optimal linear predictor F* and one-hot states the features follow

    dΦ/dt = (PΦ − ΦF*) F*ᵀ       or       dΦ/dt = (PΨ − ΦF*) F*ᵀ,   dΨ/dt = (PᵀΦ − ΨB*) B*ᵀ        which keeps ΦᵀΦ constant,

a spectral decomposition of P if P is symmetric, or in the second form the singular value decomposition of any P.

Ours or not verified: sizes of latent and predictor, the scale of the loss, and the action as input of both predictors. At an episode's end
s' is the true last observation, so that no pair spans two episodes. Features of critics are those of pairs: Φ(s, a) predicts Φ(s', a') for
the action a' of the policy in the critics' targets, and the predictors need no other action: P is the transition matrix of pairs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from deeprl.choice import in_range, one_of
from deeprl.learning.networks.blocks import Torso, has_statistics, stacked
from deeprl.learning.networks.mlp import MLP
from deeprl.learning.networks.torsos import widths
from deeprl.learning.optim.flat import Optimizer, Trained
from deeprl.learning.parts.auxiliary import Auxiliary
from deeprl.learning.parts.chains import Chain
from deeprl.learning.plan import Plan
from deeprl.learning.values.losses import average
from deeprl.learning.values.view import Network, View
from deeprl.types import Batch, Term


def cosine(predicted: Tensor, target: Tensor) -> Tensor:
    """2 − 2 cos of the angle between prediction and target, (..., Z) -> (...)."""
    return 2.0 - 2.0 * F.cosine_similarity(predicted, target, dim=-1)


def distance(predicted: Tensor, target: Tensor) -> Tensor:
    """‖predicted − target‖², (..., Z) -> (...)."""
    return (predicted - target).square().sum(-1)


DISTANCES = {"cosine": cosine, "squared": distance}


class SelfPrediction(Auxiliary):
    """Auxiliary loss on the prediction of the next latent.

    Args:
        latent: Z, width of Φ, a linear map of the features; None: Φ is the features.
        hidden: hidden layers of a predictor; without any it is linear.
        loss: `cosine`, or the theory's `squared`.
        goal: encoder that gives the target: `online`, the one that learns, without gradient, as in the theory; or `target`, that of the
            target network (a periodic copy; others use a moving average).
        scale: factor of the loss; 0 leaves the agent unchanged, bit for bit.
        lr_multiple: learning rate of the predictors, as a multiple of that of the encoders.
    """

    needs = frozenset({"successor"})
    former: ClassVar = {**Auxiliary.former, "project": "latent_of", "first": "phi"}
    quick: ClassVar[tuple[str, ...]] = ("forth",)
    """Predictors, of the modules from `beside`: they have the multiple of the learning rate"""
    slow: ClassVar[tuple[str, ...]] = ("latent",)
    """Parts of encoders"""

    def __init__(
        self,
        *,
        plan: Plan,
        latent: int | None = 128,
        hidden: Sequence[int] = (128,),
        loss: str = "cosine",
        goal: str = "online",
        scale: float = 1.0,
        lr_multiple: float = 10.0,
    ):
        super().__init__(plan=plan)
        self.latent, self.hidden, self.loss, self.goal, self.scale, self.lr_multiple = latent, hidden, loss, goal, scale, lr_multiple
        widths(self, "hidden")
        one_of(self, loss=tuple(DISTANCES), goal=("online", "target"))
        in_range(self, scale=(0, None), lr_multiple=(0, None))
        if latent is not None:
            in_range(self, latent=(1, None))
        self.spec, self.torso = plan.spec, plan.torso
        self.action_inputs = plan.spec.num_actions if plan.spec.num_actions > 1 else 0  # of a predictor, one-hot

    def bind(self, chain: Chain) -> None:
        if self.goal == "target" and (chain.anchors or chain.target is chain.online):
            raise ValueError(
                "agent.auxiliary.goal must be online where the chain has no target network, because target would be the same encoder"
            )

    def beside(self, torso: Torso, n: int, heads: int) -> nn.ModuleDict:
        width = self.latent or torso.features
        return nn.ModuleDict({"latent": self.projection(torso, n), "forth": self.predictor(width, n)})

    def projection(self, torso: Torso, n: int) -> nn.Module:
        """Module from features to latents."""
        if self.latent is None:
            return nn.Identity()
        return MLP(n, (torso.features, self.latent), activate_last=False, init=self.torso.init)

    def predictor(self, width: int, n: int) -> nn.Module:
        return MLP(n, (width + self.action_inputs, *self.hidden, width), activate_last=False, init=self.torso.init)

    def groups(self, beside: nn.ModuleDict, optimizer: Optimizer) -> Trained:
        quick, slow = ([p for name in names for p in beside[name].parameters()] for names in (self.quick, self.slow))
        groups: Trained = [(quick, replace(optimizer, lr=self.lr_multiple * optimizer.lr))]
        return [(slow, optimizer), *groups] if slow else groups

    def predict(self, predictor: nn.Module, latent: Tensor, action: Tensor) -> Tensor:
        """(torsos, *B, Z) and (*B,) -> (torsos, *B, Z)"""
        if self.action_inputs:
            taken = (torch.arange(self.action_inputs, device=action.device) == action.unsqueeze(-1)).to(latent.dtype)
            latent = torch.cat([latent, taken.expand(*latent.shape[:-1], -1)], -1)
        return stacked(predictor, latent)

    @staticmethod
    def latent_of(latent: nn.Module, features: Tensor) -> Tensor:
        """(torsos, *B, Z)"""
        return features if isinstance(latent, nn.Identity) else stacked(latent, features)

    def phi(self, network: Network, obs: Tensor) -> Tensor:
        """Φ, (torsos, *B, Z)."""
        return self.latent_of(network.beside["latent"], network.features(obs))

    def forward(self, online: View, target: View, batch: Batch) -> Term:
        network = online.network
        now = self.latent_of(network.beside["latent"], online.now.features)
        with torch.no_grad():
            # a chain with a shared torso has two target torsos; the first is that of Q̄_0
            latent = self.phi(target.network if self.goal == "target" else network, batch.extra["successor"])[: now.shape[0]]
        loss = self.error(self.predict(network.beside["forth"], now, batch.action), latent, batch)
        return Term(self.scale * loss, {"train/auxiliary_loss": loss})

    def error(self, predicted: Tensor, target: Tensor, batch: Batch) -> Tensor:
        return average(batch.weight * DISTANCES[self.loss](predicted, target), batch.valid).sum()


class Bidirectional(SelfPrediction):
    """Bidirectional form: a second encoder Ψ, with its own torso, encodes the successor, and each encoder predicts the other's latent."""

    former: ClassVar = {**SelfPrediction.former, "second": "psi"}
    quick = (*SelfPrediction.quick, "back")
    slow = (*SelfPrediction.slow, "second", "second_latent")

    def beside(self, torso: Torso, n: int, heads: int) -> nn.ModuleDict:
        parts = super().beside(torso, n, heads)
        second: Any = self.torso.build(self.spec, n)
        if has_statistics(second):
            raise ValueError(
                f"agent/auxiliary=bidirectional has a second encoder, whose running averages nothing would renew with "
                f"{type(self.torso).__name__}: choose agent/auxiliary=self_prediction, or another agent/torso"
            )
        parts.update({"second": second, "second_latent": self.projection(second, n)})
        widths = torso.features, second.features
        if self.latent is None and widths[0] != widths[1]:  # the first may end in hidden layers that heads share
            raise ValueError(
                f"agent.auxiliary.latent must be a width and not null, because the two encoders have {widths[0]} and {widths[1]} features"
            )
        parts["back"] = self.predictor(self.latent or torso.features, n)
        return parts

    def psi(self, network: Network, obs: Tensor) -> Tensor:
        """Ψ, (torsos, *B, Z)."""
        lead = obs.shape[: obs.dim() - len(self.spec.obs_shape)]
        features = network.beside["second"](obs.flatten(0, len(lead) - 1)).unflatten(1, lead)
        return self.latent_of(network.beside["second_latent"], features)

    def forward(self, online: View, target: View, batch: Batch) -> Term:
        network = online.network
        successor, beside = batch.extra["successor"], network.beside
        now, after = self.latent_of(beside["latent"], online.now.features), self.psi(network, successor)
        if self.goal == "target":
            with torch.no_grad():
                latents = self.phi(target.network, batch.obs), self.psi(target.network, successor)
        else:
            latents = now.detach(), after.detach()
        earlier, later = (latent[: now.shape[0]] for latent in latents)
        forth = self.error(self.predict(beside["forth"], now, batch.action), later, batch)
        back = self.error(self.predict(beside["back"], after, batch.action), earlier, batch)
        return Term(self.scale * (forth + back), {"train/auxiliary_loss": forth + back, "train/auxiliary_loss_back": back})
