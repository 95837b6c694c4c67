"""Breakout on tensors beside the package's."""

from importlib.util import find_spec

import numpy as np
import pytest
import torch

from deeprl.envs.minatar import rules
from deeprl.envs.tensor_minatar import Breakout, TensorMinAtar
from tests.conformance import actions_for, same


@pytest.mark.skipif(find_spec("minatar") is None, reason="needs minatar")
def test_episodes_are_the_packages_state_by_state():
    """80 games for 900 steps, a quarter of them played well and cleared a wall."""
    num, rng = 80, np.random.default_rng(0)
    world = Breakout(10_000, 0.0, minimal=False)
    state = world.begin(torch.arange(num)[:, None] % 2 / 2)
    games = [rules("breakout")() for _ in range(num)]
    for i, game in enumerate(games):
        game.random = np.random.RandomState(0)
        while game.ball_x != 9 * (i % 2):
            game.reset()
    for i in range(0, num, 4):  # those who play well begin with few bricks
        state["bricks"][i] &= torch.from_numpy(rng.random((10, 10)) < 0.1)
        games[i].brick_map[:] = state["bricks"][i].numpy()
    running, refilled = np.ones(num, bool), 0
    for _ in range(900):
        ahead = state["x"] + torch.where((state["direction"] == 0) | (state["direction"] == 3), -1, 1)
        good = torch.where(ahead > state["paddle"], 3, torch.where(ahead < state["paddle"], 1, 0)).numpy()
        action = np.where((np.arange(num) % 4 == 0) & (rng.random(num) < 0.995), good, rng.integers(0, 6, num))
        left = state["bricks"].flatten(1).sum(1)
        state, reward, terminal = world.advance(state, torch.from_numpy(action), torch.ones(num, 1))
        seen = world.observe(state).numpy()
        for i in np.flatnonzero(running):
            expected, ended = games[i].act(int(action[i]))
            assert (float(reward[i]), bool(terminal[i])) == (expected, ended)
            assert np.array_equal(seen[i], games[i].state().transpose(2, 0, 1))
        refilled += int((state["bricks"].flatten(1).sum(1) > left).numpy()[running].sum())
        running &= ~terminal.numpy()
    assert refilled > 5


def test_actions_stick_with_their_probability():
    """The paddle goes left with 1; an action of 3 that sticks goes left again."""
    world = Breakout(10, 0.25, minimal=True)
    start = world.begin(torch.zeros(4, 1))
    assert start["x"].tolist() == [0] * 4
    left, *_ = world.advance(start, torch.full((4,), 1), torch.full((4, 1), 0.9))
    after, *_ = world.advance(left, torch.full((4,), 2), torch.tensor([[0.1], [0.24], [0.25], [0.9]]))
    assert after["paddle"].tolist() == [2, 2, 4, 4]


def test_a_run_goes_on_from_its_state_bit_for_bit():
    choice = TensorMinAtar(game="breakout")
    before, after = (choice.make(3, num=6) for _ in range(2))
    before.reset()
    actions = actions_for(before, 200)
    ended = 0
    for action in actions[:90]:
        last = before.step(action)
        ended += last.ended.sum()
    assert ended > 0
    assert np.array_equal(after.load_state_dict(before.state_dict()), last.obs)
    for action in actions[90:]:
        assert same(before.step(action)[:5], after.step(action)[:5])
    assert before.backend.game(2).frame().shape == (160, 160, 3)
