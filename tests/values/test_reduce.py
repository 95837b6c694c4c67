"""What an ensemble of critics says together."""

from __future__ import annotations

import pytest
import torch

from deeprl.values.reduce import First, Mean, Minimum

K, E, B, N = 2, 3, 4, 5
SCALAR = torch.tensor([[1.0, 8.0], [3.0, 5.0], [2.0, 11.0]]).view(1, 3, 2, 1)  # three critics, two rows


@pytest.mark.parametrize(("reduce", "expected"), [(First(), [1.0, 8.0]), (Minimum(), [1.0, 5.0]), (Mean(), [2.0, 8.0])])
def test_scalar_critics(reduce, expected):
    returns = reduce(SCALAR)
    assert returns.atoms.shape == (1, 2, 1)
    assert returns.mean().tolist() == [expected]


@pytest.mark.parametrize(("reduce", "atoms"), [(First(), N), (Minimum(), N), (Mean(), E * N)])
def test_shapes(reduce, atoms):
    assert reduce(torch.randn(K, E, B, N)).atoms.shape == (K, B, atoms)
    assert reduce(torch.randn(K, E, 6, B, N)).atoms.shape == (K, 6, B, atoms)  # sequences


def test_the_minimum_of_distributions_is_the_critic_with_the_lower_mean_as_a_whole():
    atoms = torch.tensor([[[0.0, 10.0], [1.0, 1.0]], [[4.0, 5.0], [-50.0, 90.0]]]).unsqueeze(0)  # means: 5 and 1, 4.5 and 20
    assert Minimum()(atoms).atoms.tolist() == [[[4.0, 5.0], [1.0, 1.0]]]


def test_each_iteration_and_row_has_its_own_minimum():
    atoms = torch.randn(K, E, B, N, generator=torch.Generator().manual_seed(0))
    got = Minimum()(atoms).atoms
    for k in range(K):
        for b in range(B):
            assert torch.equal(got[k, b], atoms[k, atoms[k, :, b].mean(-1).argmin(), b])


def test_pooling_keeps_every_atom():
    atoms = torch.arange(float(K * E * B * N)).view(K, E, B, N)
    pooled = Mean()(atoms)
    assert pooled.atoms[1, 2].tolist() == atoms[1, :, 2].flatten().tolist()
    torch.testing.assert_close(pooled.mean(), atoms.mean((1, 3)))


@pytest.mark.parametrize("atoms", [1, N])
@pytest.mark.parametrize("reduce", [First(), Minimum(), Mean()])
def test_one_critic_is_itself(reduce, atoms):
    values = torch.randn(K, 1, B, atoms)
    assert torch.equal(reduce(values).atoms, values[:, 0])
