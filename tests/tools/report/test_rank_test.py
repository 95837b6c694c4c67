"""Ranks of runs: shares of splits that can be counted by hand, and agreement with SciPy on one task."""

import numpy as np
import pytest
import scipy

from deeprl.tools.report import rank_test
from deeprl.tools.report.rank_test import holm, p_value


def arrays(*tasks):
    return [np.array(task, dtype=float) for task in tasks]


def test_one_task_of_two_and_two_has_six_splits():
    """X above Y in all pairs: that split and its mirror image are as far from 1/2."""
    assert p_value(arrays([3, 4]), arrays([1, 2])) == pytest.approx(2 / 6)


def test_two_tasks_have_thirty_six():
    assert p_value(arrays([3, 4], [30, 40]), arrays([1, 2], [10, 20])) == pytest.approx(2 / 36)


def test_tasks_that_disagree_say_nothing():
    assert p_value(arrays([3, 4], [10, 20]), arrays([1, 2], [30, 40])) == 1.0


def test_ties_count_one_half():
    """Scores 1, 2 beside 1, 1: X has 3/4 of the pairs, and 2 is X's in three of the six splits and Y's in the others."""
    assert p_value(arrays([1, 2]), arrays([1, 1])) == 1.0
    # X without a 2 has 1/6 of the pairs: four splits give it none of the two, four give it both, and in the other twelve it has 1/2
    assert p_value(arrays([1, 1, 1]), arrays([1, 2, 2])) == pytest.approx(8 / 20)


@pytest.mark.parametrize("sizes", [(5, 5), (4, 6)])
def test_one_task_is_the_exact_test_of_mann_and_whitney(sizes):
    rng = np.random.default_rng(0)
    x, y = rng.normal(0.8, size=sizes[0]), rng.normal(size=sizes[1])
    assert p_value([x], [y]) == pytest.approx(scipy.stats.mannwhitneyu(x, y, method="exact").pvalue)


def test_of_many_runs_random_splits_stand_for_all():
    """Those of 12 beside 12 are 2,704,156. Where few are drawn, the split that was seen is one of them."""
    rng = np.random.default_rng(0)
    x, y = rng.normal(0.8, size=12), rng.normal(size=12)
    assert p_value([x], [y]) == pytest.approx(scipy.stats.mannwhitneyu(x, y, method="exact").pvalue, abs=0.003)
    assert p_value([np.arange(12.0) + 100], [np.arange(12.0)]) == pytest.approx(1 / rank_test.MOST)


def test_of_many_tasks_sums_are_told_apart_to_fewer_places(monkeypatch):
    """With another number of runs on each task the sums of the probabilities are nearly all different."""
    rng = np.random.default_rng(0)
    x, y = ([rng.normal(mean, size=rng.integers(2, 5)) for _ in range(6)] for mean in (0.4, 0.0))
    exact = p_value(x, y)
    monkeypatch.setattr(rank_test, "MANY", 0)
    assert p_value(x, y) == pytest.approx(exact, abs=0.005)


def test_holm_raises_each_by_the_number_of_tests_that_are_left():
    """Sorted: 4 · 0.005, 3 · 0.01, 2 · 0.03, 1 · 0.04, the last raised to the one before it."""
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.6, 0.7]) == [1.0, 1.0]
