"""Linear MDPs, designs of samples, weighted least squares, PNLSVI and VWLS-MDVI."""

from dataclasses import dataclass
from functools import partial

import numpy as np
import pytest

from deeprl.running.training.collector import Collector
from deeprl_lab.agents.pnlsvi import PNLSVI
from deeprl_lab.agents.vwls_mdvi import VWLSMDVI
from deeprl_lab.envs.linear import EndlessLinearMDP, LinearMDP
from deeprl_lab.envs.worlds import RandomMDP
from deeprl_lab.mathematics import ridge
from deeprl_lab.mathematics.planners import backward_induction, discounted_values


@pytest.mark.parametrize("world", [LinearMDP(instance=3), EndlessLinearMDP(instance=3, d=2)])
def test_transitions_and_rewards_are_linear(world):
    """Every function of the next state, too: its least squares on the features has no residual."""
    kernel, reward = world.mdp.transition, world.mdp.expected_reward()
    phi = world.features.reshape(-1, world.d)
    for target in [*kernel.reshape(-1, len(phi), world.states), *reward.reshape(-1, len(phi), 1)]:
        w = np.linalg.lstsq(phi, target, rcond=None)[0]
        np.testing.assert_allclose(phi @ w, target, atol=1e-12)
        assert (w > -1e-9).all()
    assert ((reward >= 0) & (reward <= 1)).all()


def test_noise_has_the_standard_deviation_that_it_says():
    world = LinearMDP(noise=(0.1, 1.0))
    np.testing.assert_allclose(world.spread**2, world.features @ [0.01, 0.01, 1.0, 1.0])
    game, rewards = world.build(), []
    game.reset(0)
    for _ in range(2000):
        game.reset(None)
        rewards.append(game.step(1)[1])
    assert np.mean(rewards) == pytest.approx(world.mdp.expected_reward()[0, 0, 1], abs=5 * world.spread[0, 1] / 2000**0.5)
    assert np.std(rewards) == pytest.approx(world.spread[0, 1], rel=0.1)
    with pytest.raises(ValueError, match="noise must be two numbers"):
        LinearMDP(noise=(-1.0, 1.0))


def test_ridge_by_hand():
    """λ = 1 and φ = (1, 0) three times: Λ₁₁ = 4, the width is halved, and the determinant is fourfold."""
    inverse, ratio = np.eye(2), 1.0
    for _ in range(3):
        inverse, grown = ridge.extended(inverse, np.array([1.0, 0.0]))
        ratio *= grown
    assert (1 / inverse[0, 0], ridge.widths(inverse, np.array([1.0, 0.0])), ratio) == pytest.approx((4.0, 0.5, 4.0))


def test_an_optimal_design_by_hand():
    """Three unit vectors and their sum: the unit vectors alone, a third each."""
    rows = np.concatenate([np.eye(3), np.ones((1, 3)) / 3])
    np.testing.assert_allclose(ridge.optimal_design(rows, 1e-3), [1 / 3, 1 / 3, 1 / 3, 0.0], atol=1e-3)


@pytest.mark.parametrize("rank", [2, 4])
def test_an_optimal_design_reaches_the_bound(rank):
    random = np.random.default_rng(0)
    rows = random.normal(size=(30, rank)) @ random.normal(size=(rank, 4))
    rho = ridge.optimal_design(rows)
    gram = np.linalg.pinv(rows.T @ (rho[:, None] * rows), rcond=1e-10)
    assert rho.sum() == pytest.approx(1.0)
    assert rank <= np.einsum("ni,ij,nj->n", rows, gram, rows).max() + 1e-9 <= 1.0101 * rank


def pnlsvi(world=None, c: float = 0.1, lam: float = 0.01, least: float = 1.0, share: float = 0.5, **given) -> PNLSVI:
    world = world or LinearMDP(**given)
    return PNLSVI(spec=world.spec(), seed=0, world=world, penalty_scale=c, confidence=0.1, lam=lam, least_variance=least, share=share)


def flooded(agent: PNLSVI, number: float) -> PNLSVI:
    """Every pair of every step so often in each half, with exactly the world's frequencies."""
    mdp, spread = agent.world.mdp, agent.world.spread
    agent.number[...] = number * mdp.transition
    agent.reward[...] = number * mdp.expected_reward()
    agent.square[...] = number * (mdp.expected_reward() ** 2 + spread**2)
    agent.episodes[0] = 2 * number
    return agent


@pytest.mark.parametrize("least", [0.01, 25.0])
def test_with_endless_data_it_is_backward_induction(least):
    agent = flooded(pnlsvi(c=0.0, least=least, noise=(0.1, 1.0)), 1e9)
    agent.replan()
    np.testing.assert_array_equal(agent.policy, backward_induction(agent.world.mdp)[0].argmax(-1))
    assert agent.suboptimality() == 0.0


def test_the_variance_is_that_of_reward_and_next_value():
    agent = flooded(pnlsvi(c=0.0, least=1e-6, noise=(0.1, 1.0)), 1e9)
    v, p = np.linspace(0, 4, 10), agent.world.mdp.transition[2]
    expected = agent.world.spread**2 + p @ v**2 - (p @ v) ** 2
    np.testing.assert_allclose(agent.variance(2, v, 5.0, 0.0), np.maximum(expected, 1e-6), atol=1e-6)


def test_weights_of_inverse_variance_estimate_better():
    """Standard deviations of 0.1 and 1: root mean square error of the mean rewards over 200 data sets."""
    world, random, errors = LinearMDP(noise=(0.1, 1.0)), np.random.default_rng(0), []
    agent, variance, truth = pnlsvi(world, c=0.0), world.spread**2, world.mdp.expected_reward()[0]
    agent.number[0, 0] = 20 * world.mdp.transition[0]
    for _ in range(200):
        total = 20 * truth + world.spread * np.sqrt(20) * random.normal(size=truth.shape)
        errors.append([((agent.fit(0, 0, total, w)[0] - truth) ** 2).mean() for w in (1 / variance, np.ones_like(variance))])
    weighted, equal = np.sqrt(np.mean(errors, 0))
    assert weighted < 0.9 * equal


def test_a_penalty_above_every_value_leaves_the_first_action():
    agent = flooded(pnlsvi(c=1e6), 50)
    agent.replan()
    assert not agent.policy.any()
    bold = flooded(pnlsvi(c=0.0), 50)
    bold.replan()
    assert bold.policy.any()


def test_halves_and_doublings():
    world = LinearMDP(horizon=2, num=2)
    agent, plans = pnlsvi(world), []
    agent.replan = lambda: plans.append(int(agent.episodes[0]))
    collector = Collector(agent, partial(agent.act, explore=True), world.make(0), agent.observe, 0)
    for tick in range(20):
        collector.tick(tick)
    assert plans == [2, 4, 8, 16]
    assert agent.number.sum((1, 2, 3, 4)).tolist() == [20.0, 20.0]


def mdvi(world, samples: int = 200, floor: float | None = None, iterations: int = 40) -> VWLSMDVI:
    return VWLSMDVI(spec=world.spec(), seed=0, world=world, discount=0.9, samples=samples, iterations=iterations, floor=floor, interval=1)


@dataclass(frozen=True, kw_only=True)
class Ring(EndlessLinearMDP):
    """Deterministic, and each pair is a feature: action 1 moves around a ring, action 0 stays."""

    @property
    def drawn(self):
        mu = np.zeros((1, 8, 4))
        for state in range(4):
            mu[0, 2 * state, state] = mu[0, 2 * state + 1, (state + 1) % 4] = 1.0
        return np.eye(8).reshape(4, 2, 8), mu, np.arange(8.0)[None] / 8


def test_without_noise_it_converges_to_the_optimal_values():
    """s_k is a sum of k regressions whose weights are γ^j, so that (1 − γ) s_k tends to Q*, and v_k to V*."""
    world = Ring(states=4, num_actions=2, d=8)
    agent, (q, v) = mdvi(world, samples=8, iterations=400), discounted_values(world.mdp, 0.9)
    for _ in range(300):
        agent.replan()
    np.testing.assert_allclose(0.1 * agent.s, q, atol=1e-6)
    np.testing.assert_allclose(agent.s.max(-1) - 0.9 * agent.before, v, atol=1e-6)


def test_variances_are_estimated_once_and_then_it_starts_again():
    world = EndlessLinearMDP(noise=(0.1, 1.0))
    agent = mdvi(world, samples=4000, floor=0.5, iterations=20)
    for _ in range(20):
        agent.replan()
    np.testing.assert_allclose(agent.f, 10.0)
    v = agent.s.max(-1) - 0.9 * agent.before
    agent.replan()
    assert not agent.s.any()
    p = world.mdp.transition
    spread = np.sqrt(world.spread**2 + 0.81 * (p @ v**2 - (p @ v) ** 2)).ravel()
    assert np.abs(agent.f - 0.5 - spread).mean() < 0.1
    for _ in range(40):
        agent.replan()
    assert agent.suboptimality() < 0.05 * agent.optimum


def test_the_largest_floor_is_equal_weights():
    agent = mdvi(EndlessLinearMDP(noise=(0.1, 1.0)), floor=10.0, iterations=5)
    before = agent.share.copy()
    for _ in range(8):
        agent.replan()
    np.testing.assert_allclose(agent.f, 10.0)
    np.testing.assert_allclose(agent.share, before, atol=1e-6)


def test_what_does_not_fit_is_refused():
    with pytest.raises(ValueError, match="world must have `features`"):
        pnlsvi(RandomMDP())
    with pytest.raises(ValueError, match="world must have a horizon"):
        pnlsvi(EndlessLinearMDP())
    with pytest.raises(ValueError, match="world must be without end"):
        mdvi(LinearMDP())
    with pytest.raises(ValueError, match="floor must be at least"):
        mdvi(EndlessLinearMDP(), floor=0.0)
