"""Collection by actors: which run it is, and what becomes of it when actors die."""

from __future__ import annotations

import os
import signal

import numpy as np
import pytest
import torch

from deeprl.cli import exits
from deeprl.config.build import build_agent
from deeprl.errors import ActorsFailed, ConfigError
from deeprl.remote.actor import Chunk, joined
from deeprl.remote.collector import RemoteCollector
from deeprl.remote.weights import Weights
from deeprl.replay.replay import Replay
from deeprl.runs.checkpoints import Checkpoints
from deeprl.session import session
from deeprl.types import Rows
from tests.builders import ANY, CARTPOLE, KINDS, begin, console, lines, presets, settled, snapshot, spec_of
from tests.promises.test_resume import assert_same_run
from tests.remote.cluster import stand_in

WORDS = [word for word in CARTPOLE if not word.startswith("env.num")]
TOGETHER = ("collect=ray", "collect.actors=1", "collect.envs=2", "collect.ticks=1", "collect.ahead=0")
"""One actor that is asked for one tick after the other, which is collecting here"""
TWO = ("collect=ray", "collect.actors=2", "collect.envs=1", "collect.ticks=7")
ROLLOUT = (
    "env=classic/cartpole", "steps=300", "replay.length=10", "evaluation.every=100", "evaluation.episodes=2", "evaluation.final_episodes=3",
    "evaluation.num=2", "checkpoint.every=80", "log.every=50", "runtime.threads=1",
)  # fmt: skip
RUNS = {
    "dqn": (CARTPOLE, (*WORDS, *TOGETHER)),
    "running": ((*CARTPOLE, "agent/normalize=running"), (*WORDS, "agent/normalize=running", *TOGETHER)),
    "ppo": (
        (*ROLLOUT, "agent=ppo", "env.num=2", "agent.torso.hidden=[8]"),
        (*ROLLOUT, "agent=ppo", "collect=ray", "collect.actors=1", "collect.envs=2", "agent.torso.hidden=[8]"),
    ),
    "compiled": ((*CARTPOLE, "accelerate=compiled"), (*WORDS, "accelerate=compiled", *TOGETHER)),
}


@pytest.mark.parametrize("name", ["dqn", "running", "ppo", pytest.param("compiled", marks=pytest.mark.exhaustive)])
def test_one_actor_that_is_never_ahead_is_collection_here(name, tmp_path, cluster):
    here, there = RUNS[name]
    assert begin(tmp_path / "here", *here) == exits.FINISHED
    assert begin(tmp_path / "there", *there) == exits.FINISHED
    assert_same_run(tmp_path / "here", tmp_path / "there")


def test_weights_are_as_old_as_is_said(tmp_path, cluster, monkeypatch):
    """Chunks of 7 ticks of 2 environments, one round ahead: round r has the weights after round r − 2, those of step 14 (r − 1)."""
    versions, orders = [], []
    local = cluster()
    plain, put = RemoteCollector._next_round, local.put

    def noted(self):
        before = self.ordered
        plain(self)
        orders.extend([self.agent.step] * (self.ordered - before))

    monkeypatch.setattr(RemoteCollector, "_next_round", noted)
    monkeypatch.setattr(local, "put", lambda value: versions.append(1) or put(value))
    assert begin(tmp_path / "run", *WORDS, *TWO) == exits.FINISHED
    assert orders[:5] == [0, 0, 14, 28, 42]
    assert orders == [0, 0, *range(14, 300, 14)]
    # no update before step 60: the first five rounds share one version
    assert len(versions) == 1 + len([step for step in orders if step > 60])


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The folder of an undisturbed run of two actors."""
    path = tmp_path_factory.mktemp("remote") / "whole"
    with pytest.MonkeyPatch.context() as patch:
        stand_in(patch)
        assert begin(path, *WORDS, *TWO) == exits.FINISHED
    return path


@pytest.mark.parametrize("lives", [(3,), (0, 5), (4, 2, 1, 3)])
def test_an_actor_that_dies_changes_nothing(lives, tmp_path, cluster, whole, capsys):
    local = cluster(lives)
    assert begin(tmp_path / "run", *WORDS, *TWO) == exits.FINISHED
    assert_same_run(tmp_path / "run", whole)
    assert len(local.handles) == 2 + len(lives)
    assert "died (killed) and is replaced" in capsys.readouterr().err


def test_an_actor_that_dies_with_its_state_starts_new_episodes(tmp_path, cluster, monkeypatch):
    """Its successor begins at tick 21, after three chunks, with new seeds and random numbers; the replay ends the old episode."""
    cluster((3,), forgets=True)
    cuts = []
    plain = Replay.cut
    monkeypatch.setattr(Replay, "cut", lambda self, index: cuts.append((index, self.ring.last)) or plain(self, index))
    assert begin(tmp_path / "run", *WORDS, *TWO) == exits.FINISHED
    assert cuts == [(0, 21)]
    assert lines(tmp_path / "run", "evaluations.jsonl")


def test_an_actor_that_always_dies_ends_the_run(tmp_path, cluster):
    cluster((0,) * 10)
    with pytest.raises(ActorsFailed, match=r"actor 0 died 4 times in a row \(collect.restarts=3\), the last time: killed"):
        session.train(settled(*WORDS, *TWO, "collect.restarts=3"), tmp_path / "run")


@pytest.mark.parametrize("step", [10, 120, 168])
def test_a_stopped_run_goes_on_as_the_uninterrupted_one(step, tmp_path, cluster, whole, monkeypatch):
    """Within a chunk, and at its end; chunks that were ordered with older weights are kept."""
    cluster()
    plain = RemoteCollector.tick

    def tick(self, now):
        plain(self, now)
        if now == step:
            os.kill(os.getpid(), signal.SIGTERM)

    with monkeypatch.context() as patch:
        patch.setattr(RemoteCollector, "tick", tick)
        assert begin(tmp_path / "run", *WORDS, *TWO) == exits.STOPPED
    cluster()
    assert console("resume", tmp_path / "run") == exits.FINISHED
    assert_same_run(tmp_path / "run", whole)


def test_another_number_of_actors_cannot_go_on(tmp_path, cluster, monkeypatch, capsys):
    cluster()
    assert begin(tmp_path / "run", *WORDS, *TWO) == exits.FINISHED
    assert console("resume", tmp_path / "run", "steps=400", "collect.actors=3") == exits.WRONG
    assert "collect" in capsys.readouterr().err


@pytest.mark.parametrize("name", [*presets(), *ANY])
def test_weights_are_all_that_acting_reads(name):
    """An agent with other initial weights answers as the first one, once it has its weights."""
    env = "classic/cartpole" if KINDS.get(name) == "discrete" else "classic/pendulum"
    config = settled(f"agent={name}", f"env={env}")
    spec = spec_of(env)
    one, other = (build_agent({**config, "seed": seed}, spec) for seed in (0, 1))
    for agent in (one, other):
        for buffer in agent.buffers():
            if buffer.is_floating_point() and buffer.dim():
                buffer.add_(torch.rand(buffer.shape))  # statistics that differ
    sent = Weights(one)
    obs = torch.rand((3, *spec.obs_shape), generator=torch.Generator().manual_seed(0))
    noise = one.act_noise((1, 3), torch.Generator().manual_seed(0))["network"]
    noise = type(noise)(*({name: tensor[0] for name, tensor in part.items()} for part in noise))
    with torch.no_grad():
        assert not torch.equal(one.answer(obs, noise), other.answer(obs, noise))
        Weights(other).write(sent.read())
        assert torch.equal(one.answer(obs, noise), other.answer(obs, noise))


def test_critics_and_targets_are_not_sent():
    agent = build_agent(settled("agent=sac", "env=classic/pendulum"), spec_of("classic/pendulum"))
    actor = sum(parameter.numel() for parameter in agent.actor.parameters())
    assert sum(array.size for array in Weights(agent).read()) == actor < sum(p.numel() for p in snapshot(agent).values()) / 3


def test_chunks_are_joined_by_environment():
    def chunk(first: int, cut: list[int]) -> Chunk:
        numbers = np.arange(first, first + 6).reshape(3, 2)  # 3 ticks of 2 environments
        return Chunk(Rows(*([numbers] * 7)), cut, restarts=first)

    found = joined([chunk(0, []), chunk(10, [1])], envs=2)
    assert found.rows.reward.tolist() == [[0, 1, 10, 11], [2, 3, 12, 13], [4, 5, 14, 15]]
    assert (found.cut, found.restarts) == ([3], 10)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("agent=dqn", "env.num=3"), r"env.num=3 does not go with collect.actors=2 and collect.envs=1, which are 2 environments"),
        (("agent=dqn", "runtime.lag=1"), r"runtime.lag=1 has no meaning beside collect=ray"),
        (("agent=dqn", "collect.actors=0"), r"collect.actors must be a whole number of at least 1, not 0"),
        (("agent=ppo", "collect.ahead=1"), r"collect.ahead=1 and collect.ticks=128 do not go with rollouts"),
    ],
)
def test_what_does_not_go_with_actors_is_refused_at_start(words, message):
    with pytest.raises(ConfigError, match=message):
        settled("env=classic/cartpole", "collect=ray", *words)


def test_agents_that_plan_collect_here():
    with pytest.raises(ConfigError, match="collect=ray is for agents that learn from a replay or from rollouts"):
        settled("agent=lab/dtr", "env=lab/dtr", "collect=ray")


def test_environments_are_those_of_one_process(tmp_path, cluster):
    """Two actors with one environment each see the first observations of two environments here."""
    local = cluster()
    assert begin(tmp_path / "run", *WORDS, *TWO, "steps=20") == exits.FINISHED
    seeds = [handle.actor.collector.envs.first for handle in local.handles]
    assert seeds == [0, 1]
    parts = [handle.actor.collector.noise.part for handle in local.handles]
    assert parts == ["act", "act 1"]
    state = Checkpoints(tmp_path / "run").load("last")[1]["collector"]
    assert len(state["actors"]) == 2
