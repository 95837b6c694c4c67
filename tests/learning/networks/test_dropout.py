"""Dropout by keys: statistics of the masks, the neutral rate, and DroQ's critics."""

from __future__ import annotations

import math

import pytest
import torch

from deeprl.learning.networks.dropout import dropped, hashed
from deeprl.learning.networks.torsos import MLPTorso
from deeprl.learning.parts.target_free import TargetFree
from deeprl.learning.values.reduce import First
from deeprl.running.training.learner import Learner, gradient
from deeprl.types import QUIET, ViewNoise
from tests.builders import CONTINUOUS, assert_close32, flat, made_up, sac, snapshot, traced_gradient, value_agent

ROWS, UNITS, RATE = 1000, 200, 0.1


def mask(key: int, layer: int = 0) -> torch.Tensor:
    """1 where a unit is dropped, (ROWS, UNITS)."""
    return (dropped(torch.ones(1, ROWS, UNITS), torch.tensor([key]), layer, RATE)[0] == 0).float()


def standard_error(share: float, number: int) -> float:
    return math.sqrt(share * (1 - share) / number)


@pytest.mark.parametrize("key", [0, 1, 12345, 2**31 - 1])
def test_units_are_dropped_independently(key):
    """Shares within five standard errors of those of independent draws: of all units, of pairs that lie side by side, of the same unit in
    another layer and under the next key."""
    one = mask(key)
    assert abs(one.mean() - RATE) < 5 * standard_error(RATE, ROWS * UNITS)
    pairs = {
        "rows": one[1:] * one[:-1],
        "units": one[:, 1:] * one[:, :-1],
        "layers": one * mask(key, layer=1),
        "keys": one * mask((key + 1) % 2**31),
    }
    for name, both in pairs.items():
        assert abs(both.mean() - RATE**2) < 5 * standard_error(RATE**2, both.numel()), name
    for axis, number in ((0, ROWS), (1, UNITS)):  # no row and no unit is dropped more often than chance allows
        assert one.mean(axis).std() == pytest.approx(standard_error(RATE, number), rel=0.25)


def test_hashes_are_exact_whole_numbers():
    """Every product fits into 63 bits, so that the result is the same on every device; by arithmetic without limits."""
    last = 2**31 - 1
    for key, number in ((0, 0), (last, last), (5, 7)):
        x = (number * 0x3C6EF373 + key) % 2**31
        for shift, factor in ((16, 0x7FEB352D), (15, 0x46CA68B5)):
            x = ((x ^ (x >> shift)) * factor) % 2**31
        assert hashed(torch.tensor(key), torch.tensor(number)).item() == x ^ (x >> 16)


def test_units_that_stay_are_scaled_up():
    x = torch.randn(2, 50, 20)
    out = dropped(x, torch.tensor([3, 4]), 0, 0.5)
    kept = out != 0
    torch.testing.assert_close(out[kept], 2 * x[kept])
    assert not torch.equal(kept[0], kept[1])  # each network of a stack has its own mask


def critics(**fields):
    return sac(CONTINUOUS, torso=MLPTorso(hidden=(7, 6), **fields))


def test_a_rate_near_zero_is_the_torso_without_dropout():
    """A tiny rate drops nothing in these few units, but goes through the masks."""
    without, tiny = (critics(layer_norm=True, dropout=rate) for rate in (0.0, 1e-9))
    batch = made_up(tiny, CONTINUOUS)
    quiet = batch._replace(noise={**batch.noise, "online": ViewNoise(), "target": ViewNoise(), "critic": QUIET})
    for _ in range(3):
        Learner(without, lambda batch: batch).update(quiet)
        Learner(tiny, lambda batch: batch).update(batch)
    torch.testing.assert_close(*map(snapshot, (without, tiny)), rtol=1e-4, atol=1e-6)


def test_predictions_and_targets_are_dropped_and_acting_is_not():
    agent = critics(dropout=0.5)
    noise = agent.noise((4, 3), torch.Generator().manual_seed(0))
    for view in (noise["online"].now, noise["target"].next, noise["critic"]):
        assert view.layers["torso.key"].shape == (4, 2)
    batch = made_up(agent, CONTINUOUS, size=16)
    x = torch.cat([batch.obs, batch.action], -1)
    network = agent.chain.online
    assert not torch.equal(network(x, batch.noise["online"].now).q, network(x).q)
    discrete = value_agent(torso=MLPTorso(hidden=(7,), dropout=0.5))
    assert discrete.act_noise((4, 2), torch.Generator())["network"] == QUIET


def test_one_critic_of_two_serves_the_actor_with_its_own_mask():
    agent = sac(CONTINUOUS, torso=MLPTorso(hidden=(7,), dropout=0.5), actor_reduce=First())
    batch = made_up(agent, CONTINUOUS, size=16)
    x = torch.cat([batch.obs, batch.action], -1)
    both = agent.chain.online(x, batch.noise["critic"])
    torch.testing.assert_close(agent.actor_value(x, batch.noise), both.q[0, :, 0])


@pytest.mark.parametrize("chain", [pytest.param({}, marks=pytest.mark.exhaustive), {"chain": TargetFree}])
def test_the_traced_update_is_the_plain_one(chain):
    agent = sac(CONTINUOUS, torso=MLPTorso(hidden=(7, 6), layer_norm=True, dropout=0.3), **chain)
    batch = made_up(agent, CONTINUOUS, size=16)
    for name in agent.objectives:
        found, learned = traced_gradient(agent, name, batch)
        expected, plain = gradient(agent, name, batch)
        assert_close32(flat(found), flat(expected))
        torch.testing.assert_close(learned.error, plain.error)


def test_where_dropout_is_refused():
    with pytest.raises(ValueError, match="dropout must be 0 in the torso of a policy"):
        sac(CONTINUOUS, actor_torso=MLPTorso(hidden=(7,), dropout=0.1))
    with pytest.raises(ValueError, match=r"torso\.dropout takes vectors"):
        MLPTorso(dropout=0.1).build(CONTINUOUS._replace(obs_shape=(1, 5, 5)), 1)
    with pytest.raises(ValueError, match="dropout must be between 0 and 0.99, not 1"):
        MLPTorso(dropout=1)
