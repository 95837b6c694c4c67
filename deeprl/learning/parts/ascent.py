"""How a policy moves on whole episodes: no value, no bootstrap. The base is the plain gradient (REINFORCE; Williams, 1992).

    J ≈ Σ_t (γ^t / m_t) Σ_{i: h_i > t} r_{i,t}                       m_t episodes are planned to be longer than t
    Φ = Σ_i Σ_{t < h_i} G_{i,t} log π(a_{i,t}|s_{i,t}),              G_{i,t} = Σ_{l ≥ t} (γ^l / m_l) r_{i,l}, held fixed
    θ ← θ + lr ∇Φ                                                    with equal lengths m_t = N

An episode that ends by itself earns nothing behind its end, and counts in m_t there.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from deeprl.choice import Part, in_range, one_of
from deeprl.learning.networks.policies import Policy
from deeprl.learning.optim.differentiated import differentiated
from deeprl.learning.optim.directions import flat_gradient
from deeprl.learning.optim.finite import finite
from deeprl.learning.optim.own import OwnSteps
from deeprl.learning.parts.whole_episodes import WholeEpisodes


class Ascent(Part):
    """How a policy moves on its episodes: the plain gradient. Another rule overrides `step`, and `behaviour` if it collects with another
    policy than the one that is learned; what it remembers are buffers.

    Args:
        policy: that is learned.
        seed: of the run.
        lr: learning rate.
        baseline: see `WholeEpisodes.returns`.
    """

    policy: Policy
    optimizer: OwnSteps
    """Of the flat parameters, the policy's and those of `trained`; the agent sets it"""
    drawn_size = 0
    """Q, numbers that are drawn for each episode; 0: none"""

    def __init__(self, *, policy: Policy, seed: int, lr: float = 1e-2, baseline: str = "none"):
        super().__init__()
        self.seed, self.lr, self.baseline = seed, lr, baseline
        in_range(self, lr=(0, None))
        one_of(self, baseline=("none", "others"))
        self.__dict__["policy"] = policy  # the agent's, so no module of this part

    @property
    def remedy(self) -> str:
        """See `Agent.remedy`."""
        return (
            f"A step is agent.ascent.lr={self.lr:g} times a gradient that grows with the returns: take steps of a fixed length "
            f"(agent=npg_igt), or far shorter ones (agent.ascent.lr={self.lr / 10_000:g})"
        )

    @property
    def behaviour(self) -> Policy:
        """The policy that collects the next episodes."""
        return self.policy

    def trained(self) -> Sequence[nn.Parameter]:
        """Parameters beside those of the policy."""
        return ()

    def drawn(self, noise: Tensor) -> Tensor:
        """What is drawn at the start of an episode, (M, Q), of standard normal numbers (M, Q)."""
        raise NotImplementedError

    def acted(self, obs: Tensor, valid: Tensor | None, drawn: Tensor) -> Tensor:
        """Actions for normalised observations (M, *obs), by what was drawn for each episode."""
        raise NotImplementedError

    def copies(self) -> dict[str, Callable[[], object]]:
        """See `deeprl.learning.agent.Agent.copies`, by names in this part."""
        return {}

    def phi(self, episodes: WholeEpisodes) -> Tensor:
        """Φ of each episode, (N,)."""
        return (episodes.returns(self.baseline) * episodes.log_prob(self.policy)).sum(0)

    def gradient(self, episodes: WholeEpisodes) -> Tensor:
        """∇Φ, (P,)"""
        with differentiated(self.optimizer.parameters):
            return finite(flat_gradient(self.phi(episodes).sum(), self.optimizer.parameters))

    def loss(self, episodes: WholeEpisodes) -> Tensor:
        """(), what a step lessens."""
        return -self.phi(episodes).sum().float()

    def step(self, episodes: WholeEpisodes, update: int) -> tuple[dict[str, Tensor], Tensor]:
        """Move the policy.

        Args:
            update: its number, counted from 1.

        Returns:
            Metrics, and () the norm of the gradient.
        """
        gradient = self.gradient(episodes)
        self.optimizer.move_(self.optimizer.flat + self.lr * gradient, self.lr)
        return {}, torch.linalg.vector_norm(gradient)
