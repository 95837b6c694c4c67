"""Collection by actors: which run it is, and what becomes of it when actors die."""

from __future__ import annotations

import os
import shutil
import signal
from types import SimpleNamespace

import gymnasium
import numpy as np
import pytest
import torch

from deeprl.cli import exits
from deeprl.errors import ActorsFailed, ConfigError
from deeprl.replay.replay import Replay
from deeprl.running.collect import collector
from deeprl.running.collect.actor import Chunk, RemoteActor, joined
from deeprl.running.collect.choice import chosen
from deeprl.running.collect.collector import Actors, RemoteCollector
from deeprl.running.collect.weights import Weights
from deeprl.running.config.build import build_agent
from deeprl.running.config.overrides import quoted
from deeprl.running.config.stored import continued
from deeprl.running.runs.checkpoints import Checkpoints
from deeprl.running.runs.folder import RunFolder, read_lines
from deeprl.running.runs.places import auto_folder
from deeprl.running.session import session
from deeprl.running.session.actors import collector_of_actor
from deeprl.system.functions import GIVEN, name_of, unimportable
from deeprl.types import Rows
from tests.builders import CARTPOLE, begin, console, lines, settled, snapshot, spec_of
from tests.presets import ANY, KINDS, narrow, presets
from tests.promises.test_resume import assert_same_run
from tests.running.collect.cluster import TWO, WORDS

TOGETHER = ("collect=ray", "collect.actors=1", "collect.envs=2", "collect.ticks=1", "collect.ahead=0")
"""One actor that is asked for one tick after the other, which is collecting here"""
ROLLOUT = (
    "env=classic/cartpole", "steps=300", "replay.length=10", "evaluation.every=100", "evaluation.episodes=2", "evaluation.final_episodes=3",
    "evaluation.num=2", "checkpoint.every=80", "log.every=50", "runtime.threads=1",
)  # fmt: skip
RUNS = {
    "dqn": (CARTPOLE, (*WORDS, *TOGETHER)),
    "running": ((*CARTPOLE, "agent/normalize=running"), (*WORDS, "agent/normalize=running", *TOGETHER)),
    "core": tuple((*words, "agent/core=gru", "agent.core.width=6", "replay.length=4") for words in (CARTPOLE, (*WORDS, *TOGETHER))),
    "ppo": (
        (*ROLLOUT, "agent=ppo", "env.num=2", "agent.torso.hidden=[8]"),
        (*ROLLOUT, "agent=ppo", "collect=ray", "collect.actors=1", "collect.envs=2", "agent.torso.hidden=[8]"),
    ),
    "compiled": ((*CARTPOLE, "accelerate=compiled"), (*WORDS, "accelerate=compiled", *TOGETHER)),
}


@pytest.mark.parametrize(
    "name", ["running", "core", "ppo", *(pytest.param(name, marks=pytest.mark.exhaustive) for name in ("dqn", "compiled"))]
)
def test_one_actor_that_is_never_ahead_is_collection_here(name, tmp_path, cluster):
    here, there = RUNS[name]
    assert begin(tmp_path / "here", *here) == exits.FINISHED
    assert begin(tmp_path / "there", *there) == exits.FINISHED
    assert_same_run(tmp_path / "here", tmp_path / "there")


def test_weights_are_as_old_as_is_said(tmp_path, cluster, monkeypatch):
    """Chunks of 7 ticks of 2 environments, one round ahead: round r has the weights after round r − 2, those of step 14 (r − 1).
    Statistics of observations change before the first update, which is at step 62."""
    orders, sent, present = [], [], []
    plain = Actors.order

    def order(self, weights, step):
        orders.append(collectors[0].agent.step)
        present.append(snapshot(collectors[0].agent))
        sent.append(weights)
        plain(self, weights, step)

    collectors = []
    tick = RemoteCollector.tick
    monkeypatch.setattr(RemoteCollector, "tick", lambda self, step: collectors.append(self) or tick(self, step))
    monkeypatch.setattr(Actors, "order", order)
    assert begin(tmp_path / "run", *WORDS, *TWO, "agent/normalize=running") == exits.FINISHED
    assert orders == [0, 0, *range(14, 300, 14)]
    agent, weights = collectors[0].agent, collectors[0].weights
    for state, arrays in zip(present, sent):
        agent.load_state_dict(state)
        assert all(map(np.array_equal, weights.read(), arrays))
    different = {b"".join(array.tobytes() for array in arrays) for arrays in sent}
    assert len(different) == len(orders) - 1  # the first two rounds are ordered together


@pytest.mark.parametrize("lives", [(3,), (0, 5), (4, 2, 1, 3)])
def test_an_actor_that_dies_changes_nothing(lives, tmp_path, cluster, whole, capsys):
    local = cluster(lives)
    assert begin(tmp_path / "run", *WORDS, *TWO) == exits.FINISHED
    assert_same_run(tmp_path / "run", whole)
    assert len(local.handles) == 2 + len(lives)
    assert "died (killed) and is replaced" in capsys.readouterr().err
    replaced = [line.get("time/actors_replaced") for _, line in read_lines(tmp_path / "run" / "metrics.jsonl") if "train/n_updates" in line]
    assert replaced[-1] == len(lives)
    assert all("time/actors_replaced" not in line for _, line in read_lines(whole / "metrics.jsonl"))


def test_the_time_of_waiting_for_chunks_is_counted(tmp_path, cluster, monkeypatch):
    """Each chunk takes a minute: 300 steps of 2 environments are 150 ticks, in chunks of 7."""
    local, clock, plain = cluster(), [0.0], Actors.next

    def next_chunk(self):
        clock[0] += 60.0
        return plain(self)

    def monotonic() -> float:
        clock[0] += 1e-6  # or a chunk that never comes would be waited for without end
        return clock[0]

    monkeypatch.setattr(Actors, "next", next_chunk)
    monkeypatch.setattr(collector, "time", SimpleNamespace(monotonic=monotonic))
    assert begin(tmp_path / "run", *WORDS, *TWO) == exits.FINISHED
    assert len(local.handles) == 2
    metrics = [line for _, line in read_lines(tmp_path / "run" / "metrics.jsonl")]
    waited = {line["step"]: line["time/waiting_for_actors"] for line in metrics if "time/waiting_for_actors" in line}
    assert [waited[step] for step in (50, 100, 300)] == pytest.approx([60.0 * chunks for chunks in (4, 8, 22)], abs=0.1)


@pytest.mark.parametrize(("lives", "words"), [(3, ()), (13, ("replay=prioritized",))])
def test_an_episode_that_a_successor_cannot_repeat_is_cut(lives, words, tmp_path, cluster, monkeypatch, capsys):
    """It begins after so many chunks of seven ticks; the replay, full with 75 ticks, ends the old episode there."""
    cluster((lives,))
    cuts = []
    plain = Replay.truncate_episode
    monkeypatch.setattr(Replay, "truncate_episode", lambda self, index: cuts.append((index, self.ring.last)) or plain(self, index))
    # one action is one too many to be repeated
    assert begin(tmp_path / "run", *WORDS, *TWO, "checkpoint.replay_actions=0", *words) == exits.FINISHED
    assert cuts == [(0, 7 * lives)]
    assert "environment 0 starts a new episode, because its actor could not restore the old one" in capsys.readouterr().err


def test_the_end_of_ray_ends_the_run(tmp_path, cluster):
    """No successor is waited for, because none would start."""
    local = cluster((3,), ended=True)
    with pytest.raises(ActorsFailed, match="Ray has ended on this machine, and with it actor 0: killed"):
        session.train(settled(*WORDS, *TWO), tmp_path / "run")
    assert len(local.handles) == 2


def test_a_cluster_without_free_cores_is_named_at_start(tmp_path, cluster, monkeypatch):
    """No second actor is started, because it would wait as long."""
    local = cluster()
    monkeypatch.setattr(local, "ready", lambda handle, seconds: TimeoutError(f"it was not ready after {seconds:g} seconds"))
    with pytest.raises(ActorsFailed, match="actor 0 could not start: it was not ready after 7 seconds"):
        session.train(settled(*WORDS, *TWO, "collect.timeout=7"), tmp_path / "run")
    assert len(local.handles) == 2


def test_a_run_is_stopped_and_saved_without_its_actors(tmp_path, cluster, whole, monkeypatch):
    """A scheduler's signal to all processes ends Ray too. No chunk arrives any more, and none is waited for."""
    local = cluster()
    plain = Actors.next

    def next(self):
        if self.rounds[0].step == 112:
            monkeypatch.setattr(local, "arrived", lambda reference, seconds: os.kill(os.getpid(), signal.SIGTERM))
        return plain(self)

    with monkeypatch.context() as patch:
        patch.setattr(Actors, "next", next)
        assert begin(tmp_path / "run", *WORDS, *TWO) == exits.STOPPED
    assert Checkpoints(tmp_path / "run").steps()[-1] == 112
    cluster()
    assert console("resume", tmp_path / "run") == exits.FINISHED
    assert_same_run(tmp_path / "run", whole)


def test_a_checkpoint_waits_for_no_chunk(tmp_path, cluster, monkeypatch):
    """One is written within the chunk of steps 70 to 84; no actor has been asked for more than the rounds before it."""
    taken, waited = [], []
    plain, save = Actors.next, RemoteCollector.state_dict
    monkeypatch.setattr(Actors, "next", lambda self: taken.append(self.rounds[0].step) or plain(self))

    def state_dict(self):
        before = len(taken)
        found = save(self)
        waited.append(len(taken) - before)
        return found

    monkeypatch.setattr(RemoteCollector, "state_dict", state_dict)
    assert begin(tmp_path / "run", *WORDS, *TWO) == exits.FINISHED
    assert len(waited) >= 4
    assert not any(waited)
    assert taken == [*range(0, 300, 14)]


@pytest.mark.parametrize("words", [("env.vector=async",), ("env.vector=async", "env.on_error=restart")])
def test_actors_have_worker_processes(words, tmp_path, cluster, whole):
    cluster((2,))
    assert begin(tmp_path / "run", *WORDS, *TWO, *words) == exits.FINISHED
    assert lines(tmp_path / "run", "metrics.jsonl") == lines(whole, "metrics.jsonl")


def made():
    return gymnasium.make("CartPole-v1")


def test_actors_get_functions_that_they_cannot_import():
    """A lambda, and a function of the program itself; a function of a module is imported."""
    lambda_ = name_of(lambda: made())
    assert list(unimportable(lambda_)) == [lambda_]
    assert unimportable(name_of(made)) == {}
    config = settled("agent=dqn", "env=function", f"env.function={quoted(lambda_)}")
    config["accelerate"]["mode"] = "fast"
    functions = {lambda_: GIVEN.pop(lambda_)}  # as in another process
    collector = collector_of_actor(config, None, functions, 1, 0, lambda rows: None)
    collector.tick(0)
    collector.envs.close()


def test_a_state_that_does_not_fit_is_an_error_of_the_chunk(cluster):
    """Not of an earlier call, whose error would be lost."""
    config = settled(*WORDS, *TWO)
    config["accelerate"]["mode"] = "fast"
    actor = RemoteActor(lambda append: collector_of_actor(config, None, {}, 1, 0, append))
    weights = actor.weights.read()
    _, state = actor.collect(weights, 0, 2, 7)
    with pytest.raises(ValueError, match="the collector's lengths has shape"):
        actor.collect(weights, 14, 2, 7, {**state, "lengths": np.zeros(2)})
    actor.close()


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


def test_a_run_goes_on_at_another_cluster_that_the_user_names(tmp_path, cluster, capsys):
    """The old one may be gone. What config.yaml names is not joined: it may send any code, and the folder may be a stranger's."""
    path, words = tmp_path / "run", [*WORDS, *TWO, "steps=100"]
    cluster()
    assert begin(path, *words, "collect.address=10.0.0.1:6379") == exits.FINISHED
    cluster()
    assert console("resume", path, "steps=140") == exits.WRONG
    assert "collect.address=10.0.0.1:6379: this connects to a Ray cluster" in capsys.readouterr().err
    assert console("resume", path, "steps=140", "collect.address=10.0.0.2:6379", "collect.timeout=20") == exits.FINISHED
    assert RunFolder(path).read_config()["collect"]["address"] == "10.0.0.2:6379"


def test_no_process_is_started_for_a_configuration_that_is_not_that_of_the_run(tmp_path, whole, monkeypatch, capsys):
    path = tmp_path / "run"
    shutil.copytree(whole, path)
    config = RunFolder(path).read_config()
    RunFolder(path).write_config({**config, "collect": {**config["collect"], "actors": 1, "envs": 2}})
    monkeypatch.setattr(session, "cluster_for", lambda choice: pytest.fail("Ray was started"))
    assert console("resume", path, "steps=400") == exits.FAILED
    assert "config.yaml was edited since, in collect" in capsys.readouterr().err


def test_resume_auto_finds_the_run_of_another_cluster(tmp_path):
    first, second, other = (settled(*WORDS, *TWO, *words) for words in (["collect.address=a:1"], ["collect.timeout=9"], ["collect.envs=2"]))
    assert auto_folder(first) == auto_folder(second) != auto_folder(other)
    RunFolder(tmp_path).write_config(first)
    assert continued(tmp_path, second) == second
    with pytest.raises(ConfigError, match="collect"):
        continued(tmp_path, other)


@pytest.mark.parametrize("name", [*presets(), *ANY])
def test_weights_are_all_that_acting_reads(name):
    """An agent with other initial weights answers as the first one, once it has its weights."""
    env = "classic/cartpole" if KINDS.get(name) == "discrete" else "classic/pendulum"
    config = settled(f"agent={name}", f"env={env}", *narrow(name))
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
    state = one.recalled({}, torch.ones(3, dtype=torch.bool))

    def said(agent) -> torch.Tensor:
        answer = agent.infer(obs, noise, *state)
        return torch.cat([part.flatten() for part in answer]) if state else answer

    with torch.no_grad():
        assert not torch.equal(said(one), said(other))
        Weights(other).write(sent.read())
        assert torch.equal(said(one), said(other))


def test_critics_and_targets_are_not_sent():
    agent = build_agent(settled("agent=sac", "env=classic/pendulum"), spec_of("classic/pendulum"))
    actor = sum(parameter.numel() for parameter in agent.actor.parameters())
    assert sum(array.size for array in Weights(agent).read()) == actor < sum(p.numel() for p in snapshot(agent).values()) / 3


def test_chunks_are_joined_by_environment():
    def chunk(first: int, truncated: list[int]) -> Chunk:
        numbers = np.arange(first, first + 6).reshape(3, 2)  # 3 ticks of 2 environments
        info = [[{"x": first + tick}, {}] for tick in range(3)]
        return Chunk(Rows(*([numbers] * 7)), info, truncated, restarts=first)

    found = joined([chunk(0, []), chunk(10, [1])], envs=2)
    assert found.rows.reward.tolist() == [[0, 1, 10, 11], [2, 3, 12, 13], [4, 5, 14, 15]]
    assert found.info[1] == [{"x": 1}, {}, {"x": 11}, {}]
    assert (found.truncated, found.restarts) == ([3], 10)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("agent=dqn", "env.num=3"), r"env.num=3 does not go with collect.actors=2 and collect.envs=1, which are 2 environments"),
        (("agent=dqn", "runtime.lag=1"), r"runtime.lag=1 has no meaning beside collect=ray"),
        (("agent=dqn", "collect.ticks=0"), r"collect.ticks must be a whole number of at least 1, not 0"),
        (("agent=dqn", "collect.actors=0"), r"collect.actors must be a whole number of at least 1, not 0"),
        (("agent=ppo", "collect.ahead=1"), r"collect.ahead=1 and collect.ticks=128 do not go with rollouts"),
    ],
)
def test_what_does_not_go_with_actors_is_refused_at_start(words, message):
    with pytest.raises(ConfigError, match=message):
        settled("env=classic/cartpole", "collect=ray", *words)


def test_what_is_no_way_to_collect_is_refused():
    with pytest.raises(ConfigError, match="collect=3 is no way to collect: it takes here or ray"):
        chosen({"collect": 3})


def test_rollouts_of_actors_are_in_the_checkpoint(tmp_path, cluster):
    """Otherwise a resumed run would begin a rollout within a chunk, and each of its rollouts would be that of two policies."""
    with pytest.raises(ConfigError, match="checkpoint.replay=false does not go with rollouts of actors"):
        session.train(settled(*RUNS["ppo"][1], "checkpoint.replay=false"), tmp_path / "run")


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
