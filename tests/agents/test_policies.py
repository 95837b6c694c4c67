"""Distributions over continuous actions: densities, entropies and samples against oracles, modes by hand, what is neutral."""

from __future__ import annotations

import math

import pytest
import torch
from torch.distributions import Beta as TorchBeta

from deeprl.agents.beta_policy import Beta
from deeprl.learning.networks.gaussian_policies import BoundedGaussian, Squashed
from deeprl.learning.networks.policies import PolicyChoice
from deeprl.learning.networks.torsos import MLPTorso
from deeprl.learning.policy_gradient import Surrogate
from deeprl.running.training.learner import gradient
from tests.agents.test_ppo import agent_of
from tests.builders import CONTINUOUS, DISCRETE, assert_close32, flat, made_up, traced_gradient

ONE = CONTINUOUS._replace(action_dim=1)
CHOICES = {
    "free": BoundedGaussian(),
    "of the state": BoundedGaussian(sigma="state"),
    "squashed": Squashed(log_std=-0.5),
    "squashed, of the state": Squashed(sigma="state", log_std=-0.5),
    "beta": Beta(),
}
OUTPUTS = {"free": [0.3], "of the state": [0.3, 0.2], "squashed": [0.3], "squashed, of the state": [0.3, 0.2], "beta": [0.5, -1.0]}


def policy(name: str):
    """A policy of one dimension, and its outputs (1, outputs)."""
    return CHOICES[name].build(ONE, MLPTorso(hidden=(3,))), torch.tensor([OUTPUTS[name]])


@pytest.mark.parametrize("name", CHOICES)
def test_a_density_has_the_integral_1_and_the_entropy_that_it_says(name):
    made, outputs = policy(name)
    end = 1.0 if name not in ("free", "of the state") else 9.0
    action = torch.linspace(-end, end, 200_001, dtype=torch.float64).unsqueeze(-1)
    log = made.log_prob(outputs.double().expand(len(action), -1), action)
    assert torch.trapezoid(log.exp(), action[:, 0]).item() == pytest.approx(1.0, abs=2e-4)
    assert -torch.trapezoid(log.exp() * log, action[:, 0]).item() == pytest.approx(made.entropy(outputs).item(), abs=2e-3)


@pytest.mark.parametrize("name", CHOICES)
def test_samples_have_the_density(name):
    """The share below the quartiles of the density."""
    made, outputs = policy(name)
    n = 20_000
    drawn = made.sampled(outputs.expand(n, -1), made.noise((n,), torch.Generator().manual_seed(0)))[:, 0]
    action = torch.linspace(-9.0 if name in ("free", "of the state") else -1.0, 9.0 if name in ("free", "of the state") else 1.0, 40_001)
    share = made.log_prob(outputs.expand(len(action), -1), action.unsqueeze(-1)).exp().cumsum(0) * (action[1] - action[0])
    for quartile in (0.25, 0.5, 0.75):
        edge = action[torch.searchsorted(share, quartile)]
        assert (drawn < edge).float().mean().item() == pytest.approx(quartile, abs=5 * (quartile * (1 - quartile) / n) ** 0.5)


def test_modes_by_hand():
    """softplus of ln(e − 1) is 1 and of ln(e² − 1) is 2, so that α = 2, β = 3, and the mode of x is 1/3."""
    made, _ = policy("beta")
    outputs = torch.tensor([[math.log(math.e - 1), math.log(math.e**2 - 1)]])
    assert made.greedy(outputs).item() == pytest.approx(-1 / 3, abs=1e-6)
    assert made.log_prob(outputs, torch.tensor([[-1 / 3]])).item() == pytest.approx(math.log(16 / 9 / 2), abs=1e-5)
    grid = torch.linspace(-0.99, 0.99, 1_000).unsqueeze(-1)
    assert made.log_prob(outputs.expand(1_000, -1), grid).argmax().item() == pytest.approx(1_000 * (2 / 3) / 2, abs=3)
    made, outputs = policy("squashed")
    assert made.greedy(outputs).item() == pytest.approx(math.tanh(0.3))


def test_the_beta_density_is_that_of_torch():
    made, outputs = policy("beta")
    alpha, beta = made.parts(outputs)
    action = torch.tensor([[-0.9], [0.2], [0.7]])
    expected = TorchBeta(alpha, beta).log_prob((action + 1) / 2)[:, 0] - math.log(2)
    torch.testing.assert_close(made.log_prob(outputs.expand(3, -1), action), expected)


def test_actions_at_the_bounds_have_a_density():
    for name in ("squashed", "beta"):
        made, outputs = policy(name)
        assert torch.isfinite(made.log_prob(outputs.expand(2, -1), torch.tensor([[-1.0], [1.0]]))).all()


def test_a_free_deviation_within_its_bounds_is_the_policy_that_follows_from_the_actions():
    found = []
    for choice in (PolicyChoice(last_init=None, log_std=-0.3), BoundedGaussian(last_init=None, log_std=-0.3)):
        agent = agent_of(CONTINUOUS, policy=choice, surrogate=Surrogate(clip=0.2, entropy_weight=0.01))
        found.append(flat(gradient(agent, "policy", made_up(agent, CONTINUOUS, size=6))[0]))
    assert torch.equal(*found)


@pytest.mark.parametrize("name", CHOICES)
def test_gradients_trace(name):
    agent = agent_of(CONTINUOUS, policy=CHOICES[name], surrogate=Surrogate(clip=0.2, entropy_weight=0.01))
    batch = made_up(agent, CONTINUOUS, size=6)
    expected = flat(gradient(agent, "policy", batch)[0])
    assert_close32(flat(traced_gradient(agent, "policy", batch)[0]), expected)
    assert torch.isfinite(expected).all()


@pytest.mark.parametrize("choice", [BoundedGaussian(), Squashed(), Beta()])
def test_discrete_actions_are_refused(choice):
    with pytest.raises(ValueError, match="is for continuous actions, and these are discrete: choose agent/policy=auto"):
        agent_of(DISCRETE, policy=choice)


@pytest.mark.parametrize("sigma", ["free", "state"])
def test_a_free_deviation_beyond_its_bounds_goes_back_to_them_and_keeps_its_gradient(sigma):
    """Its gradient was 0 for the rest of the run. A deviation of the state may be beyond them, as h(s) brings it back."""
    agent = agent_of(CONTINUOUS, policy=BoundedGaussian(sigma=sigma, low=-1.0, high=0.5))
    policy = agent.policy
    policy.log_std[:2].copy_(torch.tensor([0.7, -1.2]))
    for project in agent.projections("policy"):
        project()
    assert policy.log_std[:2].tolist() == (pytest.approx([0.5, -1.0]) if sigma == "free" else pytest.approx([0.7, -1.2]))
    if sigma == "free":
        weight = policy.deviations.log_std.requires_grad_(True)
        assert torch.autograd.grad(policy.log_prob(torch.zeros(1, policy.dim), torch.ones(1, policy.dim)).sum(), weight)[0].all()


def test_an_initial_deviation_outside_of_its_bounds_is_refused():
    with pytest.raises(ValueError, match="low must be at most 0"):
        BoundedGaussian(low=1.0)
