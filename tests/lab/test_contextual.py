"""Contextual MDPs: the barrier's optimum, the order of contexts, the on-line regressions."""

import numpy as np
import pytest

from deeprl_lab.agents.contextual import ContextualMDP, EpsilonPlanning, LogBarrier
from deeprl_lab.envs.contextual import Contextual
from deeprl_lab.envs.worlds import RandomMDP
from deeprl_lab.mathematics.barrier import barrier_occupancy
from deeprl_lab.mathematics.mdp import FiniteMDP
from deeprl_lab.mathematics.planners import backward_induction
from tests.lab.playing import played

WORLD = Contextual()


def agent(planning=LogBarrier(), world=WORLD) -> ContextualMDP:
    return ContextualMDP(spec=world.spec(), seed=0, world=world, planning=planning, lam=1.0, rate=0.5)


def test_one_state_and_one_step_is_inverse_gap_weighting():
    reward = np.array([0.2, 0.9, 0.5])
    q = barrier_occupancy(FiniteMDP(np.ones((1, 3, 1)), reward[None], np.ones(1), 1), 7.0)[0, 0]
    assert q.sum() == pytest.approx(1)
    level = 1 / (7.0 * q) + reward
    np.testing.assert_allclose(level, level[0])


def test_equal_rewards_give_equal_shares():
    q = barrier_occupancy(FiniteMDP(np.ones((1, 4, 1)), np.zeros((1, 4)), np.ones(1), 1), 3.0)
    np.testing.assert_allclose(q, 0.25)


@pytest.mark.parametrize("gamma", [0.5, 10.0, 1000.0])
def test_the_barrier_problem_is_solved(gamma):
    """q is an occupancy, and moving it along any policy's occupancy does not raise the objective."""
    mdp = WORLD.at(np.array([0.3, -0.5]))
    q, reward = barrier_occupancy(mdp, gamma), mdp.expected_reward()
    np.testing.assert_allclose(q[0].sum(-1), mdp.start, atol=1e-6)
    for h in range(2):
        np.testing.assert_allclose(q[h + 1].sum(-1), np.einsum("sa,sat->t", q[h], mdp.transition[h]), atol=1e-6)
    random, slope = np.random.default_rng(0), reward + 1 / (gamma * q)
    for _ in range(20):
        policy, at, other = random.dirichlet(np.ones(2), (3, 4)), mdp.start, np.zeros(q.shape)
        for h in range(3):
            other[h] = at[:, None] * policy[h]
            at = np.einsum("sa,sat->t", other[h], mdp.transition[h])
        assert ((other - q) * slope).sum() == pytest.approx(0, abs=1e-4 * max(1, 1 / gamma) * 30)


def test_a_large_gamma_plays_the_best_policy():
    mdp = WORLD.at(np.array([0.3, -0.5]))
    q = barrier_occupancy(mdp, 1e6)
    played_policy = q / q.sum(-1, keepdims=True)
    gap = backward_induction(mdp)[1][0] - backward_induction(mdp, policy=played_policy)[1][0]
    assert 0 <= gap.max() < 1e-3


def test_a_state_that_is_never_met_is_refused():
    mdp = FiniteMDP(np.full((2, 2, 2), 0.5), np.zeros((2, 2)), np.array([1.0, 0.0]), 1)
    with pytest.raises(ValueError, match="never met"):
        barrier_occupancy(mdp, 1.0)


def test_contexts_come_in_blocks_that_double():
    corners = [tuple(np.sign(WORLD.context(k)).astype(int)) for k in range(15)]
    assert corners == [(1, 1)] + 2 * [(-1, -1)] + 4 * [(-1, 1)] + 8 * [(1, -1)]
    game = WORLD.build()
    seen = [game.reset(5)[-2:], game.reset(None)[-2:], game.reset(None)[-2:]]
    np.testing.assert_allclose(seen, [WORLD.context(k) for k in range(3)])
    np.testing.assert_allclose(game.reset(6)[-2:], WORLD.context(0))


def test_the_kernel_and_rewards_of_a_context_are_valid():
    for k in range(20):
        mdp = WORLD.at(WORLD.context(k))
        assert 0 <= mdp.reward.min() <= mdp.reward.max() <= 1


def test_regret_is_that_of_the_contexts_met():
    learned = agent(EpsilonPlanning(1.0))
    gaps = [learned.gap(WORLD.context(k)) for k in range(4)]  # the uniform policy, whatever was learned
    assert played(learned, 4).meter[0] == pytest.approx(sum(gaps))


@pytest.mark.parametrize("planning", [LogBarrier(100.0), EpsilonPlanning(0.05)])
def test_it_learns(planning):
    assert played(agent(planning), 120).suboptimality() < 0.75 * agent(planning).suboptimality()


def test_regressions_come_near_the_truth():
    learned, at = played(agent(EpsilonPlanning(1.0)), 1000), np.array([0.5, 0.5])
    true, estimate = WORLD.at(at), learned.estimate(at)
    assert np.abs(true.expected_reward() - estimate.expected_reward()).mean() < 0.1
    assert np.abs(true.transition[:2] - estimate.transition[:2]).mean() < 0.1


def test_what_does_not_fit_is_refused():
    with pytest.raises(ValueError, match="context"):
        agent(world=RandomMDP())
