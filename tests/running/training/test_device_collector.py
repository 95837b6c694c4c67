"""Collection that stays on the device: the run of a collector whose rows pass through NumPy, and the returns of its episodes."""

from __future__ import annotations

import copy
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from deeprl.envs.tensor_classic import CartPoleWorld, TensorClassic
from deeprl.envs.vector.environments import EnvironmentFailed
from deeprl.errors import ConfigError
from deeprl.learning.agent import Agent
from deeprl.replay import rollout
from deeprl.replay.replay import Replay
from deeprl.replay.rollout import Rollout
from deeprl.running.accelerate.graph import has_compiler
from deeprl.running.accelerate.modes import precision
from deeprl.running.config.build import build_agent
from deeprl.running.session import assemble, session
from deeprl.running.training.collector import Collector
from deeprl.running.training.device_collector import DeviceCollector
from deeprl.running.training.learner import CompiledLearner, Learner
from tests.builders import equal, same, settled
from tests.promises.test_resume import assert_same_run

SMALL = (
    "env.num=3", "agent.torso.hidden=[8]", "replay.length=8", "replay.epochs=2", "replay.minibatches=2", "steps=240", "log.every=50",
    "evaluation.every=120", "evaluation.episodes=1", "evaluation.final_episodes=1", "checkpoint.every=100", "runtime.threads=1",
    "accelerate=fast",
)  # fmt: skip
RUNS = {
    "ppo": ("agent=ppo", "env=tensor/cartpole"),
    "continuous": ("agent=ppo", "env=tensor/pendulum", "env.max_episode_steps=7"),
    "pqn": ("agent=pqn", "env=tensor/cartpole", "agent.explore.schedule.duration=100"),
}


@pytest.mark.parametrize("name", RUNS)
def test_a_run_is_that_of_rows_that_pass_through_numpy(name, tmp_path, monkeypatch):
    config = settled(*RUNS[name], *SMALL)
    made = []
    monkeypatch.setattr(rollout, "LISTED", 0)  # one order of batches
    for cls in (DeviceCollector, Collector):
        monkeypatch.setattr(cls, "metrics", lambda self, plain=cls.metrics: made.append(type(self)) or plain(self))
    for kind in ("device", "numpy"):
        (tmp_path / kind).mkdir()
        session.train(copy.deepcopy(config), tmp_path / kind)
        monkeypatch.setattr(assemble, "on_device", lambda *_: None)
    assert set(made) == {DeviceCollector, Collector}
    assert_same_run(tmp_path / "device", tmp_path / "numpy")


def parts(length=8, num=3, backend=None, **keys):
    """A collector of CartPole with PPO, and its rollout."""
    config = settled("agent=ppo", "env=tensor/cartpole", *SMALL)
    choice = TensorClassic(id="CartPole-v1", num=num, **{"max_episode_steps": 20, **keys})
    agent = build_agent(config, choice.spec())
    source = Rollout(length=length, minibatches=1, spec=choice.spec(), num=num, discount=0.99, on_device=True)
    learner = Learner(agent, source.batch) if backend is None else CompiledLearner(agent, source.batch, backend=backend)
    return DeviceCollector(agent, learner.compute, choice.on_device(0, "cpu"), source, 0, precision("highest")), source


def test_a_traced_tick_has_the_bits_of_a_plain_one():
    (plain, rows), (traced, others) = parts(), parts(backend="eager")
    for tick in range(8):
        plain.tick(3 * tick)
        traced.tick(3 * tick)
    assert same(rows.stored, others.stored)
    assert equal(plain.state, traced.state)
    assert plain.metrics() == traced.metrics()


@pytest.mark.skipif(not has_compiler(), reason="no C++ compiler")
@pytest.mark.xfail(torch.__version__ < "2.9", raises=ConfigError, reason="the compiler of torch 2.8 gives other numbers, and is refused")
def test_a_compiled_tick_stores_the_observation_that_was_acted_on():
    """It had stored the next one, so that compiled runs of tensor worlds learned next to nothing, and no test ran the compiler's code."""
    (plain, rows), (compiled, others) = parts(), parts(backend="inductor")
    for tick in range(8):
        plain.tick(3 * tick)
        compiled.tick(3 * tick)
    for name, stored in rows.stored.items():
        torch.testing.assert_close(others.stored[name], stored, msg=name)  # its tanh rounds otherwise
    assert plain.metrics() == compiled.metrics()


def test_episodes_are_those_of_the_rows_whenever_they_are_read():
    """Returns of CartPole are lengths; more episodes than are remembered; a line of the log in the middle of a rollout."""
    collector, source = parts(length=50, num=40)
    seen, running = [], np.zeros(40)
    for tick in range(120):
        collector.tick(40 * tick)
        running += 1
        ended = source.stored["ended"][tick % 50].numpy()
        seen += [(40 * tick + 40, float(n), int(n)) for n in running[ended]]
        running[ended] = 0
        if source.filled == 50:
            source.filled = 0
        if tick in (13, 14, 60):
            collector.metrics()
    collector.metrics()
    assert len(seen) > 150
    assert [tuple(each[:3]) for each in collector.episodes.recent] == seen[-100:]
    assert collector.episodes.number == len(seen)
    state = collector.state_dict()
    assert state["returns"].tolist() == state["lengths"].tolist() == running.tolist()


def test_a_number_that_is_not_finite_is_told_with_the_environment(monkeypatch):
    plain = CartPoleWorld.advance
    monkeypatch.setattr(CartPoleWorld, "advance", lambda *given: (plain(*given)[0], torch.full((3,), torch.nan), plain(*given)[2]))
    collector, _ = parts()
    for tick in range(7):
        collector.tick(3 * tick)
    with pytest.raises(EnvironmentFailed, match="a reward is NaN or Inf"):
        collector.tick(21)


def test_what_cannot_act_on_the_device_collects_through_numpy_and_says_why(capsys):
    env = TensorClassic(id="CartPole-v1", num=3, max_episode_steps=20)
    config = {"seed": 0, "device": "cpu"}

    def said(source=Rollout, elsewhere="", where=env, **agent) -> str:
        fit = SimpleNamespace(**{"on_host": "", "observes_tensors": True, **agent})
        there = assemble.on_device(config, where, fit, source, elsewhere)
        found = capsys.readouterr().err
        assert (there is None) == (bool(found) or where is not env or not issubclass(source, Rollout))
        return found

    assert not said()
    assert said(on_host="agent/core remembers") == "collect: steps of CartPole-v1 pass through NumPy, because agent/core remembers\n"
    assert "agent/intrinsic" in said(observes_tensors=False)
    assert "Mine has an append of its own" in said(type("Mine", (Rollout,), {}))
    assert "collect=ray" in said(elsewhere="collect=ray")
    assert not said(Replay)
    assert not said(where=object())


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (("agent=ppo",), ""), (("agent=pqn",), ""), (("agent=ppo", "agent/core=gru"), "agent/core remembers"),
        (("agent=pqn", "agent/explore=ez_greedy"), "agent/explore is not epsilon_greedy"),
    ],
)  # fmt: skip
def test_methods_of_a_subclass_are_not_taken_for_pure(words, why):
    """A compiled graph would hold what they read in its first call."""
    agent = build_agent(settled(*words, "env=tensor/cartpole", *SMALL), TensorClassic(id="CartPole-v1", max_episode_steps=20).spec())
    assert (agent.on_host, agent.prepares_alike) == (why, True)
    assert not Agent.prepares_alike
    plain = type(agent)
    for name in () if why else ("act", "infer", "act_noise", "prepare"):
        agent.__class__ = type("Mine", (plain,), {name: lambda *given: None})
        assert bool(agent.on_host) == (name != "prepare")
        assert agent.prepares_alike == (name != "prepare")
