"""Rewards and flags of environments that others wrote."""

from __future__ import annotations

from decimal import Decimal

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium import spaces

from deeprl.envs.answers import flag, flags, number, numbers
from deeprl.envs.gym import GymGame


@pytest.mark.parametrize(
    ("value", "meant"),
    [
        (True, True), (False, False), (1, True), (0, False), (1.0, True), (np.True_, True), (np.int64(0), False), (np.float32(1), True),
        (np.array(True), True), (np.array([False]), False), (torch.tensor(True), True), (torch.tensor([0]), False),
    ],
)  # fmt: skip
def test_what_is_taken_for_a_flag(value, meant):
    assert flag("terminated", value) is meant


@pytest.mark.parametrize(
    "value",
    ["no", "", b"", None, float("nan"), 2, -1, 0.5, object(), [], {}, np.array([True, False]), np.str_("True"), torch.ones(2), torch.nan],
)
def test_what_is_no_flag(value):
    with pytest.raises(TypeError, match=rf"truncated is {type(value).__name__} .*, not true or false"):
        flag("truncated", value)


@pytest.mark.parametrize("value", [2.0, 2, np.float32(2), np.array([2.0]), np.array(2), torch.tensor(2.0), torch.tensor([2]), Decimal(2)])
def test_what_is_taken_for_a_reward(value):
    assert type(number(value)) is float
    assert number(value) == 2.0


@pytest.mark.parametrize("value", ["1.0", b"1", np.str_("1.0"), np.array("1.0"), np.array("1.0", object), None, [1.0], np.ones(2), 1j])
def test_what_is_no_reward(value):
    with pytest.raises(TypeError, match=rf"reward is {type(value).__name__} .*, not a number"):
        number(value)


def test_those_of_a_vector_follow_the_same_rule():
    assert flags("terminated", [1, False]).tolist() == flags("terminated", np.array([1.0, 0.0])).tolist() == [True, False]
    assert numbers(np.array([1, 2])) == numbers([np.float32(1), 2]) == numbers(np.array([[1.0], [2.0]])) == [1.0, 2.0]
    for wrong in (["no", "yes"], [0.0, float("nan")], [None, True]):
        with pytest.raises(TypeError, match="terminated is"):
            flags("terminated", wrong)
    with pytest.raises(TypeError, match="reward is"):
        numbers(["1.0", "2.0"])


class Answers(gymnasium.Env):
    """Gives the same answer to every step."""

    def __init__(self, reward, terminated, truncated):
        self.observation_space, self.action_space = spaces.Box(-1, 1, (1,)), spaces.Discrete(2)
        self.answer = (np.zeros(1, np.float32), reward, terminated, truncated, {})

    def reset(self, *, seed=None, options=None):
        return self.answer[0], {}

    def step(self, action):
        return self.answer


@pytest.mark.parametrize(
    ("answer", "fault"),
    [
        ((1.0, "no", False), "terminated is str 'no'"),
        ((1.0, False, float("nan")), "truncated is float nan"),
        ((1.0, True, "no"), "truncated is str"),  # though the episode has ended already
        (("1.0", False, False), "reward is str '1.0'"),
    ],
)
def test_a_step_with_another_answer_fails(answer, fault):
    with pytest.raises(TypeError, match=fault):
        GymGame(Answers(*answer)).step(0)
    assert GymGame(Answers(np.float64(1), np.True_, 0)).step(0)[1:] == (1.0, True, True)
