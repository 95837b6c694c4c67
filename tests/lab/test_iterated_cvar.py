"""Iterated CVaR with linear and general function approximation."""

from functools import partial

import numpy as np
import pytest

from deeprl.running.training.collector import Collector
from deeprl_lab.agents.iterated_cvar import IteratedCVaR
from deeprl_lab.agents.model_classes import FiniteClass, Mixture
from deeprl_lab.envs.worlds import LinearMixture, RiskLadder
from deeprl_lab.mathematics import ridge
from deeprl_lab.mathematics.planners import backward_induction
from deeprl_lab.mathematics.risk import CVaR


def agent(models, tau: float = 0.5, world=None, points: int = 301) -> IteratedCVaR:
    world = world or LinearMixture()
    return IteratedCVaR(spec=world.spec(), seed=0, world=world, tau=tau, points=points, models=models)


def played(agent: IteratedCVaR, episodes: int, seed: int = 0) -> IteratedCVaR:
    collector = Collector(agent, partial(agent.act, explore=True), agent.world.make(seed), agent.observe, seed)
    for tick in range(episodes * agent.world.mdp.horizon):
        collector.tick(tick)
    return agent


def test_a_world_of_mixtures_is_one():
    world = LinearMixture(instance=3)
    assert np.allclose(world.mdp.transition.sum(-1), 1)
    np.testing.assert_allclose(world.candidates[5], world.mdp.transition[0], atol=1e-12)


@pytest.mark.parametrize("tau", [1.0, 0.5, 0.25])
def test_a_model_that_is_known_is_planned_exactly(tau):
    """With one kernel and no bonus the weight is 1 after enough data; what is left is 2 ε a step of optimism, and the grid."""
    learned = played(agent(Mixture(bonus_scale=0.0, lam=1e-6), tau, LinearMixture(d=1)), 60)
    exact = backward_induction(learned.world.mdp, CVaR(tau).worth)[1]
    error = learned.v[:3] - np.minimum(exact[:3], [[3], [2], [1]])
    assert error.min() > -0.02
    assert error.max() < 3 * 2 * 0.01 + 0.05 / tau
    assert learned.suboptimality() < 0.02


def test_values_fall_with_the_share_of_outcomes():
    found = [agent(Mixture(), tau).optimum for tau in (1.0, 0.5, 0.25, 0.1)]
    assert found == sorted(found, reverse=True)
    assert found[0] == pytest.approx(backward_induction(LinearMixture().mdp)[1][0, 0])


@pytest.mark.parametrize("models", [Mixture(bonus_scale=0.01), FiniteClass(bonus_scale=0.03)])
def test_both_classes_learn(models):
    learned = played(agent(models, points=31), 150)
    start = agent(models, points=31).suboptimality()
    assert learned.suboptimality() < start / 4
    assert learned.meter[0] < 150 * start / 2
    if isinstance(models, FiniteClass):
        assert learned.stored["loss"].argmin(-1)[0] == 5


def test_ridge_by_hand():
    """λ = 1 and φ = (1, 0) three times: Λ₁₁ = 4, the width is β/2, and the determinant has grown by 4."""
    inverse, ratio = np.eye(2), 1.0
    for _ in range(3):
        inverse, grown = ridge.extended(inverse, np.array([1.0, 0.0]))
        ratio *= grown
    assert (inverse[0, 0], ratio) == (pytest.approx(1 / 4), pytest.approx(4))
    assert ridge.widths(inverse, np.array([1.0, 0.0])) == pytest.approx(1 / 2)
    assert ridge.weights(np.diag([4.0, 1.0]), np.array([6.0, 0.0])).tolist() == [1.5, 0.0]


def test_a_finite_class_drops_models_that_disagree_with_the_data():
    models = FiniteClass(bonus_scale=0.1)
    stored = models.statistics(1, 3)
    psi = np.array([1.0, 1.1, 3.0])
    assert models.estimate(stored, 0, psi, 1, 0)[1] == pytest.approx(2.0)  # no data: the whole range
    for _ in range(3):
        models.add(stored, 0, psi, 1.0)
    mean, width = models.estimate(stored, 0, psi, 1, 3)
    assert (mean, width) == (pytest.approx(1.0), pytest.approx(0.1))  # (1.1 − 1)² · 3 = 0.03 ≤ 0.01 ln 120 = 0.048


def test_what_does_not_fit_is_refused():
    with pytest.raises(ValueError, match="candidates"):
        agent(Mixture(), world=RiskLadder())
    with pytest.raises(ValueError, match="points must be"):
        agent(Mixture(), points=1)
