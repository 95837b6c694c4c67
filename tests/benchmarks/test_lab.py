"""Statistics of benchmarks.lab: slopes, intervals, times, and one short curve of the collector of training."""

import numpy as np
import pytest

from benchmarks.lab import experiments
from benchmarks.lab.__main__ import shown, slopes
from deeprl.agents.lab.dtr_arms import EpsilonGreedy
from deeprl.envs.lab.dtr import Best, value


def test_slopes_of_known_curves():
    at = experiments.times(1000)
    assert slopes(np.array([3.0 * at, 5.0 * np.sqrt(at)]), at) == pytest.approx([1.0, 0.5])
    assert {100, 250, 500, 1000} <= set(at.tolist())


def test_an_interval_by_hand():
    """Mean 2, standard error 1/√3, Student's t of two degrees of freedom 4.303."""
    assert shown(np.array([1.0, 2.0, 3.0])) == "2.00 ± 2.48"


def test_a_curve_is_the_regret_of_the_policies_played(monkeypatch):
    whole = experiments.dtr()
    make = whole.arms["greedy"].make
    arm = whole.arms["greedy"]._replace(make=lambda **given: make(**given | {"optimism": EpsilonGreedy(1.0)}))

    class Uniform(Best):
        def probability(self, x, stage):
            return np.full(len(x), 0.5)

    monkeypatch.setitem(experiments.REGRET, "short", lambda: whole._replace(episodes=20, arms={"uniform": arm}))
    curve, *_ = experiments.curve("short", "uniform", 0)
    assert curve == pytest.approx([(value(Best()) - value(Uniform())) * t for t in experiments.times(20)])
