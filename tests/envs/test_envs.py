"""Spaces, the adapters of each family, and what the layer refuses."""

import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium import spaces

from deeprl.envs.box2d import Box2D
from deeprl.envs.classic import Classic
from deeprl.envs.gym import Gym, GymGame, atari, missing
from deeprl.envs.minatar import GAMES, MinAtar, MinAtarGame
from deeprl.envs.mujoco import MuJoCo
from deeprl.envs.toy import chain, policy_values, random_mdp, value_iteration
from deeprl.envs.vector.actions import actions_of
from deeprl.envs.vector.backend import Serial
from deeprl.envs.vector.choice import EnvChoice
from deeprl.envs.vector.environments import EnvironmentFailed, Environments
from deeprl.envs.vector.observations import channels_of, observations_of
from deeprl.envs.vector.parts import Form
from deeprl.running.config.instantiate import instantiate
from deeprl.running.config.menu import options
from tests.builders import composed
from tests.toy_envs import Counting, Tabular

ROOT = Path(__file__).parents[2]


class Scripted(gymnasium.Env):
    """Returns what it is told; id `Scripted-v0`."""

    def __init__(self, observation_space=None, action_space=None, obs=None, reward=0.0):
        self.observation_space = observation_space or spaces.Box(-1, 1, (2,))
        self.action_space = action_space or spaces.Discrete(2)
        self.obs, self.reward = obs, reward
        self.taken = []

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        return self.observation_space.sample() * 0, {}

    def step(self, action):
        self.taken.append(action)
        return (self.observation_space.sample() * 0 if self.obs is None else self.obs), self.reward, False, False, {}


class Double(gymnasium.ObservationWrapper):
    def observation(self, observation):
        return 2 * observation


class Shift(gymnasium.ObservationWrapper):
    def observation(self, observation):
        return observation + 1


gymnasium.register("Scripted-v0", entry_point=Scripted)


def layer(env, channels=None):
    return Environments(Serial(lambda: GymGame(env, Form(channels)), 1), "scripted", seed=0)


# ----- spaces


def test_discrete_actions_start_where_the_space_does():
    env = Scripted(action_space=spaces.Discrete(3, start=-1))
    envs = layer(env)
    envs.reset()
    for action in range(3):
        envs.step(np.array([action]))
    assert env.taken == [-1, 0, 1]
    assert list(envs.to_env_action(np.array([2]))) == [1]


def test_continuous_actions_are_rescaled_and_clipped():
    actions = actions_of(spaces.Box(np.array([-2.0, 0.0], np.float32), np.array([6.0, 1.0], np.float32)))
    given = np.array([[-1, -1], [0, 0], [1, 1], [3, -3], [0.5, 0.5]], np.float32)
    assert actions.to_env(given).tolist() == [[-2, 0], [2, 0.5], [6, 1], [6, 0], [4, 0.75]]


def test_actions_between_plus_and_minus_one_are_left_alone():
    given = np.random.default_rng(0).uniform(-1, 1, (1000, 3)).astype(np.float32)
    assert np.array_equal(actions_of(spaces.Box(-1, 1, (3,))).to_env(given), given)


def test_actions_keep_the_shape_and_type_of_their_space():
    env = Scripted(action_space=spaces.Box(-1, 1, (2, 2), np.float64))
    envs = layer(env)
    assert envs.spec.action_dim == 4
    envs.reset()
    envs.step(np.full((1, 4), 0.5, np.float32))
    assert env.taken[0].shape == (2, 2)
    assert env.taken[0].dtype == np.float64


@pytest.mark.parametrize(
    ("space", "words"),
    [
        (spaces.Box(-1, 1, (0,)), "holds no number"),
        (spaces.Box(-np.inf, np.inf, (2,)), "no bounds"),
        (spaces.Box(-3e38, 3e38, (2,)), "no bounds"),  # their distance overflows
        (spaces.Box(2e38, 3e38, (2,)), "no bounds"),  # their sum does
        (spaces.MultiDiscrete([32, 33]), "1,056 combinations"),
        (spaces.MultiBinary(11), "2,048 combinations"),
        (spaces.Tuple([spaces.Discrete(2)]), "not supported"),
        (spaces.Dict({"a": spaces.Discrete(2)}), "not supported"),
        (spaces.Box(0, 5, (2,), np.int64), "not supported"),
    ],
)
def test_other_action_spaces_are_refused(space, words):
    with pytest.raises(ValueError, match=words):
        actions_of(space)


@pytest.mark.parametrize(
    ("space", "words"),
    [
        (spaces.Text(3), r"Text\(.*FilterObservation"),
        (spaces.Dict({"a": spaces.Discrete(2), "b": spaces.Tuple([spaces.Discrete(2), spaces.Text(3)])}), r"\['b'\]\[1\] Text"),
        (spaces.Tuple([spaces.Sequence(spaces.Discrete(2)), spaces.Discrete(2)]), r"\[0\] Sequence"),
        (spaces.Graph(spaces.Box(0, 1, (2,)), None), "Graph"),
        (
            spaces.Dict({"pixels": spaces.Box(0, 255, (64, 64, 3), np.uint8), "t": spaces.Discrete(2)}),
            "12,290 numbers, and a flattened observation at most 10,000",
        ),
        (spaces.Box(0, 1, (5, 5, 7)), r"set env\.channels"),
    ],
)
def test_other_observation_spaces_are_refused(space, words):
    with pytest.raises(ValueError, match=words):
        observations_of(space)


BOX = spaces.Box(0, 9, (2,), np.float64)


@pytest.mark.parametrize(
    ("space", "obs", "row"),
    [
        (spaces.Dict({"a": BOX, "b": spaces.Discrete(3, start=1)}), {"a": [1.5, 2.5], "b": 2}, [1.5, 2.5, 0, 1, 0]),
        (spaces.Tuple([spaces.Discrete(2), spaces.Dict({"a": BOX, "b": BOX})]), (1, {"b": [3, 4], "a": [1, 2]}), [0, 1, 1, 2, 3, 4]),
        (spaces.MultiBinary((2, 2)), np.array([[1, 0], [1, 1]], np.int8), [1, 0, 1, 1]),
        (spaces.MultiDiscrete([2, 3]), np.array([1, 2]), [0, 1, 0, 0, 1]),
        (spaces.Box(0, 9, ()), np.float32(7), [7]),
        (spaces.Box(0, 9, (2, 2)), [[1, 2], [3, 4]], [1, 2, 3, 4]),
        (spaces.Box(0, 9, (2, 1, 2), np.int8), [[[1, 2]], [[3, 4]]], [1, 2, 3, 4]),
        (spaces.Box(0, 9, (1, 2, 1, 2), np.uint8), [[[[1, 2]], [[3, 4]]]], [1, 2, 3, 4]),
    ],
)
def test_spaces_of_several_parts_become_one_vector(space, obs, row):
    found = observations_of(space)
    assert (found.shape, found.dtype) == ((len(row),), torch.float32)
    assert found.convert(obs).tolist() == row
    assert found.convert(obs).dtype == np.float32
    assert f"{type(space).__name__} are flattened to vectors of {len(row)} numbers" in found.note


def test_an_observation_that_is_not_of_its_space_is_refused():
    pair = observations_of(spaces.Dict({"a": BOX, "b": spaces.Discrete(3)}))
    for wrong in ({"a": [0, 0]}, {"a": [0, 0, 0], "b": 1}, {"a": [0, 0], "b": 3}, {"a": [0, 0], "b": -1}, 5):
        with pytest.raises(ValueError, match="observation"):
            pair.convert(wrong)
    with pytest.raises(ValueError, match="not one of"):
        observations_of(spaces.MultiDiscrete([3, 3])).convert(np.array([3, 0]))  # it had no class at all
    whole = observations_of(spaces.Dict({"a": spaces.Box(-9, 9, (3,), np.int64), "b": spaces.Discrete(2)}))
    assert np.array_equal(whole.convert({"a": [0.7, -1.6, np.nan], "b": 1}), np.array([0.7, -1.6, np.nan, 0, 1], np.float32), True)
    with pytest.raises(ValueError, match="no part 'a'"):
        observations_of(spaces.Dict({"a": BOX})).convert({"b": [0, 0]})


def test_the_only_part_of_a_space_is_the_observation():
    image = spaces.Box(0, 255, (8, 9, 3), np.uint8)
    found, pixels = observations_of(spaces.Dict({"image": image})), image.sample()
    assert (found.shape, found.dtype) == ((3, 8, 9), torch.uint8)
    assert np.array_equal(found.convert({"image": pixels}), pixels.transpose(2, 0, 1))
    assert "env.channels=last is taken" in found.note


def test_pixels_without_channels_are_an_image_of_one():
    found = observations_of(spaces.Box(0, 255, (3, 2), np.uint8))
    assert (found.shape, found.dtype) == ((1, 3, 2), torch.uint8)
    assert found.convert(np.array([[1, 2], [3, 4], [5, 6]], np.uint8)).tolist() == [[[1, 2], [3, 4], [5, 6]]]
    with pytest.raises(ValueError, match="not uint8"):
        found.convert(np.zeros((3, 2)))


@pytest.mark.parametrize(
    ("low", "high", "expected"), [(-1, 1, [0.5, 0.75]), (0, 1, [0.0, 0.5]), (-np.inf, np.inf, [0, 0.5]), (0, 3e38, [0.0, 0.0])]
)
def test_images_of_floats_go_from_their_bounds_to_one(low, high, expected):
    found = observations_of(spaces.Box(low, high, (5, 5, 2)))
    image = np.zeros((5, 5, 2))
    image[..., 1] = 0.5
    assert (found.shape, found.dtype) == ((2, 5, 5), torch.float32)
    assert found.convert(image)[:, 3, 4].tolist() == pytest.approx(expected)
    assert found.convert(image).dtype == np.float32
    assert found.convert(image).flags.c_contiguous


@pytest.mark.parametrize(
    ("space", "few", "last"),
    [
        (spaces.MultiDiscrete([2, 3], start=[0, 5]), [[0, 5], [0, 6], [0, 7], [1, 5]], [1, 7]),
        (spaces.MultiDiscrete([[2, 2], [2, 2]]), [[[0, 0], [0, 0]], [[0, 0], [0, 1]], [[0, 0], [1, 0]]], [[1, 1], [1, 1]]),
        (spaces.MultiBinary(3), [[0, 0, 0], [0, 0, 1], [0, 1, 0]], [1, 1, 1]),
    ],
)
def test_combinations_of_choices_are_one_action(space, few, last):
    """The last choice changes fastest."""
    env = Scripted(action_space=space)
    envs = layer(env)
    num = envs.spec.num_actions
    envs.reset()
    for action in range(num):
        envs.step(np.array([action]))
    taken = [each.tolist() for each in env.taken]
    assert taken[: len(few)] == few
    assert taken[-1] == last
    assert len({str(each) for each in taken}) == num
    assert all(each.dtype == space.dtype for each in env.taken)


def test_observations_are_vectors_or_images_with_channels_first():
    shape, dtype, convert, *_ = observations_of(spaces.Discrete(3, start=5))
    assert (shape, dtype, convert(6).tolist()) == ((3,), torch.float32, [0, 1, 0])
    shape, dtype, convert, _, note, _ = observations_of(spaces.Box(-1, 1, (2,), np.float64))
    assert convert(np.array([0.1, 0.2])).dtype == np.float32
    assert not note
    image = spaces.Box(0, 255, (4, 5, 3), np.uint8)
    assert channels_of(image) is None  # 4 channels first, or 3 last
    with pytest.raises(ValueError, match=r"set env\.channels"):
        observations_of(image)
    pixels = image.sample()
    shape, dtype, convert, _, note, _ = observations_of(image, "last")
    assert (shape, dtype) == ((3, 4, 5), torch.uint8)
    assert "env.channels" not in note
    assert np.array_equal(convert(pixels), pixels.transpose(2, 0, 1))
    assert observations_of(image, "first")[0] == (4, 5, 3)


# ----- what environments return is checked


@pytest.mark.filterwarnings("ignore:invalid value")  # 0 * inf, on the way to the error
@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"obs": np.array([0.0, np.nan])}, "observation holds nan at index 1"),
        ({"obs": np.array([np.inf, 0.0])}, "observation holds inf at index 0"),
        ({"obs": np.zeros(3)}, r"shape \(3,\)"),
        ({"reward": float("nan")}, "reward is nan"),
        ({"reward": float("-inf")}, "reward is -inf"),
        ({"reward": None}, "reward is NoneType None, not a number"),
        ({"reward": np.zeros(2)}, "reward is ndarray .* not a number"),
    ],
)
def test_wrong_values_name_environment_step_and_value(wrong, words):
    env = Scripted()
    envs = layer(env)
    envs.reset()
    envs.step(np.array([0]))
    for name, value in wrong.items():
        setattr(env, name, value)
    with pytest.raises(EnvironmentFailed, match=f"environment 0 of scripted failed at step 1 of its episode 0: .*{words}"):
        envs.step(np.array([0]))


class Old(Scripted):
    """The interface of Gym before 0.26."""

    def reset(self, *, seed=None, options=None):
        obs, info = super().reset(seed=seed)
        return obs if options is None else (obs, info)

    def step(self, action):
        obs, reward, terminated, _, info = super().step(action)
        return obs, reward, terminated, info


@pytest.mark.parametrize("wrapped", [False, True])
def test_the_interface_of_old_gym_is_recognised(wrapped):
    env = gymnasium.wrappers.TimeLimit(Old(), 5) if wrapped else Old()  # a wrapper of Gymnasium meets the four values first
    with pytest.raises(TypeError, match="reset returned ndarray, not observation and info: since Gym 0.26"):
        GymGame(env).reset(0)
    env.reset(options={})
    with pytest.raises(TypeError, match="step returned four values, not observation, reward, terminated, truncated, info: since Gym 0.26"):
        GymGame(env).step(0)


def test_large_numbers_are_finite():
    env = Scripted(obs=np.array([3e38, -3e38], np.float32), reward=-3e38)
    envs = layer(env)
    envs.reset()
    assert envs.step(np.array([0])).next_obs.tolist() == [env.obs.tolist()]
    env.reward = 1e39  # more than float32 holds
    with pytest.raises(EnvironmentFailed, match=r"reward is 1e\+39"):
        envs.step(np.array([0]))


def test_a_first_observation_that_is_not_finite_is_found(monkeypatch):
    envs = layer(Scripted())
    monkeypatch.setattr(Scripted, "reset", lambda *_, **__: (np.array([0.0, np.nan]), {}))
    with pytest.raises(EnvironmentFailed, match="environment 0 of scripted failed at its first reset: observation holds nan at index 1"):
        envs.reset()


def test_a_first_observation_of_another_shape_is_found(monkeypatch):
    envs = layer(Scripted())
    envs.reset()
    game = envs.backend.game(0)
    monkeypatch.setattr(game, "step", lambda _: (np.zeros(2, np.float32), 0, 0, 1))
    monkeypatch.setattr(game, "reset", lambda _: np.zeros(2, np.float32))
    assert envs.step(np.array([0])).terminated.dtype == bool
    monkeypatch.setattr(game, "reset", lambda _: np.zeros(3, np.float32))
    with pytest.raises(EnvironmentFailed, match=r"observation is float32 of shape \(3,\), not float32 of shape \(2,\)"):
        envs.step(np.array([0]))


def test_a_replay_that_gives_nan_starts_a_new_episode():
    before = layer(Scripted())
    before.reset()
    for _ in range(3):
        before.step(np.array([0]))
    after = layer(Scripted(obs=np.array([0.0, np.nan])))
    with pytest.warns(RuntimeWarning, match="its replay failed: observation holds nan at index 1"):
        after.load_state_dict(before.state_dict())
    assert after.broken == [0]
    assert not after.num_restarts


def test_images_of_the_wrong_type_are_found():
    env = Scripted(observation_space=spaces.Box(0, 255, (4, 4, 3), np.uint8), obs=np.zeros((4, 4, 3)))
    envs = layer(env, "last")
    envs.reset()
    with pytest.raises(EnvironmentFailed, match="float64"):
        envs.step(np.array([0]))


def test_wrong_actions_are_refused():
    envs = Classic(id="CartPole-v1").make(0, num=2)
    with pytest.raises(RuntimeError, match="reset"):
        envs.step(np.array([0, 0]))
    envs.reset()
    with pytest.raises(ValueError, match="shape"):
        envs.step(np.array([0]))
    with pytest.raises(ValueError, match="action 2 is not one of the 2"):
        envs.step(np.array([0, 2]))
    pendulum = Classic(id="Pendulum-v1").make(0)
    pendulum.reset()
    with pytest.raises(ValueError, match="NaN"):
        pendulum.step(np.array([[np.nan]], np.float32))


# ----- choices


def test_choices_check_their_settings():
    with pytest.raises(ValueError, match="vector must be one of sync, async"):
        Classic(id="CartPole-v1", vector="ale")
    with pytest.raises(ValueError, match=r"env\.vector=ale"):
        Classic(id="CartPole-v1").make(0, vector="ale")
    for timeout in (0, 1e7, np.inf):
        with pytest.raises(ValueError, match=f"^timeout must be .*not {timeout}"):
            Counting(timeout=timeout)
    with pytest.raises(ValueError, match="num must be at least 1"):
        Counting(num=0)
    with pytest.raises(ValueError, match="on_error"):
        Counting(on_error="ignore")
    with pytest.raises(ValueError, match="max_episode_steps"):
        Classic(id="CartPole-v1", max_episode_steps=0)


def test_an_unknown_id_is_answered_with_the_nearest():
    with pytest.raises(ValueError, match=r"env\.id=CartPol-v1 .* nearest is CartPole-v1"):
        Gym(id="CartPol-v1").spec()
    with pytest.raises(ValueError, match=r"env\.id=mypkg/Vec-v0 .* env\.package=mypkg"):
        Gym(id="mypkg/Vec-v0").spec()
    wrong = {"kwargs": (5, r"\{size: 5\}"), "wrappers": (5, "dotted paths"), "id": (7, "not 7")}
    for key, (value, says) in wrong.items():
        with pytest.raises(ValueError, match=f"^{key} must be .*{says}"):
            Gym(**{"id": "CartPole-v1", key: value})
    with pytest.raises(ValueError, match=r"env\.package=no_such_package"):
        Gym(id="X-v0", package="no_such_package").spec()
    with pytest.raises(ValueError, match="wrong_option"):
        Gym(id="CartPole-v1", kwargs={"wrong_option": 1}).spec()
    with pytest.raises(ValueError, match=r"env\.wrappers: nowhere\.Wrapper"):
        Gym(id="CartPole-v1", wrappers=["nowhere.Wrapper"]).spec()


@pytest.mark.parametrize("path", ["deeprl.system.files.sync_folder", "deeprl.errors.ConfigError", "deeprl.envs.gym.np"])
def test_a_wrapper_is_a_class_of_wrappers(path):
    """A stored configuration may name any module of deeprl, and a function is not called."""
    with pytest.raises(ValueError, match=r"no subclass of gymnasium\.Wrapper|it is module, not"):
        Gym(id="CartPole-v1", wrappers=path).spec()


def test_wrappers_are_applied_in_order():
    game = Gym(id="Scripted-v0", wrappers=[f"{__name__}.Shift", f"{__name__}.Double"]).build()
    assert game.reset(0).tolist() == [2, 2]


class Scaled(gymnasium.ObservationWrapper):
    def __init__(self, env, by):
        super().__init__(env)
        self.by = by

    def observation(self, observation):
        return self.by * observation


def test_wrappers_take_arguments_and_one_alone_needs_no_list():
    entry = {"path": f"{__name__}.Scaled", "kwargs": {"by": 5}}
    for wrappers in ([f"{__name__}.Shift", entry], [{"path": f"{__name__}.Shift"}, entry]):
        assert Gym(id="Scripted-v0", wrappers=wrappers).build().reset(0).tolist() == [5, 5]
    assert Gym(id="Scripted-v0", wrappers=f"{__name__}.Shift").build().reset(0).tolist() == [1, 1]
    assert Gym(id="Scripted-v0", wrappers=entry).rendering().wrappers == [entry]
    with pytest.raises(ValueError, match=r"Scaled raised TypeError: .*'by'.* kwargs: "):
        Gym(id="Scripted-v0", wrappers=f"{__name__}.Scaled").spec()
    for wrong in (5, [["a.B", {}]], {"kwargs": {}}, {"path": "a.B", "args": 1}):
        with pytest.raises(ValueError, match="wrappers must be dotted paths"):
            Gym(id="Scripted-v0", wrappers=wrong)


@pytest.mark.parametrize(
    ("name", "instead"), [("NormalizeObservation", "agent/normalize=running"), ("NormalizeReward", "agent/rewards=scaled")]
)
def test_running_statistics_that_evaluation_would_not_share_are_refused(name, instead):
    """Evaluation makes environments of its own, which would begin with empty statistics, and its returns would be of normalised rewards."""
    path = f"gymnasium.wrappers.{name}"
    with pytest.raises(ValueError, match=f"{name} has running statistics, .*{instead}"):
        Gym(id="Pendulum-v1", wrappers=[path, "gymnasium.wrappers.FlattenObservation"]).build()
    with pytest.raises(ValueError, match=f"{name} has running statistics"):
        GymGame(getattr(gymnasium.wrappers, name)(Scripted()))
    with pytest.raises(ValueError, match=f"{name} has running statistics"):
        GymGame(type("Own", (getattr(gymnasium.wrappers, name),), {})(Scripted()))
    fixed = getattr(gymnasium.wrappers, name)(Scripted())
    fixed.update_running_mean = False
    assert GymGame(fixed).layers() == [name, "Scripted"]


def test_a_time_limit_of_an_environment_without_an_id_is_known():
    assert GymGame(Scripted()).limit is None
    assert GymGame(Double(gymnasium.wrappers.TimeLimit(Scripted(), 7))).limit == 7
    for outer, shortest in ((50, 7), (5, 5)):  # the inner one won
        assert GymGame(gymnasium.wrappers.TimeLimit(gymnasium.wrappers.TimeLimit(Scripted(), 7), outer)).limit == shortest


def mission():
    parts = {"image": spaces.Box(0, 255, (7, 7, 3), np.uint8), "mission": spaces.Text(9), "way": spaces.Discrete(4)}
    return Scripted(spaces.Dict(parts))


gymnasium.register("Mission-v0", entry_point=mission)


def test_the_wrapper_that_a_refusal_names_works(capsys):
    with pytest.raises(ValueError, match=r"\['mission'\] .*gymnasium\.wrappers\.FilterObservation, which keeps the parts in filter_keys"):
        Gym(id="Mission-v0").spec()
    for keys, shape in (["image", "way"], (151,)), (["image"], (3, 7, 7)):
        wrapper = {"path": "gymnasium.wrappers.FilterObservation", "kwargs": {"filter_keys": keys}}
        assert Gym(id="Mission-v0", wrappers=wrapper).spec().obs_shape == shape
    said = capsys.readouterr().err
    assert "observations of Dict are flattened to vectors of 151 numbers" in said
    assert "env.channels=last is taken" in said


@pytest.mark.parametrize(
    ("shape", "channels"),
    [((3, 84, 84), "first"), ((4, 84, 84), "first"), ((7, 7, 3), "last"), ((84, 84, 1), "last"), ((3, 3, 3), None), ((84, 3, 84), None)],
)
def test_channels_are_the_only_axis_of_at_most_four(shape, channels, capsys):
    env = Gym(id="Scripted-v0", kwargs={"observation_space": spaces.Box(0, 255, shape, np.uint8)})
    if channels is None:
        with pytest.raises(ValueError, match=r"set env\.channels"):
            env.spec()
        return
    assert env.spec().obs_shape == (shape if channels == "first" else (shape[2], *shape[:2]))
    assert f"env.channels={channels} is taken" in capsys.readouterr().err
    other = {"first": "last", "last": "first"}[channels]
    assert Gym(**{**vars(env), "channels": other}).spec().obs_shape != env.spec().obs_shape


def test_ids_of_a_module_are_registered_first():
    assert Gym(id="gymnasium.envs.classic_control:CartPole-v1").spec().num_actions == 2
    assert Gym(id="CartPole-v1", package="gymnasium.envs.classic_control").spec().num_actions == 2


def test_a_refused_space_is_named_with_its_id():
    with pytest.raises(ValueError, match=r"env\.id=Scripted-v0: .*Text"):
        Gym(id="Scripted-v0", kwargs={"observation_space": spaces.Text(3)}).spec()


def test_time_limit_is_a_truncation():
    envs = Classic(id="Pendulum-v1", max_episode_steps=4).make(0)
    envs.reset()
    ends = [envs.step(np.zeros((1, 1), np.float32)) for _ in range(8)]
    assert [bool(step.ended[0]) for step in ends] == [False, False, False, True] * 2
    assert not any(step.terminated[0] for step in ends)


def test_cartpole_copies_have_generators_of_their_own():
    obs = Classic(id="CartPole-v1").make(0, num=3).reset()
    assert len({tuple(row) for row in obs}) == 3
    assert not np.array_equal(obs, Classic(id="CartPole-v1").make(1, num=3).reset())
    assert not np.array_equal(obs, Classic(id="CartPole-v1").make(0, num=3, evaluation=True).reset())


def test_mujoco_is_silent_and_rescales(tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    envs = MuJoCo(id="HalfCheetah-v5").make(0)
    envs.reset()
    envs.step(np.ones((1, 6), np.float32))
    assert capfd.readouterr() == ("", "")
    assert list(tmp_path.iterdir()) == []
    assert MuJoCo(id="Humanoid-v5").make(0).to_env_action(np.ones((1, 17)))[0, 0] == pytest.approx(0.4)
    assert MuJoCo(id="Ant-v5", kwargs={"include_cfrc_ext_in_observation": False}).spec().obs_shape == (27,)


@pytest.mark.skipif(not find_spec("Box2D"), reason="needs box2d")
def test_lunar_lander():
    envs = Box2D(id="LunarLander-v3").make(0)
    first = envs.reset()
    steps = [envs.step(np.array([2])).obs for _ in range(20)]
    again = Box2D(id="LunarLander-v3").make(0)
    assert np.array_equal(again.reset(), first)
    assert all(np.array_equal(again.step(np.array([2])).obs, obs) for obs in steps)


# ----- MinAtar

needs_minatar = pytest.mark.skipif(find_spec("minatar") is None, reason="needs minatar")  # whose import brings matplotlib and seaborn


@needs_minatar
@pytest.mark.parametrize("game", GAMES)
def test_minatar_images(game):
    envs = MinAtar(game=game).make(0)
    obs = envs.reset()
    assert obs.dtype == np.uint8
    assert obs.shape[2:] == (10, 10)
    assert envs.spec.num_actions == 6
    assert obs.max() == 1


@needs_minatar
def test_minatar_forgets_the_last_action_and_has_a_time_limit():
    game = MinAtarGame(MinAtar(game="freeway", max_episode_steps=5))
    game.reset(3)
    flags = [game.step(2)[2:] for _ in range(5)]
    assert flags == [(False, False)] * 4 + [(False, True)]
    assert game.last_action == 2
    game.reset(None)
    assert game.last_action == 0


@pytest.mark.exhaustive  # the package imports matplotlib
@pytest.mark.parametrize("name", GAMES)
def test_minatar_is_that_of_its_package(name):
    theirs = pytest.importorskip("minatar").Environment(name)
    ours = MinAtarGame(MinAtar(game=name))
    ours.reset(7)
    theirs.seed(7)
    theirs.reset()
    for action in np.random.default_rng(3).integers(0, 6, 500):
        obs, *result, _ = ours.step(int(action))
        assert result == [*theirs.act(int(action))]
        assert np.array_equal(obs, theirs.state().transpose(2, 0, 1))
        if result[1]:
            ours.reset(None)
            theirs.last_action = 0
            theirs.reset()


def test_minatar_is_sticky():
    """At 1 the first action of an episode, none, is repeated for ever: the player of Freeway stays where it is."""

    def places(sticky: float) -> int:
        game = MinAtarGame(MinAtar(game="freeway", sticky=sticky))
        return len({obs[0].tobytes() for obs in (game.reset(0), *(game.step(2)[0] for _ in range(9)))})

    assert places(1.0) == 1 < places(0.0)


# ----- toys


def test_values_of_the_chain():
    """Two steps from the end: 0.9; one step: 1; going left first costs two steps more."""
    q = value_iteration(chain(4), discount=0.9)
    assert q[:3, 1].tolist() == pytest.approx([0.81, 0.9, 1.0])
    assert q[:3, 0].tolist() == pytest.approx([0.729, 0.729, 0.81])


def test_policy_values_solve_the_bellman_equation():
    mdp = random_mdp(0)
    q = value_iteration(mdp, 0.9)
    greedy = np.eye(3)[q.argmax(-1)]
    assert policy_values(mdp, greedy, 0.9) == pytest.approx(q)
    uniform = np.full((6, 3), 1 / 3)
    values = policy_values(mdp, uniform, 0.9)
    v = np.where(mdp.terminal, 0.0, values.mean(-1))
    assert values == pytest.approx(mdp.reward + 0.9 * mdp.transition @ v)


def test_the_sampled_mdp_is_the_tabular_one():
    mdp = chain(4, slip=0.3)
    envs = Tabular(mdp=mdp).make(0, num=4)
    obs = envs.reset()
    counts = np.zeros((4, 2, 4))
    for action in np.random.default_rng(0).integers(0, 2, (5000, 4)):
        step = envs.step(action)
        np.add.at(counts, (obs.argmax(-1), action, step.next_obs.argmax(-1)), 1)
        assert (step.terminated == mdp.terminal[step.next_obs.argmax(-1)]).all()
        obs = step.obs
    assert counts[:3] / counts[:3].sum(-1, keepdims=True) == pytest.approx(mdp.transition[:3], abs=0.05)


# ----- configuration files


NEEDED = {
    "gym": ("env.id=CartPole-v1",),
    "function": ("env.function=gymnasium.envs.classic_control:CartPoleEnv",),
    "vector": ("env.id=CartPole-v1", "+env.kwargs.vectorization_mode=sync"),
}
PACKAGES = {"minatar": "minatar", "box2d": "Box2D", "dmc": "dm_control", "metaworld": "metaworld", "robotics": "gymnasium_robotics"}


@pytest.mark.parametrize("name", [name for name in options("env") if not name.startswith("atari/") or name == "atari/breakout"])
def test_every_configuration_builds(name):
    """All games of Atari share one file."""
    family = name.partition("/")[0]
    if not find_spec(PACKAGES.get(family, "torch")):
        pytest.skip(f"needs {PACKAGES[family]}")
    choice = instantiate(composed(f"env={name}", "env.num=2", *NEEDED.get(family, ()))[0]["env"], "env", None)
    assert isinstance(choice, EnvChoice)
    assert choice.num == 2
    assert choice.spec() == choice.build().spec


@pytest.mark.parametrize(("protocol", "sticky", "life"), [("dopamine", 0.25, False), ("nature", 0.0, True), ("atari100k", 0.0, True)])
def test_protocols_are_chosen_by_name(protocol, sticky, life):
    choice = instantiate(composed("env=atari/pong", f"env/protocol={protocol}")[0]["env"], "env")
    assert (choice.protocol.sticky, choice.protocol.life_loss_terminal, choice.reseed_every) == (sticky, life, 20)


def test_the_games_are_listed_without_torch():
    code = "import sys, deeprl.envs.games; assert deeprl.envs.games.GAMES is not None; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)


@pytest.mark.skipif(find_spec("Box2D") is None, reason="needs the extra box2d")
@pytest.mark.parametrize("id", ["LunarLander-v3", "BipedalWalker-v3", "CarRacing-v3"])
def test_an_episode_of_box2d_follows_from_its_seed_and_actions(id):
    """Whatever was played before, because resuming plays only the running episode again."""
    choice, dear = Box2D(id=id), id.startswith("CarRacing")

    def episode(game, seed: int, steps: int = 15 if dear else 300) -> np.ndarray:
        dice, rows = np.random.default_rng(seed), [game.reset(seed).copy()]
        for _ in range(steps):
            draw = dice.integers(game.actions.num) if game.actions.num else dice.uniform(-1, 1, game.actions.shape).astype(np.float32)
            obs, _, _, ended = game.step(draw)
            rows.append(obs.copy())
            if ended:
                break
        return np.array(rows)

    used = choice.build()
    for seed in range(2 if dear else 5):
        episode(used, seed)
    assert np.array_equal(episode(used, 7), episode(choice.build(), 7))


# ---- faults of an environment that name their remedy


class OldReset(gymnasium.Env):
    observation_space = gymnasium.spaces.Box(-1, 1, (3,))
    action_space = gymnasium.spaces.Discrete(2)

    def reset(self):
        return np.zeros(4, np.float32), {}


def test_a_reset_without_a_seed_is_shown_how_to_take_one():
    with pytest.raises(TypeError, match=r"argument 'seed': define it as def reset\(self, \*, seed=None, options=None\)"):
        GymGame(OldReset()).reset(0)


def test_a_wrong_observation_is_set_beside_its_space():
    with pytest.raises(ValueError, match=r"shape \(4,\), .*; its observation_space says Box\(-1.0, 1.0, \(3,\), float32\)"):
        GymGame(OldReset()).conversion.row(np.zeros(4, np.float32), {}, False)


@pytest.mark.parametrize("name", ["observation_space", "action_space"])
def test_an_environment_without_a_space_is_told_to_set_it(name, monkeypatch):
    monkeypatch.delattr(OldReset, name)
    with pytest.raises(ValueError, match=f"its {name} is None, and must be a space of Gymnasium: set self.{name}"):
        GymGame(OldReset())


def test_a_space_is_named_once_and_shortly():
    space = gymnasium.spaces.Dict(text=gymnasium.spaces.Text(5), far=gymnasium.spaces.Box(0, 1, (3,)))
    with pytest.raises(ValueError, match=r"the observation space .*its part \['text'\] Text\(1, 5\)") as caught:
        observations_of(space)
    assert len(str(caught.value)) < 450


@pytest.mark.parametrize(
    ("id", "option"),
    [("PongNoFrameskip-v4", "pong"), ("ALE/SpaceInvaders-v5", "space_invaders"), ("Breakout-ram-v4", "breakout"), ("CartPole-v1", "")],
)
def test_an_id_of_atari_leads_to_its_option(id, option):
    assert atari(id) == option


def test_a_missing_argument_is_a_key():
    def make(level, size, *, seed=0):
        pass

    with pytest.raises(TypeError) as caught:
        make()
    assert missing(caught.value) == ". Give env.kwargs.level=… env.kwargs.size=…"
    assert missing(TypeError("make() got an unexpected keyword argument 'level'")) == ""


def test_an_id_that_gymnasium_has_replaced_is_told(capsys):
    Gym(id="CartPole-v0").spec()
    assert "env.id=CartPole-v0 is out of date: Gymnasium has CartPole-v1" in capsys.readouterr().err
    Gym(id="CartPole-v1").spec()
    assert capsys.readouterr().err == ""
