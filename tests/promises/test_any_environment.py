"""Environments of others by `env=gym`: what a run of one is called, images without a setting, one that cannot be made, trusted wrappers."""

from __future__ import annotations

import contextlib

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces

import deeprl
from deeprl.cli import exits
from deeprl.running.config.trust import named
from deeprl.running.runs.checkpoints import Checkpoints
from tests.builders import front_door, same
from tests.promises.test_resume import cut_and_resumed

SHORT = ("steps=60", "replay.learning_starts=20", "replay.capacity=100", "replay.batch_size=4", "evaluation.every=null",
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


class Any(gymnasium.Env):
    """Random observations of any space, as a function of the seed. Ends after five steps."""

    def __init__(self, space, actions):
        self.observation_space, self.action_space, self.steps = space, actions, 0

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.steps = 0
        if seed is not None:
            self.observation_space.seed(seed)
        return self.observation_space.sample(), {}

    def step(self, action):
        assert self.action_space.contains(action)
        self.steps += 1
        return self.observation_space.sample(), 1.0, self.steps == 5, False, {}


def planes():
    return Any(spaces.Box(-1, 1, (2, 7, 7)), spaces.MultiDiscrete([2, 3]))


def parts():
    return Any(spaces.Dict({"where": spaces.Box(-9, 9, (2, 2)), "what": spaces.MultiBinary(3)}), spaces.Discrete(2))


def steered():
    return Any(spaces.Box(0, 255, (1, 16, 16)), spaces.Box(-1, 1, (1,)))


@pytest.mark.parametrize(
    ("make", "agent", "said"),
    [
        ("planes", ("agent=dqn", "replay.n_step=3"), "env.channels=first is taken for observations of shape (2, 7, 7)"),
        ("planes", ("agent=rbis_dqn", "replay.length=3"), "env.channels=first"),
        ("parts", ("agent=dqn",), "observations of Dict are flattened to vectors of 7 numbers"),
        ("steered", ("agent=sac",), "env.channels=first"),
    ],
)
def test_a_run_on_any_space_resumes_exactly(make, agent, said, tmp_path, monkeypatch, capsys):
    words = (*agent, "env=function", f"env.function={__name__}:{make}", *SHORT, "checkpoint.every=40", "log.every=20")
    folders = cut_and_resumed(tmp_path, monkeypatch, 43, *words, trust=("--allow-package", __name__.split(".")[0]))
    assert capsys.readouterr().err.count(said) == 2  # once a start
    (_, whole), (_, resumed) = (Checkpoints(folder).load("last") for folder in folders)
    assert same(whole["agent"]["module"], resumed["agent"]["module"])


def test_an_environment_that_cannot_be_made_is_a_wrong_configuration(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert front_door("agent=dqn", "env=gym", "env.id=Pictures-v0", "+env.kwargs.broken=true", *SHORT) == exits.WRONG
    error = capsys.readouterr().err
    assert [word for word in ("Pictures-v0", "AssertionError", "test_any_environment.py:", "no such model") if word not in error] == []
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


@pytest.mark.parametrize("wrappers", ["theirs.W", ["theirs.W"], {"path": "theirs.W"}, [{"path": "theirs.W", "kwargs": {}}]])
def test_a_stored_wrapper_needs_trust_however_it_is_written(wrappers):
    assert [*named({"wrappers": wrappers})] == [("wrappers", "theirs.W", "theirs")]


def numbers():
    return Any(spaces.Discrete(3, start=1), spaces.MultiDiscrete([2, 3], dtype=np.int8))


def pictures():
    return Pictures()


@pytest.mark.parametrize("make", [numbers, parts, pictures])
def test_an_agent_acts_on_observations_as_the_environment_gives_them(make, tmp_path):
    """One and several, and on the rows of its evaluation, which are the same observations as the network sees them."""
    words = ("agent=dqn", "env=function", f"env.function={__name__}:{make.__name__}", *SHORT, "steps=1")
    run = deeprl.train(words, folder=tmp_path / "run")
    env = make()
    space = env.observation_space
    space.seed(0)
    several = [space.sample() for _ in range(4)]
    one_by_one = [run.act(obs) for obs in several]
    assert all(env.action_space.contains(action) for action in one_by_one)
    np.testing.assert_array_equal(run.act(several), one_by_one)
    with contextlib.closing(run.make_evaluation(seed=5, num=1)) as envs:
        rows = np.stack([envs.backend.conversion.row(obs, {}, False) for obs in several])
    np.testing.assert_array_equal(run.act(rows), one_by_one)
    with pytest.raises(ValueError, match="or is one of"):
        run.act("nothing")
