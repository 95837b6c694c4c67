"""What a glance at an environment of others says before its run."""

from __future__ import annotations

import contextlib
import random
import re
from dataclasses import dataclass
from functools import partial

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium import spaces

from deeprl.envs import glance
from deeprl.envs.glance import doubts
from deeprl.envs.gym import GymGame
from deeprl.envs.vector.backend import Serial
from deeprl.envs.vector.environments import EnvironmentFailed, Environments
from deeprl.extend import Actions, EnvChoice, Game, Spec


class Faulty(gymnasium.Env):
    """Counts its steps, with one fault."""

    def __init__(self, fault="", actions=2):
        self.fault, self.episodes, self.steps = fault, 0, 0
        self.observation_space, self.action_space = spaces.Box(-1, 1, (2,)), spaces.Discrete(actions)

    def shown(self):
        size = 50 if self.fault == "outside" else 1
        shown = np.array([size, self.steps / 100], np.float32)
        if self.fault == "episodes":
            shown[1] += self.episodes / 10
        if self.fault == "nan" and self.steps == 3:
            shown[1] = np.nan
        if self.fault == "process":
            shown[1] = random.random()
        return shown

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.episodes, self.steps = self.episodes + 1, 0
        return self.shown(), {}

    def step(self, action):
        self.steps += 1
        if self.fault == "raises" and self.steps == 3:
            raise RuntimeError("my own bug")
        reward = float(self.episodes) if self.fault == "reward" else 0.0
        reward = np.nan if self.fault == "nan reward" else reward
        return self.shown(), reward, self.fault == "at once" or (self.steps == 5 and self.fault != "endless"), False, {}


@pytest.mark.parametrize(
    ("fault", "told"),
    [
        ("", None),
        ("raises", None),  # the run says it better
        ("at once", "each of its first 8 episodes ended at its first step"),
        ("outside", "entry 0 was 50, and observation_space says -1 to 1"),
        ("episodes", "differ in their first observation"),
        ("process", "differ in their first observation"),
        ("reward", "differ at step 1"),
        ("nan reward", "its reward was nan at step 1: let step"),  # NaN equals NaN: two episodes do not differ by it
        ("nan", "its observation holds nan at step 3: let reset"),
    ],
)
def test_what_looks_wrong(fault, told):
    random.seed(3)
    before = random.getstate()
    found = list(doubts(GymGame(Faulty(fault))))
    assert random.getstate() == before
    assert len(found) == (told is not None)
    assert told is None or told in found[0]


def test_a_single_action_leaves_nothing_to_learn():
    assert "Discrete(1)" in " ".join(doubts(GymGame(Faulty(actions=1))))


def test_a_slow_environment_is_looked_at_for_a_moment(monkeypatch):
    monkeypatch.setattr(glance, "SECONDS", -1.0)
    env = Faulty("episodes")
    assert list(doubts(GymGame(env))) == []
    assert (env.episodes, env.steps) == (1, 0)


@pytest.mark.parametrize(
    "id", ["CartPole-v1", "Pendulum-v1", "Blackjack-v1", "FrozenLake-v1", "MountainCarContinuous-v0", "CliffWalking-v1"]
)
def test_right_environments_raise_no_doubt(id):
    assert list(doubts(GymGame(gymnasium.make(id)))) == []


class Own(Game):
    """A game of another package, with one fault in its answers."""

    spec = Spec(obs_shape=(3,), obs_dtype=torch.float32, num_actions=2, action_dim=0, masked=True)
    actions = Actions(2)

    def __init__(self, fault: str = ""):
        self.fault, self.steps = fault, 0

    def shown(self):
        mask = [0.0, 0.0] if self.fault == "mask" and self.steps == 2 else [1.0, 0.0]
        row = np.array([self.steps, *mask], np.float32)
        return row.tolist() if self.fault == "list" else row

    def reset(self, seed):
        self.steps = 0
        return self.shown()

    def step(self, action):
        self.steps += 1
        reward = {"text": "1.0", "several": np.ones(2), "nothing": None}.get(self.fault, np.ones(1) if self.fault == "one" else 1.0)
        terminated = self.steps >= 3
        ended = {"no": "no", "mixed up": False}.get(self.fault, terminated)
        return (self.shown(), reward, terminated, ended, *([{}] if self.fault == "five" else []))


@pytest.mark.parametrize(
    ("fault", "told"),
    [
        ("", None),
        ("one", None),
        ("text", "reward is str '1.0', not a number"),
        ("several", "reward is ndarray array([1., 1.]), not a number"),
        ("nothing", "reward is NoneType None, not a number"),
        ("no", "ended is str 'no', not true or false"),
        ("five", "Own.step gave 5 values, not 4"),
        ("list", "observation is list [0.0, 1.0, 0.0], not a NumPy array"),
        ("mask", "action mask has no valid action, and the episode goes on"),
    ],
)
def test_answers_of_a_game_of_ones_own(fault, told):
    envs = Environments(Serial(partial(Own, fault), 1), "own", 0)
    with contextlib.nullcontext() if told is None else pytest.raises(EnvironmentFailed, match=re.escape(told)):
        envs.reset()
        for _ in range(4):
            envs.step(np.zeros(1, np.int64))


def test_a_game_of_ones_own_is_looked_at(capfd):
    @dataclass(frozen=True, kw_only=True)
    class Mine(EnvChoice):
        fault: str = ""

        def build(self, evaluation=False):
            return Own(self.fault)

    assert Mine(fault="mixed up").spec() == Own.spec
    assert "of random actions terminated, and no episode ended" in capfd.readouterr().err


def test_a_few_steps_are_too_few_to_say_that_no_episode_ends(monkeypatch):
    """On a busy machine two steps were told as a suspicion, of episodes that have twenty."""
    assert "and no episode ended in" in glance.endless(GymGame(Faulty("endless")), "set a limit")
    monkeypatch.setattr(glance, "PATIENCE", 16)
    assert glance.endless(GymGame(Faulty("endless")), "set a limit") == ""


def test_a_slow_environment_has_a_second_for_the_least_steps(monkeypatch):
    """None slower than a millisecond a step was ever told to have no limit."""
    monkeypatch.setattr(glance, "LOOK", 0.0)
    assert f"no episode ended in {glance.ENOUGH} steps" in glance.endless(GymGame(Faulty("endless")), "set a limit")
