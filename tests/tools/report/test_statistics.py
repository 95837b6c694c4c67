"""Statistics of the report, on numbers that can be worked out on paper."""

from __future__ import annotations

import math

import numpy as np
import pytest

from deeprl.tools.report import statistics
from deeprl.tools.report.statistics import bootstrap, improvement, iqm, mean, mean_curve, mean_interval, profile, relative, resampled


def arrays(*tasks: list[float]) -> list[np.ndarray]:
    return [np.array(task, dtype=float) for task in tasks]


# ---- means


def test_the_interval_of_a_mean_is_that_of_student():
    """Mean 2, s = 1, t(2) = 4.3027."""
    point, low, high = mean(np.array([1.0, 2.0, 3.0]))
    half = 4.302653 / math.sqrt(3)
    assert (point, low, high) == pytest.approx((2.0, 2.0 - half, 2.0 + half), abs=1e-5)


def test_one_run_has_no_interval():
    assert mean(np.array([7.0]))[0] == 7.0
    assert np.isnan(mean(np.array([7.0]))[1:]).all()
    assert np.isnan(bootstrap(arrays([7.0], [3.0]))[1:]).all()
    assert np.isnan(improvement(arrays([7.0]), arrays([3.0]))[1:]).all()


def test_missing_values_count_for_nothing():
    values = np.array([[1.0, 1.0], [3.0, np.nan], [5.0, 5.0]])
    found, low, high = mean_interval(values)
    assert found.tolist() == [3.0, 3.0]
    alone = mean(np.array([1.0, 5.0]))
    assert (low[1], high[1]) == pytest.approx(alone[1:])


def test_curves_are_averaged_where_complete_runs_overlap():
    """The third run ended early: it counts at 1 and 2. Between its points a curve is a straight line."""
    curves = [
        (np.array(x, dtype=float), np.array(y, dtype=float)) for x, y in (((1, 2, 3), (0, 2, 4)), ((0, 2, 4), (2, 2, 2)), ((1, 2), (7, 8)))
    ]
    found = mean_curve(curves, [True, True, False])
    assert found.x.tolist() == [1, 2, 3]
    assert found.mean.tolist() == [(0 + 2 + 7) / 3, (2 + 2 + 8) / 3, (4 + 2) / 2]
    assert found.runs.tolist() == [3, 3, 2]


def test_of_evaluations_without_an_update_between_them_the_last_counts():
    found = mean_curve([(np.array([0.0, 0.0, 2.0]), np.array([5.0, 1.0, 3.0]))], [True])
    assert (found.x.tolist(), found.mean.tolist()) == ([0, 2], [1, 3])


def test_curves_that_do_not_overlap_have_no_mean():
    fast, slow = np.array([1.0, 2.0]), np.array([3.0, 6.0])
    assert all(len(part) == 0 for part in mean_curve([(fast, fast), (slow, slow)], [True, True]))


# ---- aggregates


def test_interquartile_mean_of_a_small_matrix():
    """Eight scores: the two lowest and the two highest are left out, (3 + 4 + 5 + 6) / 4."""
    assert iqm(np.concatenate(arrays([1, 2, 3, 4], [5, 6, 100, 1000]))) == 4.5
    assert iqm(np.array([1.0, 2.0, 6.0])) == 3.0  # ⌊3/4⌋ = 0: none is left out


def test_intervals_of_equal_scores_are_points():
    assert bootstrap(arrays([4, 4, 4], [4, 4])) == (4, 4, 4)
    assert bootstrap(arrays([4, 4, 4], [4, 4]), np.mean) == (4, 4, 4)


def test_each_task_keeps_its_own_seeds():
    """Stratified: no sample takes a score of one task for another, so that equal seeds leave nothing to vary."""
    assert bootstrap(arrays([1, 1], [9, 9]), np.mean) == (5, 5, 5)
    samples = resampled(arrays([1, 2], [8, 9]), draws=50)
    assert samples.shape == (50, 4)
    assert samples[:, :2].max() == 2
    assert samples[:, 2:].min() == 8


def test_three_seeds_give_the_range_as_interval():
    """A sample is three times the lowest seed with probability 1/27 > 2.5 %, as the page says."""
    assert bootstrap(arrays([1, 2, 6]), np.mean) == (3, 1, 6)


def test_the_bootstrap_of_a_mean_has_the_spread_that_theory_gives():
    """Standard deviation of a resampled mean: the scores' own (divisor n) over √n. Of n zeros and n ones it is 1/2 / √2n."""
    scores = np.repeat([0.0, 1.0], 50)
    _, low, high = bootstrap([scores], np.mean)
    assert (low, high) == pytest.approx((0.5 - 1.96 * 0.05, 0.5 + 1.96 * 0.05), abs=0.011)


def test_a_unit_has_an_error_of_its_own():
    """Baseline of mean 3 and 6. The agent's scores do not vary, so the whole interval comes from the unit: draws of (2, 4) have the means
    2, 3, 3, 4, and of 6 always 6; the mean of 6 / (2, 3 or 4) and of 6 / 6 is 2, 1.5 or 1.25, the ends with a probability of 1/4 each."""
    found = relative([np.array([6.0, 6.0]), np.array([6.0])], [np.array([2.0, 4.0]), np.array([6.0])], np.mean)
    assert found.point == pytest.approx((2 + 2 + 1) / 3)
    assert (found.low, found.high) == pytest.approx(((1.5 + 1.5 + 1) / 3, (3 + 3 + 1) / 3))
    fixed = bootstrap([np.array([2.0, 2.0]), np.array([1.0])], np.mean)
    assert fixed.low == fixed.high


def test_a_profile_is_the_fraction_above_each_threshold():
    fraction, low, high = profile(arrays([0, 1], [2, 2]), np.array([-1.0, 0.0, 1.0, 2.0]))
    assert fraction.tolist() == [1, 0.75, 0.5, 0]
    assert low.tolist() == [1, 0.5, 0.5, 0]  # at 0 the first task has 0, 1 or 2 of its draws above, the second always 2
    assert high.tolist() == [1, 1, 0.5, 0]


# ---- probability of improvement


def test_improvement_is_certain_where_every_run_is_better():
    assert improvement(arrays([3, 4], [9]), arrays([1, 2], [8])) == (1, 1, 1)
    assert improvement(arrays([1, 2], [8]), arrays([3, 4], [9])) == (0, 0, 0)


def test_ties_count_one_half():
    assert improvement(arrays([5, 5]), arrays([5, 5])) == (0.5, 0.5, 0.5)


def test_improvement_is_averaged_over_tasks():
    """Task 1: of (2 > 1), (2 > 3), (4 > 1), (4 > 3) three hold. Task 2: none."""
    point, low, high = improvement(arrays([2, 4], [0]), arrays([1, 3], [1]))
    assert point == (3 / 4 + 0) / 2
    assert 0 <= low < point < high <= 0.5
    assert improvement(arrays([1, 3], [1]), arrays([2, 4], [0])).point == 1 - point


def test_intervals_are_the_same_every_time():
    scores = arrays([1, 5, 2], [3, 9, 4])
    assert bootstrap(scores) == bootstrap(scores)
    assert improvement(scores, scores) == improvement(scores, scores)
    assert statistics.DRAWS >= 2000
