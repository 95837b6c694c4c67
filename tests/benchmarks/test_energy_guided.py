"""The masses of eight Gaussians, and exact guidance."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from benchmarks.energy_guided import CENTRES, SPREAD, exact_masses, masses, mixture_score, nearest, slope_of, total_variation
from deeprl.agents.diffusion import alpha, guided, sample, sigma


def test_masses_of_the_modes():
    assert exact_masses(3.0) == pytest.approx([0.0179, 0.0275, 0.0423, 0.0649, 0.0996, 0.1529, 0.2347, 0.3602], abs=6e-5)
    assert exact_masses(10.0) == pytest.approx([0.0, 0.0001, 0.0006, 0.0025, 0.0105, 0.0437, 0.1822, 0.7604], abs=6e-5)
    assert nearest(CENTRES).tolist() == list(range(8))
    assert total_variation(exact_masses(0.0), np.full(8, 0.125)) == pytest.approx(0.0)


def test_guidance_with_the_exact_energy_gives_the_exact_masses():
    """Without guidance all modes are equally likely; with the exact log E[e^{β e} | x_t] their masses are those of e^{β e}."""
    x = torch.randn(4000, 2, generator=torch.Generator().manual_seed(0))
    weights = torch.as_tensor(exact_masses(3.0), dtype=torch.float32)

    def energy(x, t):
        apart = alpha(t) * torch.as_tensor(CENTRES, dtype=x.dtype) - x[:, None]
        logits = -0.5 * apart.square().sum(-1) / ((alpha(t) * SPREAD) ** 2 + sigma(t) ** 2)
        return (logits + weights.log()).logsumexp(-1) - logits.logsumexp(-1)

    plain = masses(sample(guided(mixture_score, slope_of(energy), scale=0.0), x, 31).numpy())
    assert total_variation(plain, np.full(8, 0.125)) < 0.04
    assert total_variation(masses(sample(guided(mixture_score, slope_of(energy)), x, 31).numpy()), exact_masses(3.0)) < 0.04
