"""Worlds that need memory: returns of the best policy, of one without memory and at random. Exact optima of bandits: tests/lab."""

from __future__ import annotations

import numpy as np
import pytest

from deeprl.envs.bandits import Bandit, LatentBandit, SwitchingBandit
from deeprl.envs.memory import DOWN, FORWARD, UP, Recall, RepeatK, TMaze


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
