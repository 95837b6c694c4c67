"""Updates of an actor and a critic of normal weights (Nguyen, Goulet, JMLR 2022), as functions of their layers.

    targets   y_t = Σ_{k<n} γ^k r_{t+k} + γ^n μ_Q(s', A(s')),  variance γ^{2n} s_Q
    critic    observes y with the variance σ_Q² + that
    actor     ∂Q/∂a at a ~ N(μ_A, s_A) is observed to be 0, which moves a to N(μ', s'); the actor observes μ' with the variance σ_A² + s'

Observations (B, n) and actions (B, D) are normal variables; those that are known have the variance 0.
"""

from __future__ import annotations

import numpy as np

from deeprl_lab.mathematics.tagi import BayesianLayer, Derivative, IndependentNormal, backward, derivative, forward, observed, uphill


def targets(rewards: np.ndarray, ends: np.ndarray, after: IndependentNormal, discount: float) -> IndependentNormal:
    """Normal targets (T, M) of n steps.

    Args:
        rewards: (T, M).
        ends: (T, M) bool, behind which nothing of the same episode follows.
        after: (T, M) values behind the steps, of which those at ends and behind the last step count; 0 where the episode terminated.
    """
    mean, var = np.empty_like(rewards), np.empty_like(rewards)
    for t in reversed(range(len(rewards))):
        last = ends[t] | (t == len(rewards) - 1)
        later = (after.mean[t], after.var[t]) if t == len(rewards) - 1 else (mean[t + 1], var[t + 1])
        mean[t] = rewards[t] + discount * np.where(last, after.mean[t], later[0])
        var[t] = discount**2 * np.where(last, after.var[t], later[1])
    return IndependentNormal(mean, var)


def values(actor: list[BayesianLayer], critic: list[BayesianLayer], obs: IndependentNormal) -> IndependentNormal:
    """Q (B,) of the policy's actions, which are as uncertain as it says."""
    found = forward(critic, beside(obs, forward(actor, obs)[-1].a))[-1].z
    return IndependentNormal(found.mean[:, 0], found.var[:, 0])


def critic_learned(
    critic: list[BayesianLayer], obs: IndependentNormal, action: IndependentNormal, y: IndependentNormal, noise: float
) -> tuple[list[BayesianLayer], float]:
    """The critic behind a batch, and its mean error before.

    Args:
        y: targets (B, 1).
        noise: σ_Q.
    """
    units = forward(critic, beside(obs, action))
    error = np.abs(y.mean - units[-1].z.mean).mean()
    return backward(critic, units, observed(units[-1], y.mean, noise**2 + y.var))[0], error


def actor_learned(
    actor: list[BayesianLayer], critic: list[BayesianLayer], obs: IndependentNormal, noise: float
) -> tuple[list[BayesianLayer], float, float]:
    """The actor behind a batch, the mean deviation of its actions before, and the share of derivatives with a curvature of the wrong sign.

    Args:
        noise: σ_A.
    """
    units = forward(actor, obs)
    chosen = units[-1].a
    found = of_actions(derivative(critic, forward(critic, beside(obs, chosen))), chosen.mean.shape[1])
    better = uphill(chosen, found)
    fresh = backward(actor, units, observed(units[-1], better.mean, noise**2 + better.var))[0]
    return fresh, np.sqrt(chosen.var).mean(), (found.covariance > 0).mean()


def certainly(x: np.ndarray) -> IndependentNormal:
    """Numbers that are known."""
    return IndependentNormal(x, np.zeros_like(x))


def beside(obs: IndependentNormal, action: IndependentNormal) -> IndependentNormal:
    """Inputs of the critic."""
    return IndependentNormal(*(np.concatenate(both, 1) for both in zip(obs, action)))


def of_actions(found: Derivative, count: int) -> Derivative:
    """With respect to the last `count` inputs."""
    return Derivative(IndependentNormal(*(part[:, -count:] for part in found.g)), found.covariance[:, -count:])
