"""Laws of scaling on curves whose answer is known."""

import numpy as np
import pytest

from deeprl.tools.scaling.fits import cheapest, data_law, falling, frontier, isotonic, operations, power_law, reached

SIGMA = np.array([0.5, 1, 2, 4, 8])


def test_neighbours_that_fall_are_replaced_by_their_mean():
    assert isotonic(np.array([1.0, 3, 2, 2, 5, 4])).tolist() == pytest.approx([1, 7 / 3, 7 / 3, 7 / 3, 4.5, 4.5])
    assert isotonic(np.array([3.0, 2, 1])).tolist() == [2, 2, 2]
    assert falling(np.array([1.0, 2, 3])) == 0
    assert falling(np.array([0.0, 1, 0])) == pytest.approx(np.sqrt(0.5 / 3))


def test_a_return_is_reached_between_two_evaluations():
    steps, returns = np.array([100.0, 200, 300, 400]), np.array([0.0, 10, 30, 20])  # monotone: 0, 10, 25, 25
    assert reached(steps, returns, 10) == 200
    assert reached(steps, returns, 17.5) == 250
    assert np.isnan(reached(steps, returns, 26))
    assert reached(steps, returns, -5) == 100


def test_exponents_of_synthetic_laws_are_recovered_within_a_twentieth():
    noise = np.random.default_rng(0)
    for slope in (-0.31, 0.28):
        law = power_law(SIGMA, 400 * SIGMA**slope * np.exp(0.02 * noise.standard_normal(5)))
        assert law.slope == pytest.approx(slope, abs=0.05)
        assert law.scale == pytest.approx(400, rel=0.05)
    found = data_law(SIGMA, (6e4 + (9e4 / SIGMA) ** 0.9) * np.exp(0.002 * noise.standard_normal(5)))
    assert found.alpha == pytest.approx(0.9, abs=0.05)
    assert found(16.0) == pytest.approx(6e4 + (9e4 / 16) ** 0.9, rel=0.05)


def test_the_papers_form_is_the_same_family():
    """m (c + (σ/b)^−a) of its Gym fit: m = 2.11e5, a = .700, b = 2.289, c = 1.031"""
    m, a, b, c = 2.11e5, 0.700, 2.289, 1.031
    found = data_law(SIGMA, m * (c + (SIGMA / b) ** -a))
    assert found.alpha == pytest.approx(a, abs=1e-3)
    assert found.floor == pytest.approx(m * c, rel=1e-3)
    assert found.factor == pytest.approx(m * b**a, rel=1e-3)
    assert found.error < 1e-4


def test_rescaled_steps_keep_the_exponent():
    data = 5e4 + (2e5 / SIGMA) ** 0.8
    one, other = data_law(SIGMA, data), data_law(SIGMA, 7 * data)
    assert other.alpha == pytest.approx(one.alpha, rel=1e-6)
    assert other.floor == pytest.approx(7 * one.floor, rel=1e-4)


def test_three_points_have_no_floor_and_a_floor_alone_is_found():
    assert data_law(SIGMA[:3], 1e5 * SIGMA[:3] ** -0.5).floor == 0
    assert data_law(SIGMA[:3], 1e5 * SIGMA[:3] ** -0.5)(8.0) == pytest.approx(1e5 * 8**-0.5)
    constant = data_law(SIGMA, np.full(5, 3e4))
    assert constant(100.0) == pytest.approx(3e4, rel=1e-3)


@pytest.mark.parametrize("data", [[500.0] * 3, [5000.0, 4979, 4958], [5000.0, 5021, 5042], [4e7, 3.95e7, 3.9e7, 3.85e7]])
def test_data_that_hardly_change_are_a_flat_law(data):
    law = data_law(SIGMA[: len(data)], np.array(data))
    assert law(SIGMA[: len(data)]) == pytest.approx(data, rel=1e-3)
    assert law(16.0) == pytest.approx(data[-1], rel=0.05)
    assert law.error < 1e-3


def test_no_curve_reaches_what_is_no_number():
    assert np.isnan(reached(SIGMA, SIGMA, float("nan")))


def test_a_power_law_refuses_one_place_and_zero():
    for x, y in (([2, 2], [1, 3]), ([1, 2], [0, 3])):
        with pytest.raises(ValueError, match="positive numbers at two places"):
            power_law(np.array(x), np.array(y))


def test_operations_of_one_step_at_one_update():
    """SAC's 150,000 parameters and a batch of 256: 3.84e8 operations an update"""
    assert operations(1.5e5, 256, 1, 1) == 10 * 1.5e5 * 256


def test_a_frontier_has_no_point_that_another_beats():
    data, compute = np.array([1.0, 2, 2, 3, 1]), np.array([9.0, 5, 6, 4, 9])
    assert frontier(data, compute).tolist() == [True, True, False, True, True]


def test_the_cheapest_ratio_is_that_of_the_formula():
    """D = 1 + 1/σ and cost δ + σ a step: (1 + 1/σ)(δ + σ) is least at σ = √δ."""
    grid = np.linspace(0.1, 10, 9901)
    assert cheapest(grid, (1 + 1 / grid) * (4 + grid))[0] == pytest.approx(2, abs=1e-3)


def test_steps_before_the_first_update_take_no_operations():
    assert operations(2.0, 3.0, 0.5, np.array([100.0, 30.0]), starts=40.0) == pytest.approx([10 * 2 * 3 * 0.5 * 60, 0.0])


def test_costs_that_are_unknown_are_not_the_least():
    assert cheapest(np.array([1.0, 2.0, 4.0]), np.array([np.nan, 3.0, 5.0])) == (2.0, 3.0)
    assert np.isnan(cheapest(np.array([1.0, 2.0]), np.full(2, np.nan))).all()
