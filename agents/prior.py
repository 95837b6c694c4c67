"""A value from earlier computation in the baseline of a policy gradient (Rahman, Xue, 2023).

    mix        V(s) = κ V_prior(s) + (1 − κ) V_φ(s)             κ falls from κ₀ to 0 over a share of the run
    residual   V(s) = V_prior(s) + V_φ(s),                      the last layer of V_φ starts at 0
    V_prior    max_a Q(s, a) of an agent of values, or V of a policy gradient: frozen

Advantages and returns use V, and the critic's loss fits V, so that its gradient reaches φ alone. How the paper combines the two is not
known to us; both are ours. max_a Q is the value of another policy than π, so that with λ < 1 advantages have the bias
Σ_k (γλ)^k (γ b(s_{t+k+1}) − b(s_{t+k})), b = V − V^π, which is −b(s_t) for λ = 1, and then leaves the mean gradient as it is.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from deeprl.learning.agent import Agent
from deeprl.learning.parts.baseline import Baseline
from deeprl.learning.policy_gradient import PolicyGradient
from deeprl.types import Spec


def state_values(agent: Agent, obs: Tensor) -> Tensor:
    """V(s) of an agent, (*B,), of observations as its environment gives them, (*B, *obs).

    Raises:
        ValueError: it learns no value of states, or one that is no mean of the environment's returns.
    """
    lead = obs.shape[: obs.dim() - len(agent.spec.obs_shape)]
    rows = obs.flatten(0, len(lead) - 1)
    if not getattr(getattr(agent, "preference", None), "neutral", True):
        raise ValueError("run must be of an agent whose values are mean returns, and that of agent/utility is none")
    if isinstance(agent, PolicyGradient):
        if agent.intrinsic.gives:
            raise ValueError("run must be of an agent whose values are of the environment's rewards, and agent/intrinsic gives others")
        found = agent.baseline_value(rows, agent.evaluated(agent.seen(rows)[0])[1])
    elif agent.actions == "discrete" and agent.objectives:
        found = agent.greedy_values(rows).amax(-1)
    else:
        raise ValueError(f"run must be of an agent with a value of states or of discrete actions, not {type(agent).__name__}")
    return found.unflatten(0, lead)


class Prior(Baseline):
    """What both forms share: the frozen agent.

    Args:
        run: the run folder whose value is taken, with "@best", "@last" or "@STEP" at its end for a checkpoint.
        network: the agent of that run; null in a configuration, which a run fills in.

    Raises:
        ValueError: it has no value of states, or remembers, or follows a schedule.
    """

    def __init__(self, *, spec: Spec, run: str, network: Callable[..., Agent] | None = None):
        super().__init__(spec=spec)
        if network is None:
            raise ValueError(f"run must be a run folder, whose value is taken, and there is no folder {run}")
        self.prior = network(spec=spec, seed=0)
        if isinstance(getattr(self.prior, "baseline", None), MixedPrior):
            raise ValueError(
                f"run must be of an agent whose value is that of its weights, and {run} has agent/baseline=mix, whose share follows the "
                "steps of its own run: name the run of that baseline, or one with agent/baseline=residual"
            )
        if self.prior.state_size:
            raise ValueError(f"run must be of an agent without a core, and {run} has one")
        for parameter in self.prior.parameters():
            parameter.requires_grad_(False)
        state_values(self.prior, torch.zeros((1, *spec.obs_shape), dtype=spec.obs_dtype))

    def columns(self, obs: Tensor, step: int) -> dict[str, Tensor]:
        return {"prior": state_values(self.prior, obs)}


class MixedPrior(Prior):
    """
    Args:
        kappa: κ, one of `deeprl.schedules`.
    """

    def __init__(self, *, spec: Spec, run: str, kappa: Callable[[int], float], network: Callable[..., Agent] | None = None):
        super().__init__(spec=spec, run=run, network=network)
        self.kappa = kappa
        if not all(0.0 <= getattr(kappa, end, 0.0) <= 1.0 for end in ("value", "start", "end")):
            raise ValueError(f"kappa must lie between 0 and 1, not {kappa}")

    def columns(self, obs: Tensor, step: int) -> dict[str, Tensor]:
        found = super().columns(obs, step)
        return {**found, "kappa": torch.full_like(found["prior"], self.kappa(step))}

    def forward(self, learned: Tensor, columns: dict[str, Tensor]) -> Tensor:
        return torch.lerp(learned, columns["prior"], columns["kappa"])


class ResidualPrior(Prior):
    """The sum."""

    zero_start = True

    def forward(self, learned: Tensor, columns: dict[str, Tensor]) -> Tensor:
        return columns["prior"] + learned
