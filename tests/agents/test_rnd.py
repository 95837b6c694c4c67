"""Random network distillation: a reward of what is new, its own loss and statistics, what is neutral."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
import torch

from deeprl.agents.lpo_width import NetworkWidth
from deeprl.agents.rnd import RND
from deeprl.learning.networks.torsos import MLPTorso
from deeprl.learning.optim.adam import Adam
from deeprl.learning.transforms.rewards import Scaled
from deeprl.running.training.learner import Learner, gradient
from deeprl.types import Rows, Spec
from tests.agents.test_ppo import MASKED, agent_of
from tests.builders import CONTINUOUS, DISCRETE, assert_close32, changed_by, entry, flat, made_up, same, snapshot, traced_gradient

NEW = partial(RND, discount=0.9)


def rows(seed: int, m: int = 4) -> Rows:
    random, flags = np.random.default_rng(seed), np.zeros(m, bool)
    obs, after = (random.normal(size=(m, 5)).astype(np.float32) for _ in range(2))
    return Rows(obs, np.zeros(m, np.int64), np.ones(m, np.float32), after, flags, ~flags, np.ones(m, np.float32))


def test_what_was_seen_often_earns_less_than_what_was_not():
    agent, batch = agent_of(intrinsic=partial(NEW, lr=0.01)), made_up(agent_of(), DISCRETE, size=8)
    other = batch._replace(next_obs=torch.randn(8, 5, generator=torch.Generator().manual_seed(7)))
    learner, before = Learner(agent, lambda batch: batch), agent.intrinsic(batch).mean()
    for _ in range(60):
        learner.update(batch)
    assert agent.intrinsic(batch).mean() < 0.1 * before
    assert agent.intrinsic(batch).mean() < 0.3 * agent.intrinsic(other).mean()


def test_networks_of_intrinsic_rewards_have_the_normalised_weights_of_the_torso():
    """They were left out without a word, here and in LPO's width."""
    torso = MLPTorso(hidden=(8,), weight_norm="hidden")
    rnd, width = agent_of(intrinsic=NEW, torso=torso).intrinsic, NetworkWidth(size=4, torso=torso, seed=0)
    assert all(network.torso.gained for network in (rnd.fitted, rnd.random, width.fitted, width.fixed))


def test_its_loss_moves_the_fitted_network_alone_and_that_of_the_policy_no_part_of_it():
    agent, batch = agent_of(intrinsic=NEW), made_up(agent_of(), DISCRETE, size=6)
    assert all(name.startswith("intrinsic.fitted") for name in changed_by(agent, "intrinsic", batch))
    assert not any(name.startswith("intrinsic") for name in changed_by(agent, "policy", batch))


def test_advantages_are_those_of_both_rewards():
    """With V fixed and λ = 0 the difference is the reward itself."""
    plain, own = agent_of(lam=0.0), agent_of(lam=0.0, intrinsic=NEW)
    rollout = made_up(plain, DISCRETE, size=6)
    rollout = rollout._replace(
        **{name: getattr(rollout, name).unsqueeze(1) for name in ("obs", "next_obs", "action", "reward", "discount", "ended")}
    )
    added = own.prepare(rollout)["advantage"] - plain.prepare(rollout)["advantage"]
    torch.testing.assert_close(added, own.intrinsic(rollout))
    assert added.min() > 0


def test_a_value_of_both_rewards_is_no_return_of_an_evaluation():
    """Its rewards counted as overestimation."""
    obs, first = torch.zeros(2, 5), torch.ones(2, dtype=torch.bool)
    for agent, has_value in ((agent_of(), True), (agent_of(intrinsic=NEW), False)):
        noise = entry(agent.act_noise((1, 2), torch.Generator().manual_seed(0)))
        assert (agent.act(obs, first, {}, 0, noise, False).value is not None) == has_value


def test_a_coefficient_of_zero_changes_nothing_of_the_agent():
    found = []
    for slots in ({}, {"intrinsic": partial(NEW, coefficient=0.0)}):
        agent = agent_of(**slots)
        learner = Learner(agent, lambda batch: batch)
        for seed in range(3):
            learner.update(made_up(agent, DISCRETE, size=6, seed=seed))
        found.append({name: tensor for name, tensor in snapshot(agent).items() if not name.startswith("intrinsic")})
    assert same(*found)


def test_errors_are_scaled_by_the_sums_of_errors_that_go_on_behind_episodes():
    agent, expected, sums = agent_of(intrinsic=NEW), Scaled(discount=0.9), []
    for seed in range(3):
        before = agent.intrinsic.error(torch.from_numpy(rows(seed).next_obs)).numpy()
        sums.append(before)
        expected.observe(rows(seed)._replace(reward=before, ended=np.zeros(4, bool)))
        agent.observe(rows(seed))
    assert torch.equal(agent.intrinsic.scaled.scale, expected.scale)
    assert agent.intrinsic.scaled.scale != 1
    assert agent.intrinsic.normalize.count == 12


def test_everything_of_it_is_in_the_state():
    agent, batch = agent_of(intrinsic=NEW), made_up(agent_of(), DISCRETE, size=6)
    agent.observe(rows(0))
    Learner(agent, lambda batch: batch).update(batch)
    other = agent_of(seed=1, intrinsic=NEW)
    other.load_state(agent.state())
    assert torch.equal(agent.intrinsic(batch), other.intrinsic(batch))
    for each in (agent, other):
        Learner(each, lambda batch: batch).update(batch)
    assert same(snapshot(agent), snapshot(other))


@pytest.mark.parametrize("spec", [DISCRETE, CONTINUOUS, MASKED, Spec((3, 10, 10), torch.uint8, 3, 0)])
def test_it_traces_for_every_kind_of_observation(spec):
    from deeprl.learning.networks.torsos import MinAtarTorso

    torso = {} if len(spec.obs_shape) == 1 else {"torso": MinAtarTorso(channels=2, head_hidden=(8,))}
    agent = agent_of(spec, intrinsic=NEW, **torso)
    batch = made_up(agent, spec, size=4)
    expected = flat(gradient(agent, "intrinsic", batch)[0])
    assert_close32(flat(traced_gradient(agent, "intrinsic", batch)[0]), expected)
    assert expected.any()


def test_bad_values_are_refused():
    for given, field in (({"coefficient": -1.0}, "coefficient"), ({"features": 0}, "features"), ({"lr": -1.0}, "lr")):
        with pytest.raises(ValueError, match=f"{field} must be"):
            agent_of(intrinsic=partial(NEW, **given), optimizer=Adam(lr=0.01))


def test_a_sum_without_an_end_and_a_discount_is_refused():
    """It grew with the steps, and the reward of what was new fell as 1/t."""
    with pytest.raises(ValueError, match=r"agent\.intrinsic\.discount=0\.99"):
        agent_of(intrinsic=partial(RND, discount=1.0), optimizer=Adam(lr=0.01))
