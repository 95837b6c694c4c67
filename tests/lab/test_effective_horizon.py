"""The effective horizon of worlds that can be solved by hand, and what value iteration ends with."""

import math

import numpy as np
import pytest

from deeprl_lab.envs.sparse import SparseMDP
from deeprl_lab.mathematics.effective_horizon import effective_horizon, iterated, largest_return, random_values
from deeprl_lab.mathematics.mdp import FiniteMDP
from deeprl_lab.mathematics.planners import backward_induction


def lock(depth: int) -> FiniteMDP:
    """A first action that pays 0.6 and ends, or `depth` further choices of which one of two each goes on; the last one pays 1."""
    end, horizon = depth + 1, depth + 1
    transition, reward = np.zeros((horizon, end + 1, 2, end + 1)), np.zeros((horizon, end + 1, 2))
    transition[..., end] = 1.0
    for at in range(depth):
        transition[:, at, 0] = np.eye(end + 1)[at + 1]
    reward[:, 0, 1], reward[:, depth, 0] = 0.6, 1.0
    return FiniteMDP(transition, reward, np.eye(end + 1)[0], horizon)


@pytest.mark.parametrize("depth", [1, 2, 3])
def test_a_lock_needs_a_step_of_value_iteration_for_each_choice_behind_the_first(depth):
    """Of random play, 2^−depth beside 0.6; Q^k has 2^−(depth − k + 1)."""
    assert random_values(lock(depth))[0, 0].tolist() == [0.5**depth, 0.6]
    assert effective_horizon(lock(depth)).solvable == depth + 1


def test_the_gap_is_in_units_of_the_largest_return():
    """At k = 2: 1 − 0.6, and 1 − 0 behind it; returns that are three times as large change nothing."""
    found = effective_horizon(lock(1))
    assert (found.best, found.gap) == (2, pytest.approx(0.4))
    assert found.value == pytest.approx(2 + math.log2(1 / 0.16))
    larger = lock(1)
    again = effective_horizon(FiniteMDP(larger.transition, 3 * larger.reward, larger.start, 2))
    assert again.value == pytest.approx(found.value)
    assert largest_return(larger) == 1.0


def test_as_many_steps_as_the_horizon_are_backward_induction():
    mdp = SparseMDP(instance=3).mdp
    q = random_values(mdp)
    for _ in range(mdp.horizon - 1):
        q = iterated(mdp, q)
    assert q == pytest.approx(backward_induction(mdp)[0])
    assert effective_horizon(mdp).solvable <= mdp.horizon
