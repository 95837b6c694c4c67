"""Reward-free exploration: widths over corners, weights of the regression, planning for any reward."""

import numpy as np
import pytest

from deeprl_lab.agents.reward_free import RewardFree, evaluate, plan, unit_rewards
from deeprl_lab.envs.worlds import LinearMixture, RandomMDP
from deeprl_lab.mathematics.planners import backward_induction
from tests.lab.playing import played

WORLD = LinearMixture(d=3, states=4, num_actions=2, horizon=4)


def agent(world=WORLD, **given) -> RewardFree:
    settings = {"bonus_scale": 0.1, "confidence": 0.1, "lam": 1.0, "floor": 0.01, "multiple": 1.0, "epsilon": 0.0, "tasks": 20}
    return RewardFree(spec=world.spec(), seed=0, world=world, **settings | given)


def test_planning_and_evaluation_are_those_of_one_reward_at_a_time():
    rewards = unit_rewards(4, WORLD.mdp.expected_reward().shape)
    policies, v = plan(WORLD.mdp.transition[0], rewards, np.inf)
    for reward, policy, each in zip(rewards, policies, v):
        mdp = type(WORLD.mdp)(WORLD.mdp.transition, reward, WORLD.mdp.start, 4)
        q, exact = backward_induction(mdp)
        np.testing.assert_allclose(each, exact[0], atol=1e-12)
        assert policy.tolist() == q.argmax(-1).tolist()
    np.testing.assert_allclose(evaluate(WORLD.mdp.transition[0], rewards, policies), v, atol=1e-12)


def test_rewards_total_at_most_one():
    rewards = unit_rewards(20, (50, 4, 2))
    assert rewards.min() >= 0
    assert (rewards.max((2, 3)).sum(1) <= 1).all()
    assert set(np.unique(rewards[1])) == {0.0, 1.0}


def test_the_target_of_a_pair_is_the_widest_corner():
    """Before data Σ = I, and the width of f = (1, …, 1) is √d; after many f = 1 the target is another one."""
    fresh = agent()
    assert (fresh.target == 15).all()
    assert fresh.rank() == pytest.approx(np.full((4, 2), np.sqrt(3)))
    learned = played(agent(), 2)
    assert (learned.target != 15).any()


def test_weights_by_hand():
    """θ̂ = (1/3, 1/3, 1/3) and f = 1: p̂ = 1, w = √3, so σ² = max(cβw, κw, floor) at most 1."""
    first = agent(bonus_scale=0.0, multiple=0.1, floor=0.05)
    rows = type("R", (), {})()
    one = np.zeros((1, 6), np.float32)
    one[0, 0] = 1
    rows.obs, rows.next_obs, rows.action = one, one, np.array([0])
    first.learn(rows)
    variance = 0.1 * np.sqrt(3)
    np.testing.assert_allclose(first.gram, np.eye(3) + np.ones((3, 3)) / variance)
    np.testing.assert_allclose(first.moment, np.ones(3) / variance)
    np.testing.assert_allclose(first.inverse, np.linalg.inv(first.gram))


def test_a_floor_of_one_is_ridge_regression_without_weights():
    learned = played(agent(floor=1.0), 5)
    assert np.trace(learned.gram) <= 3 + 20 * 3  # Σ ‖φ‖² over 20 steps, ‖φ‖² ≤ d
    other = agent(floor=1.0, multiple=50.0)
    assert played(other, 5).gram.tolist() == learned.gram.tolist()
    assert played(agent(), 5).gram.tolist() != learned.gram.tolist()


@pytest.mark.parametrize("given", [{}, {"floor": 1.0}, {"epsilon": 1.0}])
def test_it_learns_a_model_for_all_rewards(given):
    start = agent(**given).suboptimality()
    learned = played(agent(**given), 60)
    assert learned.suboptimality() < start / 3
    np.testing.assert_allclose(learned.theta, WORLD.drawn[1], atol=0.2)


def test_values_that_are_all_one_still_explore():
    """With a large bonus every V is clipped to 1; the action is that of the largest u, so all pairs are visited."""
    learned = agent(bonus_scale=10.0)
    learned.replan()
    assert (np.minimum(learned.beta() * learned.rank(), 1) == 1).all()
    assert played(learned, 30).suboptimality() < agent().suboptimality()


def test_what_does_not_fit_is_refused():
    with pytest.raises(ValueError, match="kernels"):
        agent(RandomMDP())
    with pytest.raises(ValueError, match=r"env\.states=13"):
        agent(LinearMixture(states=13, d=1, num_actions=2, horizon=1))
    with pytest.raises(ValueError, match="floor must be"):
        agent(floor=2.0)
