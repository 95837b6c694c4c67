"""The masses of eight Gaussians and of sets of points, and exact guidance."""

from __future__ import annotations

import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from benchmarks import energy_guided
from benchmarks.energy_guided import (
    CENTRES,
    SETS,
    Data,
    cells,
    data_of,
    exact_cells,
    exact_masses,
    loss_of,
    masses,
    mixture_score,
    nearest,
    slope_of,
    total_variation,
)
from deeprl.agents.diffusion import alpha, guided, sample, sigma


def test_masses_of_the_modes():
    assert exact_masses(3.0) == pytest.approx([0.0179, 0.0275, 0.0423, 0.0649, 0.0996, 0.1529, 0.2347, 0.3602], abs=6e-5)
    assert exact_masses(10.0) == pytest.approx([0.0, 0.0001, 0.0006, 0.0025, 0.0105, 0.0437, 0.1822, 0.7604], abs=6e-5)
    assert nearest(CENTRES).tolist() == list(range(8))
    assert total_variation(exact_masses(0.0), np.full(8, 0.125)) == pytest.approx(0.0)


def numbers(u: float, noise: float = 0.0) -> SimpleNamespace:
    """In place of a generator: the same number each time."""
    return SimpleNamespace(random=lambda n: np.full(n, u), standard_normal=lambda shape: np.full(shape, noise))


ROOT = math.sqrt(0.5)
GIVEN = {
    "rings": ("rings", 0.0, 0.0, [(3, 0), (2.25, 0), (1.5, 0), (0.75, 0)], [2 / 3, 1 / 3, 1, 0]),
    "rings with noise": ("rings", 0.25, 1.0, [(0.08, 3.08), (0.08, 2.33), (0.08, 1.58), (0.08, 0.83)], [2 / 3, 1 / 3, 1, 0]),
    "moons": ("moons", 0.5, 0.0, [(-1, 1.8), (1, -1.2)], [0, 1]),
    "swissroll": ("swissroll", 0.25, 0.0, [(0.45 * math.pi * ROOT, 0.45 * math.pi * ROOT)], [(0.45 * math.pi) ** 2 / 9]),
    "swissroll at its end": ("swissroll", 1.0, 1.0, [(0.2, 0.9 * math.pi + 0.2)], [1]),  # 1.023 without the bound
    "checkerboard, column 1": ("checkerboard", 0.1, 0.0, [(-3.2, 0.2), (-3.2, -3.8)], [1, 1]),
    "checkerboard, column 2": ("checkerboard", 0.3, 0.0, [(-1.6, 2.6), (-1.6, -1.4)], [0, 0]),
    "checkerboard, column 3": ("checkerboard", 0.6, 0.0, [(0.8, 1.2), (0.8, -2.8)], [1, 1]),
    "checkerboard, column 4": ("checkerboard", 0.8, 0.0, [(2.4, 3.6), (2.4, -0.4)], [0, 0]),
}  # fmt: skip


@pytest.mark.parametrize("what", GIVEN)
def test_points_and_their_energies(what):
    name, u, noise, points, energies = GIVEN[what]
    found = getattr(energy_guided, name)(len(points), numbers(u, noise))
    assert found[0] == pytest.approx(np.array(points, float))
    assert found[1] == pytest.approx(energies)


def test_masses_of_cells():
    """With β = ln 3 a point of energy 1 has three times the mass of one of energy 0. Half of a point on an edge is on each side."""
    data = Data(np.array([(0.25, 0.25), (-0.25, 0.25)]), np.array([1.0, 0.0]), 1e-3)
    exact = exact_cells(data, math.log(3.0))
    assert (exact[10, 10], exact[9, 10]) == pytest.approx((0.75, 0.25))
    edge = exact_cells(Data(np.array([(0.0, 100.0)]), np.array([0.0]), 0.1), 10.0)
    assert (edge[9, -1], edge[10, -1]) == pytest.approx((0.5, 0.5))
    assert cells(np.array([(0.25, 0.25)] * 3 + [(-0.25, 0.25)])) == pytest.approx(exact, abs=1e-12)
    assert total_variation(cells(np.array([(0.0, 100.0), (-0.1, 5.0)])), edge) == pytest.approx(0.0, abs=1e-5)


def test_masses_of_the_sets():
    """e³ / (e² + e + e³ + 1) on the ring of energy 1; half of the moons and of the squares have it. A set is the same each time."""
    for name, mass in {"rings": 0.6439, "moons": 0.9526, "checkerboard": 0.9526}.items():
        data = data_of(name)
        weights = np.exp(3.0 * data.energies)
        assert weights[data.energies == 1.0].sum() / weights.sum() == pytest.approx(mass, abs=0.01)
    for each in SETS:
        data = data_of(each.__name__)
        assert exact_cells(data, 10.0).sum() == pytest.approx(1.0)
        assert np.array_equal(data.centres, data_of(each.__name__).centres)


def test_three_losses():
    """f = (ln 3, 0) for β e of the same: nothing to learn but for the entropy, which the contrastive loss does not subtract."""
    energies = torch.tensor([[math.log(3.0), 0.0]])
    assert loss_of("contrastive", energies, energies).sum().item() == pytest.approx(0.5623, abs=1e-4)  # of (3/4, 1/4)
    for name, slope in {"regression": 2 * math.log(3.0), "exponential": 2 * (3 - 1)}.items():
        predicted = energies.clone().requires_grad_(True)
        loss_of(name, energies, predicted).sum().backward()
        assert predicted.grad.abs().max() == 0
        loss_of(name, energies, flat := torch.zeros(1, 2, requires_grad=True)).sum().backward()
        assert flat.grad.tolist() == [[pytest.approx(-slope), 0.0]]


def exact_energy(data: Data, beta: float):
    """log E[e^{β e} | x_t] of a mixture."""
    weights = torch.as_tensor(data.energies * beta, dtype=torch.float32)

    def energy(x, t):
        apart = alpha(t) * torch.as_tensor(data.centres, dtype=x.dtype) - x[:, None]
        logits = -0.5 * apart.square().sum(-1) / ((alpha(t) * data.spread) ** 2 + sigma(t) ** 2)
        return (logits + weights).logsumexp(-1) - logits.logsumexp(-1)

    return slope_of(energy)


def test_guidance_with_the_exact_energy_gives_the_exact_masses():
    """Without guidance all modes are equally likely; with the exact log E[e^{β e} | x_t] their masses are those of e^{β e}."""
    x, slope = torch.randn(4000, 2, generator=torch.Generator().manual_seed(0)), exact_energy(data_of("eight"), 3.0)
    plain = masses(sample(guided(mixture_score, slope, scale=0.0), x, 31).numpy())
    assert total_variation(plain, np.full(8, 0.125)) < 0.04
    assert total_variation(masses(sample(guided(mixture_score, slope), x, 31).numpy()), exact_masses(3.0)) < 0.04


def test_guidance_on_a_set_of_points():
    """Sixty points of the rings; 4,000 exact samples are 0.052 away."""
    data = Data(*energy_guided.rings(60, np.random.default_rng(1)), 0.1)
    x = torch.randn(4000, 2, generator=torch.Generator().manual_seed(0))
    score = energy_guided.partial(mixture_score, data=data)
    found = cells(sample(guided(score, exact_energy(data, 3.0)), x, energy_guided.MANY).numpy())
    assert total_variation(found, exact_cells(data, 3.0)) < 0.07
    assert total_variation(found, exact_cells(data, 0.0)) > 0.3
