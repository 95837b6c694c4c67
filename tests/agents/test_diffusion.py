"""The schedule's table, the solver beside the exact map of a Gaussian, and the contrastive loss."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from deeprl.agents.diffusion import LAST, alpha, contrastive, first_order, half_log_snr, sample, second_order, sigma

TABLE = [
    (0.001, 0.999945, 0.010485, 4.557715),
    (0.1, 0.946722, 0.322053, 1.078291),
    (0.25, 0.723657, 0.690160, 0.047395),
    (0.5, 0.281183, 0.959654, -1.227568),
    (0.75, 0.058664, 0.998278, -2.834214),
    (1.0, 0.006572, 0.999978, -5.024978),
]


@pytest.mark.parametrize(("t", "a", "s", "half"), TABLE, ids=str)
def test_the_schedule(t, a, s, half):
    assert (alpha(t), sigma(t), half_log_snr(t)) == pytest.approx((a, s, half), abs=2e-6)


def gaussian(x, t):
    """x̂ for data N(0, ¼)."""
    return alpha(t) * 0.25 / (alpha(t) ** 2 * 0.25 + sigma(t) ** 2) * x


def exact(s, t):
    """Factor of the exact map."""
    return math.sqrt((alpha(t) ** 2 / 4 + sigma(t) ** 2) / (alpha(s) ** 2 / 4 + sigma(s) ** 2))


def test_one_step_beside_the_exact_map():
    middle = 0.7878274363464609
    assert half_log_snr(middle) == pytest.approx(0.5 * (half_log_snr(1.0) + half_log_snr(0.5)))
    assert first_order(1.0, 1.0, 0.5, gaussian(1.0, 1.0)) == pytest.approx(0.960127, abs=2e-6)
    assert second_order(1.0, 1.0, middle, 0.5, gaussian) == pytest.approx(0.962689, abs=2e-6)
    assert exact(1.0, 0.5) == pytest.approx(0.969914, abs=2e-6)
    assert exact(1.0, LAST) == pytest.approx(0.5000906, abs=1e-6)


@pytest.mark.parametrize(("evaluations", "error"), [(15, -5.6e-2), (31, -1.8e-2), (63, -5.9e-3), (127, -1.9e-3)])
def test_the_error_of_whole_trajectories(evaluations, error):
    asked = []

    def predict(x, t):
        asked.append(t)
        return gaussian(x, t)

    assert sample(predict, 1.0, evaluations) - exact(1.0, LAST) == pytest.approx(error, rel=0.03)
    assert len(asked) == evaluations


def test_an_even_number_of_evaluations_ends_with_two_steps_of_order_one():
    asked = []
    sample(lambda x, t: asked.append(t) or 0.0, 1.0, 6)
    times = np.linspace(1.0, LAST, 7)
    assert asked == pytest.approx(times[:6])


def test_the_loss_of_a_set():
    energies = 3.0 * torch.tensor([1.0, 0.0, -1.0])
    weights = energies.softmax(-1)
    assert weights.tolist() == pytest.approx([0.950330, 0.047314, 0.002356], abs=1e-6)
    assert (weights @ torch.tensor([1.0, 0.0, -1.0])).item() == pytest.approx(0.947975, abs=1e-6)
    entropy = -(weights * weights.log()).sum()
    torch.testing.assert_close(contrastive(energies, energies), entropy)  # the minimum
    torch.testing.assert_close(contrastive(energies, energies + 5.0), entropy)  # a constant of a set and a time changes nothing
    assert not torch.func.grad(lambda f: contrastive(energies[:1], f))(torch.ones(1)).any()  # of one point there is nothing to learn
