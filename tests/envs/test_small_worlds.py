"""Small worlds of policies on rollouts and trajectories: what is known of them exactly."""

import numpy as np
import pytest

from deeprl.envs.average import SlowGrid, TwoStateWorld, average_reward, slow_grid, two_states
from deeprl.envs.lqr import LinearQuadratic, gain, mean_return
from tests.conformance import check_environment


@pytest.mark.parametrize(
    "choice", [LinearQuadratic(max_episode_steps=4), TwoStateWorld(max_episode_steps=4), SlowGrid(max_episode_steps=4)]
)
def test_they_are_environments(choice):
    check_environment(choice)


def test_the_best_gain_of_the_linear_system():
    k = gain(0.9)
    assert k == pytest.approx(0.588403, abs=1e-6)
    returns = [mean_return(each, 0.1, 400, 0.9) for each in (k - 0.01, k, k + 0.01)]
    assert max(returns) == returns[1] == pytest.approx(-(1.588403 / 3 + 0.09 * 1.588403), abs=1e-5)  # −p E s² − c


def test_the_best_average_rewards():
    rates = {(a, b): average_reward(two_states(), np.eye(2)[[a, b]]) for a in (0, 1) for b in (0, 1)}
    assert max(rates, key=rates.get) == (1, 0)
    assert rates[1, 0] == pytest.approx(8 / 13)
    assert rates[1, 0] == pytest.approx(0.6154, abs=1e-4)
    down_then_right = np.eye(4)[[1 if cell < 20 else 3 for cell in range(25)]]
    for stay in (0.0, 0.9):
        assert average_reward(slow_grid(5, stay), down_then_right) == pytest.approx(1 / 9)
