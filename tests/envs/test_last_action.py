"""Observations with the last action and the last reward: worked rows, and episodes that are the same after a resume."""

from __future__ import annotations

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces

from deeprl.envs.last_action import GymLastAction
from tests.conformance import a_single_one_is_the_first_of_many, resumes_exactly


class Steps(gymnasium.Env):
    """Shows the number of its step; the reward is 10 + that. Episodes have three."""

    observation_space, action_space = spaces.Box(0, 9, (1,), np.float32), spaces.Discrete(3)
    at = 0

    def reset(self, *, seed=None, options=None):
        self.at = 0
        return self.shown(), {}

    def step(self, action):
        self.at += 1
        return self.shown(), 10 + self.at, self.at == 3, False, {}

    def shown(self):
        return np.array([self.at], np.float32)


class Thrusts(Steps):
    action_space = spaces.Box(-2, 2, (2,), np.float32)


gymnasium.register("Steps-v0", entry_point=Steps)
gymnasium.register("Thrusts-v0", entry_point=Thrusts)


def test_an_observation_shows_the_last_action_and_reward():
    game = GymLastAction(id="Steps-v0").build()
    assert game.spec.obs_shape == (5,)
    assert game.reset(0).tolist() == [0, 0, 0, 0, 0]
    assert game.step(2)[0].tolist() == [0, 0, 1, 1, 11]
    obs, reward, *_ = game.step(0)
    assert obs.tolist() == [1, 0, 0, 2, 12]
    assert reward == 12
    assert game.reset(None).tolist() == [0, 0, 0, 0, 0]


class Masked(Steps):
    observation_space = spaces.Dict({"observation": Steps.observation_space, "action_mask": spaces.MultiBinary(3)})

    def shown(self):
        return {"observation": super().shown(), "action_mask": np.array([1, 0, self.at % 2], np.int8)}


gymnasium.register("Masked-v0", entry_point=Masked)


def test_a_mask_beside_the_observation_stays_one():
    """It became three numbers of the observation, and invalid actions were played."""
    game = GymLastAction(id="Masked-v0").build()
    assert game.spec.masked
    assert game.reset(0).tolist() == [0, 0, 0, 0, 0, 1, 0, 0]
    assert game.step(2)[0].tolist() == [0, 0, 1, 1, 11, 1, 0, 1]
    plain = GymLastAction(id="Masked-v0", mask=False).build()  # as before: action, mask and number, reward
    plain.reset(0)
    assert plain.step(2)[0].tolist() == [0, 0, 1, 1, 0, 1, 1, 11]


def test_an_action_of_several_numbers_is_shown_as_it_is():
    game = GymLastAction(id="Thrusts-v0").build()
    game.reset(0)
    assert game.step(np.array([0.5, -2], np.float32))[0].tolist() == [0.5, -2, 1, 11]


@pytest.mark.parametrize("id", ["Steps-v0", "Thrusts-v0"])
def test_episodes_of_a_resumed_run_and_of_one_of_several_copies_are_the_same(id):
    choice = GymLastAction(id=id)
    a_single_one_is_the_first_of_many(choice)
    resumes_exactly(choice)
