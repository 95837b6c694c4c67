"""Adversarial linear MDPs: estimates of Q without bias, dilated bonuses, regret to the best fixed policy."""

import itertools

import numpy as np
import pytest

from deeprl_lab.agents.adversarial_mdp import AdversarialMDP, PolicyOptimisation, Stationary
from deeprl_lab.envs.adversarial import Adversarial
from deeprl_lab.envs.worlds import RandomMDP
from deeprl_lab.mathematics.dynamics import Counted, Known
from deeprl_lab.mathematics.planners import backward_induction, softmax
from tests.lab.playing import played

WORLD = Adversarial()


def agent(learner=PolicyOptimisation(), dynamics=Known(), world=WORLD) -> AdversarialMDP:
    return AdversarialMDP(spec=world.spec(), seed=0, world=world, learner=learner, dynamics=dynamics)


def test_rewards_flip_and_drift():
    rewards = [WORLD.rewards(k) for k in (0, 49, 50, 99, 100)]
    near, far = np.abs(rewards[1] - rewards[0]).max(), np.abs(rewards[2] - rewards[1]).max()
    assert near < 0.02 < 0.1 < far
    still = Adversarial(drift=0.0)
    np.testing.assert_allclose(still.rewards(0) + still.rewards(50), 1)
    np.testing.assert_array_equal(still.rewards(0), still.rewards(100))
    game = still.build()
    game.reset(1)
    for _ in range(50):
        game.reset(None)
    np.testing.assert_array_equal(game.rewards, still.rewards(50))


def test_the_estimate_of_q_is_right_in_the_mean():
    """All 2 · (2 · 2)² · 2 paths of a small world with their probabilities, γ → 0 and no bonus: E Q̂ = Q of the policy."""
    world = Adversarial(d=2, states=2, num_actions=2, horizon=2)
    process, features, reward = world.process, world.simplex.features, world.rewards(3)
    logits = np.random.default_rng(0).normal(size=(2, 2, 2))
    policy, learner, mean, total = softmax(logits), PolicyOptimisation(0.0, eta=1.0, ridge=1e-9), np.zeros(logits.shape), 0.0
    for first, second, after in itertools.product(range(2), repeat=3):
        weight = policy[0, 0, first] * process.transition[0, 0, first, after] * policy[1, after, second]
        episode = np.array([[[0, first, reward[0, 0, first]], [after, second, reward[1, after, second]]]])
        mean += weight * (learner(logits, process.transition, np.zeros(logits.shape), features, episode, None) - logits)
        total += weight
    assert total == pytest.approx(1)
    exact = backward_induction(type(process)(process.transition, reward, process.start, 2), policy=policy)[0]
    np.testing.assert_allclose(mean[1], exact[1], atol=1e-5)
    met = features[0]  # in step 0 only the first state is met, and its two features span R²
    assert np.linalg.matrix_rank(met) == 2
    np.testing.assert_allclose(mean[0], exact[0], atol=1e-5)


def test_a_bonus_is_dilated_backwards():
    """One state and one feature, H = 2, γ = 1: Σ⁺ = 1/2, b = c H (1/2 + 1/2) = 2c, B_0 = 2c + (1 + 1/2) 2c = 5c."""
    kernel, features, logits = np.ones((2, 1, 1, 1)), np.ones((1, 1, 1)), np.zeros((2, 1, 1))
    grown = PolicyOptimisation(0.1, eta=1.0, ridge=1.0)(logits, kernel, np.zeros((2, 1, 1)), features, np.zeros((1, 2, 3)), None)
    np.testing.assert_allclose(grown.ravel(), [0.5, 0.2])


def test_eta_zero_stays_with_the_uniform_policy():
    learned = played(agent(PolicyOptimisation(0.1, eta=0.0)), 10)
    assert not learned.logits.any()


def test_regret_is_to_the_best_fixed_policy():
    learned = played(agent(PolicyOptimisation(eta=0.0)), 120)
    total = sum(WORLD.rewards(k) for k in range(120))
    uniform = np.full(total.shape, 1 / 3)
    assert learned.meter[0] == pytest.approx(learned.worth(total) - learned.worth(total, uniform))
    np.testing.assert_allclose(learned.total, total)


def test_it_learns_rewards_that_stay_for_a_while():
    world = Adversarial(flip=1000)
    still, learned = (played(agent(PolicyOptimisation(eta=eta), world=world), 200) for eta in (0.0, 0.05))
    assert learned.meter[0] < 0.7 * still.meter[0]


def test_least_squares_learn_where_rewards_stay():
    world = Adversarial(flip=10_000, drift=0.0)
    for dynamics in (Known(), Counted(0.01)):
        assert played(agent(Stationary(0.01), dynamics, world), 200).suboptimality() < 0.1


def test_what_does_not_fit_is_refused():
    with pytest.raises(ValueError, match="rewards"):
        agent(world=RandomMDP())
    with pytest.raises(ValueError, match="eta must be"):
        PolicyOptimisation(eta=-1.0)
