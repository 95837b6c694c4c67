"""Tasks of Gymnasium-Robotics by name, with a stand-in for the package."""

from __future__ import annotations

import sys
from types import ModuleType

import gymnasium
import numpy as np
import pytest

from deeprl.envs.robotics import Robotics


class Fetch(gymnasium.Env):
    """A task whose package does not go with the MuJoCo that is installed, unless it says `fits`."""

    action_space = gymnasium.spaces.Box(-1.0, 1.0, (4,), np.float32)
    goal = gymnasium.spaces.Box(-9.0, 9.0, (3,), np.float64)
    observation_space = gymnasium.spaces.Dict({"observation": goal, "achieved_goal": goal, "desired_goal": goal})

    def __init__(self, fits=False):
        assert fits

    def reset(self, *, seed=None, options=None):
        return {name: np.full(3, place, np.float64) for place, name in enumerate(self.observation_space)}, {}


@pytest.fixture
def stand_in(monkeypatch):
    monkeypatch.setitem(sys.modules, "gymnasium_robotics", ModuleType("gymnasium_robotics"))
    monkeypatch.setitem(gymnasium.registry, "Fetch-v0", gymnasium.envs.registration.EnvSpec("Fetch-v0", Fetch, max_episode_steps=50))


def test_observation_and_goals_are_one_vector(stand_in):
    game = Robotics(id="Fetch-v0", kwargs={"fits": True}).build()
    assert (game.limit, game.spec.obs_shape) == (50, (9,))
    assert sorted(game.reset(0)) == [0.0] * 3 + [1.0] * 3 + [2.0] * 3


def test_another_mujoco_is_named(stand_in):
    with pytest.raises(ValueError, match=r"id=Fetch-v0 does not go with this MuJoCo: in a new virtual environment, pip install"):
        Robotics(id="Fetch-v0").build()


def test_a_missing_package_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "gymnasium_robotics", None)
    with pytest.raises(ValueError, match=r"id=FetchReach-v4 needs Gymnasium-Robotics .*pip install"):
        Robotics(id="FetchReach-v4").build()
