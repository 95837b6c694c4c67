"""Goals of Gymnasium's form, and the worlds that are ours."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces
from gymnasium.wrappers import ClipReward, TransformObservation, TransformReward

from deeprl.envs.goals import PARTS, goals_of
from deeprl.envs.gym import GymGame
from deeprl.envs.reaching import BitFlip, Reach
from deeprl.envs.vector.choice import EnvChoice
from tests.conformance import check_environment

GOAL = spaces.Box(-1, 1, (2,))


class Point(gymnasium.Env):
    """Goals (2,) before and behind the rest of an observation; `compute_terminated` takes one goal at a time, as that of PointMaze."""

    action_space = spaces.Discrete(2)
    observation_space = spaces.Dict({"observation": spaces.Discrete(3), "achieved_goal": GOAL, "desired_goal": GOAL, "zoom": GOAL})

    def reset(self, *, seed=None, options=None):
        parts = {"achieved_goal": [0.1, 0.2], "desired_goal": [0.3, 0.4], "zoom": [0.5, 0.6]}
        return {"observation": 1, **{name: np.array(value, np.float32) for name, value in parts.items()}}, {}

    def compute_reward(self, achieved_goal, desired_goal, info):
        return -np.linalg.norm(achieved_goal - desired_goal, axis=-1)

    def compute_terminated(self, achieved_goal, desired_goal, info):
        return bool(np.linalg.norm(achieved_goal - desired_goal) < 0.5)


def test_places_are_those_of_the_flattened_observation():
    game = GymGame(Point())
    obs, goals = game.reset(0), goals_of(game.env)
    assert obs[goals.achieved].tolist() == pytest.approx([0.1, 0.2])
    assert obs[goals.desired].tolist() == pytest.approx([0.3, 0.4])


def test_a_method_for_one_goal_is_asked_for_each():
    goals = goals_of(Point())
    one, other = np.array([[0, 0], [0, 0]], np.float32), np.array([[3, 4], [0, 0.1]], np.float32)
    assert goals.reward(one, other).tolist() == pytest.approx([-5.0, -0.1])
    assert goals.terminated(one, other).tolist() == [False, True]


def test_what_lacks_goals_is_refused():
    class Asks(Point):
        def compute_reward(self, achieved_goal, desired_goal, info):
            return info["distance"]

    class Without(Point):
        compute_reward = None

    class Infinite(Point):
        def compute_reward(self, achieved_goal, desired_goal, info):
            return np.full(len(achieved_goal), np.inf)

    for env, why in ((Asks, "KeyError: 'distance'"), (Without, "no method compute_reward"), (Infinite, "gives inf")):
        with pytest.raises(ValueError, match=why):
            goals_of(env())


class Line(gymnasium.Env):
    """A point that goes right; its goal is far away. The reward is `success` at the goal and 0 elsewhere, or less by `cost`."""

    action_space = spaces.Discrete(2)
    observation_space = spaces.Dict({name: spaces.Box(-np.inf, np.inf, (1,)) for name in PARTS})

    def __init__(self, success=1.0, cost=0.0, ends=False):
        self.success, self.cost, self.ends, self.place = success, cost, ends, 0.0

    def look(self):
        return {name: np.array([place], np.float32) for name, place in zip(PARTS, (self.place, self.place, 100.0))}

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.place = 0.0
        return self.look(), {}

    def step(self, action):
        self.place += 1.0
        obs = self.look()
        return obs, float(self.compute_reward(obs[PARTS[1]], obs[PARTS[2]], {})) - self.cost, self.ends, False, {}

    def compute_reward(self, achieved_goal, desired_goal, info):
        return self.success * (achieved_goal == desired_goal)[..., 0]

    def compute_terminated(self, achieved_goal, desired_goal, info):
        return (achieved_goal == desired_goal)[..., 0]


class Halved(gymnasium.Wrapper):
    """Rewards change in `step`, where nothing but a step tells it."""

    def step(self, action):
        obs, reward, *rest = self.env.step(action)
        return obs, reward - 0.5, *rest


def halved_goals(obs):
    return {**obs, "desired_goal": obs["desired_goal"] / 2}


@dataclass(frozen=True, kw_only=True)
class Lines(EnvChoice):
    make_env: Callable[[], gymnasium.Env]

    def build(self, evaluation=False):
        return GymGame(self.make_env())


CHANGED = {
    "clipped": (lambda: ClipReward(Line(success=5.0), -1, 1), "its wrapper ClipReward changes"),
    "transformed": (lambda: TransformReward(Line(), lambda reward: 10 * reward), "its wrapper TransformReward changes"),
    "other goals": (lambda: TransformObservation(Line(), halved_goals, Line.observation_space), "its wrapper TransformObservation changes"),
    "in a step": (lambda: Halved(Line()), r"reward of its step 1 was -0.5, and for the goals of that step is 0: .*\(Halved, Line\)"),
    "a cost of actions": (lambda: Line(cost=0.25), "reward of its step 1 was -0.25"),
    "another end": (lambda: Line(ends=True), "termination of its step 1 was 1, and for the goals of that step is 0"),
}


@pytest.mark.parametrize("what", CHANGED)
def test_rewards_of_another_kind_are_refused(what):
    make, why = CHANGED[what]
    with pytest.raises(ValueError, match=why):
        Lines(make_env=make).goals()


def test_wrappers_that_change_neither_are_taken():
    for wrap in (lambda: ClipReward(Line(), -1, 1), lambda: gymnasium.wrappers.TimeLimit(Line(), 3)):
        assert Lines(make_env=wrap).goals().reward(np.ones((1, 1)), np.ones((1, 1))).tolist() == [1.0]


@pytest.mark.parametrize("world", [BitFlip(bits=4), Reach(max_episode_steps=20)], ids=lambda world: world.name)
def test_our_worlds_keep_the_contract(world):
    check_environment(world)


def test_bits_flip_and_the_goal_ends():
    game = BitFlip(bits=3).build()
    obs = game.reset(1)
    wrong = np.flatnonzero(obs[:3] != obs[3:])
    for left, bit in enumerate(reversed(wrong), 1 - len(wrong)):
        obs, reward, terminated, ended = game.step(int(bit))
        assert (reward, terminated, ended) == (-float(left < 0), left == 0, left == 0)


def test_a_point_reaches_its_goal_straight():
    game = Reach().build()
    obs, steps, terminated = game.reset(3), 0, False
    distance = np.linalg.norm(obs[:2] - obs[2:])
    while not terminated:
        obs, _, terminated, _ = game.step(np.clip((obs[2:] - obs[:2]) / 0.1, -1, 1))
        steps += 1
    assert steps <= np.ceil(distance / 0.1) + 1


def test_a_dict_without_goals_is_refused_by_its_own_keys():
    env = Point()
    env.observation_space = spaces.Dict({"camera": GOAL, "joints": GOAL})
    with pytest.raises(ValueError, match="its observations are Dict of camera, joints, not a Dict of "):
        goals_of(env)
