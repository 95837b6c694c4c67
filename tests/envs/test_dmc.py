"""Tasks of dm_control: what deeprl adds to them, and the tasks themselves where they are installed."""

from __future__ import annotations

import sys
import warnings

import gymnasium
import numpy as np
import pytest

from deeprl.envs.dmc import ActionRepeat, DMControl


class Counting(gymnasium.Env):
    """The reward is the number of the step; the third one ends."""

    observation_space = action_space = gymnasium.spaces.Box(-1.0, 1.0, (1,))

    def reset(self, *, seed=None, options=None):
        self.steps = 0
        return np.zeros(1, np.float32), {}

    def step(self, action):
        self.steps += 1
        return action, float(self.steps), self.steps == 3, False, {}


def test_a_repeated_action_sums_rewards_until_the_end():
    env = ActionRepeat(Counting(), 2)
    env.reset()
    assert env.step(np.ones(1))[1:3] == (1.0 + 2.0, False)
    assert env.step(np.ones(1))[1:3] == (3.0, True)


def test_a_missing_package_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "dm_control", None)
    with pytest.raises(ValueError, match=r"domain=cheetah needs dm_control .*pip install"):
        DMControl(domain="cheetah", task="run").build()


def test_a_task_has_the_suites_limit_in_steps_of_ours():
    """The values of the suite for the first step of cheetah-run with seed 1 are those of dm_control alone."""
    suite = pytest.importorskip("dm_control.suite")
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
