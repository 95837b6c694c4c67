"""RAVI-UCB: its planner on a known model, bounds of the regularised value, river swim, and the learner."""

from functools import partial

import numpy as np
import pytest

from deeprl.running.training.collector import Collector
from deeprl_lab.agents.ravi_ucb import Converged, Mirror, RaviUCB
from deeprl_lab.envs.worlds import RiskLadder, RiverSwim, TwoStates
from deeprl_lab.mathematics.planners import discounted_values

MDP = TwoStates().mdp
UNIFORM = np.full((2, 2), -np.log(2.0))


def test_the_optimal_values_are_those_known():
    q, v = discounted_values(MDP, 0.9)
    np.testing.assert_allclose(q, [[5.373228, 5.669291], [6.456693, 6.340157]], atol=5e-7)
    np.testing.assert_allclose(q, MDP.expected_reward() + 0.9 * MDP.transition @ v, atol=1e-12)


TABLE = {0.3: (3.95, 1.20, 2.9e-2, 8e-7), 1.0: (3.90, 0.919, 2.7e-4, 0.0), 10.0: (3.69, 0.759, 1.7e-4, 0.0)}


@pytest.mark.parametrize("eta", TABLE)
def test_errors_of_the_planner_after_so_many_updates(eta):
    best, v, log_policy, errors = discounted_values(MDP, 0.9)[0], np.zeros(2), UNIFORM, {}
    for k in range(1, 401):
        q, v, log_policy = Mirror(eta)(MDP.expected_reward(), MDP.transition, 0.9, v, log_policy)
        errors[k] = np.abs(q - best).max()
    assert [errors[k] for k in (5, 20, 100, 400)] == [pytest.approx(x, rel=0.03, abs=1e-12) for x in TABLE[eta]]


def test_the_regularised_value_lies_between_the_policy_and_the_maximum():
    random = np.random.default_rng(0)
    policy = random.dirichlet(np.ones(2), 2)
    q, v, after = Mirror(0.7)(MDP.expected_reward(), MDP.transition, 0.9, random.uniform(0, 9, 2), np.log(policy))
    assert ((policy * q).sum(-1) <= v).all()
    assert (v <= q.max(-1)).all()
    np.testing.assert_allclose(np.exp(after).sum(-1), 1)


def test_a_large_eta_is_value_iteration():
    v = np.array([1.0, 2.0])
    q, after, _ = Mirror(1e6)(MDP.expected_reward(), MDP.transition, 0.9, v, UNIFORM)
    np.testing.assert_allclose(q, MDP.expected_reward() + 0.9 * MDP.transition @ v)
    np.testing.assert_allclose(after, q.max(-1), atol=1e-5)


def test_the_river_flows_to_the_left():
    mdp = RiverSwim().mdp
    np.testing.assert_allclose(mdp.transition[0, 1, :2], [0.4, 0.6])
    np.testing.assert_allclose(mdp.transition[3, 1, 2:5], [0.05, 0.6, 0.35])
    np.testing.assert_allclose(mdp.transition[5, 1, 4:], [0.4, 0.6])
    assert (mdp.reward[0, 0, 0], mdp.reward[5, 1, 5], mdp.expected_reward().sum()) == (0.005, 1.0, pytest.approx(1.005))


def played(planning, ticks: int, c: float = 0.01) -> RaviUCB:
    world = RiverSwim()
    agent = RaviUCB(spec=world.spec(), seed=0, world=world, discount=0.95, planning=planning, bonus_scale=c, confidence=0.1)
    collector = Collector(agent, partial(agent.act, explore=True), world.make(0), agent.observe, 0)
    for tick in range(ticks):
        collector.tick(tick)
    return agent


@pytest.mark.parametrize("planning", [Mirror(0.1), Converged()])
def test_it_learns_to_swim(planning):
    agent = played(planning, 4000)
    assert agent.suboptimality() < 0.01
    assert 140 < agent.meter[1] < 260  # epochs: 4,000 ticks at one in twenty
    assert agent.meter[0] < 0.25 * agent.meter[1] * agent.optimum


def test_values_are_optimistic():
    """V is above V* everywhere and falls with the data, here from below 1 / (1 − γ) = 20, where it starts and is clipped."""
    early, late = (played(Mirror(1.0), ticks, c=0.02).v for ticks in (1000, 4000))
    assert (early < 16).all()
    assert (late < early).all()
    assert (late > discounted_values(RiverSwim().mdp, 0.95)[1] + 1).all()


def test_what_does_not_fit_is_refused():
    world = RiskLadder()
    with pytest.raises(ValueError, match="world must be without end"):
        RaviUCB(spec=world.spec(), seed=0, world=world, discount=0.9, planning=Mirror(), bonus_scale=0.1, confidence=0.1)
    with pytest.raises(ValueError, match="discount must be between"):
        RaviUCB(spec=world.spec(), seed=0, world=RiverSwim(), discount=1.0, planning=Mirror(), bonus_scale=0.1, confidence=0.1)
