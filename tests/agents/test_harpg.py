"""N-PG-IGT and HARPG: the product with the Hessian, exactness on quadratics, and what each reduces to."""

import math
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from deeprl.agents.harpg import Corrected, Extrapolated
from deeprl.agents.pois import POIS
from deeprl.cli.exits import failure
from deeprl.errors import NotFinite
from deeprl.learning.parts.ascent import Ascent
from deeprl.running.runs.folder import RunFolder
from deeprl.running.session.session import record_failure
from tests.agents.test_pois import FORK, LINE, RANDOM, agent, episodes


def arms(x: float, rewards=(0.0, 1.0)):
    """One step, arm 1 with probability σ(x); rewards are such that sums over the two episodes are means over the policy. The agent, the
    batch, and the direction in which x grows."""
    made = agent(FORK, Corrected)
    flat = made.ascent.optimizer.flat.zero_()
    flat[-1] = x  # the bias of arm 1
    made.ascent.collect_at_(flat)
    probability = 1.0 / (1.0 + math.exp(-x))
    batch = episodes([[2 * (1 - probability) * rewards[0], 2 * probability * rewards[1]]], [1, 1])
    direction = torch.zeros_like(flat)
    direction[-1] = 1.0
    return made, made.episodes(batch._replace(obs=torch.zeros(1, 2, 1), action=torch.tensor([[0, 1]]))), direction


@pytest.mark.parametrize(("x", "first", "second"), [(0.0, 0.25, 0.0), (1.0, 0.196612, -0.090858), (-0.5, 0.235004, 0.057557)])
def test_derivatives_of_the_mean_reward_of_two_arms(x, first, second):
    made, found, direction = arms(x)
    assert (made.ascent.gradient(found) @ direction).item() == pytest.approx(first, abs=1e-6)
    assert (made.ascent.curvature(found, direction) @ direction).item() == pytest.approx(second, abs=1e-6)


@pytest.mark.parametrize(
    ("ascent", "own", "words"),
    [
        (Corrected, {"normalize": False}, "agent.ascent.normalize=true agent.ascent.power=1), or far shorter ones (agent.ascent.lr=1e-06)"),
        (Ascent, {}, "agent=npg_igt"),
        (Extrapolated, {}, ""),  # its steps have a fixed length already
        (POIS, {}, ""),
    ],
)
def test_a_policy_that_overflows_is_told_a_remedy(ascent, own, words, tmp_path):
    """On env=toy/lqr1d, whose returns are in the thousands, HARPG and REINFORCE stop at their first updates; the actions may show it."""
    error = NotFinite("the agent's actions hold NaN or Inf")
    trainer: Any = SimpleNamespace(agent=agent(LINE, ascent, **own), folder=RunFolder(tmp_path))
    record_failure(trainer, error, False, None)
    assert (words in error.remedy) if words else not error.remedy
    assert error.remedy in failure(error, tmp_path)


def test_a_constant_reward_has_no_derivatives():
    made, found, direction = arms(0.7, (3.0, 3.0))
    assert torch.allclose(made.ascent.gradient(found), torch.zeros_like(direction), atol=1e-6)
    assert torch.allclose(made.ascent.curvature(found, direction), torch.zeros_like(direction), atol=1e-6)


def quadratic(ascent: type[Extrapolated] | type[Corrected]) -> type:
    """The rule with the exact derivatives of J = −Σ (i + 1) θ_i²/2 + Σ θ_i."""

    class Exact(ascent):  # type: ignore[misc, valid-type]
        def at(self, flat):
            return 1.0 - torch.arange(1.0, len(flat) + 1) * flat

        def gradient(self, episodes):
            return self.at(torch.cat([p.flatten() for p in self.sampler.parameters()]))

        def curvature(self, episodes, u):
            return -torch.arange(1.0, len(u) + 1) * u

    return Exact


@pytest.mark.parametrize(("ascent", "batches"), [(Extrapolated, 1), (Corrected, 2)])
@pytest.mark.parametrize("eta", [0.3, 1.0])
def test_momentum_is_exact_on_a_quadratic(ascent, batches, eta):
    made = agent(FORK, quadratic(ascent), eta=eta, lr=0.05, normalize=False)
    optimizer, update = made.ascent.optimizer, 0
    for k in range(8):
        theta = optimizer.flat.clone()
        update += 1
        made.ascent.step(None, update)
        assert torch.allclose(made.ascent.direction, made.ascent.at(theta), atol=2e-5), k
        if batches == 2:
            update += 1
            made.ascent.step(None, update)


@pytest.mark.parametrize("spec", [LINE, FORK])
def test_steps_have_the_length_of_the_schedule(spec):
    made = agent(spec, Extrapolated, lr=0.1)
    for k in range(3):
        before = made.ascent.optimizer.flat.clone()
        made.ascent.step(made.episodes(episodes(RANDOM, [3, 3, 2], spec, seed=k)), k + 1)
        assert torch.linalg.vector_norm(made.ascent.optimizer.flat - before).item() == pytest.approx(0.1 * 2 / (k + 2), rel=1e-4)


def test_without_momentum_it_is_the_plain_gradient_bit_for_bit():
    """η = 1 in the first update, and no power: REINFORCE."""
    batch = episodes(RANDOM, [3, 3, 2])
    plain, made = agent(FORK, Ascent, lr=0.1), agent(FORK, Corrected, lr=0.1, power=0.0, normalize=False)
    plain.ascent.step(plain.episodes(batch), 1)
    made.ascent.step(made.episodes(batch), 1)
    assert torch.equal(plain.ascent.optimizer.flat, made.ascent.optimizer.flat)


def test_the_policy_that_collects_is_the_extrapolated_one_and_the_learned_one_is_evaluated():
    made = agent(LINE, Extrapolated, lr=0.1)
    for k in range(3):
        made.ascent.step(made.episodes(episodes(RANDOM, [3, 3, 2], LINE, seed=k)), k + 1)
    ahead, flat = made.ascent.weight(3), made.ascent.optimizer.flat
    there = torch.cat([p.flatten() for p in made.ascent.sampler.parameters()])
    assert torch.allclose(there, flat + (1 - ahead) / ahead * (flat - made.ascent.previous), atol=1e-6)
    obs = torch.ones(1, 1)
    assert torch.equal(made.greedy(obs), made.policy.greedy(made.policy.outputs(obs)))
    assert list(made.copies()) == ["ascent.sampler"]
