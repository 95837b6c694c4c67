"""POIS in the space of parameters (Metelli, Papini, Faccio, Restelli, 2018): the weights of a deterministic policy are drawn anew in each
episode, and the law they are drawn from is optimised.

    φ_i ~ N(μ, σ²);   w_i = N(φ_i; μ, σ²) / N(φ_i; μ₀, σ₀²);   (1/N) Σ_i w_i G_i − √((1−δ)/δ) √(d₂(N_{μ,σ} ‖ N_{μ₀,σ₀}) / N) max_i |G_i|

An episode is one sample, so that nothing is summed over time. σ has a component for each weight; evaluation takes μ.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor, nn

from deeprl.agents.climbing import Climb
from deeprl.agents.importance_bound import gaussian_log_d2, lower_bound
from deeprl.choice import in_range, one_of
from deeprl.learning.networks.policies import Policy, normal_log_density
from deeprl.learning.optim.directions import as_flat
from deeprl.learning.optim.flat import write_
from deeprl.learning.parts.ascent import Ascent
from deeprl.learning.parts.whole_episodes import WholeEpisodes
from deeprl.learning.values.masked import only


class ParameterPOIS(Ascent):
    """
    Args:
        delta, center, climb: as in `POIS`.
        log_std: initial log σ.
    """

    needs = frozenset({"drawn"})
    argument_groups: ClassVar = {"climb": Climb}
    remedy = (
        "Of many weights one sampled ratio can outrun the penalty of the bound: choose agent.torso.hidden=[], or more episodes "
        "(replay.episodes)"
    )

    def __init__(
        self,
        *,
        policy: Policy,
        seed: int,
        delta: float = 0.4,
        center: bool = True,
        climb: Climb = Climb(),
        log_std: float = 0.0,
    ):
        super().__init__(policy=policy, seed=seed)
        self.delta, self.center, self.climb, self.log_std = delta, center, climb, log_std
        in_range(self, delta=(1e-6, 1), log_std=(-20, 20))
        one_of(self, center=(True, False))
        self.weights = [parameter for name, parameter in policy.named_parameters() if not name.startswith("deviations")]
        self.spread = nn.Parameter(torch.full((len(as_flat(self.weights)),), float(log_std)), requires_grad=False)
        self.drawn_size = len(self.spread)

    def trained(self) -> Sequence[nn.Parameter]:
        return [self.spread]

    def drawn(self, noise: Tensor) -> Tensor:
        return as_flat(self.weights) + self.spread.exp() * noise

    def acted(self, obs: Tensor, valid: Tensor | None, drawn: Tensor) -> Tensor:
        mean, found = as_flat(self.weights), []
        for m, flat in enumerate(drawn):
            write_(self.weights, flat)
            found.append(self.policy.greedy(only(self.policy.outputs(obs[m : m + 1]), None if valid is None else valid[m : m + 1])))
        write_(self.weights, mean)
        return torch.cat(found)

    def bound(self, episodes: WholeEpisodes, old: tuple[Tensor, Tensor]) -> Tensor:
        """(), for the present law.

        Args:
            old: μ₀ and log σ₀, (Q,).
        """
        drawn, mean, spread = episodes.batch.extra["drawn"].double(), as_flat(self.weights).double(), self.spread.double()
        ratio = normal_log_density(drawn, mean, spread) - normal_log_density(drawn, *old)
        return lower_bound(episodes, self.center, ratio, gaussian_log_d2(mean, spread, *old).exp(), self.delta)

    def behaved(self) -> tuple[Tensor, Tensor]:
        return as_flat(self.weights).double(), self.spread.double().clone()

    def loss(self, episodes: WholeEpisodes) -> Tensor:
        return -self.bound(episodes, self.behaved()).float()

    def step(self, episodes: WholeEpisodes, update: int) -> tuple[dict[str, Tensor], Tensor]:
        old = self.behaved()
        return self.climb(self.optimizer, lambda: self.bound(episodes, old), lambda gradient: gradient)
