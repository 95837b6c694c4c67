"""Optimistic kernels against brute force, extended value iteration, gains of policies, and LOOP beside UCRL2."""

from functools import partial

import numpy as np
import pytest

from deeprl.running.training.collector import Collector
from deeprl_lab.agents.loop import Discrepancy, Doubling, Loop, Switching
from deeprl_lab.envs.worlds import Garnet, RiskLadder, RiverSwim, TwoStates
from deeprl_lab.mathematics.planners import extended_value_iteration, optimistic_kernel, policy_gain, relative_value_iteration

P, V = np.array([0.5, 0.3, 0.2]), np.array([1.0, 2.0, 4.0])
GRID = np.array([(i, j, 200 - i - j) for i in range(201) for j in range(201 - i)]) / 200.0


def test_mass_moves_from_the_lowest_value_to_the_highest():
    np.testing.assert_allclose(optimistic_kernel(P, np.array(0.4), V), [0.3, 0.3, 0.4])
    np.testing.assert_allclose(optimistic_kernel(P, np.array(1.2), V), [0.0, 0.2, 0.8])
    np.testing.assert_allclose(optimistic_kernel(P, np.array(9.0), V), [0.0, 0.0, 1.0])
    np.testing.assert_allclose(optimistic_kernel(P, np.array(0.4), V[::-1]), [0.7, 0.3, 0.0])


@pytest.mark.parametrize("radius", [0.0, 0.3, 1.1])
def test_no_kernel_in_the_set_has_a_larger_mean(radius):
    for v in (V, np.array([3.0, -1.0, 0.5]), np.array([2.0, 2.0, 0.0])):
        q = optimistic_kernel(P, np.array(radius), v)
        assert q.sum() == pytest.approx(1.0)
        assert np.abs(q - P).sum() <= radius + 1e-12
        assert q @ v == pytest.approx((GRID[np.abs(GRID - P).sum(-1) <= radius + 1e-9] @ v).max())


def test_rows_do_not_mix():
    rows, radius = np.stack([P, P[::-1], [1.0, 0.0, 0.0]]), np.array([0.1, 0.5, 2.0])
    each = [optimistic_kernel(row, one, V) for row, one in zip(rows, radius)]
    np.testing.assert_allclose(optimistic_kernel(rows, radius, V), each)


def test_without_uncertainty_extended_value_iteration_has_the_gain():
    """8/13 and bias difference 10/13; with uncertainty the gain is larger."""
    mdp = TwoStates().mdp
    q, v = extended_value_iteration(mdp.transition, mdp.expected_reward(), np.zeros((2, 2)), 1e-10)
    assert q.max(-1) - v == pytest.approx([8 / 13, 8 / 13])
    assert v[1] - v[0] == pytest.approx(10 / 13)
    q, v = extended_value_iteration(mdp.transition, mdp.expected_reward(), np.full((2, 2), 0.2), 1e-10)
    assert (q.max(-1) - v > 8 / 13 + 0.05).all()


@pytest.mark.parametrize("world", [TwoStates(), Garnet(), RiverSwim()])
def test_gains_of_policies(world):
    best = relative_value_iteration(world.mdp)
    greedy = np.eye(world.mdp.num_actions)[best.q.argmax(-1)]
    assert policy_gain(world.mdp, greedy) == pytest.approx(best.gain, abs=1e-8)


def test_the_gain_of_a_policy_by_hand():
    """Always to the left: the first state, which pays 0.005, is never left."""
    assert policy_gain(RiverSwim().mdp, np.eye(2)[np.zeros(6, int)]) == pytest.approx(0.005)


def played(switching: Switching, ticks: int, c: float = 0.01) -> Loop:
    world = RiverSwim()
    agent = Loop(spec=world.spec(), seed=0, world=world, switching=switching, bonus_scale=c)
    collector = Collector(agent, partial(agent.act, explore=True), world.make(0), agent.observe, 0)
    for tick in range(ticks):
        collector.tick(tick)
    return agent


@pytest.mark.parametrize("switching", [Discrepancy(), Doubling()])
def test_it_learns_to_swim_with_few_switches(switching):
    agent = played(switching, 3000)
    assert agent.suboptimality() == pytest.approx(0.0, abs=1e-9)
    assert agent.meter[1] == agent.number.sum() == 3000
    assert agent.meter[0] < 0.1 * 3000 * agent.optimum
    assert 2 < agent.meter[2] < 60


@pytest.mark.parametrize("ticks", [50, 500, 2000])
def test_a_new_hypothesis_is_within_its_bound(ticks):
    agent = played(Discrepancy(), ticks, c=0.1)
    agent.replan()
    n, kernel, squared = agent.estimate()
    loss = (n * (agent.q - agent.reward - kernel @ agent.v) ** 2).sum()
    assert 0 < loss <= n.size * squared * np.ptp(agent.v) ** 2 / 4


def test_the_first_hypothesis_is_that_everything_leads_to_the_best_state():
    agent = played(Discrepancy(), 0)
    assert agent.q.max(-1) - agent.v == pytest.approx(np.ones(6))
    assert np.ptp(agent.v) == pytest.approx(1.0)


def test_visits_double():
    rule, began = Doubling(), np.array([[0.0, 3.0]])
    assert [rule(np.array([n]), began, began, 0.0) for n in ([0.0, 5.0], [0.0, 6.0], [1.0, 3.0])] == [False, True, True]


def test_a_discrepancy_by_hand():
    """10 visits with an error of 1/2: a loss of 2.5, against 4 b S A times the bound."""
    n, error = np.array([[10.0, 0.0]]), np.array([[0.5, 9.0]])
    assert [Discrepancy(0.25)(n, n, error, bound) for bound in (1.24, 1.26)] == [True, False]


def test_what_does_not_fit_is_refused():
    world = RiskLadder()
    with pytest.raises(ValueError, match="world must be without end"):
        Loop(spec=world.spec(), seed=0, world=world, switching=Doubling(), bonus_scale=0.1)
    with pytest.raises(ValueError, match=r"scale must be at least 0\.25"):
        Discrepancy(0.1)
