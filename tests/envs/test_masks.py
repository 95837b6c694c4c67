"""Action masks of environments: where they come from, what is refused, and that every backend carries them."""

from __future__ import annotations

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces

from deeprl.cli import exits
from deeprl.envs.function import Function
from deeprl.envs.gym import Gym, GymGame
from deeprl.envs.vector.parts import Form
from deeprl.errors import ConfigError
from deeprl.running.config.build import environment
from deeprl.types import Spec
from tests.builders import begin, settled
from tests.corridor import Corridor

PLACE = "tests.corridor:Corridor"


def choice(**settings) -> Function:
    return Function(**{"function": PLACE, "kwargs": {"length": 3, "actions": 4}, **settings})


class Mask(gymnasium.Wrapper):
    """A corridor of three states whose mask is replaced, at a reset or afterwards."""

    def __init__(self, mask=None, first=None, continuous=False, told=True):
        super().__init__(Corridor(3, 4))
        self.mask, self.first, self.told = mask, first, told
        if continuous:
            self.action_space = spaces.Box(-1, 1, (1,))

    def reset(self, **options):
        obs, info = super().reset(**options)
        return obs, info | ({"action_mask": self.first} if self.first is not None else {}) if self.told else {}

    def step(self, action):
        obs, *flags, info = super().step(action)
        return obs, *flags, info | {"action_mask": self.mask}


class Pictured(Corridor):
    def __init__(self):
        super().__init__(told=False)
        pictures = spaces.Box(0, 255, (7, 7, 3), np.uint8)
        self.observation_space = spaces.Dict({"observation": pictures, "action_mask": spaces.MultiBinary(40)})


@pytest.mark.parametrize(("told", "mask"), [(True, True), (False, None), (False, True)])
def test_a_mask_is_the_last_columns_of_an_observation(told, mask):
    """Valid are 3 and 0 at the start, 2 and 3 one state on."""
    game = choice(kwargs={"length": 3, "actions": 4, "told": told}, mask=mask).build()
    assert game.spec == Spec((3 + 4,), game.spec.obs_dtype, 4, 0, masked=True)
    row = game.reset(0)
    assert (row.dtype, row.tolist()) == (np.float32, [1, 0, 0, 1, 0, 0, 1])
    assert game.step(3)[0].tolist() == [0, 1, 0, 0, 0, 1, 1]


def test_a_mask_that_is_not_wanted_is_none(capsys):
    assert choice(mask=False).spec() == choice().spec() == Spec((3,), choice().build().spec.obs_dtype, 4, 0)
    assert capsys.readouterr().err.count("env.mask=true respects it") == 1  # of the second, for which nothing was said
    plain = choice(kwargs={"length": 3, "actions": 4, "told": False}, mask=False).spec()
    assert plain == Spec((4 + 3,), plain.obs_dtype, 4, 0)
    assert "flattened to vectors of 7 numbers" in capsys.readouterr().err


def test_a_line_says_that_masks_are_respected(capsys):
    assert choice(mask=True).spec().masked
    assert "action masks of 4 actions are respected" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("first", "words"),
    [
        ([1, 1, 1], r"of shape \(3,\), .* not 4 zeros and ones"),
        ([[1, 0, 0, 0]], r"of shape \(1, 4\)"),
        ([1, 0, 0, 2], "not 4 zeros and ones"),
        ([0.5, 1, 1, 1], "not 4 zeros and ones"),
        ([np.nan, 1, 1, 1], "not 4 zeros and ones"),
        ("1111", "not 4 zeros and ones"),
        ([0, 0, 0, 0], "no valid action, and the episode goes on"),
    ],
)
def test_another_mask_is_refused_at_the_start(first, words):
    with pytest.raises(ValueError, match=words):
        Function(function=f"{__name__}:Mask", kwargs={"first": first}, mask=True).spec()


def test_a_missing_mask_is_refused_at_the_start():
    with pytest.raises(ValueError, match=r"env\.id=CartPole-v1: env\.mask=true, and info has no .action_mask., only \[\]"):
        Gym(id="CartPole-v1", mask=True).spec()


def test_masks_of_continuous_actions_and_of_images_are_refused():
    with pytest.raises(ValueError, match="env.mask=true needs discrete actions"):
        Function(function=f"{__name__}:Mask", kwargs={"continuous": True}, mask=True).spec()
    with pytest.raises(ValueError, match="holds images, and action masks go with vectors only"):
        Function(function=f"{__name__}:Pictured").spec()
    with pytest.raises(ConfigError, match="env.mask=true needs discrete actions"):
        environment(settled("agent=td3", "env=gym", "env.id=Pendulum-v1", "env.mask=true"), None)


def test_a_mask_may_be_empty_where_an_episode_terminates():
    """After the fall there is no action, and no value is looked up there."""
    game = GymGame(Mask(mask=[0, 0, 0, 0]), Form(mask=True))
    game.reset(0)
    row, reward, terminated, ended = game.step(1)
    assert (row[3:].tolist(), reward, terminated, ended) == ([0, 0, 0, 0], -1.0, True, True)
    game.reset(0)
    with pytest.raises(ValueError, match="no valid action, and the episode goes on, or was truncated, after which targets need one too"):
        game.step(3)


def test_a_mask_that_fails_during_a_run_ends_it_with_a_sentence(tmp_path, capsys):
    words = (
        "agent=dqn",
        "env=function",
        f"env.function={__name__}:Mask",
        "+env.kwargs.mask=[1,1]",
        "env.mask=true",
        "steps=60",
        "runtime.threads=1",
    )
    assert begin(tmp_path / "run", *words) == exits.FAILED
    assert "action mask is int64 of shape (2,), [1, 1], not 4 zeros and ones" in capsys.readouterr().err


def test_worker_processes_carry_masks():
    """The same rows as in this process, for the same actions."""
    rows = []
    for vector in ("sync", "async"):
        envs = choice(mask=True, num=2, vector=vector).make(0)
        try:
            assert envs.spec.masked
            rows.append([envs.reset(), *(envs.step(np.array(action)).obs for action in ([3, 0], [2, 1], [3, 3]))])
        finally:
            envs.close()
    assert np.array_equal(*rows)
    assert (rows[0][1][:, 3:] == [[0, 0, 1, 1], [1, 0, 0, 1]]).all()


def test_taxi_tells_its_masks():
    taxi = Gym(id=next(name for name in sorted(gymnasium.registry) if name.startswith("Taxi-v")), mask=True)
    assert taxi.spec().obs_shape == (500 + 6,)
    game = taxi.build()
    row = game.reset(0)
    assert np.array_equal(row[500:], game.env.unwrapped.action_mask(game.env.unwrapped.s))
