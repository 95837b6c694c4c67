"""`runtime.lag=1`: the actions of a tick are chosen before the updates that come before it."""

from __future__ import annotations

import pytest

from deeprl.errors import ConfigError
from deeprl.learning.agent import Agent
from deeprl.running.config.sources import check_source
from deeprl.running.session import session
from deeprl.running.training.learner import Learner
from tests.builders import settled
from tests.device_runs import CARTPOLE, SHORT, SINGLE
from tests.promises.test_resume import assert_same_run

WORDS = (*SHORT, "agent=dqn", *CARTPOLE, *SINGLE, "device=cpu")


def order_of(tmp_path, monkeypatch, lag: int) -> str:
    """One letter a call: a (the agent chooses actions), u (an update), | (the end of a tick)."""
    calls = []

    def noted(owner, name: str, letter: str):
        plain = getattr(owner, name)

        def called(self, *args, **kwargs):
            calls.append(letter)
            return plain(self, *args, **kwargs)

        monkeypatch.setattr(owner, name, called)

    noted(Learner, "act", "a")
    noted(Learner, "update", "u")
    noted(Agent, "tick", "|")
    config = settled(*WORDS, "steps=40", "evaluation.every=null", "checkpoint.every=null", f"runtime.lag={lag}")
    session.train(config, tmp_path / str(lag))
    return "".join(calls)


def test_actions_are_chosen_before_the_updates(tmp_path, monkeypatch):
    # two environments, an update a tick from step 32 on: 20 ticks, 4 updates
    assert order_of(tmp_path, monkeypatch, 0) == 16 * "a|" + 4 * "au|"


def test_lag_moves_the_updates_behind_the_next_choice(tmp_path, monkeypatch):
    assert order_of(tmp_path, monkeypatch, 1) == "aa|" + 15 * "a|" + 4 * "au|"


def test_the_same_lag_gives_the_same_weights_and_another_lag_others(tmp_path):
    greedy = ("agent.explore.schedule.duration=1", "agent.optimizer.lr=0.1", "agent.optimizer.schedule.duration=200", "steps=200")
    for name, lag in (("first", 1), ("again", 1), ("none", 0)):
        session.train(settled(*WORDS, *greedy, f"runtime.lag={lag}"), tmp_path / name)
    assert_same_run(tmp_path / "first", tmp_path / "again")
    with pytest.raises(AssertionError):
        assert_same_run(tmp_path / "first", tmp_path / "none")


def test_without_updates_there_is_no_lag(tmp_path):
    for lag in (0, 1):
        config = settled(*WORDS, "replay.learning_starts=72", f"runtime.lag={lag}")
        session.train(config, tmp_path / str(lag))
    metrics = [(tmp_path / str(lag) / "evaluations.jsonl").read_text() for lag in (0, 1)]
    assert metrics[0] == metrics[1]


def test_a_rollout_refuses_a_lag():
    """One of a file of the user's too, with which an agent of rollouts acted by weights of before its update."""
    config = {"replay": {"_target_": "deeprl.replay.rollout.Rollout", "length": 8}, "agent": {"_target_": "deeprl.agents.pqn.PQN"}}
    with pytest.raises(ConfigError, match="runtime.lag"):
        check_source({**config, "runtime": {"lag": 1}})
