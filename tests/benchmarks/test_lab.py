"""Statistics of benchmarks.lab: slopes, intervals, times, and one short curve of the collector of training."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from benchmarks.lab import experiments, planning
from benchmarks.lab.__main__ import regret, shown, slopes
from deeprl_lab.agents.dtr_arms import EpsilonGreedy
from deeprl_lab.agents.pnlsvi import PNLSVI
from deeprl_lab.envs.dtr import Best, value
from deeprl_lab.envs.linear import LinearMDP


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


def test_arms_that_a_file_has_are_not_run_again(monkeypatch):
    """Three arms: one is known, one is not, and one is known with other settings; the two get the seeds that were asked for."""
    whole = experiments.dtr()
    arm, other = whole.arms["greedy"], next(arm for name, arm in whole.arms.items() if name != "greedy")
    monkeypatch.setitem(experiments.REGRET, "short", lambda: whole._replace(episodes=20, arms={"a": arm, "b": arm, "c": other}))
    ran = []

    def curve(name, arm, seed):
        ran.append((arm, seed))
        return experiments.times(20).tolist(), 0.5, 1.0, 2.0, [[]] * len(experiments.times(20))

    monkeypatch.setattr("benchmarks.lab.__main__.curve", curve)
    kept, before = [], {"times": experiments.times(20).tolist(), "arms": {
        "a": {"regret": "known", "settings": arm.settings}, "c": {"regret": "of others", "settings": arm.settings}, "gone": {}
    }}  # fmt: skip
    with ThreadPoolExecutor() as pool:
        found = regret("short", range(7, 9), pool, before, lambda found: kept.append(list(found["arms"])))
    assert sorted(ran) == [("b", 7), ("b", 8), ("c", 7), ("c", 8)]
    assert found["arms"]["a"]["regret"] == "known"
    assert found["arms"]["b"]["suboptimality"] == [0.5, 0.5]
    assert (found["first"], found["seeds"], kept) == (7, 2, [["a", "b"], ["a", "b", "c"]])
    with ThreadPoolExecutor() as pool:
        regret("short", range(7, 9), pool, before | {"times": [10, 40]}, lambda found: None)
    assert sorted(ran)[:2] == [("a", 7), ("a", 8)]  # curves of another length are no rows of this table


def test_fed_episodes_have_the_law_of_episodes():
    """Sums over pairs: counts n each step, rewards n r̄, squares n (r̄² + σ²), within five standard errors."""
    world = LinearMDP(noise=(0.1, 1.0))
    agent = PNLSVI(spec=world.spec(), seed=0, world=world, penalty_scale=0.0, confidence=0.1, lam=0.1, least_variance=1.0, share=0.25)
    planning.feed(agent, 40_000, np.random.default_rng(0))
    assert agent.number.sum((2, 3, 4)).tolist() == [[30_000] * 5, [10_000] * 5]
    n, mean, spread = agent.number.sum(-1), world.mdp.expected_reward(), world.spread
    assert (np.abs(agent.reward - n * mean) <= 5 * spread * np.sqrt(n)).all()
    error = spread * np.sqrt(n) * (2 * np.abs(mean) + 1.5 * spread)
    assert (np.abs(agent.square - n * (mean**2 + spread**2)) <= 5 * error).all()
    few = agent.number.sum(-1).min()
    planning.feed(agent, 1, np.random.default_rng(0))  # one episode: no degrees of freedom are left for squares
    assert agent.number.sum(-1).min() >= few
    assert np.isfinite(agent.square).all()
