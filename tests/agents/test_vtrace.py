"""V-trace: worked numbers, what it is on its own rollouts, probabilities with which actions were taken."""

from __future__ import annotations

import pytest
import torch

from deeprl.agents.vtrace import VTrace
from deeprl.learning.parts.advantage import GAE
from deeprl.learning.policy_agent import SMALLEST
from deeprl.types import NetworkNoise
from tests.agents.test_ppo import agent_of
from tests.builders import CONTINUOUS, DISCRETE, collecting, entry, make_batch

SELF = (1.0, 1.0, 1.0)


def found(ratio=(0.5, 2.0, 1.0), lam=1.0, ended=(), kind=None, **bounds):
    """Advantages and returns (3,) of three steps with rewards (1, 0, 2), V = (.5, .4, .3), V(s_3) = .2, γ = .9."""
    column = lambda *numbers: torch.tensor(numbers).unsqueeze(1)  # noqa: E731
    batch = make_batch(torch.zeros(3, 1, 1), torch.zeros(3, 1).long(), column(1.0, 0.0, 2.0), 0.9, torch.zeros(3, 1, 1))
    batch = batch._replace(
        ended=column(*(t in ended for t in range(3))), extra={"behavior_probability": torch.tensor(ratio).reciprocal().unsqueeze(1)}
    )
    advantage, returns = (kind or VTrace(**bounds))(batch, column(0.5, 0.4, 0.3), column(0.4, 0.3, 0.2), torch.zeros(3, 1), lam)
    return advantage[:, 0].tolist(), returns[:, 0].tolist()


def test_targets_and_weights_by_hand():
    advantage, value = found()
    assert value == pytest.approx([1.6329, 1.962, 2.18], abs=1e-6)
    assert advantage == pytest.approx([1.1329, 1.562, 1.88], abs=1e-6)


@pytest.mark.parametrize("ended", [(), (1,)])
def test_on_its_own_rollout_it_is_the_return_of_gae(ended):
    """Advantages too with λ = 1, and at ends of episodes."""
    for lam in (0.8, 1.0):
        assert found(SELF, lam, ended)[1] == pytest.approx(found(SELF, lam, ended, kind=GAE())[1])
    assert found(SELF, 1.0, ended)[0] == pytest.approx(found(SELF, 1.0, ended, kind=GAE())[0])


def test_without_bounds_weights_are_ratios():
    """The last step alone: ρ δ = 3 · 1.88."""
    assert found((1.0, 1.0, 3.0), rho=None, c=None)[0][2] == pytest.approx(3 * 1.88, rel=1e-6)
    assert found((1.0, 1.0, 3.0))[0][2] == pytest.approx(1.88, rel=1e-6)


def test_densities_of_many_dimensions_have_a_ratio_of_one():
    """They are stored as 1e-30, and the policy's own were not: ratios of a humanoid's actions were nearly 0."""
    column = torch.tensor([[1.0], [0.0], [2.0]])
    batch = make_batch(torch.zeros(3, 1, 1), torch.zeros(3, 1).long(), column, 0.9, torch.zeros(3, 1, 1))
    batch = batch._replace(extra={"behavior_probability": torch.full((3, 1), -80.0).exp().clamp(SMALLEST, 1 / SMALLEST)})
    value, after = 0.5 * torch.ones(3, 1), 0.4 * torch.ones(3, 1)
    for found, expected in zip(VTrace()(batch, value, after, torch.full((3, 1), -80.0), 1.0), GAE()(batch, value, after, value, 1.0)):
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("spec", [DISCRETE, CONTINUOUS])
def test_the_probability_of_an_action_is_that_of_the_policy(spec):
    agent, plain, obs = agent_of(spec, advantage=VTrace()), agent_of(spec), torch.randn(4, 5, generator=torch.Generator().manual_seed(0))
    noise = entry(agent.act_noise((1, 4), torch.Generator().manual_seed(0)))
    assert isinstance(noise["network"], NetworkNoise)
    acted = collecting(agent)(obs, torch.ones(4, dtype=torch.bool), {}, 0, noise)
    expected = collecting(plain)(obs, torch.ones(4, dtype=torch.bool), {}, 0, noise)
    assert torch.equal(acted.action, expected.action)
    assert acted.action.dtype == expected.action.dtype
    assert (expected.probability == 1).all()
    torch.testing.assert_close(acted.probability.log(), agent.policy.log_prob(agent.outputs(obs)[0], acted.action))
