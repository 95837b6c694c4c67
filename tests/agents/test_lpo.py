"""LPO: widths by hand, which pairs enter the core set, when the policy changes, what is neutral."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
import torch

from deeprl.agents.lpo import LPO
from deeprl.agents.lpo_width import NetworkWidth, Width
from deeprl.learning.networks.torsos import MLPTorso
from deeprl.learning.transforms.observations import Running
from deeprl.replay.rollout import Rollout
from deeprl.running.config.dry_run import dry_run
from deeprl.running.training.learner import Learner
from deeprl.types import Rows
from tests.agents.test_ppo import agent_of
from tests.builders import CONTINUOUS, DISCRETE, made_up, same, snapshot

NETWORK = partial(NetworkWidth, capacity=50, steps=60, batch_size=16, lr=0.01)


def lpo(width=Width, **given):
    return partial(LPO, width=width, **given)


def learned(rollouts: int, intrinsic=None, repeat: bool = False):
    """An agent after rollouts of 4 ticks of 2 environments; with `repeat` all show the same pairs."""
    agent = agent_of(**({} if intrinsic is None else {"intrinsic": intrinsic}))
    learner = Learner(agent, lambda batch: batch)
    rollout, flags = Rollout(length=4, epochs=2, minibatches=2, spec=DISCRETE, num=2, discount=0.9), np.zeros(2, bool)
    rollout.connect(0, "test", agent.observe, agent.prepare)
    rollout.before_pass = agent.before_pass
    for number in range(rollouts):
        random = np.random.default_rng(0 if repeat else number)
        for _ in range(4):
            cell = np.eye(5, dtype=np.float32)[random.integers(5, size=2)]
            rollout.append(Rows(cell, np.array([0, 2]), cell[:, 0], cell, flags, flags, np.ones(2, np.float32)))
        for batch in rollout.updates(0, 8):
            learner.update(batch)
    return agent


def test_widths_of_one_hot_pairs_are_those_of_their_counts():
    width, pairs = Width(size=4, torso=MLPTorso(), seed=0), torch.eye(4)
    for pair, copies in ((0, 1.0), (1, 2.5), (0, 2.0)):
        width.grow(pairs, np.array([pair]), np.array([copies]), np.random.default_rng(0))
    assert width(pairs).tolist() == pytest.approx([1 / 2, (1 / 3.5) ** 0.5, 1, 1])
    assert width.sensitivity(pairs).tolist() == pytest.approx([1 / 4, 1 / 3.5, 1, 1])


def test_a_run_with_it_can_begin():
    """The look at a made-up batch took the pairs for state that no checkpoint holds, and refused every run."""
    dry_run(agent_of(intrinsic=lpo()), DISCRETE, "cpu")


def test_a_pair_is_the_state_in_the_place_of_its_action():
    agent = agent_of(intrinsic=lpo())
    batch = made_up(agent, DISCRETE, size=2)
    pairs = agent.intrinsic.pairs(batch).view(2, 5, 3)
    for row, action in enumerate(batch.action.tolist()):
        assert torch.equal(pairs[row, :, action], batch.obs[row])
        assert pairs[row].count_nonzero() == 5
    assert agent_of(CONTINUOUS, intrinsic=lpo()).intrinsic.pairs(made_up(agent_of(CONTINUOUS), CONTINUOUS, size=2)).shape == (2, 7)


def test_the_bonus_by_hand():
    """Width 1 everywhere at first: 0.2 + 0.5."""
    agent = agent_of(intrinsic=lpo(bonus=0.2, known=0.5))
    batch = made_up(agent, DISCRETE, size=2)._replace(obs=torch.eye(5)[:2], action=torch.tensor([0, 1]))
    assert agent.intrinsic(batch).tolist() == pytest.approx([0.7, 0.7])
    agent.intrinsic.width.grow(agent.intrinsic.pairs(batch), np.array([0]), np.array([24.0]), np.random.default_rng(0))
    assert agent.intrinsic(batch).tolist() == pytest.approx([0.04, 0.7])


@pytest.mark.parametrize("width", [Width, NETWORK])
def test_without_sensitivity_the_policy_never_changes(width):
    agent = learned(3, lpo(width, sensitivity=0.0))
    assert agent.updates == 0
    assert agent.diagnostics(0) == {"rollout/rollouts": 3, "rollout/policy_switches": 0, "train/core_set": 0}


def test_a_switch_at_every_rollout_without_a_bonus_is_ppo():
    plain, own = learned(3), learned(3, lpo(sensitivity=1e9, phase=1, bonus=0.0, known=0.0))
    assert own.diagnostics(0)["rollout/policy_switches"] == 3
    assert same(snapshot(plain), {name: tensor for name, tensor in snapshot(own).items() if not name.startswith("intrinsic")})


def test_a_phase_is_so_many_rollouts_of_one_switch():
    agent = learned(5, lpo(sensitivity=1e9, phase=2))
    assert agent.diagnostics(0)["rollout/policy_switches"] == 3
    assert agent.updates == 5 * 4


def test_switches_become_rare_where_nothing_is_new():
    """Of 8 pairs that repeat each enters with 1 / (1 + n), and n grows by as much as it is seen."""
    agents = [learned(rollouts, lpo(phase=1), repeat=True).diagnostics(0)["rollout/policy_switches"] for rollouts in (10, 80)]
    assert agents[0] > 5
    assert agents[1] < 80 / 10 * agents[0] / 2


def test_a_network_knows_its_core_set_better_than_what_is_not_in_it():
    width, cells = NETWORK(size=6, torso=MLPTorso(hidden=(32,)), seed=0), torch.eye(6)
    assert width(cells).tolist() == [1] * 6
    width.grow(cells, np.array([0, 1, 2]), np.ones(3), np.random.default_rng(0))
    assert width(cells[:3]).max() < 0.5 * width(cells[3:]).min()
    assert width(cells).max() == 1


def test_a_full_core_set_forgets_the_oldest():
    width, random = partial(NETWORK, capacity=2)(size=3, torso=MLPTorso(hidden=(4,)), seed=0), np.random.default_rng(0)
    for pair in range(3):
        width.grow(torch.eye(3), np.array([pair]), np.ones(1), random)
    assert torch.equal(width.core, torch.eye(3)[1:])


def test_everything_is_in_the_state():
    one, other = learned(4, lpo(NETWORK)), agent_of(seed=1, intrinsic=lpo(NETWORK))
    other.load_state(one.state())
    assert same(snapshot(one), snapshot(other))
    batch = made_up(agent_of(), DISCRETE, size=3)
    assert torch.equal(one.intrinsic(batch), other.intrinsic(batch))


def test_bad_values_are_refused():
    for given, field in (({"phase": 0}, "phase"), ({"bonus": -1.0}, "bonus")):
        with pytest.raises(ValueError, match=f"{field} must be"):
            agent_of(intrinsic=lpo(**given))


def test_running_statistics_would_move_the_policy_in_rollouts_that_are_dropped():
    with pytest.raises(ValueError, match="normalize has running statistics"):
        agent_of(intrinsic=lpo(), normalize=Running)
