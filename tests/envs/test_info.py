"""Numbers of the task that environments tell in `info`."""

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces

from deeprl.envs.function import Function
from deeprl.envs.vector.info import EpisodeInfo
from deeprl.envs.vectorized import Vectorized
from deeprl.errors import ConfigError
from deeprl.running.config.rules import asked_info
from deeprl.running.training.episodes import Episodes, episode
from deeprl.running.training.evaluation import task_means

NAMES = {"place": "last", "cost": "sum", "speed": "mean", "is_success": "last"}


class Walk(gymnasium.Env):
    """Three steps to the right. It tells its place always, a speed in the second step alone, and a success at the end."""

    observation_space = spaces.Box(0, 9, (1,), np.float32)
    action_space = spaces.Discrete(2)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.place = 0
        return np.zeros(1, np.float32), {"place": 99}

    def step(self, action):
        self.place += 1
        info = {"place": self.place, "cost": np.float32(0.5), **({"speed": 2.0} if self.place == 2 else {})}
        info |= {"is_success": True} if self.place == 3 else {}
        return np.full(1, self.place, np.float32), 1.0, self.place == 3, False, info


def test_success_counts_as_is_success():
    """PointMaze and Adroit call it `success`; what is no number is left alone."""
    told = EpisodeInfo({"is_success": "last"})
    for info, expected in (
        ({"success": np.True_}, {"is_success": 1.0}),
        ({"success": "no"}, {}),
        ({"success": 1, "is_success": 0.0}, {"is_success": 0.0}),
    ):
        told.note(info)
        assert told.of_episode() == expected


def walks(num_envs):
    return gymnasium.vector.SyncVectorEnv([Walk] * num_envs)


class Success(Walk):
    """Calls it `success`."""

    def step(self, action):
        obs, reward, terminated, truncated, info = super().step(action)
        return obs, reward, terminated, truncated, {name.removeprefix("is_"): value for name, value in info.items()}


def successes(num_envs):
    return gymnasium.vector.SyncVectorEnv([Success] * num_envs)


def same_step(num_envs):
    return gymnasium.vector.SyncVectorEnv([Walk] * num_envs, autoreset_mode=gymnasium.vector.AutoresetMode.SAME_STEP)


@pytest.mark.parametrize("vector", ["sync", "async"])
def test_an_episode_tells_last_value_sum_and_mean(vector):
    envs = Function(function="tests.envs.test_info:Walk", vector=vector, num=2).asked(NAMES).make(0)
    told = played(envs, 6)
    assert told[2] == told[5] == [{"place": 3.0, "cost": 1.5, "speed": 2.0, "is_success": 1.0}] * 2
    assert [told[i] for i in (0, 1, 3, 4)] == [[{}, {}]] * 4


@pytest.mark.parametrize(("choice", "vector"), [(Function, "sync"), (Function, "async"), (Vectorized, "sync")])
def test_an_episode_that_is_cut_off_has_told_what_it_told(choice, vector):
    """Rates of success counted those alone that ended by themselves: where a success ends an episode, all of them."""
    name = "walks" if choice is Vectorized else "Walk"
    envs = choice(function=f"tests.envs.test_info:{name}", num=2, **({} if name == "walks" else {"vector": vector})).asked(NAMES).make(0)
    try:
        envs.reset()
        for _ in range(2):
            after = envs.step(np.zeros(2, np.int64))
        assert list(envs.truncate_episodes(after, [1]).info) == [{}, {"place": 2.0, "cost": 1.0, "speed": 2.0}]
        assert list(envs.step(np.zeros(2, np.int64)).info) == [{"place": 3.0, "cost": 1.5, "speed": 2.0, "is_success": 1.0}, {}]
    finally:
        envs.close()


@pytest.mark.parametrize("function", ["walks", "same_step", "successes"])
def test_a_vector_environment_tells_the_same(function):
    envs = Vectorized(function=f"tests.envs.test_info:{function}", num=2).asked(NAMES).make(0)
    assert played(envs, 6)[5] == [{"place": 3.0, "cost": 1.5, "speed": 2.0, "is_success": 1.0}] * 2


def played(envs, steps):
    try:
        envs.reset()
        return [list(envs.step(np.zeros(2, np.int64)).info) for _ in range(steps)]
    finally:
        envs.close()


def test_the_numbers_of_a_restored_episode_begin_with_its_first_step():
    def make():
        return Function(function="tests.envs.test_info:Walk").asked({"cost": "sum"}).make(0)

    first, second = make(), make()
    first.reset()
    first.step(np.zeros(1, np.int64))
    second.load_state_dict(first.state_dict())
    assert [list(envs.step(np.zeros(1, np.int64)).info) for envs in (first, second) for _ in range(2)][1::2] == [[{"cost": 1.5}]] * 2


def test_a_number_that_is_none_is_named_and_infinity_is_left_out():
    told = EpisodeInfo({"x": "last", "y": "last"})
    told.note({"x": np.inf, "y": np.ones(3)})
    with pytest.raises(TypeError, match="leave y out of log.info"):
        told.of_episode()
    assert told.so_far() == {}
    told.note({"x": np.inf, "y": 1})
    assert told.of_episode() == {"y": 1.0}


def test_names_that_no_episode_tells_are_said_once(capsys):
    envs = Function(function="tests.envs.test_info:Walk", num=2).asked({"height": "last", "is_success": "last"}).make(0)
    played(envs, 6)
    assert capsys.readouterr().err.count("log.info: height did not stand in info") == 1


def test_means_are_taken_over_the_episodes_that_tell_a_number():
    episodes = Episodes(2)
    episodes.add(0, np.ones(2), np.array([True, True]), [{"x": 1.0}, {}])
    episodes.add(2, np.ones(2), np.array([True, False]), [{"x": 2.0}, {}])
    assert episodes.metrics()["rollout/info/x"] == 1.5
    again = Episodes(2)
    again.load_state_dict(episodes.state_dict())
    assert again.metrics() == episodes.metrics()
    assert episode(1, 2.0, 3).info == {}  # of a checkpoint from before
    assert task_means({"info": {"x": [1.0, None, 2.0]}}) == {"x": 1.5}


@pytest.mark.parametrize(
    ("given", "found"),
    [
        (["x"], {"is_success": "last", "x": "last"}),
        (["x:sum", "y:mean"], {"is_success": "last", "x": "sum", "y": "mean"}),
        (["is_success:mean"], {"is_success": "mean"}),
        ([], {}),
        ("x", None),
        ([1], None),
        (["x:median"], None),
        (None, None),
    ],
)
def test_forms_of_the_key(given, found):
    if found is None:
        with pytest.raises(ConfigError, match="log.info"):
            asked_info({"log": {"info": given}})
    else:
        assert asked_info({"log": {"info": given}}) == found
