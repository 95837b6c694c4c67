"""Environments with one fault each, for `benchmarks.wrong_commands`: env=function env.function=benchmarks.badenv:NAME."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass

import gymnasium
import numpy as np
from gymnasium import spaces

from deeprl.choice import Choice

VECTOR = spaces.Box(-10, 10, (3,), np.float32)
IMAGE = spaces.Box(0, 255, (16, 16, 3), np.uint8)


class Base(gymnasium.Env):
    """Ten steps, three numbers, two actions. The faults below replace one answer each."""

    observation_space: spaces.Space = VECTOR
    action_space: spaces.Space = spaces.Discrete(2)
    length = 10

    def __init__(self):
        self.clock = 0

    def obs(self):
        return self.observation_space.sample()

    def first(self):
        return self.obs()

    def info(self):
        return {}

    def reward(self):
        return 1.0

    def terminated(self):
        return self.clock >= self.length

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.observation_space.seed(seed)
        self.clock = 0
        return self.first(), self.info()

    def step(self, action):
        self.clock += 1
        return self.obs(), self.reward(), self.terminated(), False, self.info()


def fault(**answers):
    """A class whose methods or attributes are replaced by `answers`; what is no function is answered as it is."""
    return type("Faulty", (Base,), answers)


def later(value, otherwise):
    """An answer that is wrong from the third step on."""
    return lambda self: value if self.clock > 2 else otherwise


def told(value):
    return lambda self: value


def raises_error(*args, **kwargs):
    raise RuntimeError("the simulator is not there")


GOOD = np.zeros(3, np.float32)
NanObs = fault(obs=later(np.array([0, np.nan, 0], np.float32), GOOD))
NanReward, InfReward, HugeReward = (fault(reward=told(value)) for value in (np.nan, np.inf, 1e30))
UintFloat = fault(observation_space=IMAGE, obs=told(np.zeros((16, 16, 3), np.float32)))
WrongShape = fault(obs=told(np.zeros(4, np.float32)))
PAIR = spaces.Dict(far=VECTOR, near=VECTOR)
DictMissing = fault(observation_space=PAIR, obs=told({"far": GOOD}))
DiscreteOut = fault(observation_space=spaces.Discrete(4), obs=told(9))
ObsString = fault(obs=told("left"))
ResetObsOnly = fault(reset=lambda self, *, seed=None, options=None: GOOD)
OldApi = fault(reset=lambda self: GOOD, step=lambda self, action: (GOOD, 1.0, True, {}))
NoSeed = fault(reset=lambda self: (GOOD, {}))
OldStep = fault(step=lambda self, action: (GOOD, 1.0, True, {}))
RewardNone, RewardArray, RewardText = (fault(reward=told(value)) for value in (None, np.ones(2), "1.0"))
TextFlag = fault(terminated=told("no"))
FreeAction = fault(action_space=spaces.Box(-np.inf, np.inf, (2,)))
HalfFree = fault(action_space=spaces.Box(np.array([-1.0, -np.inf], np.float32), np.array([1.0, np.inf], np.float32)))
IntAction = fault(action_space=spaces.Box(0, 3, (1,), np.int64))
NoSpace, NoActionSpace = fault(observation_space=None), fault(action_space=None)
InitRaises = fault(__init__=raises_error)
raises = raises_error


def returns_none():
    return None


def returns_class():
    return Base


not_callable = 7


def needs(level):
    return Base()


MASKED = spaces.Discrete(4)
MaskShort = fault(action_space=MASKED, info=told({"action_mask": np.ones(2, np.int8)}))
MaskZero = fault(action_space=MASKED, info=told({"action_mask": np.zeros(4, np.int8)}))
MaskGone = fault(action_space=MASKED, info=lambda self: {} if self.clock > 2 else {"action_mask": np.ones(4, np.int8)})
TextObs = fault(observation_space=spaces.Text(5))
BigPixels = fault(observation_space=spaces.Dict(camera=spaces.Box(0, 255, (84, 84, 3), np.uint8), sensors=VECTOR))
Pixels = fault(observation_space=spaces.Dict(camera=IMAGE, sensors=VECTOR), action_space=spaces.Box(-1, 1, (2,)))
OneAction = fault(action_space=spaces.Discrete(1))
EndsAtOnce = fault(length=1)
OutOfBox = fault(obs=told(np.full(3, 500.0, np.float32)))
Global = fault(obs=lambda self: np.random.rand(3).astype(np.float32))  # noqa: NPY002 (the fault)
BUFFER = np.zeros(3, np.float32)
Alias, ListObs = fault(obs=told(BUFFER)), fault(obs=told([0.0, 1.0, 2.0]))
NegativeAction = fault(action_space=spaces.Discrete(3, start=-1))
InfObs = fault(observation_space=spaces.Box(-np.inf, np.inf, (3,)), obs=told(GOOD))
Noisy = fault(reward=lambda self: print("a step") or 1.0)
Endless = fault(terminated=told(False))


class Crash(Base):
    def step(self, action):
        if self.clock == 5 and self.np_random.random() < 0.3:  # a function of the seed
            raise ValueError("the simulator lost its model")
        return super().step(action)


class HardExit(Base):
    def step(self, action):
        if self.clock == 5:
            os._exit(3)
        return super().step(action)


class Hang(Base):
    def step(self, action):
        if self.clock == 5:
            time.sleep(10_000)
        return super().step(action)


@dataclass(frozen=True)
class BrokenBackup(Choice):
    """A part of one's own that raises."""

    def __call__(self, online, target, batch):
        raise ZeroDivisionError("my own bug in a backup")
