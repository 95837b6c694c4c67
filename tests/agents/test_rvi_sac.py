"""RVI-SAC: worked numbers of its four equations, an exact oracle with and without terminations, and what it may not depend on."""

from __future__ import annotations

from functools import partial

import pytest
import torch

from deeprl.agents.iterated_polyak import IteratedPolyak
from deeprl.agents.rvi_sac import RelativeValue
from deeprl.errors import ConfigError
from deeprl.learning.backups.actor import PolicyBackup
from deeprl.learning.networks.torsos import MLPTorso
from deeprl.learning.optim.adam import Adam
from deeprl.learning.parts.polyak import Polyak
from deeprl.learning.parts.resets import Resets
from deeprl.replay.replay import Replay
from deeprl.running.config import build
from deeprl.running.config.instantiate import instantiate
from deeprl.running.training.learner import CompiledLearner, Learner
from deeprl.schedules import Linear
from tests.agents.test_average_reward import TWO_STATES, transitions
from tests.agents.test_td3 import B, batches, constants
from tests.builders import actor_critic, entry, made_up, sac, same, settled, snapshot, update


def relative(**more):
    return partial(RelativeValue, discount=1.0, **more)


# ---- the four equations


def said(agent, *, critics: float, resets: float, kept: tuple[float, float, float]):
    """Target critics, the target of the reset critic, and (f, f_r, c) as given; all online critics answer 0."""
    constants(agent.chain.target, critics + 1.0, critics)
    constants(agent.chain.online, 0.0, 0.0)
    constants(agent.rate.target, resets)
    constants(agent.rate.critic, 0.0)
    for parameter, value in zip((agent.rate.offset, agent.rate.frequency, agent.rate.cost), kept):
        parameter.fill_(value)
    return agent


def one_row(agent, *, reward: float, restart: bool, steps: int = 1):
    """π has μ = 0 and σ = 1 everywhere; u = 0.5 in both dimensions, so that log π = −1.60742, see docs/algorithms/sac.md."""
    for parameter in agent.actor.parameters():
        parameter.zero_()
    (batch,) = batches(agent, 1)
    half = torch.full((B, 2), 0.5)
    ones = torch.ones(B)
    return batch._replace(
        reward=reward * ones, discount=ones, steps=steps * ones.long(), extra={"restart": torch.full((B,), restart)},
        noise={**batch.noise, "next_action": half, "action": half},
    )  # fmt: skip


@pytest.mark.parametrize(
    ("restart", "steps", "y", "y_r"),
    [
        (True, 1, 1 - 2 - 0.25 + 10.30371, 1 - 0.01 + 0.4),
        (False, 1, 1 - 0.25 + 10.30371, -0.01 + 0.4),
        (True, 2, 1 - 2 - 0.5 + 10.30371, 1 - 0.02 + 0.4),
    ],
    ids=["a fall", "no fall", "a fall at the second step"],
)
def test_worked_numbers(restart, steps, y, y_r):
    """V̄(s') = 9.5 + 0.5 · 1.60742 = 10.30371 with α = 0.5."""
    agent = said(sac(rate=relative()), critics=9.5, resets=0.4, kept=(0.25, 0.01, 2.0))
    batch = one_row(agent, reward=1.0, restart=restart, steps=steps)
    term = agent.critic_loss(batch)
    assert term.error.tolist() == pytest.approx([y] * B)
    beside = y_r**2 - 2 * (0.01 - 0.001)
    assert term.loss.item() == pytest.approx(2 * y**2 + beside)
    metrics = update(agent, batch).metrics
    assert agent.rate.offset.item() == pytest.approx(0.995 * 0.25 + 0.005 * 10.30371)
    assert agent.rate.frequency.item() == pytest.approx(0.995 * 0.01 + 0.005 * 0.4)
    assert agent.rate.cost.item() == pytest.approx(2.0 + 0.01)  # f_r > ε; Adam's first step is its learning rate
    names = ("train/average_reward", "train/termination_rate", "train/reset_cost")
    assert [metrics[name].item() for name in names] == pytest.approx([0.25, 0.01, 2.0])  # as the update read them


def test_the_cost_falls_while_terminations_are_rare_but_not_below_zero():
    agent = said(sac(rate=relative(cost_lr=0.4)), critics=9.5, resets=0.0, kept=(0.0, 0.0005, 0.5))
    batch = one_row(agent, reward=1.0, restart=False)
    found = []
    for _ in range(3):
        update(agent, batch)
        found.append(agent.rate.cost.item())
    assert found == [pytest.approx(0.1, abs=1e-4), 0.0, 0.0]


def test_rows_that_are_no_transitions_count_for_nothing():
    agent = said(sac(rate=relative()), critics=9.5, resets=0.4, kept=(0.25, 0.01, 2.0))
    batch = one_row(agent, reward=1.0, restart=True)
    valid = torch.arange(B) % 3 > 0
    spoiled = batch._replace(valid=valid, reward=torch.where(valid, 1.0, 77.0), steps=torch.where(valid, 1, 0))
    spoiled.extra["restart"] = valid
    assert agent.critic_loss(spoiled).loss.item() == pytest.approx(
        agent.critic_loss(batch._replace(extra={"restart": valid | True})).loss.item()
    )


# ---- the oracle


def learned_table(update_count: int, batch_of, chain, **more):
    """An agent with one weight for each state, after as many updates on one batch."""
    adam = Adam(lr=0.07, schedule=Linear(start=1.0, end=0.0, duration=update_count))
    agent = actor_critic(
        TWO_STATES, torso=MLPTorso(hidden=()), actor_torso=MLPTorso(hidden=()), rate=relative(kappa=0.05, hidden=(), **more),
        optimizer=adam, backup=PolicyBackup(target_actor=False, smoothing=0.0), chain=chain, actor_period=update_count + 1, target_period=1,
    )  # fmt: skip
    for parameter in agent.actor.parameters():
        parameter.zero_()  # the action of the data
    batch = batch_of._replace(noise=entry(agent.noise((1, 20), torch.Generator()), 0))
    for step in range(update_count):
        update(agent, batch)
        agent.tick(step, step + 1)
    values = agent.chain.online(torch.cat([torch.eye(2), torch.zeros(2, 1)], 1)).mean()[..., 0]  # (K·E, 2)
    return agent, (values[:, 1] - values[:, 0]).tolist()


CHAINS = {"polyak": partial(Polyak, tau=0.1), "iterated": partial(IteratedPolyak, length=2, tau=0.1)}


@pytest.mark.parametrize(
    ("chain", "scale", "shift"),
    [pytest.param(CHAINS["polyak"], 1.0, 0.0, marks=pytest.mark.exhaustive), (CHAINS["iterated"], 2.0, 0.5)],
    ids=CHAINS,
)
def test_the_gain_and_the_bias_of_two_states(chain, scale, shift):
    """A constant added to rewards is added to f and leaves the differences of Q; nothing terminates, so that c stays 0."""
    batch = transitions(scale, shift)
    batch.extra["restart"] = torch.zeros(20, dtype=torch.bool)
    agent, differences = learned_table(500, batch, chain)
    assert agent.rate.offset.item() == pytest.approx(scale * 8 / 13 + shift, abs=1e-3)
    assert differences == pytest.approx([scale / 1.3] * len(differences), abs=2e-3)
    assert agent.rate.frequency.item() == agent.rate.cost.item() == 0.0
    assert same(snapshot(agent.rate.critic.head), {name: torch.zeros_like(x) for name, x in agent.rate.critic.head.state_dict().items()})


def test_the_gain_of_two_states_whose_way_back_is_a_fall():
    """s1 -> s0 terminates, and the episodes start in s0: 8/13 · 0.5 = 4/13 of the steps. Each costs 1.5, so that the gain is 8/13 − 6/13,
    and the reward of s1 is 1 − 0.75: h(s1) − h(s0) = 0.25 / 1.3."""
    batch = transitions()
    batch.extra["restart"] = batch.obs[:, 1].bool() & batch.next_obs[:, 0].bool()
    agent, differences = learned_table(500, batch, CHAINS["polyak"], initial_cost=1.5, cost_lr=0.0)
    assert agent.rate.frequency.item() == pytest.approx(4 / 13, abs=1e-3)
    assert agent.rate.cost.item() == 1.5
    assert agent.rate.offset.item() == pytest.approx(2 / 13, abs=1e-3)
    assert differences == pytest.approx([0.25 / 1.3] * 2, abs=2e-3)


def test_the_cost_rises_while_terminations_are_frequent():
    batch = transitions()
    batch.extra["restart"] = batch.obs[:, 1].bool() & batch.next_obs[:, 0].bool()
    costs = [learned_table(300, batch, CHAINS["polyak"], allowed=allowed)[0].rate.cost.item() for allowed in (1e-3, 0.6)]
    assert costs[0] > 1.0
    assert costs[1] == 0.0


# ---- what it may not change


def with_restarts(batch):
    return batch._replace(extra={"restart": torch.arange(B) % 4 == 0})


def test_an_offset_that_stays_zero_is_none():
    plain, zero = sac(), sac(rate=relative(kappa=0.0, cost_lr=0.0))
    for batch in batches(plain, 4):
        update(plain, batch)
        update(zero, with_restarts(batch))
    assert same(snapshot(plain.chain), snapshot(zero.chain))
    assert same(snapshot(plain.actor), snapshot(zero.actor))
    assert zero.rate.critic.head.advantage.bias_0.item() != 0.0


def test_the_target_of_the_reset_critic_moves_with_those_of_the_critics():
    agent = actor_critic(rate=relative(), backup=PolicyBackup(smoothing=0.0), actor_period=2)  # tau 0.25
    for number, batch in enumerate(batches(agent, 4), 1):
        before = snapshot(agent.rate.target)
        update(agent, with_restarts(batch))
        after, online = agent.rate.target.state_dict(), agent.rate.critic.state_dict()
        for name, tensor in before.items():
            assert torch.equal(after[name], torch.lerp(tensor, online[name], 0.25) if number % 2 == 0 else tensor)
    assert agent.rate.frequency.item() != 0.0


def test_compiled_updates_are_the_plain_ones():
    """What no gradient trains directly too: the moving averages, the cost after its projection, and the metrics."""
    agents = [sac(rate=relative(hidden=(5,))) for _ in range(2)]
    plain, traced = Learner(agents[0], lambda batch: batch), CompiledLearner(agents[1], lambda batch: batch, backend="eager")
    for number, batch in enumerate(batches(agents[0], 8)):
        batch = with_restarts(batch)
        found, expected = traced.update(batch), plain.update(batch)
        torch.testing.assert_close(found.metrics, expected.metrics)
        if number == 3:
            for agent in agents:
                agent.rate.frequency.fill_(-1.0)  # c falls to its bound
    assert agents[0].rate.cost.item() == 0.0
    assert agents[0].rate.offset.item() != 0.0
    torch.testing.assert_close(agents[1].state_dict(), agents[0].state_dict())


def test_a_reset_of_the_networks_leaves_the_rate():
    """After four updates, of which the last ends in a reset, the rate is that of an agent without resets."""
    agents = [sac(rate=relative(), resets=resets) for resets in (Resets(period=4), Resets())]
    start = snapshot(agents[0].rate)
    for batch in batches(agents[0], 4):
        for agent in agents:
            update(agent, with_restarts(batch))
    assert not same(snapshot(agents[0].actor), snapshot(agents[1].actor))
    assert not same(start, snapshot(agents[0].rate))
    assert same(snapshot(agents[0].rate), snapshot(agents[1].rate))


def test_images_are_supported_and_the_reset_critic_does_not_train_the_encoder():
    images = torch.uint8
    spec = TWO_STATES._replace(obs_shape=(3, 10, 10), obs_dtype=images)
    agents = [sac(spec, rate=rate) for rate in (relative(kappa=0.0, cost_lr=0.0), relative(kappa=0.0, cost_lr=0.0, lr=0.5))]
    for seed in range(3):
        for agent in agents:
            update(agent, made_up(agent, spec, seed=seed))
    assert same(snapshot(agents[0].encoder), snapshot(agents[1].encoder))
    assert not same(snapshot(agents[0].rate.critic), snapshot(agents[1].rate.critic))


# ---- refusals


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"discount": 0.99}, "^discount must be 1 where the average reward is learned, not 0.99: set discount=1"),
        ({"kappa": 1.5}, "^kappa must be between 0 and 1"),
        ({"allowed": -1.0}, "^allowed must be between 0 and 1"),
        ({"initial_cost": -1.0}, "^initial_cost must be at least 0"),
        ({"cost_lr": -1.0}, "^cost_lr must be at least 0"),
        ({"hidden": [0]}, "^hidden must be a list of positive integers"),
    ],
)
def test_wrong_values_are_refused(wrong, message):
    with pytest.raises(ValueError, match=message):
        sac(rate=partial(RelativeValue, **{"discount": 1.0, **wrong}))


def test_a_replay_that_does_not_know_the_next_episode_is_refused(monkeypatch):
    config = settled("agent=rvi_sac", "env=classic/pendulum", "replay=uniform")
    agent, replay = build.build_agent(config, TWO_STATES), instantiate({**config["replay"], "_partial_": True}, "replay")
    build.check_replay(config, agent, replay)
    monkeypatch.setattr(Replay, "offers", frozenset({"terminated"}))
    with pytest.raises(ConfigError, match="agent/rate=relative needs the first observation after an episode that terminated"):
        build.check_replay(config, agent, replay)
