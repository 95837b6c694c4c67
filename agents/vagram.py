"""Value-gradient weighted models (VaGraM; Voelcker, Liao, Garg, Farahmand, 2022): a model may err where no value depends on it.

    V_j(s) = Q_j(s, π(s))                        the critics and their targets, with the greedy action, through which no gradient goes
    g_j = ∇V_j(s')                               at the real next state, computed once before each training of the model
    L = mean_{j, i} ( g_ji (ŝ'_i − s'_i) )² + (r̂ − r)²      + ½ λ_l |W_l|² of each layer, which the model adds to every loss

(Σ_i g_i e_i)² ≤ S Σ_i (g_i e_i)², so that L bounds the error of the value to first order, without its many false minima.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from deeprl.agents.dynamics import CHUNK, ModelLoss, squared_error
from deeprl.choice import counts
from deeprl.learning.actor_critic import ActorCritic
from deeprl.learning.networks.critics import ensemble_returns, pair


def networks_of(agent: ActorCritic) -> list[nn.Module]:
    """The online and the target critics; one network if the chain has no target network."""
    return list(dict.fromkeys((agent.chain.online, agent.chain.target)))


def value_count(agent: ActorCritic) -> int:
    """J, at most."""
    return len(networks_of(agent)) * (agent.chain.anchors + agent.chain.length) * agent.ensemble


def state_values(agent: ActorCritic, obs: Tensor) -> Tensor:
    """V_j(s), (J, B), of all critics and target critics: J = 4 for SAC."""
    seen = agent.seen(obs)
    x = pair(seen, agent.actor(seen).detach())
    return torch.cat([ensemble_returns(network(x), agent.ensemble).mean().flatten(0, 1) for network in networks_of(agent)])


def value_slopes(agent: ActorCritic, obs: Tensor) -> Tensor:
    """∇V_j(s), (B, J, S), without a graph, in units of raw rewards, as those of the model: critics may learn scaled ones."""
    found = obs.new_empty(0)
    for start in range(0, len(obs), CHUNK):
        with torch.enable_grad():
            at = obs[start : start + CHUNK].detach().clone().requires_grad_(True)
            values = state_values(agent, at)
            each = [torch.autograd.grad(value.sum(), at, retain_graph=True)[0] for value in values]
        if not start:
            found = obs.new_empty(len(obs), len(each), obs.shape[1])  # one tensor: a list and its concatenation take twice the memory
        torch.stack(each, 1, out=found[start : start + CHUNK])
    unit: Any = getattr(agent.rewards, "unit", None)
    return found if unit is None else found.div_(unit())


@dataclass(frozen=True)
class ValueGradient(ModelLoss):
    """
    Args:
        plain_steps: environment steps from the first training on in which the plain squared error is added, because a critic of few
            updates knows little.
    """

    weighted: ClassVar[bool] = True

    plain_steps: int = 1000

    def __post_init__(self):
        counts(self, plain_steps=0)

    def __call__(self, mean: Tensor, log_variance: Tensor, target: Tensor, slopes: Tensor, step: int) -> Tensor:
        loss = self.score(mean, target, slopes)
        return loss + squared_error(mean, target) if step < self.plain_steps else loss

    def score(self, mean: Tensor, target: Tensor, slopes: Tensor) -> Tensor:
        """L of each member and transition, (n, B), see `ModelLoss.score`; `__call__` too."""
        error = mean - target
        return (error[..., None, 1:] * slopes).square().mean((-1, -2)) + error[..., 0].square()
