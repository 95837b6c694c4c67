"""TD3+BC: a worked number, its invariance, its neutral element, and twenty updates beside a reference."""

from __future__ import annotations

from functools import partial

import pytest
import torch

from deeprl.agents.td3_bc import NearTheData
from deeprl.extend import ActorView
from deeprl.learning.networks.torsos import MLPTorso
from deeprl.learning.optim.adam import Adam
from deeprl.learning.parts.polyak import Polyak
from tests.agents.test_td3 import batches
from tests.builders import CONTINUOUS, actor_critic, random_batch, update
from tests.references.td3 import TD3
from tests.references.test_references import ACTOR_LR, EPS, LR, TAU, agrees, critics_agree, critics_of, mlp

VALUE = torch.tensor([10.0, -2.0, 4.0])


def rows(count: int):
    """A batch of `count` rows, and actions whose squared distance to those of the batch is 0.04 in each dimension."""
    batch = random_batch(CONTINUOUS, count)
    return batch, batch.action + 0.2


def loss(improvement, value, action, batch):
    """Of a policy that takes these actions, with these values."""
    return improvement.loss(ActorView(action, lambda _: value, None, None), batch)


def test_a_worked_number():
    """Q = (10, −2, 4): λ = 2.5 / (16/3) = 0.46875, mean Q = 4, imitation 0.04, so L = 0.04 − 1.875."""
    batch, action = rows(3)
    assert loss(NearTheData(), VALUE, action, batch).mean().item() == pytest.approx(-1.835, abs=1e-6)


def test_a_factor_on_the_values_changes_nothing():
    batch, action = rows(3)
    torch.testing.assert_close(loss(NearTheData(), 7.0 * VALUE, action, batch), loss(NearTheData(), VALUE, action, batch))


def test_without_the_value_it_is_cloning():
    batch, action = rows(3)
    assert torch.equal(loss(NearTheData(alpha=0.0), VALUE, action, batch), (action - batch.action).square().mean(-1))


def test_rows_that_are_not_valid_do_not_count_in_the_size_of_values():
    batch, action = rows(3)
    batch = batch._replace(valid=torch.tensor([True, False, True]))
    expected = 0.04 - 2.5 / 7.0 * VALUE
    torch.testing.assert_close(loss(NearTheData(), VALUE, action, batch), expected)


class Reference(TD3):
    def actor_loss(self, batch, action):
        value = -super().actor_loss(batch, action)
        size = self.critics[0](torch.cat([batch.obs, action], 1)).abs().mean().detach()
        return torch.nn.functional.mse_loss(action, batch.action) - 2.5 / size * value


def test_twenty_updates_are_those_of_the_reference():
    agent = actor_critic(
        seed=1, actor_torso=MLPTorso(hidden=(7, 6)), torso=MLPTorso(hidden=(9, 8)), chain=partial(Polyak, tau=TAU), actor_period=2,
        improvement=NearTheData(), optimizer=Adam(lr=LR, eps=EPS), actor_optimizer=Adam(lr=ACTOR_LR, eps=EPS),
    )  # fmt: skip
    plain = Reference(mlp(agent.actor, 0), critics_of(agent.chain.online, 2), LR, ACTOR_LR, TAU, eps=EPS)
    for batch in batches(agent, 20):
        plain.update(batch, batch.noise["smoothing"])
        update(agent, batch)
    agrees(agent.actor, 0, plain.actor)
    critics_agree(agent, plain)
