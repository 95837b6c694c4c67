"""Quadrature and integral reinforcement learning: published weights, orders and solutions."""

from __future__ import annotations

import numpy as np
import pytest

from deeprl_lab.mathematics.integral_rl import linear_plant, nonlinear_plant, policy_iteration
from deeprl_lab.mathematics.quadrature import area, bayesian, matern, trapezoid


def test_weights_of_the_kernel():
    assert bayesian(3, 0.1, 0.3) / 0.1 == pytest.approx([0.17073, 0.65866, 0.17073], abs=1e-5)
    assert bayesian(5, 0.1, 0.3) / 0.1 == pytest.approx([0.08403, 0.33146, 0.16903, 0.33146, 0.08403], abs=1e-5)
    assert trapezoid(5, 1.0).tolist() == [0.125, 0.25, 0.25, 0.25, 0.125]


def test_the_area_under_the_kernel():
    t = np.linspace(0, 0.4, 4001)
    assert area(np.array(0.4), 0.3) == pytest.approx(trapezoid(4001, 0.4) @ matern(t, 0.3), abs=1e-7)


@pytest.mark.parametrize(
    ("rule", "errors"),
    [
        (trapezoid, [-2.2e-2, -5.4e-3, -1.3e-3]),
        (lambda n, t: bayesian(n, t, 1.0), [-4.3e-4, 3.8e-5, 2.9e-6]),
        (lambda n, t: bayesian(n, t, 0.3), [-9.4e-3, -8.4e-4, -4.9e-5]),
    ],
)
def test_an_integral(rule, errors):
    """∫₀¹ e^(−t) sin 5t dt = (5 − e⁻¹ (sin 5 + 5 cos 5)) / 26"""
    exact = (5 - np.exp(-1) * (np.sin(5) + 5 * np.cos(5))) / 26
    for n, error in zip((5, 9, 17), errors):
        t = np.linspace(0, 1, n)
        assert rule(n, 1.0) @ (np.exp(-t) * np.sin(5 * t)) - exact == pytest.approx(error, rel=0.05)


def test_the_linear_plant():
    """The published matrix, and the published error of the trapezoid rule with N = 5."""
    plant = linear_plant()
    published = [2.355031, 2.238452, 0.904988, 2.238452, 4.241942, 1.893095, 0.904988, 1.893095, 1.596996]
    assert plant.truth == pytest.approx(published, abs=1e-6)
    found = policy_iteration(plant, trapezoid(5, 0.1), tolerance=1e-3, resolution=8)
    assert np.linalg.norm(found[-1] - plant.truth) == pytest.approx(1.1776e-3, rel=1e-3)


def test_the_error_is_that_of_the_quadrature():
    plant = nonlinear_plant()
    rules = {"trapezoid": trapezoid, "kernel": lambda n, t: bayesian(n, t, 0.3)}
    errors = {
        name: [np.linalg.norm(policy_iteration(plant, rule(n, 0.1), 9, 1e-9, 8)[-1] - plant.truth) for n in (5, 9)]
        for name, rule in rules.items()
    }
    order = {name: np.log2(coarse / fine) for name, (coarse, fine) in errors.items()}
    assert order["trapezoid"] == pytest.approx(2.0, abs=0.05)
    assert order["kernel"] > 2.5
