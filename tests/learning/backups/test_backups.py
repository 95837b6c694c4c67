"""Bellman operators on numbers that can be redone on paper."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from deeprl.learning.backups.actor import PolicyBackup
from deeprl.learning.backups.bellman import Double, Max
from deeprl.learning.backups.policies import greedy
from tests.builders import make_batch, transition, view


def test_max_takes_the_targets_best_action():
    y = Max()(view(next=[[9.0, 0.0]]), view(next=[[5.0, 2.0]]), transition(reward=1.0, discount=0.5))
    assert y.mean().tolist() == [[1.0 + 0.5 * 5.0]]


def test_double_backup_uses_the_online_choice():
    online, target = view(next=[[0.0, 1.0]]), view(next=[[5.0, 2.0]])  # online prefers action 1; the target says 2 for it
    y = Double()(online, target, transition(reward=1.0, discount=0.5)).mean()
    assert y.item() == 1.0 + 0.5 * 2.0


def test_each_target_of_a_chain_rates_its_own_best_action():
    target = view(next=[[[1.0, 2.0, 0.0]], [[7.0, 3.0, 5.0]]])  # K, B, A = 2, 1, 3
    y = Max()(None, target, transition(reward=10.0, discount=0.5))
    assert y.atoms.tolist() == [[[11.0]], [[13.5]]]


def test_in_a_chain_the_kth_online_network_picks_for_the_kth_target():
    online = view(next=[[[0.0, 0.0, 1.0]], [[0.0, 1.0, 0.0]]])
    target = view(next=[[[1.0, 2.0, 4.0]], [[8.0, 16.0, 32.0]]])
    assert Double()(online, target, transition(reward=0.0, discount=1.0)).mean().tolist() == [[4.0], [16.0]]


@pytest.mark.parametrize("backup", [Max(), Double()])
def test_after_a_termination_the_target_is_the_reward_exactly(backup):
    q = torch.tensor([[1e30, -1e30]])
    assert backup(view(next=q), view(next=q), transition(reward=0.1, discount=0.0)).mean().item() == torch.tensor(0.1).item()


@pytest.mark.parametrize("backup", [Max(), Double()])
def test_rows_of_a_batch_do_not_mix(backup):
    q = [[1.0, 2.0], [4.0, 3.0], [0.0, -1.0]]
    batch = make_batch([0, 0, 0], [0, 0, 0], [10.0, 20.0, 30.0], [1.0, 0.5, 0.25], [0, 0, 0])
    assert backup(view(next=q), view(next=q), batch).mean().tolist() == [[12.0, 22.0, 30.0]]


def test_ties_go_to_the_lowest_action():
    assert greedy(torch.tensor([[[1.0, 3.0, 3.0], [2.0, 2.0, 2.0]]])).tolist() == [[1, 0]]


# ---- with a policy


def always(action):
    """A deterministic actor that answers `action`."""
    return SimpleNamespace(sample=lambda obs, noise: (torch.tensor(action), None))


def test_smoothing_is_clipped_and_so_is_the_action():
    actor = always([[0.0, 0.9, -0.95], [0.1, 0.2, 0.3]])
    normal = torch.tensor([[1.0, 1.0, -10.0], [10.0, -10.0, 0.0]])  # one draw for each sample and each of D = 3 dimensions
    action, log_prob = PolicyBackup(smoothing=0.2, clip=0.5).next_action(actor, torch.zeros(2, 1), {"smoothing": normal})
    torch.testing.assert_close(action, torch.tensor([[0.2, 1.0, -1.0], [0.6, -0.3, 0.3]]))
    assert log_prob is None


def test_noise_is_drawn_only_if_it_is_used():
    def names(smoothing, stochastic):
        return set(PolicyBackup(smoothing=smoothing).noise((4, 6, 3), stochastic, torch.Generator()))

    assert names(0.2, False) == {"smoothing"}
    assert names(0.0, False) == set()
    assert names(0.0, True) == {"next_action"}
    assert names(0.2, True) == {"smoothing", "next_action"}


@pytest.mark.parametrize("field", ["smoothing", "clip"])
def test_negative_widths_are_refused_by_name(field):
    with pytest.raises(ValueError, match=f"^{field} must be at least 0, not -0.1"):
        PolicyBackup(**{field: -0.1})
