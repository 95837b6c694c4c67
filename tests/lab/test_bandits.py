"""Exact optima of the bandits of `env=memory/…`: worked numbers, and the totals of a player that follows them."""

from __future__ import annotations

import numpy as np
import pytest

from deeprl_lab.mathematics.bandits import Believed, CountedArms, UntoldSwap


@pytest.mark.parametrize(("steps", "best"), [(1, 0.5), (5, 2.8889), (10, 6.0218), (20, 12.4313)])
def test_the_best_of_two_arms_with_uniform_priors(steps, best):
    assert CountedArms(steps).optimum() == pytest.approx(best, abs=1e-4)


def test_two_pulls_of_two_arms():
    """After a win the same arm, worth 2/3; after a loss the other, worth 1/2: ½ + ½ · 2/3 + ½ · ½."""
    values = CountedArms(2).values()
    assert values[0, 0, 0, 0] == pytest.approx([13 / 12] * 2)
    assert values[1, 1, 1, 0] == pytest.approx([2 / 3, 1 / 2])
    assert values[1, 0, 0, 0] == pytest.approx([1 / 2, 1 / 3])


@pytest.mark.parametrize(
    ("steps", "swap", "best"),
    [
        (10, 0.0, 7.2139),
        (10, 0.05, 6.7225),
        (10, 0.1, 6.3952),
        (10, 0.3, 5.6480),
        (20, 0.0, 15.1707),
        (20, 0.05, 13.7564),
        (20, 0.1, 12.9857),
        (20, 0.3, 11.3680),
    ],
)
def test_the_best_of_swapping_arms(steps, swap, best):
    assert Believed(steps, swap).optimum() == pytest.approx(best, abs=1e-4)


def test_the_best_where_the_swap_is_not_told():
    """Two pulls: the second repeats a win, 0.8² + 0.2², unless arms have become even. Of one swap it is that of an agent that knows it."""
    assert UntoldSwap(2, (0.0, 0.5)).optima() == pytest.approx([0.5 + 0.68, 1.0])
    assert UntoldSwap(10, (0.1,)).optima() == pytest.approx([Believed(10, 0.1).optimum()], abs=1e-4)
    told = [Believed(10, swap).optimum() for swap in (0.0, 0.3)]
    assert (UntoldSwap(10, (0.0, 0.3)).optima() < told).all()


@pytest.mark.parametrize(("steps", "best"), [(1, 0.5), (2, 1.32), (3, 2.14), (5, 3.8952), (10, 8.3764)])
def test_the_best_of_two_contexts(steps, best):
    assert Believed(steps, 0.0, 0.9, 0.1).optimum() == pytest.approx(best, abs=1e-4)


def test_a_player_that_follows_its_belief_gets_the_optimum():
    """The first pull does not matter, and swaps move the belief back towards ½: (0.8 · 0.5 + …) / p is .8, then .8 · .9 + .2 · .1."""
    world = Believed(8, 0.1)
    assert world.after(np.array(0.5), 0, True) == pytest.approx(0.8 * 0.9 + 0.2 * 0.1)
    random, tasks = np.random.default_rng(0), 40_000
    good, belief, total = random.integers(2, size=tasks), np.full(tasks, 0.5), np.zeros(tasks)
    for values in world.values():
        arm = values[np.rint(belief * (world.grid - 1)).astype(int)].argmax(-1)
        win = random.random(tasks) < np.where(arm == good, 0.8, 0.2)
        total += win
        belief = world.after(belief, arm, win)
        good = np.where(random.random(tasks) < world.swap, 1 - good, good)
    assert total.mean() == pytest.approx(world.optimum(), abs=4 * total.std() / tasks**0.5)
