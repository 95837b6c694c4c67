"""Policy gradient for general utilities: a bandit by hand, exact gradients, the largest entropy, what the corrections are."""

import numpy as np
import pytest

from deeprl_lab.agents.general_utilities import GeneralUtilities, gradients, softmax
from deeprl_lab.envs.open_grid import OpenGrid
from deeprl_lab.envs.worlds import RiskLadder
from deeprl_lab.mathematics.mdp import FiniteMDP
from deeprl_lab.mathematics.utilities import Entropy, LinearUtility, PairEntropy, largest, occupancy
from tests.lab.playing import played

BANDIT = FiniteMDP(np.ones((1, 3, 1)), np.zeros((1, 3)), np.ones(1))
THETA = np.array([[1.0, 0.0, -1.0]])


def agent(utility=None, step: float = 0.5, cap: float = 5.0, steps: int = 12, num: int = 4, discount: float = 0.95) -> GeneralUtilities:
    world = OpenGrid(size=3, max_episode_steps=steps, num=num)
    return GeneralUtilities(spec=world.spec(), seed=0, world=world, utility=utility or Entropy(), discount=discount, step=step, cap=cap)


def test_the_entropy_of_a_bandit_by_hand():
    found = occupancy(BANDIT, softmax(THETA), 0.9, 1)
    pseudo = PairEntropy().gradient(found, np.zeros((1, 3)), 1.0)
    np.testing.assert_allclose(found, [[0.66524, 0.24473, 0.09003]], atol=5e-6)
    np.testing.assert_allclose(pseudo, [[-0.59239, 0.40761, 1.40761]], atol=5e-6)
    each = gradients(np.zeros((1, 3), int), np.arange(3)[None], THETA, pseudo, 0.9)
    np.testing.assert_allclose(np.tensordot(found[0], each, 1), [[-0.28259, 0.14077, 0.14182]], atol=5e-6)


@pytest.mark.parametrize("utility", [Entropy(), PairEntropy(floor=1e-9), LinearUtility()])
def test_the_pseudo_reward_is_the_derivative(utility):
    random = np.random.default_rng(0)
    reward, found, towards = random.uniform(size=(4, 2)), random.dirichlet(np.ones(8)).reshape(4, 2), random.normal(size=(4, 2))
    value = lambda t: utility.value(found + t * towards, reward, 1.0)  # noqa: E731
    slope = (utility.gradient(found, reward, 1.0) * towards).sum()
    assert (value(1e-6) - value(-1e-6)) / 2e-6 == pytest.approx(slope, rel=1e-5)


def test_an_occupancy_sums_to_what_steps_count():
    mdp, policy = OpenGrid(size=3).mdp, np.full((9, 4), 0.25)
    assert occupancy(mdp, policy, 0.9, 20).sum() == pytest.approx((1 - 0.9**20) / 0.1)


def test_the_gradient_over_all_trajectories_is_that_of_the_return():
    """Two steps in 2 × 2 cells, 16 trajectories, beside differences of the exact return."""
    mdp, random = OpenGrid(size=2).mdp, np.random.default_rng(1)
    theta, reward = random.normal(size=(4, 4)), random.normal(size=(4, 4))
    value = lambda theta: (occupancy(mdp, softmax(theta), 0.9, 2) * reward).sum()  # noqa: E731
    exact, policy, found = np.zeros((4, 4)), softmax(theta), np.zeros((4, 4))
    for at in np.ndindex(4, 4):
        small = np.zeros((4, 4))
        small[at] = 1e-6
        exact[at] = (value(theta + small) - value(theta - small)) / 2e-6
    for one, other in np.ndindex(4, 4):
        after = int(mdp.transition[0, one].argmax())
        probability = policy[0, one] * policy[after, other]
        found += probability * gradients(np.array([[0], [after]]), np.array([[one], [other]]), theta, reward, 0.9)[0]
    np.testing.assert_allclose(found, exact, atol=1e-8)


def test_the_largest_entropy_is_above_every_policy_and_its_certificate_is_small():
    mdp = OpenGrid(size=3).mdp
    best, gap = largest(mdp, Entropy(), 0.95, 20, rounds=200)
    assert 0 <= gap < 0.02
    scale = (1 - 0.95**20) / 0.05
    for seed in range(5):
        policy = np.random.default_rng(seed).dirichlet(np.ones(4), 9)
        assert Entropy().value(occupancy(mdp, policy, 0.95, 20), np.zeros((9, 4)), scale) < best <= np.log(9)


def test_a_step_has_its_length_and_a_linear_utility_the_gradient_of_reinforce():
    found = agent(LinearUtility(), cap=0.0)
    one, states = played(found, 4, num=4), []
    assert np.linalg.norm(one.theta) == pytest.approx(0.5 * 2 ** (-2 / 3))
    states = one.path.copy()
    expected = gradients(*states, np.zeros((9, 4)), one.reward, 0.95).mean(0)
    np.testing.assert_allclose(one.direction, expected)
    assert (one.pseudo == one.reward).all()


def test_without_a_step_corrections_vanish():
    """θ_t = θ_{t−1}: w = 1, and λ is a mean of all that was seen; with a linear utility so is d."""
    one, other = (played(agent(LinearUtility(), step=0.0, cap=cap), 12, num=4) for cap in (5.0, 0.0))
    np.testing.assert_allclose(one.estimate, other.estimate)
    np.testing.assert_allclose(one.direction, other.direction)


def test_the_entropy_of_what_is_visited_grows():
    learner = agent(steps=20, num=10)
    before = learner.suboptimality()
    assert played(learner, 600, num=10).suboptimality() < 0.5 * before


def test_worlds_that_end_are_refused():
    world = RiskLadder()
    with pytest.raises(ValueError, match="world must be without end"):
        GeneralUtilities(spec=world.spec(), seed=0, world=world, utility=Entropy(), discount=0.9, step=0.5, cap=5.0)
