"""MinAtar's games on tensors beside the package's."""

from importlib.util import find_spec

import numpy as np
import pytest
import torch

from benchmarks.minatar_worlds import beyond, episodes
from deeprl.envs.minatar import GAMES, MinAtar, picture, rules
from deeprl.envs.tensor_minatar.breakout import Breakout
from deeprl.envs.tensor_minatar.choice import TensorMinAtar
from deeprl.envs.tensor_minatar.seaquest import ENEMIES, Seaquest
from tests.conformance import actions_for, same
from tests.pretended import Pretended

needs_minatar = pytest.mark.skipif(find_spec("minatar") is None, reason="needs minatar")


@needs_minatar
@pytest.mark.parametrize("game", [game for game in GAMES if game != "freeway"])
def test_episodes_are_the_packages_state_by_state(game):
    """With its starts, its last observations and actions that stick, from the same draws; `benchmarks.minatar_worlds` has a thousand."""
    found = episodes(game, 6, copies=3)
    assert found["episodes"] == 6
    assert found["different"] == 0


HARDEST = {
    "asterix": {"spawn_every": ("spawn_speed", 1), "move_every": ("move_speed", 1)},
    "seaquest": {"spawn_every": ("e_spawn_speed", 1), "move_every": ("move_speed", 2)},
    "space_invaders": {"march": ("enemy_move_interval", 6)},
    "freeway": {},
}
"""The last levels: names in a world, and in the package"""
ALIEN = np.zeros((10, 10))
ALIEN[1, 5] = 1
SOON = {
    "asterix": {"ramps": ("ramp_index", 17), "ramp_in": ("ramp_timer", 20)},
    "seaquest": {"ramps": ("ramp_index", 17), "crew": ("diver_count", 5)},
    "space_invaders": {"aliens": ("alien_map", ALIEN)},
    "freeway": {},
}
"""What makes the next level near"""


@needs_minatar
@pytest.mark.parametrize(
    ("game", "easier"),
    [
        ("asterix", ("spawn_every", "move_every")), ("asterix", ("spawn_every",)), ("seaquest", ("spawn_every", "move_every")),
        ("seaquest", ("spawn_every",)), ("space_invaders", ("march",)), ("space_invaders", ()), ("freeway", ()),
    ],
)  # fmt: skip
def test_games_are_the_packages_where_they_are_hard(game, easier):
    """They become as hard as they can from a level before, and no harder."""
    levels = HARDEST[game]
    start = {name: (there, level + (name in easier)) for name, (there, level) in levels.items()}
    found = beyond(game, 600, copies=6, start=SOON[game] | start)
    assert found["different"] == 0
    assert found["reward"] > 0
    assert {name: found[name] for name in levels} == {name: level for name, (_, level) in levels.items()}


@needs_minatar
def test_walls_are_renewed_as_the_packages_are():
    """Games that are played well, from walls of few bricks."""
    num, world, rng = 12, Breakout(10_000, 0.0), np.random.default_rng(0)
    state = world.begin(torch.zeros(num, 1))
    state["bricks"] &= torch.from_numpy(rng.random((num, 10, 10)) < 0.1)
    games = [rules("breakout")() for _ in range(num)]
    for game, bricks in zip(games, state["bricks"]):
        while game.ball_x:
            game.reset()
        game.brick_map[:] = bricks.numpy()
    running, renewed = np.ones(num, bool), 0
    for _ in range(150):
        ahead = state["x"] + torch.where((state["direction"] == 0) | (state["direction"] == 3), -1, 1)
        good = torch.where(ahead > state["paddle"], 3, torch.where(ahead < state["paddle"], 1, 0)).numpy()
        action = np.where(rng.random(num) < 0.98, good, rng.integers(0, 6, num))
        left = state["bricks"].flatten(1).sum(1)
        state, reward, terminal = world.advance(state, torch.from_numpy(action), torch.ones(num, 1))
        seen = world.observe(state).numpy()
        for i in np.flatnonzero(running):
            assert (float(reward[i]), bool(terminal[i])) == games[i].act(int(action[i]))
            assert np.array_equal(seen[i], games[i].state().transpose(2, 0, 1))
        renewed += int((state["bricks"].flatten(1).sum(1) > left).numpy()[running].sum())
        running &= ~terminal.numpy()
    assert renewed


def test_enemies_have_room():
    """One in each step, the most there can be, without a place taken twice."""
    world = Seaquest(10_000, 0.0)
    state = world.begin(torch.zeros(1, 0))
    state |= {"spawn_in": torch.tensor([0]), "spawn_every": torch.tensor([1]), "move_every": torch.tensor([2])}
    most = 0
    for _ in range(70):
        state, *_ = world.advance(state, torch.tensor([0]), torch.tensor([[1.0, 0, 1, 0.9, 0, 0]]))
        most = max(most, int(state["enemy_there"].sum()))
    assert most == ENEMIES - 1  # the thirtieth leaves in the step in which another comes


def test_actions_stick_with_their_probability():
    """The paddle goes left with 1; an action of 3 that sticks goes left again."""
    world = Breakout(10, 0.25, minimal=True)
    start = world.begin(torch.zeros(4, 1))
    assert start["x"].tolist() == [0] * 4
    left, *_ = world.advance(start, torch.full((4,), 1), torch.full((4, 1), 0.9))
    after, *_ = world.advance(left, torch.full((4,), 2), torch.tensor([[0.1], [0.24], [0.25], [0.9]]))
    assert after["paddle"].tolist() == [2, 2, 4, 4]


@pytest.mark.parametrize("game", GAMES)
def test_a_run_goes_on_from_its_state_bit_for_bit(game):
    choice = TensorMinAtar(game=game, max_episode_steps=60)
    before, after = (choice.make(3, num=6) for _ in range(2))
    before.reset()
    actions = actions_for(before, 130)
    ended = 0
    for action in actions[:70]:
        last = before.step(action)
        ended += last.ended.sum()
    assert ended > 0
    assert np.array_equal(after.load_state_dict(before.state_dict()), last.obs)
    for action in actions[70:]:
        assert same(before.step(action)[:5], after.step(action)[:5])
    shown = before.backend.game(2).frame()
    assert np.array_equal(shown, picture(before.obs[2]))
    assert shown.shape == (160, 160, 3)


@pytest.mark.parametrize("game", GAMES)
def test_steps_on_a_device_are_those_of_the_host_and_read_nothing(game):
    choice = TensorMinAtar(game=game, num=3, max_episode_steps=3)
    envs = choice.make(3, num=3)
    envs.reset()
    with Pretended() as device:
        there = choice.on_device(3, "cuda")
        state, actions = there.start(), torch.from_numpy(actions_for(envs, 5)).cuda()
        found, copies = [], device.crossings.copy()
        for action in actions:
            state, after = there.step(state, action)
            found.append(after)
        assert device.crossings == copies
        assert not device.faults
        found = [[tensor.cpu().numpy() for tensor in after[:5]] for after in found]
    for action, after in zip(actions_for(envs, 5), found):
        assert same(envs.step(action)[:5], after)


@needs_minatar
@pytest.mark.parametrize("game", GAMES)
@pytest.mark.parametrize("minimal", [False, True])
def test_actions_and_observations_are_those_of_the_packages_option(game, minimal):
    ours, theirs = (kind(game=game, minimal_action_set=minimal).build() for kind in (TensorMinAtar, MinAtar))
    assert ours.spec == theirs.spec
    assert ours.world.moves.tolist() == theirs.set
