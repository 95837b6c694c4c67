"""QGPO: a policy that samples actions by diffusion, guided by an energy (Lu, Chen, Chen, Su, Li, Zhu, Contrastive Energy Prediction for
Exact Energy-Guided Diffusion Sampling in Offline Reinforcement Learning, ICML 2023), for learning offline.

    π(a|s) ∝ μ(a|s) e^{β Q(s, a)},     μ the behaviour in the data;     a_t = α_t a + σ_t z,  z ~ N(0, 1),  see agents/diffusion.py

    L_μ = mean |ε(a_t, t, s) − z|² / D                                                    the score of μ is −ε / σ_t
    L_f = − mean Σ_k softmax_k( β Q̄(s, a_k) ) log softmax_k( f(s, a_{k,t}, t) )           a_1 … a_K ~ μ(·|s), one t for them
    y   = r + γ (1 − d) Σ_k w_k Q̄(s', a'_k),    w = softmax_k( β_Q Q̄(s', a'_k) )          a'_1 … a'_K ~ μ(·|s')
    L_Q = ½ mean_j (y − Q_j(s, a))²                                                       Q̄ = min_j of the target critics
    π     samples of the score −ε / σ_t + scale · ∇_{a_t} f

Critics are asked about actions of the behaviour alone, so no policy can climb where there are no data. The behaviour alone is learned in
the first `clone` updates; after them all three losses are due, and the actions a_k are drawn anew at each update. The authors finish the
behaviour first and draw a_k once for each row of the data, which is as exact, cheaper over many updates, and needs another table.
Not as published: plain networks of three layers for behaviour and energy, in place of a residual one with skip connections and of four
layers; critics of two layers (`agent.torso.hidden`) in place of three; batches of 256 for the behaviour too, in place of 4,096; times as 32
sines and cosines of fixed frequencies, without a layer of their own.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from copy import deepcopy
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from deeprl.agents.diffusion import LAST, contrastive, guided, noisy, sample, sigma
from deeprl.agents.diffusion_network import Timed
from deeprl.choice import Choice, Part, counts, in_range
from deeprl.learning.agent import Agent, Infer
from deeprl.learning.networks.blocks import has_dropout, has_statistics, initialise
from deeprl.learning.networks.critics import pair, pair_spec
from deeprl.learning.networks.mlp import MLP
from deeprl.learning.networks.torsos import TorsoChoice, widths
from deeprl.learning.networks.weight_norm import initialise_with_gains, refuse_average
from deeprl.learning.objective import Objective
from deeprl.learning.optim.flat import Optimizer
from deeprl.learning.parts.exploration import certain
from deeprl.learning.transforms.channels import check_single
from deeprl.learning.values.losses import squared, weighed
from deeprl.types import AgentStep, Batch, NetworkNoise, Noise, Spec, Term


@dataclass(frozen=True)
class Guidance(Choice):
    """
    Args:
        beta: β of the policy, in units of one over values.
        target_beta: β_Q of the targets.
        scale: weight of ∇f when the policy acts: 1 is exact for β, 0 is the behaviour. The authors choose it for each task.
        candidates: K.
        evaluations: of the score for each sampled action.
        clone: first updates, in which the behaviour alone is learned. Until the energy learns, its random initial values guide.
    """

    beta: float = 3.0
    target_beta: float = 1.0
    scale: float = 1.0
    candidates: int = 16
    evaluations: int = 15
    clone: int = 10_000

    def __post_init__(self):
        in_range(self, beta=(0, None), target_beta=(0, None), scale=(0, None))
        counts(self, candidates=1, evaluations=1, clone=0)


def soft_value(values: Tensor, beta: float) -> Tensor:
    """Σ_k softmax_k(β Q_k) Q_k, (..., K) -> (...): the value of a policy that exponentiates values of K actions of the behaviour."""
    return ((beta * values).softmax(-1) * values).sum(-1)


class Critic(nn.Module):
    """Two critics of pairs (observation, action)."""

    def __init__(self, spec: Spec, torso: TorsoChoice):
        super().__init__()
        self.torso = torso.build(spec, 2)
        self.last = MLP(2, (self.torso.features, *torso.head_hidden, 1), activate_last=False, init=torso.init)

    def forward(self, obs: Tensor, action: Tensor) -> Tensor:
        """(..., S), (..., D) -> (2, ...)"""
        pairs = pair(obs, action)
        return self.last(self.torso(pairs.flatten(0, -2))).squeeze(-1).unflatten(1, pairs.shape[:-1])


class GuidedDiffusion(Agent):
    """Agent for continuous actions and observations that are vectors.

    Args:
        spec, seed: spaces of the environment; seed of the initial weights.
        torso: choice of the critics' features.
        hidden: widths of the layers of ε and of f.
        frequency: standard deviation of the frequencies of t that both read, 16 quantiles of its normal distribution; the authors draw
            them. Small networks learn sooner with a lower one.
        guidance: see `Guidance`.
        tau: step of the target critics towards the critics at each of their updates.
        rewards, normalize: as in `ValueAgent`.
        optimizer: of critics and energy.
        score_optimizer: of the behaviour.

    Raises:
        ValueError: the actions are discrete, observations are images or have parts that are images or that critics alone see, or the
            torso has running averages, dropout, or normalised weights, of which targets would be averages.
    """

    actions = "continuous"
    main = "score"
    imitates = True

    def __init__(
        self,
        *,
        spec: Spec,
        seed: int,
        torso: TorsoChoice,
        hidden: Sequence[int] = (256, 256, 256),
        frequency: float = 30.0,
        guidance: Guidance = Guidance(),
        tau: float = 0.005,
        rewards: Callable[..., Part],
        normalize: Callable[..., Part],
        optimizer: Optimizer,
        score_optimizer: Optimizer,
    ):
        super().__init__()
        if not spec.action_dim or spec.choices:
            raise ValueError("this agent takes continuous actions, and the environment's actions are discrete")
        if len(spec.obs_shape) > 1 or any(part.privileged or part.image for part in spec.parts):
            raise ValueError(
                "this agent reads vectors that critics and policy both see: choose agent=td3_bc, or env.parts=flat, which environments of "
                "Gymnasium take"
            )
        self.guidance, self.tau, self.frequency = guidance, tau, frequency
        self.hidden, self.first_phase = hidden, ("agent.guidance.clone", guidance.clone)
        in_range(self, tau=(0, 1), frequency=(0, None))
        widths(self, "hidden")
        self.set_border(spec, rewards, normalize)
        check_single(self.rewards)
        space = pair_spec(spec)
        torso = torso.resolve(space)
        self.critic = Critic(space, torso)
        if has_statistics(self.critic.torso) or has_dropout(self.critic.torso):
            raise ValueError(f"{type(torso).__name__} has running averages or dropout, which this agent does not know: agent/torso=mlp")
        initialise_with_gains(self.critic, seed, "critic", torso.weight_norm)
        refuse_average(self.critic, tau)
        self.target = deepcopy(self.critic)
        self.score, self.energy = (Timed(spec, self.hidden, frequency, outputs) for outputs in (spec.action_dim, 1))
        initialise(self.score, seed, "score")
        initialise(self.energy, seed, "energy")
        self.objectives = {
            "score": Objective.of(self.score_loss, [self.score], score_optimizer),
            "critic": Objective.of(self.critic_loss, [self.critic], optimizer),
            "energy": Objective.of(self.energy_loss, [self.energy], optimizer),
        }

    def due(self, update: int) -> tuple[str, ...]:
        return ("score",) if update <= self.guidance.clone else (*self.objectives, "target")

    @torch.no_grad()
    def after_update(self, due: tuple[str, ...]) -> None:
        if "target" in due:
            torch._foreach_lerp_(list(self.target.parameters()), list(self.critic.parameters()), self.tau)

    def copies(self) -> dict[str, Callable[[], object]]:
        return {"target": lambda: self.target.load_state_dict(self.critic.state_dict())}

    def sampled(self, obs: Tensor, z: Tensor, scale: float) -> Tensor:
        """Actions (..., D) in [-1, 1] for normalized observations (..., S), from normal numbers (..., D)."""

        def score(x: Tensor, t: float) -> Tensor:
            return -self.score(x, t, obs) / sigma(t)

        predict = guided(score, lambda x, t: self.energy.slope(x, t, obs), scale)
        return sample(predict, z, self.guidance.evaluations).clamp(-1.0, 1.0)

    def candidates(self, obs: Tensor, z: Tensor) -> tuple[Tensor, Tensor]:
        """Actions of the behaviour, (*B, K, D), and their values, min_j of the target critics, (*B, K)."""
        obs = obs.unsqueeze(-2).expand(*z.shape[:-1], -1)
        action = self.sampled(obs, z, 0.0)
        return action, self.target(obs, action).amin(0)

    def score_loss(self, batch: Batch) -> Term:
        """L_μ; the error is |ε − z|² / D."""
        z, t = batch.noise["score"], batch.noise["score_time"]
        error = squared(self.score(noisy(batch.action, z, t), t, self.normalize(batch.obs)) - z).mean(-1)
        return Term(weighed(error, batch), {"train/score_loss": error}, error=error.detach())

    def critic_loss(self, batch: Batch) -> Term:
        """L_Q"""
        with torch.no_grad():
            _, values = self.candidates(self.normalize(batch.next_obs), batch.noise["next"])
            target = batch.reward + batch.discount * soft_value(values, self.guidance.target_beta)
        taken = self.critic(self.normalize(batch.obs), batch.action)
        loss = 0.5 * squared(target - taken).mean(0)
        metrics = {"train/critic_loss": loss, "train/q_values": taken}
        return Term(weighed(loss, batch), metrics, error=(target - taken).abs().amax(0))

    def energy_loss(self, batch: Batch) -> Term:
        """L_f"""
        obs = self.normalize(batch.obs)
        with torch.no_grad():
            action, values = self.candidates(obs, batch.noise["now"])
        t = batch.noise["energy_time"].unsqueeze(-1).expand(values.shape)
        predicted = self.energy(noisy(action, batch.noise["energy"], t), t, obs.unsqueeze(-2)).squeeze(-1)
        loss = contrastive(self.guidance.beta * values, predicted)
        metrics = {"train/energy_loss": loss, "train/value_range": values.amax(-1) - values.amin(-1)}
        return Term(weighed(loss, batch), metrics, error=loss.detach())

    def infer(self, obs: Tensor, noise: NetworkNoise, *state: Tensor) -> Tensor:
        """Sampled actions (M, D)"""
        return self.sampled(self.normalize(obs), noise.layers["action"], self.guidance.scale)

    def act(self, obs: Tensor, first: Tensor, memory: dict, step: int, noise: Noise, explore: bool, infer: Infer = None) -> AgentStep:
        action = (infer or self.infer)(obs, noise["network"])
        return AgentStep(action.cpu(), certain(len(action)), memory)

    def greedy(self, obs: Tensor, *state: Tensor) -> Tensor:
        """The actions to which the diffusion leads from 0, where its normal numbers have their largest density. Between two modes of the
        data that are as likely it leads to neither."""
        return self.sampled(self.normalize(obs), torch.zeros(*obs.shape[:-1], self.spec.action_dim, device=obs.device), self.guidance.scale)

    def simplified(self) -> list[str]:
        return [
            "evaluation draws the normal numbers from which an action is sampled, and the greedy policy starts from 0, which may lead "
            "between two modes of the data"
        ]

    def noise(self, size: tuple[int, ...], generator: torch.Generator) -> Noise:
        d, k = self.spec.action_dim, self.guidance.candidates

        def times() -> Tensor:
            return LAST + (1.0 - LAST) * torch.rand(size, generator=generator)

        shapes = {"score": (d,), "next": (k, d), "now": (k, d), "energy": (k, d)}
        drawn = {name: torch.randn((*size, *shape), generator=generator) for name, shape in shapes.items()}
        return {**drawn, "score_time": times(), "energy_time": times()}

    def act_noise(self, size: tuple[int, ...], generator: torch.Generator) -> Noise:
        drawn = torch.randn((*size, self.spec.action_dim), generator=generator).to(next(self.parameters()).device)
        return {"network": NetworkNoise({"action": drawn}, {})}
