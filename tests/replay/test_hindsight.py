"""Hindsight: the worked episode, goals within their episode, and rewards that are the environment's."""

from __future__ import annotations

import os
import signal

import numpy as np
import pytest
import torch

from deeprl.cli import exits
from deeprl.envs.reaching import BitFlip, Reach
from deeprl.envs.vectorized import Vectorized
from deeprl.errors import ConfigError
from deeprl.replay.hindsight import Hindsight
from deeprl.replay.replay import Replay
from deeprl.running.runs.checkpoints import Checkpoints
from deeprl.running.training.collector import Collector
from deeprl.types import Goals, Rows, Spec
from tests.builders import begin, console, same, train

SPEC = Spec((2,), torch.float32, 3, 0)  # achieved goal, desired goal


def reached(achieved, desired):
    return (achieved == desired)[:, 0]


GOALS = Goals(slice(0, 1), slice(1, 2), lambda achieved, desired: reached(achieved, desired) - 1.0, reached)


def make(num=1, batch_size=8, capacity=100, cls=Hindsight, **given):
    own = {"goals": GOALS} if cls is Hindsight else {}
    return cls(**own, capacity=capacity, batch_size=batch_size, spec=SPEC, num=num, discount=0.9, **given)


def tick(replay, states, ended, goal=-1.0, terminated=False):
    """One step of each environment, from its state to the next whole number; nobody reaches `goal`."""
    obs, after = (np.array([[state + ahead, goal] for state in states], np.float32) for ahead in (0, 1))
    zeros, ones = np.zeros(len(states)), np.ones(len(states), np.float32)
    replay.append(Rows(obs, zeros.astype(np.int64), -ones, after, zeros < terminated, np.array(ended), ones))


def episode(replay, start, length):
    for step in range(length):
        tick(replay, [start + step], [step == length - 1])


def drawn(replay, numbers, u):
    """The transitions of these numbers, relabelled by these choices."""
    live = replay.live
    places = (torch.tensor(numbers, dtype=torch.float64) - live.first + 0.5) / live.length
    return replay.batch(replay.sample({"u": places, "later": torch.as_tensor(u, dtype=torch.float64)}, step=0))


def test_the_worked_episode():
    """T = 4, row 1: with t' = 2 the goal is what row 2 achieved, which row 1 has not; with t' = 1 row 1 itself reaches it, and ends."""
    replay = make(batch_size=3, share=1.0)
    episode(replay, 10, 4)
    batch = drawn(replay, [1, 1, 1], [0.34, 0.0, 0.99])  # of t' = 1, 2, 3
    assert batch.obs.tolist() == [[11.0, 13.0], [11.0, 12.0], [11.0, 14.0]]
    assert batch.next_obs.tolist() == [[12.0, 13.0], [12.0, 12.0], [12.0, 14.0]]
    assert batch.reward.tolist() == [-1.0, 0.0, -1.0]
    assert batch.discount.tolist() == pytest.approx([0.9, 0.0, 0.9])


def test_an_end_for_another_reason_than_the_goal_stays_one():
    """A fall was bootstrapped behind, where the other goal was not reached there (strategy=episode)."""
    replay = make(batch_size=2, share=1.0, strategy="episode")
    tick(replay, [10], [False])
    tick(replay, [11], [True], terminated=True)
    assert drawn(replay, [1, 0], [0.0, 0.0]).discount.tolist() == pytest.approx([0.0, 0.0])  # both have 11 as their goal; row 0 reaches it


def test_an_environment_that_judges_in_place_changes_no_observation():
    def taken(achieved, desired):
        achieved -= desired
        return (achieved == 0)[:, 0]

    one, other = make(batch_size=4, share=1.0), make(batch_size=4, share=1.0)
    other.goals = GOALS._replace(reward=lambda *given: taken(*given) - 1.0, terminated=taken)
    for replay in (one, other):
        episode(replay, 10, 4)
    first, second = (drawn(replay, [0, 1, 2, 3], [0.9, 0.0, 0.4, 0.0]) for replay in (one, other))
    for name in ("obs", "next_obs", "reward", "discount"):
        assert torch.equal(getattr(first, name), getattr(second, name))


@pytest.mark.parametrize(("strategy", "goals"), [("future", {12, 13, 14}), ("final", {14}), ("episode", {11, 12, 13, 14})])
def test_a_strategy_takes_its_goals_and_all_of_them(strategy, goals):
    replay = make(batch_size=64, share=1.0, strategy=strategy)
    episode(replay, 10, 4)
    episode(replay, 20, 3)
    assert set(drawn(replay, [1] * 64, np.linspace(0, 1, 64, endpoint=False)).obs[:, 1].tolist()) == goals


@pytest.mark.parametrize("strategy", ["future", "final", "episode"])
def test_no_goal_crosses_an_episode_also_where_rows_are_overwritten(strategy):
    """Three environments with episodes of their own lengths, against a slow search; the ring holds the newest of them."""
    replay, random, left, start = make(3, 32, 60, strategy=strategy, share=1.0), np.random.default_rng(0), [3, 5, 2], [0, 1000, 2000]
    states = list(start)
    for _ in range(150):
        left = [each - 1 for each in left]
        tick(replay, states, [each == 0 for each in left])
        states = [state + (10 if end == 0 else 1) for state, end in zip(states, left)]  # a gap of ten between episodes
        left = [each or int(random.integers(1, 9)) for each in left]
    live = replay.live
    numbers = random.integers(live.first, live.last, 32)
    batch = drawn(replay, numbers, random.random(32))
    for (state, goal), after, reward in zip(batch.obs.tolist(), batch.next_obs.tolist(), batch.reward.tolist()):
        known = replay.ring.rows[:, 0]
        least = state + 1 if strategy != "episode" else state - 7
        assert least <= goal <= state + 8
        assert goal in known
        if goal > state:  # every row in between is of the same episode
            assert all(step in known for step in np.arange(state, goal + 1))
        assert after == [state + 1, goal]
        assert reward == (0.0 if goal == state + 1 else -1.0)


def test_a_share_that_exchanges_no_goal_is_refused():
    """It was plain replay without a word."""
    with pytest.raises(ValueError, match="share=0.01 of batch_size=32 exchanges no goal"):
        make(batch_size=32, share=0.01)


@pytest.mark.parametrize("strategy", ["future", "final", "episode"])
def test_a_share_of_nothing_is_plain_replay(strategy):
    plain, other = make(cls=Replay), make(share=0.0, strategy=strategy)
    for replay in (plain, other):
        replay.connect(5, "index", lambda rows: None, lambda batch: {})
        episode(replay, 0, 6)
    for _ in range(3):
        one, two = (next(replay.updates(10, 11)) for replay in (plain, other))
        one, two = plain.batch(one), other.batch(two)
        assert all(torch.equal(getattr(one, name), getattr(two, name)) for name in ("obs", "action", "reward", "discount", "index"))


def test_loaded_it_draws_what_it_drew():
    """In mid-episode, with an episode whose first rows are overwritten."""
    before, after = (make(capacity=12, share=1.0, strategy="episode") for _ in range(2))
    episode(before, 0, 8)
    episode(before, 20, 5)
    tick(before, [40.0], [False])
    after.load(before.state_dict(), [before.rows()])
    for replay in (before, after):
        tick(replay, [41.0], [True])
    u = np.random.default_rng(1).random(8)
    numbers = np.linspace(before.live.first, before.live.last - 1, 8).astype(int)
    assert torch.equal(drawn(before, numbers, u).obs, drawn(after, numbers, u).obs)
    before.truncate_episode(0)  # has ended already
    assert before.spans.began[0] == before.ring.last


def test_what_cannot_be_relabelled_is_refused(tmp_path):
    with pytest.raises(ValueError, match="n_step must be 1, not 3"):
        make(n_step=3)
    with pytest.raises(ValueError, match="images"):
        Hindsight(goals=GOALS, capacity=10, batch_size=1, num=1, discount=0.9, spec=Spec((3, 8, 8), torch.uint8, 2, 0))
    with pytest.raises(ConfigError, match="replay=hindsight needs an environment with goals: its observations are Box"):
        train(tmp_path / "run", "agent=dqn", "env=classic/cartpole", "replay=hindsight", "replay.n_step=1", "steps=10")
    with pytest.raises(ValueError, match="env=vector makes none: take env=gym with env.num"):  # it said that there were no goals
        Vectorized(id="Reach-v0").goals()


@pytest.mark.parametrize("world", [BitFlip(bits=5), Reach()], ids=lambda world: world.name)
def test_rewards_of_a_world_are_those_of_its_goals(world):
    """Of each step, by the goal that was sought."""
    game, random = world.build(), np.random.default_rng(0)
    goals = game.goals()
    for seed in range(20):
        game.reset(seed)
        ended = False
        while not ended:
            action = int(random.integers(5)) if game.actions.num else random.uniform(-1, 1, 2)
            obs, reward, terminated, ended = game.step(action)
            achieved, desired = obs[None, goals.achieved], obs[None, goals.desired]
            assert (goals.reward(achieved, desired)[0], goals.terminated(achieved, desired)[0]) == (reward, terminated)


WORDS = (
    "agent=dqn", "env=goals/bit_flip", "env.bits=4", "env.num=2", "replay=hindsight", "replay.learning_starts=20", "replay.batch_size=8",
    "replay.capacity=60", "agent.torso.hidden=[16]", "steps=120", "log.every=60", "evaluation.every=null", "evaluation.final_episodes=4",
    "checkpoint.every=50", "runtime.threads=1",
)  # fmt: skip


def test_a_run_goes_on_exactly_and_tells_its_success(tmp_path, monkeypatch):
    whole = train(tmp_path / "whole", *WORDS)
    assert 0 <= whole.collector.metrics()["rollout/success_rate"] <= 1
    with monkeypatch.context() as patch:
        original = Collector.tick

        def stopping(self, step):
            original(self, step)
            if step == 70:
                os.kill(os.getpid(), signal.SIGTERM)

        patch.setattr(Collector, "tick", stopping)
        assert begin(tmp_path / "run", *WORDS) == exits.STOPPED
    assert console("resume", tmp_path / "run") == exits.FINISHED
    assert same(Checkpoints(tmp_path / "run").load("last")[1]["agent"]["module"], whole.agent.state_dict())
