"""Worlds that reward what few see: the best returns, what happens in words, and that each is an environment."""

from __future__ import annotations

import numpy as np
import pytest

from deeprl.envs.deep_sea import DeepSea
from deeprl.envs.door_key import BUMP, GOAL, KEY, LOCKED, MESSAGES, OPENS, DoorKey
from tests.conformance import check_environment


def played(game, policy, seed: int = 0) -> tuple[float, list[np.ndarray]]:
    seen, total, ended = [game.reset(seed)], 0.0, False
    while not ended:
        obs, reward, _, ended = game.step(policy(seen[-1]))
        seen.append(obs)
        total += reward
    return total, seen


@pytest.mark.parametrize("size", [4, 10])
def test_only_right_moves_find_the_treasure(size):
    game = DeepSea(size=size, world=3).build()
    right = lambda obs: int(game.right[divmod(int(obs.argmax()), size)])  # noqa: E731
    assert played(game, right)[0] == pytest.approx(1 - 0.01)
    assert played(game, lambda obs: 1 - right(obs))[0] == 0
    first = iter([False] + [True] * size)
    assert played(game, lambda obs: right(obs) if next(first) else 1 - right(obs))[0] == pytest.approx(-0.01 * (size - 1) / size)
    assert len(played(game, right)[1]) == size + 1


def test_what_happens_behind_a_door_is_said():
    """A walk in the smallest room, 5 × 5, whose wall is the column in the middle: key, door, goal."""
    game, said = DoorKey(size=5).build(), []
    for seed in range(20):
        game.reset(seed)
        assert game.door[1] == 2
        row = game.door[0]
        game.agent, game.key = (row, 1), (row % 3 + 1, 1)
        assert spoken(game, 3) == LOCKED
        assert spoken(game, 2) == BUMP
        for move in path(game.agent[0], game.key[0]):
            said.append(spoken(game, move))
        assert said[-1] == KEY
        for move in path(game.agent[0], row):
            game.step(move)
        assert spoken(game, 3) == OPENS
        game.step(3)
        game.step(3)
        for move in path(row, 3):
            obs, reward, terminated, _ = game.step(move)
        if row != 3:
            assert terminated
            assert reward == pytest.approx(1 - 0.9 * game.elapsed / 256)
            assert obs[GOAL - len(MESSAGES)] == 1


def path(start: int, end: int) -> list[int]:
    return [1] * (end - start) if end > start else [0] * (start - end)


def spoken(game, move: int) -> int | None:
    obs = game.step(move)[0][-len(MESSAGES) :]
    return int(obs.argmax()) if obs.any() else None


@pytest.mark.parametrize("env", [DeepSea(size=5), DoorKey(size=6, max_episode_steps=40)])
def test_they_are_environments(env):
    check_environment(env)
