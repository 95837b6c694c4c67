"""The average reward as criterion: an exact oracle, and what it may not depend on."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
import torch

from deeprl.agents.average_reward import AverageReward
from deeprl.learning.backups.actor import PolicyBackup
from deeprl.learning.networks.torsos import MLPTorso
from deeprl.learning.optim.adam import Adam
from deeprl.learning.parts.chains import Single
from deeprl.learning.parts.polyak import Polyak
from deeprl.learning.values.reduce import Minimum
from deeprl.schedules import Linear
from deeprl.types import Rows, Spec
from tests.agents.test_td3 import batches
from tests.builders import actor_critic, entry, make_batch, same, snapshot, update

TWO_STATES = Spec((2,), torch.float32, 0, 1)


def average(**more):
    return partial(AverageReward, discount=1.0, **more)


def transitions(scale: float = 1.0, shift: float = 0.0):
    """Ten transitions from each of two states under a policy with s0 -> s0, s1 with 0.2, 0.8 and s1 -> s0, s1 with 0.5, 0.5. Rewards are 0
    in s0 and 1 in s1: the gain is the stationary probability of s1, 0.8 / (0.8 + 0.5) = 8/13, and h(s1) − h(s0) = 1 / 1.3."""
    state = torch.eye(2)
    obs, next_obs = [0] * 10 + [1] * 10, [0] * 2 + [1] * 8 + [0] * 5 + [1] * 5
    reward = [scale * s + shift for s in obs]
    return make_batch(state[obs], torch.zeros(20, 1), reward, 1.0, state[next_obs])


@pytest.mark.parametrize(("update_", "scale", "shift"), [("paper", 1.0, 0.0), ("joint", 2.0, 0.5)])
def test_the_gain_and_the_bias_of_two_states(update_, scale, shift):
    """A constant added to rewards is added to the gain, and a factor of them is one of gain and bias."""
    adam = Adam(lr=0.06, schedule=Linear(start=1.0, end=0.0, duration=500))
    agent = actor_critic(
        TWO_STATES, torso=MLPTorso(hidden=()), actor_torso=MLPTorso(hidden=()), rate=average(update=update_), optimizer=adam,
        backup=PolicyBackup(smoothing=0.0), chain=partial(Polyak, tau=0.1), actor_period=501, target_period=1,
    )  # fmt: skip
    for parameter in agent.actor.parameters():
        parameter.zero_()  # the action of the data
    agent.target_actor.load_state_dict(agent.actor.state_dict())
    batch = transitions(scale, shift)._replace(noise=entry(agent.noise((1, 20), torch.Generator()), 0))
    for step in range(500):
        update(agent, batch)
        agent.tick(step, step + 1)
    assert agent.rate.average.item() == pytest.approx(scale * 8 / 13 + shift, abs=1e-3)
    values = agent.chain.online(torch.cat([torch.eye(2), torch.zeros(2, 1)], 1)).mean()[..., 0]  # (E, 2)
    assert (values[:, 1] - values[:, 0]).tolist() == pytest.approx([scale / 1.3] * 2, abs=2e-3)


def test_a_constant_of_all_values_changes_no_gradient_of_the_rate():
    agent = actor_critic(rate=average(), backup=PolicyBackup(smoothing=0.0))
    (batch,) = batches(agent, 1)
    batch = batch._replace(discount=torch.ones_like(batch.discount))
    slopes = []
    for _ in range(2):
        agent.rate.average.requires_grad_(True)
        slopes.append(torch.autograd.grad(agent.critic_loss(batch).loss, [agent.rate.average])[0])
        for name, parameter in agent.chain.target.named_parameters():
            if name == "head.advantage.bias_0":
                parameter += 7.0
    torch.testing.assert_close(slopes[0], slopes[1], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("update_", "error", "of_rate"),
    [
        ("paper", 6.0, 1.5**2 / 2),  # y = 3 − 2 ρ̄ + 4; the rate's error is 3 + 4 − 4 − 2 ρ
        ("joint", 5.5, 2 * 5.5**2 / 2),  # y = 3 − 2 ρ + 4, also the error of the rate beside each of two critics that say 0
    ],
)
def test_a_worked_target_of_two_steps(update_, error, of_rate):
    """ρ̄ = 0.5 or ρ = 0.75 counts once for each of two steps, for two critics that say 0 and targets that say 4."""
    agent = actor_critic(rate=average(update=update_), backup=PolicyBackup(smoothing=0.0), reduce=Minimum())
    (batch,) = batches(agent, 1)
    ones = torch.ones(11)
    batch = batch._replace(reward=3 * ones, discount=ones, steps=2 * torch.ones(11, dtype=torch.int64))
    for network, value in ((agent.chain.online, 0.0), (agent.chain.target, 4.0)):
        for name, parameter in network.named_parameters():
            parameter.fill_(value if name == "head.advantage.bias_0" else 0.0)
    agent.rate.slow.fill_(0.5)
    agent.rate.average.fill_(0.75)
    term = agent.critic_loss(batch)
    assert term.error.tolist() == pytest.approx([error] * 11)
    assert term.loss.item() == pytest.approx(2 * error**2 + of_rate)


def test_the_slow_copy_follows_with_the_targets():
    agent = actor_critic(rate=average(), actor_period=2)  # tau 0.25
    for number, batch in enumerate(batches(agent, 4), 1):
        before = agent.rate.slow.clone()
        update(agent, batch)
        expected = torch.lerp(before, agent.rate.average, 0.25) if number % 2 == 0 else before
        assert torch.equal(agent.rate.slow, expected)
    assert agent.rate.average.item() != 0


def test_a_rate_that_stays_zero_is_none():
    plain, zero = actor_critic(), actor_critic(rate=average(lr=0.0))
    for batch in batches(plain, 4):
        update(plain, batch)
        update(zero, batch)
    assert same(snapshot(plain.chain), snapshot(zero.chain))
    assert same(snapshot(plain.actor), snapshot(zero.actor))


def test_a_discount_is_refused():
    with pytest.raises(ValueError, match="^discount must be 1 where the average reward is learned, not 0.99: set discount=1"):
        actor_critic(rate=partial(AverageReward, discount=0.99))


def test_the_slow_copy_stands_while_the_targets_stand():
    agent = actor_critic(rate=average(), chain=partial(Single, target_update_period=100))
    for batch in batches(agent, 4):
        update(agent, batch)
    assert agent.rate.slow.item() == 0
    agent.tick(99, 100)
    assert torch.equal(agent.rate.slow, agent.rate.average)


def test_a_termination_is_refused_and_a_time_limit_is_not():
    agent, no, yes = actor_critic(rate=average()), np.zeros(2, bool), np.array([False, True])
    zero = np.zeros(2, np.float32)
    rows = Rows(np.zeros((2, 5), np.float32), np.zeros((2, 2), np.float32), zero, np.zeros((2, 5), np.float32), no, yes, zero)
    agent.observe(rows)
    with pytest.raises(ValueError, match="Use a task that does not terminate, agent/rate=relative, or agent/rate=none with a discount"):
        agent.observe(rows._replace(terminated=yes))


def test_evaluation_compares_no_differential_value_with_a_return():
    agent = actor_critic(rate=average())
    noise = entry(agent.act_noise((1, 3), torch.Generator()), 0)
    assert agent.act(torch.zeros(3, 5), torch.ones(3, dtype=torch.bool), {}, 0, noise, explore=False).value is None
