"""The exact part of `benchmarks/tabular_traces.py`: numbers of docs/algorithms/rbis.md."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from benchmarks.tabular_traces import MAPS, METHODS, corrected, gridworld, learning_curves, quick, table
from deeprl.agents.rbis import RBIS, Retrace
from deeprl.envs.toy import value_iteration


@pytest.fixture(scope="module")
def results() -> dict:
    return quick()


def test_optimal_returns_of_the_gridworlds(results):
    found = {row["map"]: (row["optimal_return"], row["length"]) for row in results["optimal"]}
    expected = {1: (0.531441, 7), 2: (0.4782969, 8), 3: (0.6561, 5), 4: (0.531441, 7)}
    assert found.keys() == expected.keys() == MAPS.keys()
    for number, (value, length) in expected.items():
        assert found[number] == (pytest.approx(value, abs=1e-9), length)


def test_moves_of_a_gridworld():
    """Map 1: bumping stays put; the step taken from the goal pays and ends the episode, whatever its direction."""
    mdp = gridworld(1)
    start, end = int(mdp.start.argmax()), len(mdp.terminal) - 1
    assert mdp.transition[start, [1, 2], start].tolist() == [1, 1]  # down and left of the corner
    (goal,) = np.flatnonzero(mdp.reward.any(1))
    assert (mdp.transition[goal, :, end] == 1).all()
    assert (mdp.reward[goal] == 1).all()
    assert mdp.reward.sum() == 4
    assert value_iteration(mdp, 0.9)[goal].tolist() == [1, 1, 1, 1]


def test_p_of_differences():
    """p is 0.05 where the interval of 95 % just reaches 0, and twice that where it is the second smallest of three."""
    rows = [{"map": 1, "behaviour_epsilon": 0.1, "low": low, "high": high} for low, high in ((0.0, 2.0), (-3.0, -1.0), (-1.0, 1.0))]
    assert [(row["difference"], row["p"]) for row in corrected(rows)] == [(1.0, 0.1), (-2.0, 0.0), (0.0, 1.0)]
    assert corrected(rows[:1])[0]["p"] == 0.05


def test_the_two_counter_examples(results):
    """What contracts does so in the same world."""
    found = {row["method"]: row["norm"] for row in results["norms"]}
    assert found["binary"] == pytest.approx(1.0, abs=1e-9)
    assert found["truncated_is"] == pytest.approx(1.140, abs=5e-4)
    assert found["rbis"] == pytest.approx(found["recursive_retrace"], abs=1e-9)  # λ = 1
    assert found["rbis"] < found["retrace"] < found["tree_backup"] < 0.94 < 1 < found["truncated_is"] < found["q_lambda"]


def test_every_trace_reaches_the_exact_values_from_random_behaviour(results):
    """A random MDP: policy evaluation, control with an ε-greedy target policy, and Q*. What meets the condition contracts by γ at least."""
    rows = results["convergence"]
    assert len(rows) == len(METHODS) * 2 * 3
    steps = {(row["method"], row["lam"], row["case"]): row["to_1e-9"] for row in rows}
    for row in rows:
        assert row["error"] < 1e-9, row
        if row["case"] == "evaluation" and row["method"] not in ("q_lambda", "truncated_is"):
            assert row["largest_factor"] <= 0.9
    for case in ("evaluation", "control, ε = 0.1"):
        assert len({steps[method, 0.0, case] for method in METHODS}) == 1
        assert all(steps[method, 0.9, case] < steps[method, 0.0, case] for method in METHODS)
        assert steps["rbis", 0.9, case] <= steps["retrace", 0.9, case]


def test_learning_curves_run():
    """The protocol, cut short; no ranking, which needs a thousand seeds. At λ = 0 the methods are one and the same."""
    first, second = (learning_curves(1, choice(lam=0.0), 0.9, seeds=2, steps=300) for choice in (RBIS, Retrace))
    assert np.array_equal(first, second)
    assert not np.array_equal(first, learning_curves(1, RBIS(lam=0.9), 0.9, seeds=2, steps=300))
    assert first.shape == (2,)
    assert ((first >= 0) & (first <= 301 * 0.5315)).all()
    assert torch.get_num_threads() == 1


def test_tables_are_markdown():
    assert table([{"a": 1, "b": 0.5}, {"a": 2, "b": 1e-12}]).splitlines() == ["| a | b |", "| --- | --- |", "| 1 | 0.5 |", "| 2 | 1e-12 |"]
