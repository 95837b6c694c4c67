"""Worlds that need memory: returns of the best policy, of one without memory and at random, and the exact optima of bandits."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest

from deeprl.envs.bandits import Bandit, LatentBandit, SwitchingBandit
from deeprl.envs.memory import DOWN, FORWARD, UP, Recall, RepeatK, TMaze


def bayes_optimum(steps: int) -> float:
    """Expected total reward of the best policy of `bandit`, by dynamic programming over wins and losses of both arms."""

    @cache
    def value(wins: tuple[int, int], losses: tuple[int, int]) -> float:
        if sum(wins) + sum(losses) == steps:
            return 0.0
        totals = []
        for arm in (0, 1):
            p = (wins[arm] + 1) / (wins[arm] + losses[arm] + 2)
            one = (1, 0) if arm == 0 else (0, 1)
            won = value((wins[0] + one[0], wins[1] + one[1]), losses)
            lost = value(wins, (losses[0] + one[0], losses[1] + one[1]))
            totals.append(p * (1 + won) + (1 - p) * lost)
        return max(totals)

    return value((0, 0), (0, 0))


def belief_optimum(steps: int, swap: float, good: float = 0.8, bad: float = 0.2) -> float:
    """Expected total reward of the best policy that knows the two contexts and `swap`, by dynamic programming over the belief that the
    first arm is the good one. `latent_bandit` has swap 0, good 0.9, bad 0.1.
    """

    @cache
    def value(left: int, belief: float) -> float:
        if left == 0:
            return 0.0
        totals = []
        for first, second in ((good, bad), (bad, good)):  # of arm 0 and of arm 1 if the first arm is good, and if it is not
            p = belief * first + (1 - belief) * second
            after = [belief * first / p if p else belief, belief * (1 - first) / (1 - p) if p < 1 else belief]
            won, lost = (value(left - 1, round(b * (1 - swap) + (1 - b) * swap, 12)) for b in after)
            totals.append(p * (1 + won) + (1 - p) * lost)
        return max(totals)

    return value(steps, 0.5)


def played(game, policy, episodes=200):
    """Returns of episodes; `policy` sees the observations of the episode so far, as the places of their largest entries."""
    returns = []
    for episode in range(episodes):
        seen, total, ended = [int(game.reset(episode).argmax())], 0.0, False
        while not ended:
            obs, reward, terminated, ended = game.step(policy(seen))
            seen.append(int(obs.argmax()))
            total += reward
        assert terminated
        assert len(seen) <= game.limit + 1
        returns.append(total)
    return np.array(returns)


def test_recall_is_worth_one_with_memory_and_a_quarter_without():
    game = Recall(cues=4, delay=3).build()
    assert (played(game, lambda seen: seen[0] if seen[-1] == 5 else 0) == 1).all()
    assert played(game, lambda seen: 2, episodes=1000).mean() == pytest.approx(0.25, abs=0.04)
    game.reset(0)
    shown = [int(game.step(0)[0].argmax()) for _ in range(5)]
    assert shown[:4] == [4, 4, 4, 5]


def test_tmaze_is_worth_one_with_memory_and_a_half_without():
    game = TMaze(length=5, still=-0.1).build()
    best = played(game, lambda seen: (UP, DOWN)[seen[0]] if seen[-1] == 3 else FORWARD)
    assert (best == 1).all()
    assert played(game, lambda seen: UP if seen[-1] == 3 else FORWARD).mean() == pytest.approx(0.5, abs=0.1)
    game.reset(0)
    assert game.step(UP)[1] == -0.1
    for _ in range(5):
        game.step(FORWARD)
    assert game.step(FORWARD)[1] == -0.1


def test_tmaze_ends_by_its_limit_without_a_turn():
    game = TMaze(length=2).build()
    game.reset(0)
    ends = [game.step(FORWARD)[2:] for _ in range(game.limit)]
    assert ends == [(False, False)] * (game.limit - 1) + [(False, True)]


def test_repeat_k_is_worth_one_with_memory_and_minus_a_half_at_random():
    game = RepeatK(k=3).build()
    assert played(game, lambda seen: seen[-4] if len(seen) > 3 else 0) == pytest.approx(1)
    assert played(game, lambda seen: 1).mean() == pytest.approx(-0.5, abs=0.02)
    with pytest.raises(ValueError, match="steps must be above k=3, not 3"):
        RepeatK(k=3, steps=3)


@pytest.mark.parametrize(("steps", "best"), [(5, 2.8889), (10, 6.0218), (20, 12.4313)])
def test_the_best_of_two_arms_with_uniform_priors(steps, best):
    assert bayes_optimum(steps) == pytest.approx(best, abs=1e-4)


@pytest.mark.parametrize(
    ("steps", "swap", "best"),
    [
        (10, 0.0, 7.2139),
        (10, 0.05, 6.7225),
        (10, 0.1, 6.3952),
        (10, 0.3, 5.6480),
        (20, 0.0, 15.1707),
        *(pytest.param(*row, marks=pytest.mark.exhaustive) for row in ((20, 0.1, 12.9857), (20, 0.3, 11.3680))),  # millions of beliefs
    ],
)
def test_the_best_of_swapping_arms(steps, swap, best):
    assert belief_optimum(steps, swap) == pytest.approx(best, abs=1e-4)


@pytest.mark.parametrize(("steps", "best"), [(1, 0.5), (2, 1.32), (3, 2.14), (5, 3.8952), (10, 8.3764)])
def test_the_best_of_two_contexts(steps, best):
    assert belief_optimum(steps, 0.0, 0.9, 0.1) == pytest.approx(best, abs=1e-4)


@pytest.mark.parametrize("choice", [Bandit(), SwitchingBandit(), LatentBandit()])
def test_a_random_player_gets_half_of_the_steps(choice):
    random = np.random.default_rng(1)
    returns = played(choice.build(), lambda seen: int(random.integers(2)), episodes=2000)
    assert returns.mean() == pytest.approx(choice.steps / 2, abs=0.25)


def test_a_bandit_shows_the_last_action_and_reward():
    game = Bandit(steps=3).build()
    assert game.reset(3).tolist() == [0, 0, 0, 1]
    obs, reward, terminated, ended = game.step(1)
    assert obs.tolist() == [0, 1, reward, 0]
    assert not terminated
    assert not ended
