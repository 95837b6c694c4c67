"""Tasks of Meta-World: what deeprl adds to them, with a stand-in, and a task itself where the package is installed."""

from __future__ import annotations

import sys
from types import SimpleNamespace

import gymnasium
import numpy as np
import pytest

from deeprl.envs.metaworld import MetaWorld


class Arm(gymnasium.Env):
    """Has the names that Meta-World's tasks have. The goal is drawn from the seed of `seed`, and the second step is a success."""

    action_space = gymnasium.spaces.Box(-1.0, 1.0, (4,), np.float32)
    observation_space = gymnasium.spaces.Box(-9.0, 9.0, (39,), np.float64)
    max_path_length = 4

    def __init__(self, render_mode=None, reward_function_version=None, camera_name=None):
        self.asked = render_mode, reward_function_version, camera_name
        self.sawyer_observation_space = "of a hidden goal"

    def seed(self, seed):
        self.draws = np.random.default_rng(seed)

    def reset(self, *, seed=None, options=None):
        assert seed is None
        assert not self._freeze_rand_vec
        assert self.seeded_rand_vec
        assert self._set_task_called
        self.steps, self.goal = 0, self.draws.uniform(size=3)
        return self._seen(), {}

    def step(self, action):
        self.steps += 1
        return self._seen(), float(self.steps), False, self.steps == 4, {"success": float(self.steps == 2)}

    def _seen(self):
        assert not hasattr(self, "sawyer_observation_space")
        return np.concatenate([np.zeros(36), 0 * self.goal if self._partially_observable else self.goal])


@pytest.fixture
def stand_in(monkeypatch):
    monkeypatch.setitem(sys.modules, "metaworld", SimpleNamespace(ALL_V3_ENVIRONMENTS={"reach-v3": Arm}))


def test_an_episode_is_a_function_of_its_seed_and_a_success_once_a_step_was(stand_in):
    game, told = MetaWorld(task="reach-v3", repeat=2).build(), []
    game.info = SimpleNamespace(begin=told.clear, note=lambda info: told.append(info["is_success"]))
    first, other = game.reset(3), game.reset(4)
    assert (game.limit, game.spec.obs_shape, game.spec.action_dim) == (2, (39,), 4)
    assert not np.array_equal(first, other)
    assert np.array_equal(game.reset(3), first)
    assert [game.step(np.zeros(4, np.float32))[1:] for _ in range(2)] == [(1.0 + 2.0, False, False), (3.0 + 4.0, False, True)]
    assert told == [True, True]
    game.reset(None)
    assert not game.env.env.solved


def test_keys_reach_the_task(stand_in):
    game = MetaWorld(task="reach-v3", goal="hidden", reward="v1", max_episode_steps=3, camera="topview").rendering().build()
    assert game.env.unwrapped.asked == ("rgb_array", "v1", "topview")
    assert game.limit == 3
    assert not game.reset(0)[36:].any()
    with pytest.raises(ValueError, match=r"task='reach' is none of reach-v3"):
        MetaWorld(task="reach").build()


class Left:
    """A module that finds a library of MuJoCo 4."""

    def __getattr__(self, name):
        raise OSError("libmujoco.so.4.0.0: cannot open shared object file")


def test_a_missing_package_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "metaworld", Left())
    with pytest.raises(ValueError, match=r"MuJoCo does not load \(libmujoco.* in a new virtual environment, pip install"):
        MetaWorld(task="reach-v3").build()
    monkeypatch.setitem(sys.modules, "metaworld", None)
    with pytest.raises(ValueError, match=r"task=reach-v3 needs Meta-World .*pip install"):
        MetaWorld(task="reach-v3").build()


def test_a_task_itself():
    """Its own scripted policy, which needs the goal, succeeds in a task where the arm moves to the goal."""
    pytest.importorskip("metaworld")
    from metaworld.policies import SawyerReachV3Policy

    game = MetaWorld(task="reach-v3").build()
    policy, obs = SawyerReachV3Policy(), game.reset(1)
    for _ in range(100):
        obs, _, _, ended = game.step(policy.get_action(obs.astype(np.float64)).clip(-1, 1).astype(np.float32))
        assert not ended
    assert game.env.env.solved
    assert np.array_equal(game.reset(1), MetaWorld(task="reach-v3").build().reset(1))
    game.close()
