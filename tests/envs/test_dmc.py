"""Tasks of dm_control: what deeprl adds to them, and the tasks themselves where they are installed."""

from __future__ import annotations

import sys
import warnings

import gymnasium
import numpy as np
import pytest

from deeprl.envs.dmc import ActionRepeat, DMControl
from deeprl.envs.pictures import Pictures


class Counting(gymnasium.Env):
    """The reward is the number of the step; the third one ends."""

    observation_space = action_space = gymnasium.spaces.Box(-1.0, 1.0, (1,))

    def reset(self, *, seed=None, options=None):
        self.steps = 0
        return np.zeros(1, np.float32), {}

    def render(self):
        return np.full((2, 2, 3), [10, 20, self.steps], np.uint8)

    def step(self, action):
        self.steps += 1
        return action, float(self.steps), self.steps == 3, False, {}


def test_a_repeated_action_sums_rewards_until_the_end():
    env = ActionRepeat(Counting(), 2)
    env.reset()
    assert env.step(np.ones(1))[1:3] == (1.0 + 2.0, False)
    assert env.step(np.ones(1))[1:3] == (3.0, True)


def test_pictures_are_stacked_from_zeros_with_the_newest_last():
    env = Counting()
    env.reset()
    seen = Pictures(env, 2)
    assert seen.observation_space == gymnasium.spaces.Box(0, 255, (6, 2, 2), np.uint8)
    first = seen.reset()[0]
    assert first[:, 0, 0].tolist() == [0, 0, 0, 10, 20, 0]
    after, reward, *_ = seen.step(np.ones(1))
    assert (after[:, 1, 1].tolist(), reward) == ([10, 20, 0, 10, 20, 1], 1.0)
    assert first[:, 0, 0].tolist() == [0, 0, 0, 10, 20, 0]  # whoever holds it keeps it
    assert seen.reset()[0][:, 0, 0].tolist() == [0, 0, 0, 10, 20, 0]


def test_a_missing_package_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "dm_control", None)
    with pytest.raises(ValueError, match=r"domain=cheetah needs dm_control .*pip install"):
        DMControl(domain="cheetah", task="run").build()


def test_a_task_has_the_suites_limit_in_steps_of_ours():
    """The values of the suite for the first step of cheetah-run with seed 1 are those of dm_control alone."""
    try:
        suite = pytest.importorskip("dm_control.suite")
    except AttributeError as error:  # of a graphics library that MUJOCO_GL names
        pytest.skip(str(error))
    try:
        alone = suite.load("cheetah", "run", {"random": 1})
    except AttributeError:
        pytest.skip("dm_control does not go with this MuJoCo")
    with warnings.catch_warnings():  # what is shown stays as it was: `deeprl check` once repeated fifteen warnings of torch's compiler
        before = list(warnings.filters)
        game = DMControl(domain="cheetah", task="run", repeat=2).build()
        assert warnings.filters == before
    assert (game.limit, game.spec.obs_shape, game.spec.action_dim) == (500, (17,), 6)
    first = np.concatenate(list(alone.reset().observation.values()))
    np.testing.assert_allclose(game.reset(1), first.astype(np.float32))
    steps = [alone.step(np.full(6, 0.5)) for _ in range(2)]
    assert game.step(np.full(6, 0.5, np.float32))[1] == pytest.approx(sum(step.reward for step in steps))
    game.close()
    try:
        drawn = DMControl(domain="cheetah", task="run", pixels=16).build()
    except ValueError as error:
        pytest.skip(str(error))
    assert (drawn.spec.obs_shape, drawn.spec.frame_stack, drawn.limit) == ((9, 16, 16), 3, 1000)
    seen = drawn.reset(1)
    assert not seen[:6].any()
    assert seen[6:].any()
    drawn.close()
