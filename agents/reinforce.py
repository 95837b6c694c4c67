"""The agent that learns a policy from whole episodes: no value, no bootstrap. REINFORCE, POIS and HARPG are choices of its ascent.

    J ≈ Σ_t (γ^t / m_t) Σ_{i: h_i > t} r_{i,t}                       m_t episodes are planned to be longer than t
    Φ = Σ_i Σ_{t < h_i} G_{i,t} log π(a_{i,t}|s_{i,t}),              G_{i,t} = Σ_{l ≥ t} (γ^l / m_l) r_{i,l}, held fixed
    REINFORCE   θ ← θ + lr ∇Φ                                        (Williams, 1992); with equal lengths m_t = N

An episode that ends by itself earns nothing behind its end, and counts in m_t there.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from deeprl.choice import Part, in_range, one_of
from deeprl.learning.agent import Infer
from deeprl.learning.networks.policies import Policy, PolicyChoice
from deeprl.learning.networks.torsos import TorsoChoice
from deeprl.learning.objective import Objective
from deeprl.learning.optim.differentiated import differentiated
from deeprl.learning.optim.directions import flat_gradient
from deeprl.learning.optim.finite import finite
from deeprl.learning.optim.own import OwnSteps
from deeprl.learning.parts.exploration import certain
from deeprl.learning.parts.whole_episodes import WholeEpisodes
from deeprl.learning.policy_agent import PolicyAgent
from deeprl.learning.transforms.masks import divided_batch
from deeprl.learning.values.masked import only
from deeprl.types import AgentStep, Batch, NetworkNoise, Noise, Report, Spec, Term


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


class TrajectoryPolicy(PolicyAgent):
    """Agent for discrete or continuous actions: a policy, and a rule by which it moves.

    Args:
        spec, seed: spaces of the environment; seed of the initial weights.
        torso: choice of the policy's features.
        policy: choice that builds the policy.
        ascent: the rule.
        rewards, normalize: as in `ValueAgent`.

    Raises:
        ValueError: a value is out of range, or the torso has running averages.
    """

    needs = frozenset({"trajectories", "planned"})

    def __init__(
        self,
        *,
        spec: Spec,
        seed: int,
        torso: TorsoChoice,
        policy: PolicyChoice,
        ascent: Callable[..., Ascent],
        rewards: Callable[..., Part],
        normalize: Callable[..., Part],
    ):
        super().__init__(spec=spec, seed=seed, torso=torso, policy=policy, rewards=rewards, normalize=normalize)
        self.ascent = ascent(policy=self.policy, seed=seed)
        self.needs, self.drawn_size = type(self).needs | self.ascent.needs, self.ascent.drawn_size
        parameters = [*self.policy.parameters(), *self.ascent.trained()]
        optimizer = OwnSteps(parameters)
        self.ascent.__dict__["optimizer"] = optimizer
        self.objectives = {"policy": Objective(self.loss, parameters, optimizer, self.ascended)}

    def copies(self) -> dict[str, Callable[[], object]]:
        return {f"ascent.{name}": renew for name, renew in self.ascent.copies().items()}

    def infer(self, obs: Tensor, noise: NetworkNoise, *state: Tensor) -> Tensor:
        obs, valid = self.seen(obs)
        policy = self.ascent.behaviour
        return policy.sampled(only(policy.outputs(obs), valid), noise.layers["action"])

    def act(self, obs: Tensor, first: Tensor, memory: dict, step: int, noise: Noise, explore: bool, infer: Infer = None) -> AgentStep:
        if not explore or not self.drawn_size:
            return super().act(obs, first, memory, step, noise, explore, infer)
        drawn = self.ascent.drawn(noise["drawn"])
        drawn = torch.where(first[:, None].to(drawn.device), drawn, memory["drawn"].to(drawn.device)) if memory else drawn
        action = self.ascent.acted(*self.seen(obs), drawn)
        return AgentStep(action.cpu(), certain(len(obs)), {"drawn": drawn}, state=drawn)

    def act_noise(self, size: tuple[int, ...], generator) -> Noise:
        found = super().act_noise(size, generator)
        if self.drawn_size:
            found["drawn"] = torch.randn((*size, self.drawn_size), generator=generator).to(self.ascent.optimizer.flat.device)
        return found

    def episodes(self, batch: Batch) -> WholeEpisodes:
        if self.spec.masked:
            batch = divided_batch(batch, self.spec.mask_size)
        return WholeEpisodes(batch._replace(obs=self.normalize(batch.obs)))

    def loss(self, batch: Batch) -> Term:
        """What a step lessens; the error is |r|."""
        return Term(self.ascent.loss(self.episodes(batch)), error=batch.reward.abs())

    def ascended(self, batch: Batch) -> tuple[Report, Tensor]:
        """One step of the ascent."""
        episodes = self.episodes(batch)
        with torch.no_grad():
            found = {
                "train/discounted_return": (episodes.discounted / episodes.counts).sum(),
                "train/entropy": self.policy.entropy(episodes.outputs(self.policy))[batch.valid],
                "train/episode_length": batch.valid.sum(0).float(),
            }
        metrics, norm = self.ascent.step(episodes, self.updates)
        found |= metrics
        return Report(batch.reward.abs(), {name: value.detach().float() for name, value in found.items()}), norm.float()
