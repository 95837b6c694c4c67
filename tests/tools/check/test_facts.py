"""What a check says of the parts of a run."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from deeprl.learning.transforms.observations import Scale
from deeprl.replay.replay import Replay
from deeprl.running.config.instantiate import instantiate
from deeprl.running.session.assemble import fitted
from deeprl.running.session.prospect import targets
from deeprl.running.training.episodes import Episode
from deeprl.tools.check import facts
from deeprl.tools.check.record import NetworkSize
from deeprl.types import Rows
from tests.builders import DISCRETE, actor_critic, settled, value_agent


def environment(*overrides: str):
    config = settled("agent=dqn", *overrides)
    return facts.environment(config, instantiate(config["env"], "env", None))


def test_wrappers_from_the_outermost_to_the_environment():
    """The first of `env.wrappers` is the innermost of them; Gymnasium's own come before."""
    wrappers = "env.wrappers=[gymnasium.wrappers.TimeAwareObservation,gymnasium.wrappers.FlattenObservation]"
    found = environment("env=gym", "env.id=CartPole-v1", wrappers)
    assert found.layers == ("FlattenObservation", "TimeAwareObservation", "TimeLimit", "OrderEnforcing", "CartPoleEnv")
    assert (found.observation, found.actions, found.limit) == ("(5,) float32", "2 discrete", 500)


def test_a_time_limit_of_the_command_line():
    assert environment("env=classic/cartpole", "env.max_episode_steps=7").limit == 7
    assert environment("env=toy/chain", "env.max_episode_steps=7").limit == 7


def test_what_happens_to_an_atari_game():
    found = environment("env=atari/pong", "env/protocol=nature", "env.protocol.max_episode_steps=9")
    assert found.layers[:3] == ("last 4 frames", "grey 84x84", "maximum of the last 2 of 4 frames")
    assert found.layers[-1] == "ALE"
    assert "0 to 30 no-ops after a reset" in found.layers
    assert found.limit == 9


def test_parameters_by_network():
    """5 inputs, 7 units, 3 actions: 42 + 24."""
    online, target = facts.networks(value_agent())
    assert (online, target) == (NetworkSize("chain.online", 66, 66), NetworkSize("chain.target", 66, 0))


def test_an_actor_and_its_target():
    found = {network.name: network.trained > 0 for network in facts.networks(actor_critic())}
    assert found == {"chain.online": True, "chain.target": False, "actor": True, "target_actor": False}


def test_periods_of_target_networks():
    """shift and sync of i-DQN in 8,000 steps with updates."""
    config = settled("agent=idqn", "env=toy/chain", "steps=10000", "replay.learning_starts=2000")
    agent = SimpleNamespace(clock=SimpleNamespace(periods={"shift": 400, "sync": 50}))
    assert [(t.key, t.value, t.updates) for t in targets(config, agent)] == [
        ("agent.chain.shift_period", 400, 20), ("agent.chain.sync_period", 50, 160),
    ]  # fmt: skip


def test_range_of_a_bounded_head():
    assert facts.support(settled("agent=c51", "env=toy/chain", "agent.head.low=-3", "agent.head.high=4")) == (-3.0, 4.0)
    assert facts.support(settled("agent=dqn", "env=toy/chain")) is None
    assert facts.support(settled("agent=log_dqn", "env=toy/chain")) is None  # in units of a mapping


def test_statistics_of_rows():
    """Entry 0 is constant, entry 1 is constantly 0, entry 4 counts to 999 and is divided by 10."""
    agent = value_agent(normalize=lambda spec: Scale(spec=spec, by=(1, 1, 1, 1, 10)))
    replay = Replay(capacity=2_000, batch_size=4, spec=DISCRETE, num=1, discount=0.9)
    for step in range(1_000):
        obs = np.array([[3, 0, step % 2, -(step % 3), step]], np.float32)
        reward, no = np.array([step % 4 - 1], np.float32), np.zeros(1, bool)
        replay.append(Rows(obs, np.zeros(1, np.int64), reward, obs, no, no, np.ones(1, np.float32)))
    played = SimpleNamespace(recent=[Episode(4, 2.0, 10), Episode(9, 4.0, 30)], number=7)
    found = facts.seen(replay, played, agent)
    assert (found.rows, found.episodes, found.length, found.returned) == (1_000, 7, 20.0, 3.0)
    assert (found.reward_low, found.reward_high, found.reward_size, found.reward_largest) == (-1.0, 2.0, 1.0, 2.0)
    assert (found.entries, found.constant) == (5, 1)
    assert found.largest == pytest.approx(99.9)


def test_amounts_of_memory_and_ends_of_actions():
    from deeprl.system.terminal import amount

    assert [amount(size) for size in (999, 1_500, 2_340_000, 7.09e9)] == ["999 B", "1.5 kB", "2.34 MB", "7.09 GB"]
    assert facts.ends(np.array([-2.0, -2.0])) == "-2"
    assert facts.ends(np.array([-2.0, 1.0])) == "-2 ... 1"


@pytest.mark.parametrize(
    ("agent", "slot", "choice"),
    [
        ("dqn", "replay", "uniform"),
        ("retrace_dqn", "replay", "sequences"),
        ("ppo", "replay", "rollout"),
        ("ppo", "agent/policy", "CategoricalPolicy"),
    ],
)
def test_what_auto_chose(agent, slot, choice):
    config = settled(f"agent={agent}", "env=classic/cartpole")
    assert facts.slot_decision(slot, config, fitted(config)[2])[0] == choice
