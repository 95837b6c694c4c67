"""Bellman operators on numbers that can be redone on paper."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from deeprl.backups.actor import PolicyBackup
from deeprl.backups.bellman import Double, Max
from deeprl.backups.policies import greedy
from deeprl.values.reduce import Minimum
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


def side(action, value=None, **more):
    """An actor that always answers `action`, and critics that answer `value(action)`, (E, B)."""

    def reduced(obs, a):
        return Minimum()(value(a)[None, ..., None])

    return SimpleNamespace(actor=lambda obs: torch.tensor(action), value=reduced, **more)


def constant(*q):
    return lambda action: torch.tensor(q).unsqueeze(-1).expand(len(q), len(action))


@pytest.mark.parametrize(("discount", "y"), [(0.99, 10.405), (0.0, 1.0)], ids=["running or truncated", "terminated"])
def test_td3_target(discount, y):
    batch = make_batch([[0.0]], [[0.0]], [1.0], [discount], [[0.0]])
    target = side([[0.0]], constant(10.0, 9.5))
    assert PolicyBackup(smoothing=0.0)(None, target, batch).mean().item() == pytest.approx(y, abs=1e-6)


def test_smoothing_is_clipped_and_so_is_the_action():
    actor = [[0.0, 0.9, -0.95], [0.1, 0.2, 0.3]]
    normal = torch.tensor([[1.0, 1.0, -10.0], [10.0, -10.0, 0.0]])  # one draw for each sample and each of D = 3 dimensions
    batch = make_batch([0, 0], [0, 0], [0.0, 0.0], 1.0, [0, 0], noise={"smoothing": normal})
    action = PolicyBackup(smoothing=0.2, clip=0.5).next_action(None, side(actor), batch)
    torch.testing.assert_close(action, torch.tensor([[0.2, 1.0, -1.0], [0.6, -0.3, 0.3]]))


def test_the_smoothed_action_is_the_one_that_the_critics_rate():
    batch = make_batch([0], [0], [1.0], 0.5, [0], noise={"smoothing": torch.tensor([[2.0]])})
    target = side([[0.25]], lambda action: torch.stack([10 * action[:, 0], 100 * action[:, 0]]))
    assert PolicyBackup(smoothing=0.125)(None, target, batch).mean().item() == 1.0 + 0.5 * 10 * 0.5


@pytest.mark.parametrize(("target_actor", "expected"), [(True, 0.25), (False, -0.5)])
def test_whose_actor_is_asked(target_actor, expected):
    backup = PolicyBackup(target_actor=target_actor, smoothing=0.0)
    assert backup.next_action(side([[-0.5]]), side([[0.25]]), make_batch([0], [0], [0.0], 1.0, [0])).item() == expected


def test_noise_is_asked_for_only_if_it_is_used():
    assert PolicyBackup(smoothing=0.2).noise_shapes(3) == {"smoothing": (3,)}
    assert PolicyBackup(smoothing=0.0).noise_shapes(3) == {}


@pytest.mark.parametrize("field", ["smoothing", "clip"])
def test_negative_widths_are_refused_by_name(field):
    with pytest.raises(ValueError, match=f"^{field} must be at least 0, not -0.1"):
        PolicyBackup(**{field: -0.1})
