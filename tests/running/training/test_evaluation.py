"""Evaluations in worker processes: the same results, and environments that hang or kill their process."""

from __future__ import annotations

from itertools import count

import pytest
import torch

from deeprl.envs.toy import Chain
from deeprl.envs.vector.backend import Serial
from deeprl.envs.vector.environments import EnvironmentFailed
from deeprl.envs.vector.workers import Workers
from deeprl.running.training.evaluation import LARGEST_LIMIT, evaluate
from deeprl.types import AgentStep
from tests.toy_envs import Counting, CountingGame


class Scripted:
    """Takes action 2, at which `Counting` fails, in the ticks `bad`, and else 1."""

    def __init__(self, *bad: int):
        self.bad, self.ticks = bad, count()

    def act_noise(self, size, generator):
        return {"unused": torch.zeros(size)}

    def act(self, obs, first, memory, step, noise, explore):
        action = 2 if next(self.ticks) in self.bad else 1
        return AgentStep(torch.full((len(obs),), action), torch.ones(len(obs)), memory)


def test_workers_give_the_results_of_one_process():
    """Also where an episode ends by the time limit that only the game knows."""
    for choice in (Counting, Chain):
        sync, workers = (evaluate(Scripted(), choice(vector=vector).make_evaluation, 5, 2, 7, 0) for vector in ("sync", "async"))
        assert workers == sync


@pytest.mark.parametrize("vector", ["sync", "async"])
def test_evaluations_run_where_training_does(vector):
    for choice in (Counting(vector=vector), Chain(vector=vector, max_episode_steps=9)):
        envs = choice.make_evaluation(0, 1)
        envs.close()
        assert type(envs.backend) is (Workers if vector == "async" else Serial)
        assert envs.backend.limit == choice.build().limit


@pytest.mark.parametrize(("failure", "cause"), [("die", r"its process died \(exit code 3\)"), ("hang", "no answer within env.timeout=0.5")])
def test_a_lost_worker_ends_an_evaluation_with_a_sentence(failure, cause):
    """The game does it again when it is repeated, so that it is the cause."""
    choice = Counting(failure=failure, vector="async", timeout=0.5)
    with pytest.raises(
        EnvironmentFailed,
        match=rf"step 0 of its episode 0 in an evaluation: {cause}.*; env\.on_error=restart ends such an episode and goes on",
    ):
        evaluate(Scripted(0), choice.make_evaluation, 1, 1, 7, 0)


def test_another_episode_is_played_for_one_that_was_lost():
    choice = Counting(failure="die", vector="async", on_error="restart")
    with pytest.warns(RuntimeWarning, match="its process died"):
        result = evaluate(Scripted(0), choice.make_evaluation, 2, 1, 7, 0)
    whole = evaluate(Scripted(), choice.make_evaluation, 3, 1, 7, 0)
    assert (result["returns"], result["lengths"]) == (whole["returns"][1:], whole["lengths"][1:])


def test_a_worker_that_is_lost_at_its_first_reset_costs_nothing(monkeypatch):
    """As a simulator that needs a moment; the seed stays."""
    choice, plain = Counting(vector="async"), Workers.reset
    lost = []

    def reset(self, seeds):
        if not lost:
            lost.append(self.processes[0])
            self.processes[0].kill()
        return plain(self, seeds)

    expected = evaluate(Scripted(), choice.make_evaluation, 3, 2, 7, 0)
    monkeypatch.setattr(Workers, "reset", reset)
    with pytest.warns(RuntimeWarning, match="at its first reset in an evaluation: its process died .*; made again from its seed, nothing"):
        assert evaluate(Scripted(), choice.make_evaluation, 3, 2, 7, 0) == expected


def test_a_first_reset_that_fails_is_tried_again_in_an_evaluation(monkeypatch):
    calls, plain = count(), CountingGame.reset

    def reset(self, seed):
        if next(calls) == 0:
            raise ConnectionError("the server is busy")
        return plain(self, seed)

    monkeypatch.setattr(CountingGame, "reset", reset)
    with pytest.raises(EnvironmentFailed, match=r"the server is busy; env\.on_error=restart ends such an episode"):
        evaluate(Scripted(), Counting().make_evaluation, 1, 1, 7, 0)
    calls = count()
    with pytest.warns(RuntimeWarning, match="the server is busy; restarted"):
        evaluate(Scripted(), Counting(on_error="restart").make_evaluation, 1, 1, 7, 0)


def test_failures_without_end_name_a_way_past():
    choice = Counting(failure="raise", on_error="restart")
    agent = Scripted(*range(100))
    with pytest.warns(RuntimeWarning, match="restarted"), pytest.raises(RuntimeError, match=r"another evaluation\.every"):
        evaluate(agent, choice.make_evaluation, 1, 1, 7, 0)


def test_each_tick_says_how_far_the_evaluation_is():
    """Chain's episodes have four steps here, two side by side."""
    told = []
    evaluate(Scripted(), Chain(length=5).make_evaluation, 3, 2, 7, 0, each_tick=lambda *numbers: told.append(numbers))
    assert told == [(0, 0), (0, 2), (0, 4), (0, 6), (2, 8), (2, 10), (2, 12), (2, 14)]


def test_a_limit_that_no_episode_reaches_is_none():
    """With TimeLimit(env, 10**9) an evaluation went on for ever, where an unknown limit cuts off."""
    walk = Chain(length=100, max_episode_steps=LARGEST_LIMIT).make_evaluation
    assert evaluate(Scripted(), walk, 1, 1, 7, 0, longest=6)["lengths"] == [99]
    walk = Chain(length=100, max_episode_steps=10**9).make_evaluation
    with pytest.warns(RuntimeWarning, match=r"after 6 steps, because no time limit but one of 1,000,000,000 steps of Chain is known"):
        assert evaluate(Scripted(), walk, 1, 1, 7, 0, longest=6)["lengths"] == [6]
