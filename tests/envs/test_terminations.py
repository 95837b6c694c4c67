"""Rules of terminations agree with the environments that have them; distractors move by themselves."""

from __future__ import annotations

from dataclasses import replace

import gymnasium
import numpy as np
import pytest
import torch

from deeprl.envs.classic import Classic
from deeprl.envs.distractors import Distracted
from deeprl.envs.function import Function
from deeprl.envs.gym import Gym
from deeprl.envs.last_action import GymLastAction
from deeprl.envs.mujoco import MuJoCo
from deeprl.envs.terminations import rule_of


@pytest.mark.parametrize("name", ["Hopper", "Walker2d", "Ant", "Humanoid", "InvertedPendulum", "InvertedDoublePendulum"])
def test_a_rule_is_that_of_the_environment(name):
    pytest.importorskip("mujoco")
    game, random, seen, ended = MuJoCo(id=f"{name}-v5").build(), np.random.default_rng(0), [], []
    game.reset(0)
    for _ in range(150):
        obs, _, terminated, over = game.step(random.uniform(-1, 1, game.spec.action_dim).astype(np.float32))
        seen.append(obs)
        ended.append(terminated)
        if over:
            game.reset(None)
    found = MuJoCo(id=f"{name}-v5").terminates()(torch.from_numpy(np.stack(seen)))
    assert found.tolist() == ended
    assert any(ended) or name == "Ant"


def test_a_rule_is_not_known_of_other_tasks_and_where_arguments_may_have_changed_it():
    assert rule_of("Pendulum-v1", {})(torch.zeros(2, 3)).tolist() == [False, False]
    assert Classic(id="CartPole-v1").terminates() is None
    assert MuJoCo(id="Hopper-v5", kwargs={"healthy_z_range": [0.5, 2.0]}).terminates() is None


class Walk(gymnasium.Env):
    """A random walk that ends beyond 1, in float64."""

    observation_space, action_space = gymnasium.spaces.Box(-2.0, 2.0, (2, 1), np.float64), gymnasium.spaces.Box(-1.0, 1.0, (1,))

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.place = np.zeros((2, 1))
        return self.place, {}

    def step(self, action):
        self.place = self.place + action
        return self.place, 0.0, bool(abs(self.place[0, 0]) > 1), False, {}


class Known(Walk):
    def terminates(self, observations):
        assert observations.dtype == torch.float32
        return observations[:, 0].abs() > 1


RULES = {
    "numpy": (lambda self, obs: np.zeros(len(obs), bool), "answered 101 observations with ndarray: it takes a tensor"),
    "floats": (lambda self, obs: (obs[:, 0] > 1).float(), r"with torch.float32 of shape \(101,\)"),
    "column": (lambda self, obs: obs > 1, r"with torch.bool of shape \(101, 2\)"),
    "raises": (lambda self, obs: obs[:, 7] > 1, "its method terminates raised IndexError"),
    "arguments": (lambda self: False, "its method terminates raised TypeError"),
    "another": (lambda self, obs: obs[:, 0] > 9, r"step \d+ of random actions terminated, and its method terminates says the opposite"),
}


def walking(rule=None):
    return gymnasium.wrappers.TimeLimit(type("Walk", (Walk,), {"terminates": RULES[rule][0]} if rule else {})(), 50)


def known():
    return gymnasium.wrappers.TimeLimit(Known(), 50)


def test_an_own_environment_says_its_rule_by_a_method():
    obs = torch.tensor([[0.5, 3.0], [-1.5, 0.0]])
    assert Function(function=f"{__name__}:known").terminates()(obs).tolist() == [False, True]
    assert Function(function=f"{__name__}:walking").terminates() is None
    gymnasium.register("Known-v0", Known, max_episode_steps=50)
    try:
        assert Gym(id="Known-v0").terminates()(obs).tolist() == [False, True]
        assert GymLastAction(id="Known-v0").terminates() is None  # it read the action, which stands in front
    finally:
        del gymnasium.registry["Known-v0"]


@pytest.mark.parametrize("rule", RULES)
def test_a_method_that_is_no_rule_is_refused(rule):
    with pytest.raises(ValueError, match=RULES[rule][1]):
        Function(function=f"{__name__}:walking", kwargs={"rule": rule}).terminates()


def test_distractors_are_a_linear_map_that_starts_anew_and_change_nothing_else():
    choice = Distracted(id="Pendulum-v1", distractors=3)
    game, plain = choice.build(), Classic(id="Pendulum-v1").build()
    assert game.spec.obs_shape == (6,)
    assert replace(choice, visible=[0, 1]).build().spec.obs_shape == (5,)
    before, (start, random) = game.reset(0), (plain.reset(0), np.random.default_rng(0))
    assert np.array_equal(before[:3], start)
    matrix, fresh = random.normal(size=(3, 3)), 0
    for _ in range(60):
        action = np.float32([0.5])
        (after, reward, *_), (other, earned, *_) = game.step(action), plain.step(action)
        assert np.array_equal(after[:3], other)
        assert reward == earned
        expected = matrix @ before[3:]
        fresh += np.abs(expected).max() > 20
        if np.abs(expected).max() <= 20:
            assert after[3:] == pytest.approx(expected, rel=1e-4, abs=1e-4)
        before = after
    assert fresh
