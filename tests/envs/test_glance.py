"""What a glance at an environment of others says before its run."""

from __future__ import annotations

import random

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces

from deeprl.envs import glance
from deeprl.envs.glance import doubts
from deeprl.envs.gym import GymGame


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
        return self.shown(), reward, self.fault == "at once" or self.steps == 5, False, {}


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
