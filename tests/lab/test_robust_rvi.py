"""Support functions of uncertainty sets against brute force, robust gains, multilevel estimates, and the learner."""

from functools import partial
from itertools import product
from math import comb

import numpy as np
import pytest

from deeprl.running.training.collector import Collector
from deeprl_lab.agents.robust_rvi import RobustRVI
from deeprl_lab.envs.worlds import Garnet, RiskLadder, TwoStates
from deeprl_lab.mathematics.planners import relative_value_iteration
from deeprl_lab.mathematics.uncertainty import KL, ChiSquare, Contamination, TotalVariation, Uncertainty, Wasserstein

P, V = np.array([0.5, 0.3, 0.2]), np.array([1.0, 2.0, 4.0])
GRID = np.array([(i, j, 200 - i - j) for i in range(201) for j in range(201 - i)]) / 200.0
WITHIN = {
    Contamination: lambda q, r: (q - (1 - r) * P).min(-1) >= -1e-9,
    TotalVariation: lambda q, r: np.abs(q - P).sum(-1) / 2 <= r + 1e-9,
    ChiSquare: lambda q, r: ((q - P) ** 2 / P).sum(-1) <= r + 1e-9,
    KL: lambda q, r: (q * np.log(np.maximum(q, 1e-300) / P)).sum(-1) <= r + 1e-9,
    Wasserstein: lambda q, r: np.abs((q - P).cumsum(-1)).sum(-1) <= r + 1e-9,  # on a line, the area between the distribution functions
}


@pytest.mark.parametrize(
    ("kind", "radius", "expected"),
    [(Contamination, 0.2, 1.72), (TotalVariation, 0.2, 1.3), (ChiSquare, 0.2, 1.39206), (KL, 0.1, 1.43883), (Wasserstein, 0.3, 1.4)],
)
def test_support_functions_that_are_known(kind, radius, expected):
    assert kind(radius).worst(P, V) == pytest.approx(expected, abs=5e-6)


@pytest.mark.parametrize("kind", WITHIN)
@pytest.mark.parametrize("radius", [0.05, 0.3, 0.9])
def test_support_functions_are_the_least_mean_in_the_set(kind, radius):
    """The least over a grid of the simplex lies above, by less than a step of the grid moves a mean; ties among the values included."""
    for v in (V, np.array([3.0, -1.0, 0.5]), np.array([2.0, 2.0, 0.0])):
        found = kind(radius).worst(P, v)
        brute = (GRID[WITHIN[kind](GRID, radius)] @ v).min()
        assert brute - 0.03 <= found <= brute + 1e-9


@pytest.mark.parametrize("kind", WITHIN)
def test_no_radius_is_no_uncertainty_and_rows_do_not_mix(kind):
    rows = np.stack([P, P[::-1], [1.0, 0.0, 0.0], [0.0, 0.5, 0.5]])
    np.testing.assert_allclose(kind(0.0).worst(rows, V), rows @ V, atol=1e-9)
    np.testing.assert_allclose(kind(0.2).worst(rows, V), [kind(0.2).worst(row, V) for row in rows], atol=1e-12)
    np.testing.assert_allclose(kind(0.2).worst(rows, V + 5) - 5, kind(0.2).worst(rows, V), atol=1e-9)


GAINS = {
    Contamination: {0.1: 0.566929, 0.2: 0.516129, 0.4: 0.406780}, TotalVariation: {0.1: 0.538462, 0.2: 0.461538, 0.4: 0.307692},
    ChiSquare: {0.05: 0.537340, 0.1: 0.505781, 0.2: 0.461891}, KL: {0.05: 0.503049, 0.1: 0.456588, 0.2: 0.391077},
}  # fmt: skip


@pytest.mark.parametrize(("kind", "radius"), [(kind, radius) for kind in GAINS for radius in GAINS[kind]])
def test_robust_gains_that_are_known(kind, radius):
    solved = relative_value_iteration(TwoStates().mdp, kind(radius).worst)
    assert solved.gain == pytest.approx(GAINS[kind][radius], abs=6e-7)
    assert solved.q.argmax(-1).tolist() == [1, 0]
    if kind is TotalVariation:
        assert solved.bias[1] == pytest.approx(10 / 13, abs=1e-9)


def test_the_nominal_gain_is_eight_thirteenths():
    solved = relative_value_iteration(TwoStates().mdp)
    assert (solved.gain, solved.bias[1]) == (pytest.approx(8 / 13, abs=1e-10), pytest.approx(10 / 13, abs=1e-10))


def test_the_planner_against_brute_force():
    """Every policy and a grid of kernels in the set: the gain of a chain of two states is a ratio."""
    mdp, reward, best = TwoStates().mdp, TwoStates().mdp.expected_reward(), -np.inf
    shifts = np.linspace(-0.05, 0.05, 201)  # no state may become absorbing
    for first, second in product((0, 1), repeat=2):
        leaves = np.clip(mdp.transition[0, first, 1] + shifts, 0, 1)[:, None]
        returns = np.clip(mdp.transition[1, second, 0] + shifts, 0, 1)[None]
        gains = (reward[0, first] * returns + reward[1, second] * leaves) / np.maximum(leaves + returns, 1e-12)
        best = max(best, gains.min())
        policy = np.eye(2)[[first, second]]
        assert relative_value_iteration(mdp, TotalVariation(0.05).worst, policy).gain == pytest.approx(gains.min(), abs=1e-9)
    assert relative_value_iteration(mdp, TotalVariation(0.05).worst).gain == pytest.approx(best, abs=1e-9)


def agent(uncertainty, world=None, **others) -> RobustRVI:
    world, given = world or TwoStates(), {"reference": "first", "power": 0.7, "epsilon": 1.0, "psi": 0.4, "cap": 10, **others}
    return RobustRVI(spec=world.spec(), seed=0, world=world, uncertainty=uncertainty, **given)


def test_a_multilevel_estimate_has_the_mean_of_the_largest_plug_in():
    """cap = 1: four samples, whose plug-in mean is a sum over binomial outcomes."""
    p, v = np.array([0.7, 0.3]), np.array([2.0, 0.0])
    outcomes = np.array([(k / 4, 1 - k / 4) for k in range(5)])
    law = np.array([comb(4, k) * 0.7**k * 0.3 ** (4 - k) for k in range(5)])
    expected = law @ ChiSquare(0.2).worst(outcomes, v)
    drawn = agent(ChiSquare(0.2), cap=1).support(np.tile(p, (40_000, 1)), v, np.random.default_rng(1))
    assert abs(drawn.mean() - expected) < 4 * drawn.std() / 200
    assert abs(ChiSquare(0.2).worst(p, v) - expected) > 8 * drawn.std() / 200  # the test can tell them apart


@pytest.mark.parametrize(
    ("kind", "radius", "sweeps", "error"),
    [(Contamination, 0.2, 5000, 0.01), (TotalVariation, 0.2, 2000, 0.03), (ChiSquare, 0.1, 2000, 0.03)],
)
def test_the_learner_finds_the_gain(kind, radius, sweeps, error):
    learner, mdp, random = agent(kind(radius)), TwoStates().mdp, np.random.default_rng(0)
    state, action = np.divmod(np.arange(4), 2)
    for _ in range(sweeps):
        successor = (random.random(4) >= mdp.transition[state, action, 0]).astype(int)
        learner.update(state, action, mdp.expected_reward()[state, action], successor)
    assert learner.gain() == pytest.approx(learner.optimum, abs=error)
    assert learner.suboptimality() == pytest.approx(0, abs=1e-9)


def test_one_update_by_hand():
    """r = 0.2, V = (0, 1) after Q(1, 0) = 1, contamination 0.1: σ = 0.9 · 1 + 0.1 · 0; f = Q(0, 0) = 0; the first step is 1."""
    learner = agent(Contamination(0.1))
    learner.q[1, 0] = 1.0
    learner.update(np.array([0]), np.array([0]), np.array([0.2]), np.array([1]))
    assert learner.q[0, 0] == pytest.approx(1.1)
    learner.update(np.array([0]), np.array([0]), np.array([0.2]), np.array([0]))  # V = (1.1, 1): 0.9 · 1.1 + 0.1 · 1 − 1.1 + 0.2 − 1.1
    assert learner.q[0, 0] == pytest.approx(1.1 + 2**-0.7 * (0.2 + 1.09 - 1.1 - 1.1))


def test_the_collector_teaches_it():
    learner = agent(Contamination(0.2))
    collector = Collector(learner, partial(learner.act, explore=True), TwoStates(num=3).make(0), learner.observe, 0)
    for tick in range(400):
        collector.tick(tick)
    assert learner.counts.sum() == 1200
    assert learner.diagnostics(1200)["train/gain_error"] < 0.15


def test_a_robust_policy_is_at_least_as_good_in_the_worst_case():
    for instance in range(5):
        mdp, worst = Garnet(instance=instance).mdp, TotalVariation(0.3).worst
        nominal = relative_value_iteration(mdp).q.argmax(-1)
        robust = relative_value_iteration(mdp, worst)
        assert robust.gain >= relative_value_iteration(mdp, worst, np.eye(3)[nominal]).gain - 1e-9


def test_what_does_not_fit_is_refused():
    with pytest.raises(ValueError, match="world must be without end"):
        agent(Uncertainty(), RiskLadder())
    with pytest.raises(ValueError, match="radius must be between 0 and 1"):
        TotalVariation(1.5)
