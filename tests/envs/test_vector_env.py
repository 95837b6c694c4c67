"""Vector environments of others: a counting environment sees every row that stands in the wrong place.

Its observation is (tag of its episode, step, sum of its actions); its reward tells tag and step too.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from functools import partial
from typing import ClassVar
from warnings import catch_warnings

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces
from gymnasium.vector import AsyncVectorEnv, AutoresetMode, SyncVectorEnv, VectorEnv

import deeprl
from deeprl.envs.function import Function
from deeprl.envs.vector.environments import EnvironmentFailed
from deeprl.envs.vectorized import Vectorized
from deeprl.errors import ConfigError
from deeprl.running.runs.checkpoints import Checkpoints
from deeprl.running.session.given import worded
from deeprl.running.training.evaluation import evaluate
from tests.builders import same
from tests.promises.test_resume import cut_and_resumed
from tests.running.training.test_evaluation import Scripted

PLACE = "tests.envs.test_vector_env:"
MODES = [mode.value for mode in AutoresetMode]


class Counting(gymnasium.Env):
    """Episodes with odd tags terminate, the others are truncated.

    Args:
        parts: observations are a Dict.
        mask: "told" in info, or "observed" in a Dict: one action is valid, that of the step.
    """

    def __init__(self, parts: bool = False, mask: str = "", least: int = 1, most: int = 6):
        low = np.zeros(3, np.float32)
        self.observation_space: spaces.Space = spaces.Box(low, low + 1e6)
        self.action_space = spaces.Discrete(3)
        self.parts, self.mask, self.lengths = parts, mask, (least, most + 1)
        if parts:
            self.observation_space = spaces.Dict({"tag": spaces.Box(0, 1e6, (1,)), "rest": spaces.Box(0, 1e6, (2,))})
        if mask == "observed":
            self.observation_space = spaces.Dict({"observation": self.observation_space, "action_mask": spaces.MultiBinary(3)})
        self.count = low

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.length = int(self.np_random.integers(*self.lengths))
        self.count = np.array([self.np_random.integers(1, 1000), 0, 0], np.float32)
        return self.shown()

    def step(self, action):
        if self.mask and action != self.count[1] % 3:
            raise ArithmeticError("that action is not valid")
        self.count = self.count + np.array([0, 1, action], np.float32)
        ended, odd = self.count[1] >= self.length, self.count[0] % 2 == 1
        obs, info = self.shown()
        return obs, float(self.count[0] + self.count[1] / 100), bool(ended and odd), bool(ended and not odd), info

    def shown(self):
        obs = {"rest": self.count[1:], "tag": self.count[:1]} if self.parts else self.count
        valid = (np.arange(3) == self.count[1] % 3).astype(np.int8)
        if self.mask == "observed":
            return {"observation": obs, "action_mask": valid}, {}
        return obs, {"action_mask": valid} if self.mask else {}


def alone(**kwargs):
    return Counting(**kwargs)


def in_process(num_envs, mode="NextStep", **kwargs):
    return SyncVectorEnv([partial(Counting, **kwargs)] * num_envs, autoreset_mode=mode, copy=False)


def in_workers(num_envs, mode="NextStep", **kwargs):
    return AsyncVectorEnv([partial(Counting, **kwargs)] * num_envs, autoreset_mode=mode)


class Whole(VectorEnv):
    """A vector of counting environments with faults, and with the seeds of the base class or of the constructor.

    Args:
        mode: what it does.
        declared: what it says.
        fault: "all": a reset of some resets all; "pending": a reset leaves the reset of the next step; "final": no last observations;
            "single": one seed for all; "unseeded": seeds are ignored.
    """

    def __init__(self, num_envs, mode="NextStep", declared=..., fault="", given=None):
        self.inner = SyncVectorEnv([Counting] * num_envs, autoreset_mode=mode)
        self.num_envs, self.fault, self.seeds = num_envs, fault, given
        self.metadata = {"autoreset_mode": self.inner.autoreset_mode if declared is ... else declared}
        self.single_observation_space, self.single_action_space = self.inner.single_observation_space, self.inner.single_action_space
        self.observation_space, self.action_space = self.inner.observation_space, self.inner.action_space

    def reset(self, *, seed=None, options=None):
        if self.fault == "unseeded":
            seed = None
        if self.fault == "single" and seed is not None:
            super().reset(seed=seed)  # refuses a list
        if self.seeds is not None:
            seed, self.seeds = self.seeds, ()
            seed = list(seed) or None
        before = self.inner._autoreset_envs.copy() if self.fault == "pending" and options else None
        answer = self.inner.reset(seed=seed, options=None if self.fault == "all" else options)
        if before is not None:
            self.inner._autoreset_envs = before
        return answer

    def step(self, actions):
        *answer, info = self.inner.step(actions)
        if self.fault == "final":
            info = {key: value for key, value in info.items() if "final" not in key}
        return *answer, info

    def close_extras(self, **kwargs):
        self.inner.close()


def made_with_seeds(num_envs, seed, mode="NextStep"):
    return Whole(num_envs, mode, given=seed)


class Reused(VectorEnv):
    """As simulators in NumPy are written: flags and rewards are arrays of its own, which a reset clears, and actions are corrected where
    they stand. Observation: (step, length). Episodes of odd lengths terminate, the others are truncated."""

    def __init__(self, num_envs, mode):
        self.metadata = {"autoreset_mode": AutoresetMode(mode)}
        self.num_envs, self.length, self.next = num_envs, np.zeros(num_envs, np.int64), 0
        self.single_observation_space, self.single_action_space = spaces.Box(0, 100, (2,)), spaces.Discrete(3)
        self.observation_space = spaces.Box(0, 100, (num_envs, 2))
        self.action_space = spaces.MultiDiscrete([3] * num_envs)
        self.steps, self.reward = np.zeros(num_envs, np.int64), np.zeros(num_envs, np.float32)
        self.terminated, self.truncated = np.zeros((2, num_envs), bool)

    def shown(self):
        return np.stack([self.steps, self.length], -1).astype(np.float32)

    def reset(self, *, seed=None, options=None):
        mask = (options or {}).get("reset_mask", np.ones(self.num_envs, bool))
        self.next += 1
        self.length[mask] = 2 + (self.next + np.flatnonzero(mask)) % 4
        self.steps[mask], self.reward[mask], self.terminated[mask], self.truncated[mask] = 0, 0, False, False
        return self.shown(), {}

    def step(self, actions):
        actions[:] = 0
        self.steps += 1
        self.reward[:] = self.steps
        ended = self.steps >= self.length
        self.terminated[:], self.truncated[:] = ended & (self.length % 2 == 1), ended & (self.length % 2 == 0)
        return self.shown(), self.reward, self.terminated, self.truncated, {}


@pytest.mark.parametrize("num", [1, 3])
def test_arrays_that_a_vector_reuses_are_read_before_its_reset(make, num):
    """Every termination was a truncation, behind which targets bootstrap; and the actions that were stored were those that it had made."""
    envs = make(choice("Reused", num, kwargs={"mode": "Disabled"}), 0)
    envs.reset()
    ends = 0
    for _ in range(40):
        action = np.full(num, 2)
        step = envs.step(action)
        assert (action == 2).all()
        assert (step.reward == step.next_obs[:, 0]).all()
        assert (step.terminated[step.ended] == (step.next_obs[step.ended, 1] % 2 == 1)).all()
        ends += step.terminated.sum()
    assert ends >= 5


def choice(function, num=3, **settings):
    return Vectorized(function=PLACE + function, num=num, **settings)


@pytest.fixture
def make():
    opened = []

    def make(choice, *args, **kwargs):
        opened.append(choice.make(*args, **kwargs))
        return opened[-1]

    yield make
    for envs in opened:
        envs.close()


def actions_for(envs, ticks):
    return np.random.default_rng(0).integers(0, 3, (ticks, envs.num))


def case(function: str, mode: str, *more):
    """As a parameter. Workers have the interface of environments in this process, and start three processes: once by default."""
    marks = pytest.mark.exhaustive if function == "in_workers" and (mode != "NextStep" or more) else ()
    return pytest.param(function, mode, *more, marks=marks)


CASES = [case(function, mode) for function in ("in_process", "in_workers", "Whole", "made_with_seeds") for mode in MODES]


@pytest.mark.parametrize(("function", "mode"), CASES)
@pytest.mark.parametrize("num", [1, 3])
def test_rows_stay_inside_their_episode(make, function, mode, num):
    envs = make(choice(function, num, kwargs={"mode": mode}), 5)
    obs, seen = envs.reset(), {"terminated": 0, "truncated": 0}
    steps = np.zeros(num)
    for action in actions_for(envs, 150):
        step = envs.step(action)
        assert (step.next_obs[:, 0] == obs[:, 0]).all()  # the same episode
        assert (step.next_obs[:, 1] == obs[:, 1] + 1).all()  # one real step, also after an end
        assert (step.next_obs[:, 2] == obs[:, 2] + action).all()
        assert np.allclose(step.reward, step.next_obs[:, 0] + step.next_obs[:, 1] / 100)
        assert (step.obs[step.ended, 1] == 0).all()  # a new episode at once
        assert (step.obs[~step.ended] == step.next_obs[~step.ended]).all()
        assert (step.terminated[step.ended] == (step.next_obs[step.ended, 0] % 2 == 1)).all()
        seen["terminated"] += step.terminated.sum()
        seen["truncated"] += (step.ended & ~step.terminated).sum()
        steps += 1
        obs = step.obs
    assert min(seen.values()) > 10


@pytest.mark.parametrize(
    ("function", "mode"), [case(function, mode) for function in ("in_process", "in_workers") for mode in ("NextStep", "Disabled")]
)
def test_environments_that_are_reset_alone_play_the_episodes_of_copies(make, function, mode):
    copies = make(Function(function=PLACE + "alone", num=3, reseed_every=2), 7)
    envs = make(choice(function, kwargs={"mode": mode}, reseed_every=2), 7)
    assert np.array_equal(copies.reset(), envs.reset())
    for action in actions_for(envs, 60):
        assert all(map(np.array_equal, copies.step(action), envs.step(action)))


@pytest.mark.parametrize(
    ("function", "mode"), [("in_process", "SameStep"), ("made_with_seeds", "NextStep"), ("made_with_seeds", "SameStep")]
)
def test_the_first_episodes_have_the_seeds_of_copies_at_least(make, function, mode):
    copies, envs = make(Function(function=PLACE + "alone", num=3), 7), make(choice(function, kwargs={"mode": mode}), 7)
    assert np.array_equal(copies.reset(), envs.reset())
    assert not np.array_equal(envs.reset(), make(choice(function, kwargs={"mode": mode}), 8).reset())
    assert not np.array_equal(envs.reset(), make(choice(function, kwargs={"mode": mode}), 7, evaluation=True).reset())


@pytest.mark.parametrize(
    ("function", "mode", "kwargs"),
    [
        pytest.param("in_workers", "NextStep", {"parts": True, "mask": "told"}),
        *(
            case(function, mode, kwargs)
            for kwargs in ({"parts": True}, {"mask": "told"}, {"mask": "observed"}, {"parts": True, "mask": "observed"})
            for function in ("in_process", "in_workers")
            for mode in MODES
        ),
    ],
    ids=str,
)
def test_spaces_of_several_parts_and_masks(make, function, mode, kwargs):
    masked = "mask" in kwargs
    envs = make(choice(function, kwargs={"mode": mode, **kwargs}, mask=True if masked else None), 5)
    where = {"tag": 2, "step": 0} if kwargs.get("parts") else {"tag": 0, "step": 1}  # a Dict is flattened in the order of its keys
    obs = envs.reset()
    for _ in range(40):
        if masked:
            assert (obs[:, 3:] == np.eye(3)[obs[:, where["step"]].astype(int) % 3]).all()
        action = obs[:, 3:].argmax(-1) if masked else np.zeros(3, int)
        step = envs.step(action)
        assert (step.next_obs[:, where["tag"]] == obs[:, where["tag"]]).all()
        assert (step.next_obs[:, where["step"]] == obs[:, where["step"]] + 1).all()
        obs = step.obs


def stored(state):
    """What a checkpoint does to a state: arrays aside, the rest through JSON."""
    arrays = {i: entry.pop("actions").copy() for i, entry in state["environments"].items()}
    back = json.loads(json.dumps(state))
    for i, entry in back["environments"].items():
        entry["actions"] = arrays[i]
    return back


@pytest.mark.parametrize(("function", "mode"), CASES)
def test_running_episodes_are_restored(make, function, mode):
    setting = choice(function, kwargs={"mode": mode}, reseed_every=2)
    before, after = make(setting, 3), make(setting, 3)
    before.reset()
    for action in actions_for(before, 25):
        before.step(action)
    assert np.array_equal(after.load_state_dict(stored(before.state_dict())), before.obs)
    assert after.broken == []
    for action in actions_for(before, 20):
        assert all(map(np.array_equal, before.step(action), after.step(action)))


def masked_run(make, mode):
    """Environments that raise on an invalid action, whose running episodes have different lengths, and their state."""
    setting = choice("in_process", kwargs={"mode": mode, "mask": "told"}, mask=True)
    before = make(setting, 3)
    obs = before.reset()
    for _ in range(25):
        obs = before.step(obs[:, 3:].argmax(-1)).obs
    state = stored(before.state_dict())
    assert len({entry["count"] for entry in state["environments"].values()}) > 1
    return before, make(setting, 3), state


@pytest.mark.parametrize("mode", ["NextStep", "Disabled"])
def test_environments_that_wait_for_their_replay_take_valid_actions(make, mode):
    before, after, state = masked_run(make, mode)
    assert np.array_equal(after.load_state_dict(state), before.obs)
    assert after.broken == []


def test_a_vector_whose_replay_raises_starts_again_together(make):
    _, after, state = masked_run(make, "NextStep")
    actions = state["environments"]["1"]["actions"]
    state["environments"]["1"]["actions"] = (actions + 1) % 3
    with pytest.warns(RuntimeWarning, match="environment 1: its replay failed: .*that action is not valid"):
        obs = after.load_state_dict(state)
    assert after.broken == [0, 1, 2]
    assert (obs[:, 1] == 0).all()


@pytest.mark.parametrize(("mode", "broken"), [("NextStep", [0, 1, 2]), ("SameStep", [0, 1, 2])])
def test_an_environment_without_seeds_starts_again(make, mode, broken):
    setting = choice("Whole", kwargs={"mode": mode, "fault": "unseeded"})
    before, after = make(setting, 3), make(setting, 3)
    before.reset()
    for action in actions_for(before, 10):
        before.step(action)
    with pytest.warns(RuntimeWarning, match="not deterministic"):
        obs = after.load_state_dict(stored(before.state_dict()))
    assert after.broken == broken
    assert (obs[:, 1] == 0).all()
    assert (after.step(np.zeros(3, int)).next_obs[:, 1] == 1).all()


def test_environments_that_cannot_be_reset_alone_start_again_together(make):
    setting = choice("in_process", kwargs={"mode": "SameStep"})
    before, after = make(setting, 3), make(setting, 3)
    before.reset()
    for action in actions_for(before, 10):
        before.step(action)
    state = stored(before.state_dict())
    state["environments"]["1"]["hash"] = "0" * 16
    with pytest.warns(RuntimeWarning, match="environment 0: it can only be reset with the others; environment 1: .*not deterministic"):
        after.load_state_dict(state)
    assert after.broken == [0, 1, 2]
    again = make(setting, 3)  # the new episodes have seeds, from which they are restored
    after.step(np.zeros(3, int))
    assert np.array_equal(again.load_state_dict(stored(after.state_dict())), after.obs)


# ----- the rehearsal


@pytest.mark.parametrize(("function", "mode"), CASES)
def test_a_right_vector_passes_its_rehearsal(function, mode, capsys):
    setting = choice(function, kwargs={"mode": mode})
    assert setting.spec() == Function(function=PLACE + "alone").spec()
    seeds = "only resets of all" if function == "made_with_seeds" or mode == "SameStep" else "one by one"
    said = capsys.readouterr().err
    assert seeds in said
    assert "tried" not in said


@pytest.mark.parametrize(
    ("kwargs", "words"),
    [
        ({"declared": None}, r"Whole declares metadata\[\"autoreset_mode\"\] None, which must be one of AutoresetMode.NEXT_STEP"),
        ({"declared": "Sometimes"}, "declares .*'Sometimes'"),
        ({"mode": "SameStep", "declared": "NextStep"}, r"info\[\"final_obs\"\] belongs to AutoresetMode.SAME_STEP"),
        ({"mode": "SameStep", "declared": "Disabled"}, r"info\[\"final_obs\"\] belongs to AutoresetMode.SAME_STEP"),
        ({"mode": "NextStep", "declared": "SameStep"}, r"info\[\"final_obs\"\] has no last observation"),
        ({"mode": "SameStep", "fault": "final"}, r"info\[\"final_obs\"\] has no last observation"),
        ({"mode": "NextStep", "fault": "all"}, "alone changed environment . too: .*env.num=1"),
        ({"mode": "Disabled", "fault": "all"}, "alone changed environment . too"),
        ({"mode": "NextStep", "fault": "pending"}, "after a reset alone, with the same seed .* differed at step 1 of its episode"),
    ],
    ids=str,
)
def test_a_wrong_vector_is_refused_before_the_run(kwargs, words):
    with pytest.raises(ValueError, match=words):
        choice("Whole", kwargs=kwargs).spec()


@pytest.mark.parametrize("mode", ["NextStep", "Disabled"])
def test_a_reset_of_all_is_one_of_the_only_environment(make, mode):
    setting = choice("Whole", 1, kwargs={"mode": mode, "fault": "all"})
    setting.spec()
    envs, copy = make(setting, 3), make(Function(function=PLACE + "alone"), 3)
    assert np.array_equal(envs.reset(), copy.reset())
    for action in actions_for(envs, 40):
        assert all(map(np.array_equal, copy.step(action), envs.step(action)))


def test_one_seed_for_all(make, capsys):
    setting = choice("Whole", kwargs={"mode": "SameStep", "fault": "single"})
    setting.spec()
    assert "only resets of all its environments have seeds" in capsys.readouterr().err
    one, same_one, other = (make(setting, seed) for seed in (3, 3, 4))
    assert np.array_equal(one.reset(), same_one.reset())
    assert not np.array_equal(one.obs, other.reset())
    for action in actions_for(one, 20):
        assert all(map(np.array_equal, one.step(action), same_one.step(action)))


class OneArray(Counting):
    """Writes all observations into one array, as some environments do."""

    def shown(self):
        if not hasattr(self, "array"):
            self.array = np.zeros(3, np.float32)
        self.array[:] = self.count
        return self.array, {}


def test_a_last_observation_that_a_reset_overwrites_is_told_of(make, capsys):
    """The rows of the other modes are copied in time."""
    globals()["one_array"] = lambda num_envs, mode: SyncVectorEnv([OneArray] * num_envs, autoreset_mode=mode)
    choice("one_array", kwargs={"mode": "SameStep"}).spec()
    assert "the last observation of an episode was the first one of the next" in capsys.readouterr().err
    envs, copies = make(choice("one_array", kwargs={"mode": "NextStep"}), 3), make(Function(function=PLACE + "alone", num=3), 3)
    envs.reset(), copies.reset()
    for action in actions_for(envs, 30):
        assert all(map(np.array_equal, envs.step(action), copies.step(action)))


def test_a_vector_without_seeds_is_told_of(capsys):
    choice("Whole", kwargs={"fault": "unseeded"}).spec()
    # one of them may begin alike by chance
    assert re.search(r"after a reset of all with the same seeds environment \d differed at step 0", capsys.readouterr().err)


def test_an_end_that_does_not_come_is_told_of(capsys):
    choice("in_process", kwargs={"least": 400, "most": 400}).spec()
    assert "so that an end was not tried" in capsys.readouterr().err
    with pytest.raises(ValueError, match="alone changed environment|after a reset alone"):
        Vectorized(id="CartPole-v1", num=3).spec()  # Gymnasium's own vector of it resets all


def test_the_mode_of_ale_is_not_that_of_every_vector():
    """ALE's vector writes its mode into the dictionary of the base class."""
    pytest.importorskip("ale_py.vector_env")
    Vectorized(id="ALE/Pong-v5", package="ale_py", num=1).build().close()
    assert "autoreset_mode" in VectorEnv.metadata

    class Silent(Whole):
        metadata = VectorEnv.metadata

        def __init__(self, num_envs):
            super().__init__(num_envs)
            del self.metadata

    globals()["Silent"] = Silent
    with pytest.raises(ValueError, match="Silent declares .* None"):
        choice("Silent").spec()


# ----- configurations


def test_wrong_settings_are_refused():
    for settings, words in [
        ({}, "either id or function"),
        ({"id": "CartPole-v1", "function": "a:b"}, "either id or function"),
        ({"function": "make"}, "module:function, not 'make'"),
        ({"id": "CartPole-v1", "vector": "async"}, "vector must be sync, not 'async'"),
        ({"id": "CartPole-v1", "on_error": "restart"}, "on_error must be fail"),
    ]:
        with pytest.raises(ValueError, match=words):
            Vectorized(**settings)
    for settings, words in [
        ({"id": "CartPol-v1"}, "env.id=CartPol-v1 is not registered, the nearest is CartPole-v1"),
        ({"id": "CartPole-v1", "kwargs": {"mass": 3}}, "CartPole-v1 cannot be made with .*mass"),
        ({"function": PLACE + "alone"}, "has no parameter num_envs"),
        ({"function": "builtins:dict", "kwargs": {}}, "has no parameter num_envs"),
        ({"function": PLACE + "no_vector"}, "returned Counting, not a gymnasium.vector.VectorEnv"),
        ({"function": PLACE + "too_many", "num": 2}, "has 3 environments, not the 2"),
        ({"function": "tests.nowhere:make"}, "cannot be imported"),
    ]:
        with pytest.raises(ValueError, match=words):
            Vectorized(**settings).spec()
    with pytest.raises(ValueError, match="env=vector"):
        Function(function=PLACE + "too_many", kwargs={"num_envs": 1}).spec()


def no_vector(num_envs):
    return Counting()


def too_many(num_envs):
    return in_process(3)


SHORT = {
    "agent": "dqn", "agent/torso": "mlp", "agent.torso.hidden": [8], "steps": 120, "replay.learning_starts": 40, "replay.capacity": 100,
    "replay.batch_size": 8, "env.num": 4, "evaluation.every": 60, "evaluation.episodes": 3, "evaluation.final_episodes": 5,
    "evaluation.num": 2, "checkpoint.every": 40, "accelerate": "fast", "runtime.threads": 1, "log.every": 20,
}  # fmt: skip


def test_a_function_with_num_envs_makes_a_vector_from_python(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    asked = []

    def make(num_envs):
        asked.append(num_envs)
        return in_process(num_envs, least=5, most=5)

    run = deeprl.train(SHORT, env=make)
    assert run.folder.parent.parent.name.startswith("vector_tests.envs.test_vector_env_")
    assert set(asked) == {4, 2}  # evaluations have environments of their own
    assert run.summary["final"]["length"] == 5
    assert run.evaluations()["lengths"][0].tolist() == [5, 5, 5]
    episodes = run.evaluations()["returns"][0]
    assert np.allclose(episodes - np.floor(episodes), 0.15, atol=1e-3)  # 5 tags and 0.01 + ... + 0.05: each step once
    with pytest.raises(ConfigError, match="env.num=1"):
        deeprl.train(SHORT, env=lambda num_envs: Whole(num_envs, fault="all"))


def test_the_vector_of_evaluations_is_rehearsed_too(tmp_path, monkeypatch):
    """A vector of one environment is never reset in part."""
    monkeypatch.chdir(tmp_path)
    alone = {**SHORT, "env.num": 1, "evaluation.episodes": 1}
    with pytest.raises(ConfigError, match="its evaluation has 2 environments: .*env.num=1 with evaluation.num=1"):
        deeprl.train(alone, env=lambda num_envs: Whole(num_envs, fault="all"))
    deeprl.train({**alone, "evaluation.num": 1}, env=lambda num_envs: Whole(num_envs, fault="all"))


@pytest.mark.parametrize(("function", "mode"), [("in_process", "NextStep"), ("in_process", "SameStep"), ("made_with_seeds", "NextStep")])
def test_a_run_resumes_exactly(function, mode, tmp_path, monkeypatch):
    settings = {**SHORT, "env": "vector", "env.function": PLACE + function, "env.kwargs": {"mode": mode}}
    words = worded(settings)
    folders = cut_and_resumed(tmp_path, monkeypatch, 84, *words, trust=("--allow-package", "tests"))
    (_, whole), (_, resumed) = (Checkpoints(folder).load("last") for folder in folders)
    assert same(whole["agent"]["module"], resumed["agent"]["module"])


SIGNALLED = """
import os, signal, sys
import numpy as np
from deeprl.envs.vectorized import Vectorized
from deeprl.system.signals import HANDLED

if __name__ == "__main__":
    before = [signal.getsignal(number) for number in HANDLED]
    for context in ("fork", "forkserver"):
        kwargs = {"vectorization_mode": "async", "vector_kwargs": {"context": context}}
        envs = Vectorized(id="CartPole-v1", num=2, kwargs=kwargs).make(1)
        assert [signal.getsignal(number) for number in HANDLED] == before
        envs.reset()
        for process in envs.backend.vector.processes:
            for number in HANDLED:
                os.kill(process.pid, number)
        for _ in range(5):
            envs.step(np.zeros(2, int))
        envs.close()
"""
"""A process of its own, because children of a fork server ignore what it ignored when it was started, by whatever test"""


def test_workers_ignore_the_signals_that_stop_a_run(tmp_path):
    script = tmp_path / "signalled.py"
    script.write_text(SIGNALLED)
    subprocess.run([sys.executable, script], check=True, timeout=120)


@pytest.mark.filterwarnings("ignore::UserWarning")  # of Gymnasium
@pytest.mark.parametrize("function", ["in_process", "in_workers"])
def test_an_error_of_a_vector_ends_the_run_and_its_workers(make, function):
    envs = make(choice(function, kwargs={"mask": "told"}, mask=True), 1)
    envs.reset()
    words = r"failed at step 0 .*: the vector raised ArithmeticError: that action is not valid; none of its environments can be replaced"
    with pytest.raises(EnvironmentFailed, match=words):
        envs.step(np.ones(3, int))
    with catch_warnings(record=True):  # closing may fail too
        envs.close()
    if function == "in_workers":
        assert not any(process.is_alive() for process in envs.backend.vector.processes)


# ----- ALE and EnvPool


@pytest.mark.parametrize("mode", ["NextStep", "SameStep"])
def test_ale_gives_the_episodes_of_our_own_vector(make, mode):
    """Where the vector resets by itself, up to the first end, which has the true last observation. The equal `frame_stack` makes the replay
    store each frame once."""
    pytest.importorskip("ale_py.vector_env")
    from deeprl.envs.atari import Atari, Protocol

    ours = make(Atari(game="breakout", reseed_every=1, protocol=Protocol(sticky=0.25)), 3, num=2, vector="ale")
    kwargs = {"noop_max": 1, "use_fire_reset": False, "reward_clipping": False, "autoreset_mode": mode}
    theirs = make(Vectorized(id="ALE/Breakout-v5", package="ale_py", kwargs=kwargs), 3, num=2)
    assert ours.spec == theirs.spec
    assert np.array_equal(ours.reset(), theirs.reset())
    ended = 0
    for action in np.random.default_rng(1).integers(0, 4, (250, 2)):
        one, other = ours.step(action), theirs.step(action)
        assert all(map(np.array_equal, one[1:], other[1:]))
        ended += one.ended.sum()
        if ended and mode == "SameStep":
            break
        assert np.array_equal(one.obs, other.obs)
    assert ended


@pytest.mark.parametrize("id", ["CartPole-v1", "Pendulum-v1", "FrozenLake-v1"])
def test_envpool_counts_our_steps(make, id):
    """EnvPool's own counter is 0 after each reset, and one more after each step."""
    pytest.importorskip("envpool")
    setting = Vectorized(function=PLACE + "pool", num=3, kwargs={"id": id})
    setting.spec()
    envs = make(setting, 3)
    first, counts, ended = envs.reset(), np.zeros(3, int), 0
    vector = envs.backend.vector
    seen = []
    original = vector.step
    vector.step = lambda action: seen.append(original(action)) or seen[-1]
    for t in range(250):
        action = np.full(3, t // 3 % 2) if envs.spec.num_actions else np.zeros((3, 1), np.float32)
        step = envs.step(action)
        counts = counts + 1
        assert seen[-1][-1]["elapsed_step"].tolist() == counts.tolist()
        counts[step.ended] = 0
        ended += step.ended.sum()
    assert ended >= 3
    other = make(setting, 3)
    assert np.array_equal(other.reset(), first)
    assert np.array_equal(other.load_state_dict(stored(envs.state_dict())), envs.obs)
    with pytest.raises(ValueError, match="give the function a parameter `seed`"):
        Vectorized(function=PLACE + "pool_without_seeds").spec()


def pool(num_envs, seed, id):
    import envpool

    return envpool.make_gymnasium(id, num_envs=num_envs, seed=seed)


def pool_without_seeds(num_envs):
    return pool(num_envs, 0, "CartPole-v1")


def drawn(render_mode=None):
    return gymnasium.make("CartPole-v1", render_mode=render_mode)


def undrawn():
    return gymnasium.make("CartPole-v1")


def test_videos_set_the_render_mode_of_a_function_that_takes_one():
    able, unable = (Function(function=f"{__name__}:{each.__name__}") for each in (drawn, undrawn))
    assert (able.pictures, unable.pictures) == (True, False)
    assert able.rendering().build().env.render_mode == "rgb_array"
    assert unable.rendering() is unable
    assert "env.kwargs.render_mode=rgb_array" in unable.render_remedy


class Lasting(gymnasium.Env):
    """Episodes of given lengths, the last of them again and again. A picture is as bright as the step."""

    metadata: ClassVar = {"render_modes": ["rgb_array"]}
    render_mode = "rgb_array"

    def __init__(self, *lengths: int):
        self.observation_space, self.action_space = spaces.Box(0, 1e6, (1,)), spaces.Discrete(3)
        self.lengths, self.episode = (1, *lengths), -1  # the first reset finds the form of the seeds

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.episode, self.t = min(self.episode + 1, len(self.lengths) - 1), 0
        return np.zeros(1, np.float32), {}

    def step(self, action):
        self.t += 1
        return np.full(1, self.t, np.float32), 1.0, self.t >= self.lengths[self.episode], False, {}

    def render(self):
        return np.full((16, 16, 3), self.t, np.uint8)


def lasting(num_envs, mode, lengths, limits=(None, None)):
    def one(i):
        env = Lasting(*lengths[i])
        return gymnasium.wrappers.TimeLimit(env, limits[i]) if limits[i] else env

    return SyncVectorEnv([partial(one, i) for i in range(num_envs)], autoreset_mode=mode)


def evaluated(mode, *lengths, num=2):
    """Lengths of two episodes of each environment, cut off after 100 steps, and the cut."""
    make = Vectorized(function=f"{PLACE}lasting", num=num, kwargs={"mode": mode, "lengths": lengths}).make_evaluation
    found = evaluate(Scripted(), make, 2 * num, num, 7, 0, longest=100)
    assert found["returns"] == found["lengths"]
    return found["lengths"], found.get("cut_off")


@pytest.mark.parametrize("mode", MODES)
def test_evaluations_cut_episodes_off_in_every_mode(mode):
    """A vector that resets by itself ended the run where the others cut an episode off. An environment that had played its share was cut
    off too, and the evaluation counted as one with a cut."""
    assert evaluated(mode, (5, 5, 1000), (90, 90)) == ([5, 5, 90, 90], None)
    with pytest.warns(RuntimeWarning, match=r"put gymnasium\.wrappers\.TimeLimit\(env, STEPS\) around its environments"):
        assert evaluated(mode, (150, 5), (90, 90)) == ([100, 5, 90, 90], 100)
    with pytest.warns(RuntimeWarning):
        assert evaluated(mode, (150, 5), num=1) == ([100, 5], 100)
    with pytest.warns(RuntimeWarning):
        assert evaluated(mode, (1000, 5), (1000, 5)) == ([100, 5, 100, 5], 100)  # all are reset together


def test_the_rest_of_an_episode_must_end():
    with pytest.warns(RuntimeWarning), pytest.raises(RuntimeError, match=r"lasting, which cannot be reset alone, does not end: "):
        evaluated("SameStep", (10**6,), (90, 90))


@pytest.mark.parametrize("mode", MODES)
def test_time_limits_inside_a_vector_are_known(mode):
    """Evaluations cut such episodes off, and asked for the limit that they had."""
    for limits, known in (((80, 70), 80), ((80, None), None), ((None, None), None)):
        make = Vectorized(function=f"{PLACE}lasting", num=2, kwargs={"mode": mode, "lengths": ((1,), (1,)), "limits": limits}).make
        envs = make(0)
        envs.close()
        assert envs.backend.limit == known
    envs = Vectorized(id="CartPole-v1", num=2, kwargs={"vectorization_mode": "sync"}).make(0)
    envs.close()
    assert envs.backend.limit == 500


@pytest.mark.parametrize("mode", MODES)
def test_a_film_ends_with_the_picture_of_its_last_step(mode):
    """It ended with that of the next episode. A vector that has reset has the one before."""
    game = Vectorized(function=f"{PLACE}lasting", kwargs={"mode": mode, "lengths": ((3, 5),)}).build()
    game.reset(0)
    shown = [int(game.frame()[0, 0, 0])]
    for _ in range(3):
        ended = game.step(0)[3]
        shown.append(int(game.frame()[0, 0, 0]))
    assert ended
    assert shown == [0, 1, 2, 2 if mode == "SameStep" else 3]
    game.reset(0)
    assert game.frame()[0, 0, 0] == 0
    game.close()
