"""The point, its data, and the steps of rollouts in order."""

from __future__ import annotations

from types import SimpleNamespace

import torch

from benchmarks.edge_of_reach import LENGTHS, RADIUS, moved, rolled, starts
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
