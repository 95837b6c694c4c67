"""What an ensemble of critics says together."""

from __future__ import annotations

import pytest
import torch

from deeprl.learning.values.reduce import First, Mean, Minimum, QuantileMean, Subset, Truncate
from deeprl.learning.values.returns import Returns

K, E, B, N = 2, 3, 4, 5
SCALAR = torch.tensor([[1.0, 8.0], [3.0, 5.0], [2.0, 11.0]]).view(1, 3, 2, 1)  # three critics, two rows


@pytest.mark.parametrize(("reduce", "expected"), [(First(), [1.0, 8.0]), (Minimum(), [1.0, 5.0]), (Mean(), [2.0, 8.0])])
def test_scalar_critics(reduce, expected):
    returns = reduce(Returns(SCALAR), {})
    assert returns.atoms.shape == (1, 2, 1)
    assert returns.mean().tolist() == [expected]


@pytest.mark.parametrize(("reduce", "atoms"), [(First(), N), (Minimum(), N), (Mean(), E * N), (QuantileMean(), N)])
def test_shapes(reduce, atoms):
    assert reduce(Returns(torch.randn(K, E, B, N)), {}).atoms.shape == (K, B, atoms)
    assert reduce(Returns(torch.randn(K, E, 6, B, N)), {}).atoms.shape == (K, 6, B, atoms)  # sequences


def test_the_minimum_of_distributions_is_the_critic_with_the_lower_mean_as_a_whole():
    atoms = torch.tensor([[[0.0, 10.0], [1.0, 1.0]], [[4.0, 5.0], [-50.0, 90.0]]]).unsqueeze(0)  # means: 5 and 1, 4.5 and 20
    assert Minimum()(Returns(atoms), {}).atoms.tolist() == [[[4.0, 5.0], [1.0, 1.0]]]


def test_each_iteration_and_row_has_its_own_minimum():
    atoms = torch.randn(K, E, B, N, generator=torch.Generator().manual_seed(0))
    got = Minimum()(Returns(atoms), {}).atoms
    for k in range(K):
        for b in range(B):
            assert torch.equal(got[k, b], atoms[k, atoms[k, :, b].mean(-1).argmin(), b])


def test_pooling_keeps_every_atom():
    atoms = torch.arange(float(K * E * B * N)).view(K, E, B, N)
    pooled = Mean()(Returns(atoms), {})
    assert pooled.atoms[1, 2].tolist() == atoms[1, :, 2].flatten().tolist()
    torch.testing.assert_close(pooled.mean(), atoms.mean((1, 3)))


@pytest.mark.parametrize("atoms", [1, N])
@pytest.mark.parametrize("reduce", [First(), Minimum(), Mean(), QuantileMean()])
def test_one_critic_is_itself(reduce, atoms):
    values = torch.randn(K, 1, B, atoms)
    assert torch.equal(reduce(Returns(values), {}).atoms, values[:, 0])


def test_quantiles_of_the_same_fraction_are_averaged():
    atoms = torch.tensor([[0.0, 2.0], [4.0, 10.0]]).view(1, 2, 1, 2)
    assert QuantileMean()(Returns(atoms), {}).atoms.tolist() == [[[2.0, 6.0]]]
    assert Mean()(Returns(atoms), {}).atoms.tolist() == [[[0.0, 2.0, 4.0, 10.0]]]


def test_categories_are_chosen_and_mixed_with_their_probabilities():
    support = torch.tensor([0.0, 10.0])
    probs = torch.tensor([[[0.5, 0.5], [0.1, 0.9]], [[0.2, 0.8], [0.6, 0.4]]]).unsqueeze(0)  # (K, E, B, N); means 5, 9 and 8, 4
    values = Returns(support.expand_as(probs), probs)
    assert Minimum()(values, {}).probs.tolist() == [[pytest.approx([0.5, 0.5]), pytest.approx([0.6, 0.4])]]
    mixed = Mean()(values, {})
    assert mixed.probs.sum(-1).tolist() == [pytest.approx([1.0, 1.0])]
    assert mixed.mean().tolist() == [pytest.approx([6.5, 6.5])]


def test_a_subset_is_the_minimum_of_the_critics_that_were_drawn():
    noise = {"subset": torch.tensor([0.1, 0.9, 0.2])}  # the smallest two: critics 0 and 2
    assert Subset(size=2)(Returns(SCALAR), noise).mean().tolist() == [[1.0, 8.0]]
    noise = {"subset": torch.tensor([0.5, 0.1, 0.2])}  # critics 1 and 2
    assert Subset(size=2)(Returns(SCALAR), noise).mean().tolist() == [[2.0, 5.0]]
    assert torch.equal(Subset(size=3)(Returns(SCALAR), noise).atoms, Minimum()(Returns(SCALAR), {}).atoms)
    with pytest.raises(ValueError, match="size of the reduction must be at most agent.ensemble=3, not 4"):
        Subset(size=4)(Returns(SCALAR), noise)


def test_each_subset_of_two_is_drawn_equally_often():
    drawn = Subset(size=2).noise(30_000, 3, torch.Generator().manual_seed(0))["subset"]
    left_out = drawn.argsort(1)[:, 2].bincount() / 30_000
    assert left_out.tolist() == pytest.approx([1 / 3] * 3, abs=0.01)  # four standard errors


def test_truncation_leaves_out_the_largest_atoms_of_all_critics_together():
    atoms = torch.tensor([[1.0, 2.0, 3.0], [0.0, 9.0, 8.0]]).view(1, 2, 1, 3)
    assert Truncate(drop=1)(Returns(atoms), {}).atoms.tolist() == [[[0.0, 1.0, 2.0, 3.0]]]  # 2 · 1 atoms fewer
    three = torch.cat([atoms, torch.tensor([[[4.0, 5.0, 6.0]]]).view(1, 1, 1, 3)], 1)
    assert Truncate(drop=1)(Returns(three), {}).atoms.tolist() == [[[0.0, 1.0, 2.0, 3.0, 4.0, 5.0]]]  # 3 · 1 fewer
    assert Truncate(drop=0)(Returns(atoms), {}).mean().item() == pytest.approx(23 / 6)
    with pytest.raises(ValueError, match="drop of the reduction must be below the number of atoms of a critic, 3, not 3"):
        Truncate(drop=3)(Returns(atoms), {})
