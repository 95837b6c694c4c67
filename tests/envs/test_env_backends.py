"""Conformance: whatever runs the environments, the same rows come out, and a run can be taken up in mid-episode.

The counting environment's observation is (tag of its episode, step, sum of its actions), so that a row shows where it belongs.
"""

import math
import os
import signal
import time
import warnings
from dataclasses import dataclass
from multiprocessing import Pipe
from pathlib import Path
from types import SimpleNamespace
from typing import ClassVar

import gymnasium
import numpy as np
import pytest
import torch

from deeprl.envs.classic import Classic
from deeprl.envs.gym import GymGame
from deeprl.envs.minatar import MinAtar
from deeprl.envs.mujoco import MuJoCo
from deeprl.envs.toy import Chain
from deeprl.envs.vector.actions import Actions
from deeprl.envs.vector.backend import Game, Serial
from deeprl.envs.vector.environments import EnvironmentFailed, Environments
from deeprl.envs.vector.info import EpisodeInfo
from deeprl.envs.vector.workers import Workers
from deeprl.noise import episode_seed
from deeprl.types import Spec
from tests.conformance import BACKENDS, a_single_one_is_the_first_of_many, actions_for, backends_agree, resumes_exactly, same, stored
from tests.toy_envs import Counting, CountingGame

CHOICES = {
    "counting": Counting(),
    "counting unseeded": Counting(reseed_every=3),
    "continuous": Counting(continuous=True),
    "cartpole": Classic(id="CartPole-v1", max_episode_steps=15),
    "pendulum": Classic(id="Pendulum-v1", max_episode_steps=7),
    "chain": Chain(length=4, slip=0.2, reseed_every=2),
    "half_cheetah": MuJoCo(id="HalfCheetah-v5", max_episode_steps=20),
    "hopper": MuJoCo(id="Hopper-v5", reseed_every=2, max_episode_steps=25),
    "minatar": MinAtar(game="breakout", reseed_every=2),
}


class Reusing(Game):
    """Its observation, reward and flag are arrays of its own, and the first is that of all games."""

    seen = np.zeros(1, np.float32)

    def __init__(self):
        self.spec, self.actions = Spec((1,), torch.float32, 2, 0), Actions(num=2)
        self.count, self.reward, self.done = 0, np.zeros((), np.float32), np.zeros((), bool)

    def tell(self, count):
        self.count = self.seen[:] = self.reward[...] = count
        self.done[...] = count >= 3
        return self.seen

    def reset(self, seed):
        return self.tell(0)

    def step(self, action):
        return self.tell(self.count + 1 + int(action)), self.reward, self.done, self.done


def test_arrays_that_a_game_reuses_are_read_before_its_reset():
    """The last step of an episode had the reward and the flag of the reset, and all games the observation of the last one."""
    envs = Environments(Serial(Reusing, 2), "reusing", 0)
    assert envs.reset().tolist() == [[0], [0]]
    for seen, reward, terminated in (([[1], [2]], [1, 2], [False, False]), ([[2], [4]], [2, 4], [False, True])):
        step = envs.step(np.array([0, 1]))
        assert (step.next_obs.tolist(), step.reward.tolist(), step.terminated.tolist()) == (seen, reward, terminated)
    assert step.obs.tolist() == [[2], [0]]


@pytest.fixture
def make():
    opened = []

    def make(choice, *args, **kwargs):
        opened.append(choice.make(*args, **kwargs))
        return opened[-1]

    yield make
    for envs in opened:
        envs.close()


@pytest.mark.parametrize("vector", BACKENDS)
@pytest.mark.parametrize("num", [1, 3])
def test_rows_stay_inside_their_episode(make, vector, num):
    envs = make(Counting(reseed_every=2), 5, num=num, vector=vector)
    obs = envs.reset()
    seen = {"terminated": 0, "truncated": 0}
    for action in actions_for(envs, 200):
        step = envs.step(action)
        assert (step.next_obs[:, 0] == obs[:, 0]).all()  # the same episode
        assert (step.next_obs[:, 1] == obs[:, 1] + 1).all()  # one real step, also after an end
        assert (step.next_obs[:, 2] == obs[:, 2] + action).all()
        assert np.allclose(step.reward, step.next_obs[:, 0] + step.next_obs[:, 1] / 100)
        assert (step.obs[step.ended, 1] == 0).all()  # a new episode at once
        assert (step.obs[~step.ended] == step.next_obs[~step.ended]).all()
        assert (step.terminated[step.ended] == (step.next_obs[step.ended, 0] % 2 == 1)).all()  # odd tags terminate, even ones are cut off
        assert not step.terminated[~step.ended].any()
        assert step.reward.dtype == np.float32
        assert step.terminated.dtype == step.ended.dtype == bool
        seen["terminated"] += step.terminated.sum()
        seen["truncated"] += (step.ended & ~step.terminated).sum()
        obs = step.obs
    assert min(seen.values()) > 10


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=pytest.mark.exhaustive if name in ("pendulum", "chain", "half_cheetah", "minatar") else ())
        for name in CHOICES
    ],
)
def test_every_backend_gives_the_same_episodes(name):
    backends_agree(CHOICES[name])


@pytest.mark.parametrize("name", CHOICES)
def test_a_single_environment_is_the_first_of_many(name):
    a_single_one_is_the_first_of_many(CHOICES[name])


def test_copies_do_not_depend_on_each_other(make):
    """Environment 1 of three is environment 1 of two."""
    two, three = make(Counting(), 3, num=2), make(Counting(), 3, num=3)
    assert np.array_equal(two.reset(), three.reset()[:2])
    for action in actions_for(three, 50):
        assert all(np.array_equal(a, b[:2]) for a, b in zip(two.step(action[:2]), three.step(action)))


@pytest.mark.parametrize(  # the journal is the same code for both
    ("vector", "name"), [*(("sync", name) for name in CHOICES), ("async", "counting unseeded"), ("async", "hopper")]
)
def test_resume_in_mid_episode_is_exact(vector, name):
    resumes_exactly(CHOICES[name], vector)


def test_resume_right_after_reset_and_before_it(make):
    before, after = make(Counting(), 3, num=2), make(Counting(), 3, num=2)
    assert after.load_state_dict(stored(before.state_dict())) is None
    first = before.reset()
    assert np.array_equal(after.load_state_dict(stored(before.state_dict())), first)
    for action in actions_for(before, 20):
        assert same(before.step(action), after.step(action))


@pytest.mark.parametrize("vector", BACKENDS)
def test_an_environment_that_is_not_deterministic_starts_again(make, vector):
    before = make(Counting(forgetful=True, max_length=50), 3, num=2, vector=vector)
    before.reset()
    for action in actions_for(before, 10):
        before.step(action)
    state = before.state_dict()
    after = make(Counting(forgetful=True, max_length=50), 3, num=2, vector=vector)
    with pytest.warns(RuntimeWarning, match="not deterministic"):
        obs = after.load_state_dict(state)
    assert after.broken == [0, 1]
    assert (obs[:, 1] == 0).all()
    assert [entry["episode"] for entry in after.state_dict()["environments"].values()] == [
        entry["episode"] + 1 for entry in state["environments"].values()
    ]


@pytest.mark.filterwarnings("error")
def test_a_journal_of_as_many_actions_as_are_kept_is_replayed(make):
    choice = Counting(reseed_every=1000, max_length=10)
    before, after = make(choice, 3, num=2), make(choice, 3, num=2)
    before.replay_actions = after.replay_actions = 20
    before.reset()
    for action in actions_for(before, 20):
        before.step(action)
    after.load_state_dict(stored(before.state_dict()))
    for action in actions_for(before, 5):
        assert same(before.step(action), after.step(action))


def test_a_journal_that_is_too_long_is_not_replayed(make):
    choice = Counting(reseed_every=1000, max_length=10)
    before, after = make(choice, 3, num=2), make(choice, 3, num=2)
    before.replay_actions = after.replay_actions = 20
    before.reset()
    for action in actions_for(before, 21):
        before.step(action)
    state = before.state_dict()
    assert state["environments"]["0"]["actions"].size == 0  # nor kept
    with pytest.warns(RuntimeWarning, match="replay_actions=20"):
        after.load_state_dict(stored(state))
    assert after.broken == [0, 1]
    for action in actions_for(before, 5):
        after.step(action)


def test_another_number_of_environments_is_refused(make):
    with pytest.raises(ValueError, match=r"env\.num is 3"):
        make(Counting(), 0, num=3).load_state_dict(make(Counting(), 0, num=2).state_dict())


@pytest.mark.parametrize("evaluation", [False, True])
def test_seeds_are_those_of_the_episode(make, evaluation):
    choice = Counting(reseed_every=2)
    envs = make(choice, 7, num=2, evaluation=evaluation, first_episode=5)

    def tag(index, episode):
        return choice.build().reset(episode_seed(7, index, episode, evaluation))[0]

    obs = envs.reset()
    assert list(obs[:, 0]) == [tag(0, 5), tag(1, 5)]  # the first one always has a seed of its own
    episode = [5, 5]
    while max(episode) < 9:
        step = envs.step(np.zeros(2, np.int64))
        for i in np.flatnonzero(step.ended):
            episode[i] += 1
            assert (step.obs[i, 0] == tag(i, episode[i])) == (episode[i] % 2 == 0)


# ----- failures


FAILURES = [
    ("raise", "sync", "ArithmeticError: counted too far"),
    ("raise", "async", "ArithmeticError: counted too far"),
    ("panic", "sync", "BaseException: counted too far"),
    ("panic", "async", "BaseException: counted too far"),
    ("exit", "sync", "SystemExit: 0"),
    ("exit", "async", "SystemExit: 0"),
    ("die", "async", r"exit code 3\), and could not be made again: .*exit code 3"),
    ("hang", "async", r"env\.timeout=1 .*could not be made again: .*env\.timeout=1 "),
    ("nan", "sync", "observation holds nan at index 1"),
    ("inf", "async", "reward is inf"),
    ("shape", "sync", r"observation is float32 of shape \(1,\), not float32 of shape \(3,\)"),
    ("dtype", "sync", r"observation is float64 of shape \(3,\), not float32"),
]
DISTINCT = [(*case, on_error) for case in FAILURES for on_error in ("fail", "restart") if (case[0], on_error) != ("hang", "restart")]


@pytest.mark.parametrize(
    ("failure", "vector", "words", "on_error"),
    # "die" restarts as "hang" does, which waits for six seconds
    [*DISTINCT, pytest.param("hang", "async", r"env\.timeout=1 ", "restart", marks=pytest.mark.exhaustive)],
)
def test_an_environment_that_fails(make, failure, vector, words, on_error):
    # short only where one hangs, and not too short for a busy machine
    choice = Counting(failure=failure, on_error=on_error, max_length=100, timeout=1 if failure == "hang" else 60)
    envs = make(choice, 1, num=2, vector=vector)
    envs.reset()
    fine = np.array([0, 1])
    obs = envs.step(fine).obs
    state = envs.state_dict()["environments"]["1"]
    bad = np.array([0, 2])
    if on_error == "fail":
        with pytest.raises(EnvironmentFailed, match=f"environment 1 of counting failed at step {state['steps']} .*{words}"):
            envs.step(bad)
        return
    with pytest.warns(RuntimeWarning, match=f"environment 1 of counting failed at step {state['steps']} .*{words}.*; restarted$"):
        step = envs.step(bad)
    assert envs.num_restarts == 1
    assert list(step.ended) == [False, True]
    assert not step.terminated.any()
    assert step.reward[1] == 0
    assert np.array_equal(step.next_obs[1], obs[1])  # nothing is known of what came after
    assert step.obs[1, 1] == 0
    assert step.next_obs[0, 1] == obs[0, 1] + 1  # its neighbour did not notice
    after = make(choice, 1, num=2, vector=vector)
    again = envs.step(fine)
    assert np.array_equal(after.load_state_dict(envs.state_dict()), again.obs)
    assert after.num_restarts == 1


@pytest.mark.parametrize(
    ("stop", "words", "choice"),
    [
        (signal.SIGKILL, "its process died", Counting(reseed_every=3)),
        (signal.SIGKILL, "its process died", Counting(continuous=True)),
        (signal.SIGSTOP, r"no answer within env\.timeout=1 ", Counting(reseed_every=3, timeout=1)),
        pytest.param(signal.SIGSTOP, r"no answer .*env\.timeout=1 ", Counting(continuous=True, timeout=1), marks=pytest.mark.exhaustive),
    ],
)
def test_a_worker_that_dies_or_hangs_is_made_again_where_it_was(make, stop, words, choice):
    """In an episode that follows an unseeded reset too; its neighbours notice nothing."""
    whole, torn = make(choice, 1, num=3, vector="sync"), make(choice, 1, num=3, vector="async")
    assert np.array_equal(whole.reset(), torn.reset())
    for t, action in enumerate(actions_for(whole, 40)):
        expected = whole.step(action)
        if t in (3, 25):
            os.kill(torn.backend.processes[1].pid, stop)
            with pytest.warns(
                RuntimeWarning, match=rf"environment 1 of counting failed at step \d+ of its episode \d+: {words}.*made again from its seed"
            ):
                step = torn.step(action)
        else:
            step = torn.step(action)
        assert same(expected, step)
    assert (torn.num_recreated, torn.num_restarts) == (2, 0)
    assert str(whole.state_dict()["environments"]) == str(torn.state_dict()["environments"])


class Busy(gymnasium.Env):
    """Episodes of three steps, the last one worth 100. The calls in `fails` are those, counted over all environments, that raise."""

    observation_space, action_space = gymnasium.spaces.Box(-10, 10, (1,), np.float32), gymnasium.spaces.Discrete(2)
    made = resets = 0
    prize = 100.0
    fails: ClassVar[dict[str, tuple[int, ...]]] = {}

    def __init__(self):
        Busy.made += 1
        if Busy.made in self.fails.get("make", ()):
            raise ConnectionError("the port is in use")

    def reset(self, *, seed=None, options=None):
        Busy.resets += 1
        if Busy.resets in self.fails.get("reset", ()) or seed in self.fails.get("seed", ()):
            raise ConnectionError("the server is busy")
        self.steps = 0
        return np.zeros(1, np.float32), {}

    def step(self, action):
        self.steps += 1
        last = self.steps == 3
        return np.full(1, self.steps, np.float32), self.prize if last else 0.0, last, False, {"is_success": last}


@pytest.fixture
def busy(monkeypatch):
    def make(on_error="restart", **fails):
        monkeypatch.setattr(Busy, "made", 0)
        monkeypatch.setattr(Busy, "resets", 0)
        monkeypatch.setattr(Busy, "fails", fails)
        return Environments(Serial(lambda: GymGame(Busy()), 1), "busy", 0, on_error=on_error)

    return make


@pytest.mark.parametrize("fails", [{"reset": (2,)}, {"reset": (2, 3)}, {"reset": (2,), "make": (2, 3)}])
def test_a_reset_that_fails_leaves_the_step_before_it_as_it_was(busy, fails):
    """The goal was reached, whatever happens afterwards; and a simulator that is not ready yet is tried again."""
    envs = busy(**fails)
    envs.reset()
    with pytest.warns(RuntimeWarning, match=r"reset raised ConnectionError: the server is busy; restarted"):
        rows = [envs.step(np.array([1])) for _ in range(6)]
    assert [(row.next_obs.item(), row.reward.item(), row.terminated.item(), row.ended.item()) for row in rows] == 2 * [
        (1, 0, False, False), (2, 0, False, False), (3, 100, True, True),
    ]  # fmt: skip
    assert (rows[2].obs.item(), envs.num_restarts, envs.restarted) == (0, 1, [])


def test_a_seed_whose_reset_always_fails_is_left_out(busy):
    """It was tried 101 times in a row, and again by a resume."""
    envs = busy(seed=(episode_seed(0, 0, 1, False),))
    envs.reset()
    with pytest.warns(RuntimeWarning, match="restarted"):
        rows = [envs.step(np.array([1])) for _ in range(6)]
    assert [row.ended.item() for row in rows] == 2 * [False, False, True]


def test_an_episode_whose_reset_fails_keeps_its_numbers(busy):
    """Rates of success left it out."""
    envs = busy(reset=(2,))
    envs.backend.game(0).info = EpisodeInfo({"is_success": "last"})
    envs.reset()
    with pytest.warns(RuntimeWarning, match="restarted"):
        rows = [envs.step(np.array([1])) for _ in range(3)]
    assert list(rows[2].info) == [{"is_success": 1.0}]


def test_a_last_step_that_is_not_finite_is_none_where_the_reset_fails_too(busy, monkeypatch):
    """A simulator that diverged: its NaN went into the replay, and the loss was blamed."""
    monkeypatch.setattr(Busy, "prize", math.nan)
    envs = busy(reset=(2,))
    envs.reset()
    envs.step(np.array([1]))
    envs.step(np.array([1]))
    with pytest.warns(RuntimeWarning, match="reward is nan, and reset raised ConnectionError: the server is busy; restarted"):
        row = envs.step(np.array([1]))
    assert (row.next_obs.item(), row.reward.item(), row.terminated.item(), row.ended.item()) == (2, 0, False, True)
    assert envs.restarted == [0]
    envs = busy("fail", reset=(2,))
    envs.reset()
    envs.step(np.array([1]))
    envs.step(np.array([1]))
    with pytest.raises(EnvironmentFailed, match="reward is nan, and reset raised") as failed:
        envs.step(np.array([1]))
    assert isinstance(failed.value.__cause__, ConnectionError)  # whose traceback tells where


def test_an_episode_that_is_cut_off_may_be_followed_by_a_reset_that_fails(busy):
    """The run ended, under env.on_error=restart too."""
    envs = busy(reset=(2,))
    envs.reset()
    after = envs.step(np.array([1]))
    with pytest.warns(RuntimeWarning, match=r"reset raised ConnectionError: the server is busy; restarted"):
        after = envs.truncate_episodes(after, [0])
    assert (after.obs.item(), after.next_obs.item(), after.ended.item()) == (0, 1, True)
    envs = busy("fail", reset=(2,))
    envs.reset()
    with pytest.raises(EnvironmentFailed, match=r"; env\.on_error=restart ends such an episode"):
        envs.truncate_episodes(envs.step(np.array([1])), [0])


def test_no_advice_to_restart_where_restarts_are_chosen(busy):
    first = "failed at its first reset: reset raised .* the server is busy"  # neither goes on after that
    for chosen, advice in (("fail", ""), ("restart", r"; env\.on_error=restart replaces an .* only")):
        with pytest.raises(EnvironmentFailed, match=f"{first}{advice}$"):
            busy(chosen, reset=(1,)).reset()
    envs = busy("fail", reset=(2,))
    envs.reset()
    envs.step(np.array([1]))
    envs.step(np.array([1]))
    with pytest.raises(EnvironmentFailed, match=r"; env\.on_error=restart ends such an episode"):
        envs.step(np.array([1]))


class Noting(CountingGame):
    """`close` makes a file."""

    def close(self):
        Path(self.choice.closed).touch()


@dataclass(frozen=True, kw_only=True)
class Closing(Counting):
    closed: str

    def build(self, evaluation=False):
        return Noting(self)


def test_a_worker_that_is_replaced_closes_its_environment(make, tmp_path):
    """Or a simulator would be left over for each failure."""
    closed = tmp_path / "closed"
    envs = make(Closing(failure="raise", on_error="restart", closed=str(closed)), 1, num=1, vector="async")
    envs.reset()
    with pytest.warns(RuntimeWarning, match="counted too far"):
        envs.step(np.array([2]))
    assert closed.exists()


def test_an_environment_that_always_fails_is_not_restarted_for_ever(make, monkeypatch):
    monkeypatch.setattr("deeprl.envs.vector.environments.RESTARTS", 3)
    envs = make(Counting(failure="raise", on_error="restart"), 1, num=2)
    envs.reset()
    bad, fine = np.array([0, 2]), np.array([0, 0])
    for action in (bad, bad, bad, fine, bad, bad, bad):
        with warnings.catch_warnings(record=True) as caught:
            envs.step(action)
        assert len(caught) == (action is bad)
    with pytest.raises(EnvironmentFailed, match="counted too far; so it was 4 times in a row"):
        envs.step(bad)


def test_what_cannot_be_repeated_is_restarted_instead(make):
    choice = Counting(forgetful=True, max_length=10**9, on_error="restart")  # no episode ends by itself, because lengths are drawn
    envs = make(choice, 3, num=2, vector="async")
    envs.reset()
    for action in actions_for(envs, 10):
        envs.step(action)
    os.kill(envs.backend.processes[0].pid, signal.SIGKILL)
    with pytest.warns(RuntimeWarning, match="could not be made again: its replay from seed and actions came out differently"):
        step = envs.step(np.zeros(2, np.int64))
    assert step.ended[0]
    assert not step.terminated[0]
    envs.replay_actions = 0
    envs.step(np.zeros(2, np.int64))
    os.kill(envs.backend.processes[0].pid, signal.SIGKILL)
    with pytest.warns(
        RuntimeWarning, match=r"1 actions since its last seeded reset are more than checkpoint\.replay_actions=0; restarted$"
    ):
        envs.step(np.zeros(2, np.int64))
    assert (envs.num_recreated, envs.num_restarts) == (0, 2)


def test_workers_ignore_the_signals_that_stop_a_run(make):
    envs = make(Counting(), 1, num=2, vector="async")
    envs.reset()
    for process in envs.backend.processes:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1):
            os.kill(process.pid, number)
    for action in actions_for(envs, 5):
        envs.step(action)
    assert (envs.num_recreated, envs.num_restarts) == (0, 0)


def test_workers_end_with_their_environment():
    envs = Counting(failure="hang").make(1, num=2, vector="async")
    envs.reset()
    pids = [process.pid for process in envs.backend.processes]
    envs.backend.pipes[0].send(("step", 2, None))  # one of them hangs
    envs.close()
    envs.close()
    deadline = time.monotonic() + 30
    while any(os.path.exists(f"/proc/{pid}") for pid in pids) and time.monotonic() < deadline:
        time.sleep(0.05)  # the fork server reaps them
    for pid in pids:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)


def test_a_choice_that_cannot_be_built_says_so():
    with pytest.raises(RuntimeError, match="not registered"):
        Classic(id="CartPole-v77").make(0, vector="async")
    for visible in ([], [0.5], [4]):
        with pytest.raises(ValueError, match="visible must be places from 0 to 3, at least one, not"):
            Classic(id="CartPole-v1", visible=visible).build()


@pytest.mark.parametrize(("code", "hint"), [(1, True), (-9, False)])
def test_a_worker_that_dies_while_it_imports_the_script_tells_of_the_main_guard(code, hint):
    """The last error named the exit code alone: the sentence with the remedy stood in the middle of two tracebacks."""
    ours, theirs = Pipe()
    theirs.close()
    workers = Workers.__new__(Workers)
    workers.timeout, workers.pipes, workers.answered = 1.0, [ours], [True]
    workers.processes = [SimpleNamespace(exitcode=code, join=lambda patience: None)]
    with pytest.raises(RuntimeError, match=rf"its process died \(exit code {code}\)") as caught:
        workers._ready(0)
    assert ('below if __name__ == "__main__":' in str(caught.value)) == hint


def test_a_late_answer_is_not_taken_for_that_to_the_next_request():
    """The numbers of the task arrived after env.timeout, and stood for the first observation of the reset that follows."""
    ours, theirs = Pipe()
    workers = Workers.__new__(Workers)
    workers.timeout, workers.pipes, workers.answered = 0.0, [ours], [True]
    assert workers.told([0]) == [{}]
    theirs.send({"is_success": 1.0})
    assert workers.reset({0: 1})[0].lost  # is replaced, from its seed
