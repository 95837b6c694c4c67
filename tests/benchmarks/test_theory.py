"""Benchmarks from theory: tails of fixed-step linear stochastic approximation, unbiased estimates of nested expectations."""

import numpy as np
import pytest

from benchmarks.approximation_tails import averaged_error, hill, iterates, tail_index
from benchmarks.nested_expectations import Sampled, read
from deeprl_lab.mathematics.planners import backward_induction


@pytest.mark.parametrize(("alpha", "p"), [(0.3, 2.6375), (0.2, 3.7094), (0.1, 6.7976), (0.05, 12.909), (0.01, 61.672)])
def test_tail_indices(alpha, p):
    assert tail_index(alpha) == pytest.approx(p, rel=1e-4)


def test_a_law_without_a_power_tail_is_refused():
    with pytest.raises(ValueError, match="no power tail"):
        tail_index(2.0)


def test_hill_finds_the_index_of_a_pareto_law():
    sample = np.random.default_rng(0).pareto(3.0, 100_000) + 1.0
    assert hill(sample, 0.05) == pytest.approx(3.0, rel=0.05)


def test_hill_finds_the_index_of_the_iteration():
    assert hill(iterates(0.3, 400_000, 80, np.random.default_rng(0)), 5e-4) == pytest.approx(tail_index(0.3), rel=0.2)


def test_the_error_of_an_average_falls_like_one_over_n():
    """n E θ̄² is the same for n and 4 n, near Var(b) plus the share of Var(a) θ², over (E a)²."""
    few, many = (averaged_error(0.05, 1000, n, np.random.default_rng(0)) for n in (1000, 4000))
    assert many == pytest.approx(few, rel=0.2)


def test_read_is_unbiased_for_the_square_of_a_mean():
    """E X = ½ for X uniform, g = x²: ¼; the mean of g(X) itself is ⅓."""
    random = np.random.default_rng(0)
    found = np.array([read(lambda x: x**2, lambda n, random: random.random(n), 1.5, random) for _ in range(20_000)])
    assert abs(found.mean() - 0.25) < 3 * found.std() / np.sqrt(len(found))


def test_read_of_a_linear_outer_function_is_one_sample():
    """Δ is 0, whatever the level."""
    found = read(lambda x: 2 * x, lambda n, random: np.arange(1.0, n + 1), 1.5, np.random.default_rng(0))
    assert found == pytest.approx(2.0)


@pytest.mark.parametrize("depth", [2, 3])
def test_nested_values_are_unbiased_and_the_plug_in_is_too_high(depth):
    world = Sampled(depth, 1.5, np.random.default_rng(0))
    exact = backward_induction(world.mdp)[1][0, 0]
    found = np.array([world.read(0, 0) for _ in range(1200)])
    assert abs(found.mean() - exact) < 3 * found.std() / np.sqrt(len(found))
    plug_in = np.array([world.plug_in(0, 0, 1) for _ in range(1200)])
    assert plug_in.mean() - exact > 5 * plug_in.std() / np.sqrt(len(plug_in))
