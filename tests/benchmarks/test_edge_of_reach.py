"""The point, its data, and the steps of rollouts in order."""

from __future__ import annotations

from types import SimpleNamespace

import torch

from benchmarks.edge_of_reach import ARMS, LENGTHS, RADIUS, agent_of, batch_of, moved, rolled, starts
from deeprl.extend import certain


def test_data_are_near_the_middle_and_a_wall_stops_the_point():
    generator = torch.Generator().manual_seed(0)
    assert starts(1000, generator).norm(dim=1).max() <= RADIUS
    assert moved(torch.tensor([[0.95, -0.3]]), torch.tensor([[1.0, -1.0]])).tolist() == [[1.0, torch.tensor(-0.4).item()]]


def test_each_step_of_a_rollout_starts_where_the_one_before_ended():
    agent = SimpleNamespace(actor=SimpleNamespace(sample=lambda obs, noise: (torch.ones_like(obs), certain(len(obs)))))
    state, action, after = rolled(agent, 3, 5, torch.Generator().manual_seed(0))
    assert state.shape == action.shape == after.shape == (15, 2)
    assert torch.equal(state[5:], after[:-5])
    torch.testing.assert_close(after[-5:], state[:5] + 0.3)


def test_the_longest_rollout_is_long_enough_to_cross_the_square():
    assert 0.1 * max(LENGTHS) >= 2.0


def test_zero_bounds_the_values_that_critics_learn():
    """An entropy in the targets adds up to α D log 2 to the value of every later step, 137 in all at α = 1."""
    generator, agent = torch.Generator().manual_seed(0), agent_of(*ARMS["N = 2"], seed=0)
    for parameter in agent.chain.parameters():
        parameter.zero_()  # Q̄ = 0, the bound
    online, target, batch = agent.views(batch_of(agent, rolled(agent, 1, 10, generator), generator))
    assert agent.targets(online, target, batch).mean().max() <= 0.0
