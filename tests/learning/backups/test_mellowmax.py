"""The mellowmax backup: numbers by hand, its limits, its gradient, and the form for distributions."""

import math
from types import SimpleNamespace

import pytest
import torch

from deeprl.learning.backups.bellman import Max, Soft
from deeprl.learning.backups.mellowmax import Mellowmax, mellowmax
from deeprl.learning.values.distributions import CategoricalValues
from deeprl.learning.values.masked import INVALID
from tests.builders import transition, view


@pytest.mark.parametrize(
    ("values", "at"),
    [
        ((1.0, 2.0), {0.1: 1.512495, 1.0: 1.620115, 5.0: 1.862714, 10.0: 1.930690, 1000.0: 1.999307}),
        ((0.0, 0.0, 1.0), {0.1: 0.344565, 1.0: 0.452832, 5.0: 0.782955, 10.0: 0.890148}),
    ],
)
def test_numbers_by_hand(values, at):
    for omega, expected in at.items():
        y = Mellowmax(omega)(None, view(next=[list(values)]), transition(reward=1.0, discount=0.5)).mean()
        assert y.item() == pytest.approx(1.0 + 0.5 * expected, abs=1e-6)


def test_a_tiny_omega_is_the_mean_without_loss_of_digits():
    q = torch.tensor([[[100.0, 101.0, 103.0]]])
    for omega in (0.0, 1e-9, 1e-6):
        assert mellowmax(q, omega)[0].item() == pytest.approx(304.0 / 3.0, rel=1e-6)


def test_it_is_the_soft_backup_less_the_entropy_of_equal_actions():
    target, batch = view(next=[[1.0, 2.5, -3.0]]), transition(reward=1.0, discount=0.5)
    soft = Soft(temperature=0.2)(None, target, batch).mean()
    assert Mellowmax(5.0)(None, target, batch).mean().item() == pytest.approx(soft.item() - 0.5 * 0.2 * math.log(3.0), abs=1e-6)


def test_of_one_action_it_is_q_learning():
    target, batch = view(next=[[1.7]]), transition(reward=1.0, discount=0.5)
    assert Mellowmax(5.0)(None, target, batch).atoms.equal(Max()(None, target, batch).atoms)


def test_actions_that_are_not_valid_do_not_count():
    q = torch.tensor([[[1.0, INVALID, 2.0]]])
    for omega, expected in ((5.0, 1.862714), (0.0, 1.5)):
        value, policy = mellowmax(q, omega)
        assert value.item() == pytest.approx(expected, abs=1e-6)
        assert policy[..., 1].item() == 0.0


def test_its_gradient_is_the_softmax():
    q = torch.tensor([[[1.0, 2.0]]], requires_grad=True)
    mellowmax(q, 5.0)[0].sum().backward()
    assert q.grad.flatten().tolist() == pytest.approx([0.006693, 0.993307], abs=1e-6)


def test_categories_are_mixed_and_shifted_to_the_same_mean():
    """Both actions are certain: 1 and 2. Weights 0.006693 and 0.993307, mean of the mixture 1.993307, shift −0.130594."""
    support = torch.tensor([1.0, 2.0])
    logits = torch.tensor([[[[40.0, 0.0], [0.0, 40.0]]]])  # (K, B, A, N)
    target = SimpleNamespace(next=CategoricalValues(logits, support, 1.0, 2.0, torch.zeros(1, 1, 1)))
    found = Mellowmax(5.0)(None, target, transition(reward=0.0, discount=1.0))
    assert found.atoms.flatten().tolist() == pytest.approx([1.0 - 0.130594, 2.0 - 0.130594], abs=1e-5)
    assert found.probs.flatten().tolist() == pytest.approx([0.006693, 0.993307], abs=1e-5)
    assert found.mean().item() == pytest.approx(1.862714, abs=1e-5)


def test_a_negative_omega_is_refused():
    with pytest.raises(ValueError, match="omega must be at least 0"):
        Mellowmax(-1.0)


@pytest.mark.parametrize("omega", [0.0, 5.0])
def test_where_an_episode_ended_no_action_need_be_valid(omega):
    """It was NaN, which the discount of 0 did not remove."""
    batch = transition(reward=1.0, discount=0.0)
    assert Mellowmax(omega)(None, view(next=[[INVALID, INVALID]]), batch).mean().item() == 1.0
