"""Environments of others by `env=gym`: what a run of one is called, images without a setting, one that cannot be made, trusted wrappers."""

from __future__ import annotations

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces

from deeprl.cli import exits
from deeprl.config.stored import named_packages
from tests.builders import front_door

SHORT = ("steps=60", "learning_starts=20", "replay.capacity=100", "replay.batch_size=4", "evaluation.every=null",
         "evaluation.final_episodes=1", "checkpoint.every=null", "accelerate=fast", "runtime.threads=1")  # fmt: skip


class Pictures(gymnasium.Env):
    """Ends after five steps."""

    def __init__(self, shape=(7, 7, 3), broken=False):
        self.observation_space, self.action_space, self.steps = spaces.Box(0, 255, shape, np.uint8), spaces.Discrete(2), 0
        assert not broken, "no such model"

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.steps = 0
        return self.observation_space.low, {}

    def step(self, action):
        self.steps += 1
        return self.observation_space.low, 1.0, self.steps == 5, False, {}


gymnasium.register("Pictures-v0", entry_point=Pictures)


@pytest.mark.parametrize("shape", [(7, 7, 3), (3, 40, 40)])
def test_images_of_any_size_train_without_a_setting(shape, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    sizes = ",".join(map(str, shape))
    assert front_door("agent=dqn", "env=gym", "env.id=Pictures-v0", f"+env.kwargs.shape=[{sizes}]", *SHORT) == exits.FINISHED
    said = capsys.readouterr()
    assert f"env.channels={'last' if shape[-1] == 3 else 'first'}" in said.err
    assert said.out.startswith("dqn on gym/Pictures-v0: return 5.0")
    assert [path.name for path in (tmp_path / "runs").iterdir()] == ["gym_Pictures-v0"]


def test_an_environment_that_cannot_be_made_is_a_wrong_configuration(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert front_door("agent=dqn", "env=gym", "env.id=Pictures-v0", "+env.kwargs.broken=true", *SHORT) == exits.WRONG
    error = capsys.readouterr().err
    assert [word for word in ("Pictures-v0", "AssertionError", "test_any_environment.py:", "no such model") if word not in error] == []
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


@pytest.mark.parametrize("wrappers", ["theirs.W", ["theirs.W"], {"path": "theirs.W"}, [{"path": "theirs.W", "kwargs": {}}]])
def test_a_stored_wrapper_needs_trust_however_it_is_written(wrappers):
    assert named_packages({"wrappers": wrappers}) == ["theirs"]
