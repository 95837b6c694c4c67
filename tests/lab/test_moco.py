"""Maximum entropy correction by hand and its invariants, MoCoVI's orders of convergence, and MoCoDyna."""

from functools import partial

import numpy as np
import pytest

from deeprl.running.training.collector import Collector
from deeprl_lab.agents.moco import MoCo, Queried, Sampled
from deeprl_lab.envs.worlds import Garnet, RiskLadder
from deeprl_lab.mathematics.correction import corrected, orthonormal
from deeprl_lab.mathematics.mdp import FiniteMDP
from deeprl_lab.mathematics.planners import discounted_values

WORLD = Garnet(states=20, branches=4, restart=0.0)
P, R = WORLD.mdp.transition, WORLD.mdp.expected_reward()
BEST = discounted_values(WORLD.mdp, 0.9)[1]


def wrong(smoothing: float) -> np.ndarray:
    return (1 - smoothing) * P + smoothing * (P > 0) / 4


def agent_of(expectations=None, smoothing: float = 0.5, basis: int = 2, world=WORLD, interval: int = 1, epsilon: float = 0.0, **given):
    return MoCo(spec=world.spec(), seed=0, world=world, discount=0.9, expectations=expectations or Queried(), smoothing=smoothing,
                basis=basis, interval=interval, epsilon=epsilon, **given)  # fmt: skip


SIGN = np.array([[-1.0], [1.0]])


def test_two_points_by_hand():
    """q ∝ (e^−λ, e^λ), whose mean is tanh λ: 0.6 at λ = ln 2."""
    q, lam = corrected(np.array([0.5, 0.5]), SIGN, np.array([0.6]))
    np.testing.assert_allclose(q, [0.2, 0.8], atol=1e-12)
    assert lam[0] == pytest.approx(np.log(2.0))


def test_the_soft_form_solves_its_own_equation():
    _, lam = corrected(np.array([0.5, 0.5]), SIGN, np.array([0.6]), soft=0.25)
    assert np.tanh(lam[0]) + 0.5 * lam[0] == pytest.approx(0.6)
    q, _ = corrected(np.array([0.5, 0.5]), SIGN, np.array([0.6]), soft=1e9)
    np.testing.assert_allclose(q, 0.5, atol=1e-8)  # no constraint at all


def test_expectations_that_no_distribution_has_end_at_the_bound():
    q, lam = corrected(np.array([0.5, 0.5]), SIGN, np.array([2.0]), most=50.0)
    np.testing.assert_allclose([q[1], lam[0]], [1.0, 50.0])


def test_an_accurate_model_is_left_alone():
    functions = np.random.default_rng(1).normal(size=(2, 20))
    phi, psi = orthonormal(functions, P @ functions.T)
    q, lam = corrected(P, phi, psi)
    np.testing.assert_allclose(lam, 0.0, atol=1e-12)
    np.testing.assert_allclose(q, P, atol=1e-12)


@pytest.mark.parametrize("smoothing", [0.1, 1.0])
def test_the_corrected_model_keeps_its_support_and_predicts_the_functions(smoothing):
    functions = 100.0 * np.random.default_rng(2).normal(size=(2, 20)) + 300.0
    phi, psi = orthonormal(functions, P @ functions.T)
    q, _ = corrected(wrong(smoothing), phi, psi)
    np.testing.assert_allclose(q @ functions.T, P @ functions.T, rtol=0, atol=1e-10)
    np.testing.assert_allclose(q.sum(-1), 1.0)
    assert not q[P == 0].any()


def test_branches_minus_one_functions_determine_the_kernel():
    functions = np.random.default_rng(3).normal(size=(3, 20))
    phi, psi = orthonormal(functions, P @ functions.T)
    np.testing.assert_allclose(corrected(wrong(0.5), phi, psi)[0], P, atol=1e-9)


def test_functions_are_orthogonal_and_copies_are_dropped():
    functions = np.random.default_rng(4).normal(size=(2, 20))
    phi, psi = orthonormal(np.concatenate([functions, functions[:1] + 5.0, np.ones((1, 20))]), np.zeros((20, 3, 4)))
    np.testing.assert_allclose(phi.T @ phi / 20, np.eye(2), atol=1e-12)
    assert psi.shape == (20, 3, 2)


def test_a_value_function_among_the_functions_has_no_error():
    phi, psi = orthonormal(BEST[None], (P @ BEST)[..., None])
    q, _ = corrected(wrong(1.0), phi, psi)
    np.testing.assert_allclose(discounted_values(FiniteMDP(q, R, WORLD.mdp.start), 0.9)[1], BEST, atol=1e-10)


# ‖V_k − V*‖∞ of the wrong model alone, and after 8 iterations with d = 1, 2, 3; other generators give other digits of the same orders
ORDERS = {0.1: (2e-2, 1e-11, 1e-12, 1e-12), 0.5: (1e-1, 1e-6, 1e-7, 1e-12), 1.0: (3e-1, 1e-4, 1e-5, 1e-12)}


@pytest.mark.parametrize("smoothing", ORDERS)
def test_errors_fall_by_these_orders(smoothing):
    alone, *bounds = ORDERS[smoothing]
    planned = discounted_values(FiniteMDP(wrong(smoothing), R, WORLD.mdp.start), 0.9)[1]
    for d, bound in enumerate(bounds, 1):
        agent, errors = agent_of(smoothing=smoothing, basis=d), []
        for _ in range(8):
            agent.replan()
            errors.append(agent.value_error())
        assert errors[0] == pytest.approx(np.abs(planned - BEST).max())
        assert alone / 2 < errors[0] < 2 * alone
        assert errors[-1] < bound
        assert agent.suboptimality() < 1e-9


def fed(samples: int, smoothing: float, basis: int) -> float:
    """Error of MoCoDyna after so many samples of each pair, with one plan in each tenth."""
    agent, random = agent_of(Sampled(), smoothing, basis), np.random.default_rng(0)
    for _ in range(10):
        agent.number[...] += random.multinomial(samples // 10, P)
        agent.replan()
    return agent.value_error()


def test_from_samples_the_correction_removes_what_smoothing_adds():
    exact = fed(1000, 0.0, 0)
    assert fed(1000, 1.0, 0) > 5 * exact
    assert fed(1000, 1.0, 2) < 2 * exact


def test_it_learns_in_the_loop():
    world = Garnet()
    agent = agent_of(Sampled(), basis=1, world=world, interval=500, epsilon=1.0)
    collector = Collector(agent, partial(agent.act, explore=True), world.make(0), agent.observe, 0)
    for tick in range(6000):
        collector.tick(tick)
    assert agent.meter[1] == 12
    assert agent.number.sum() == 6000
    assert agent.suboptimality() < 0.05 * agent.optimum
    assert agent.diagnostics(0)["train/value_error"] == agent.value_error()


def test_what_does_not_fit_is_refused():
    with pytest.raises(ValueError, match="world must be without end"):
        agent_of(world=RiskLadder())
    with pytest.raises(ValueError, match="smoothing must be between"):
        agent_of(smoothing=2.0)
    with pytest.raises(ValueError, match="softness must be at least"):
        Sampled(softness=-1.0)
