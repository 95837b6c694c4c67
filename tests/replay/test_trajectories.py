"""Whole episodes: which rows are taken, where they stand, planned ends, exact state in mid-episode."""

from functools import partial

import numpy as np
import pytest
import torch

from deeprl.agents.truncation import Truncated
from deeprl.errors import ConfigError
from deeprl.replay.trajectories import Trajectories
from deeprl.running.config.alternatives import option_class
from deeprl.running.config.menu import options
from deeprl.running.config.sources import check_source
from deeprl.running.config.tuned import values
from deeprl.running.session.complete import tell_if_no_update
from deeprl.types import Rows, Spec

ONE = Spec((1,), torch.float32, 2, 0)
LASTS = {0: (2, 3, 5), 1: (4, 1, 9)}
"""Length of each episode of each environment"""


class World:
    """Environments whose observation is 100 · episode + step, + 1000 in environment 1."""

    def __init__(self, num: int, source: Trajectories):
        self.source, self.num, self.episode, self.time = source, num, [0] * num, [0] * num
        source.connect(0, "test", lambda rows: None, lambda batch: {})

    def tick(self, step: int, failed: tuple[int, ...] = ()) -> list:
        obs = np.array([[1000.0 * m + 100 * self.episode[m] + self.time[m]] for m in range(self.num)], np.float32)
        ended = np.array([self.time[m] + 1 == LASTS[m % 2][self.episode[m] % 3] for m in range(self.num)])
        terminated = ended.copy()
        for m in failed:
            ended[m], terminated[m] = True, False
        for m in self.source.cut(ended, failed):
            ended[m] = True
        reward = obs[:, 0].astype(np.float32)
        self.source.append(Rows(obs, np.zeros(self.num, np.int64), reward, obs + 1, terminated, ended, np.ones(self.num, np.float32)))
        for m in range(self.num):
            self.episode[m], self.time[m] = (self.episode[m] + 1, 0) if ended[m] else (self.episode[m], self.time[m] + 1)
        return list(self.source.updates(step, step + self.num))


class Endless(World):
    """No episode ends by itself."""

    def tick(self, step: int, failed: tuple[int, ...] = ()) -> list:
        self.time = [-9] * self.num
        return super().tick(step, failed)


def source(num: int, episodes: int, horizon: int = 50, **own) -> Trajectories:
    return Trajectories(episodes=episodes, horizon=horizon, spec=ONE, num=num, discount=0.5, needs=frozenset({"planned"}), **own)


def first(world: World):
    step = 0
    while not (found := world.tick(step)):
        step += 1
    return found[0], step + 1


def test_two_episodes_one_after_the_other():
    batch, ticks = first(World(1, source(1, 2)))
    assert ticks == 5
    assert batch.obs[..., 0].tolist() == [[0, 100], [1, 101], [0, 102]]
    assert batch.valid.tolist() == [[True, True], [True, True], [False, True]]
    assert batch.discount.tolist() == [[0.5, 0.5], [0.0, 0.5], [0.0, 0.0]]
    assert batch.index.tolist() == [[0, 2], [1, 3], [-1, 4]]
    assert batch.extra["planned"].all()


def test_the_next_number_goes_to_the_environment_that_ends_first_and_all_start_anew():
    """Episode 2 runs in environment 0 in the steps 2 to 4; the two steps of another one that follows would be dropped."""
    world = World(2, source(2, 3))
    batch, ticks = first(world)
    assert ticks == 5
    assert batch.obs[0, :, 0].tolist() == [0, 1000, 100]
    assert batch.valid.sum(0).tolist() == [2, 4, 3]
    assert world.time == [0, 0]  # environment 1 was cut in its second episode, which has no number
    assert first(world)[0].obs[0, :, 0].tolist() == [200, 1200, 300]


def test_a_planned_end_is_no_termination():
    batch, _ = first(World(1, source(1, 2, horizon=2)))
    assert batch.valid.all()
    assert batch.ended.tolist() == [[False, False], [True, True]]
    assert batch.discount.tolist() == [[0.5, 0.5], [0.0, 0.5]]  # the first one ended by itself


def test_the_state_in_mid_episode_is_exact():
    one, other = World(2, source(2, 3)), World(2, source(2, 3))
    for step in range(3):
        one.tick(step)
    other.source.load(one.source.state_dict(), ())
    other.episode, other.time = one.episode.copy(), one.time.copy()
    assert all(map(torch.equal, first(one)[0][:10], first(other)[0][:10]))
    with pytest.raises(ValueError, match="3 episodes of at most 2"):
        source(2, 3, horizon=2).load(one.source.state_dict() | {"places": torch.full((0, 2, 2), 7), "running": torch.tensor([4, 0])}, ())


def test_an_episode_that_cannot_be_continued_is_collected_again():
    world = World(1, source(1, 2))
    for step in range(3):
        world.tick(step)
    assert world.source.truncate_episode(0)
    assert world.source.ticks[-1].ended.tolist() == [True]  # for sums of scaled rewards, which went on across it
    world.episode, world.time = [2], [0]
    assert first(world)[0].obs[:, 1, 0].tolist() == [200, 201, 202, 203, 204]


def test_without_its_rows_a_run_begins_with_fresh_episodes():
    world = World(1, source(1, 1))
    world.tick(0)
    assert "episodes" in world.source.restart(1)
    assert world.tick(1) == []
    assert first(world)[0].obs[0, 0].item() == 100.0


def test_more_environments_than_episodes_are_refused():
    with pytest.raises(ValueError, match="episodes makes 1 episodes, fewer than the 2 environments"):
        source(2, 1)


def test_a_run_that_cannot_reach_its_first_update_plans_none():
    settings = {"episodes": 10, "horizon": 100}
    assert [Trajectories.planned(settings, steps, 1) for steps in (9, 10, 5000)] == [0, 1, 5]
    assert [Trajectories.planned(settings, steps, 8) for steps in (8, 9, 1592, 3200)] == [0, 1, 1, 2]  # steps are rounded up to a tick


@pytest.mark.parametrize(
    ("made", "settings", "steps"),
    [
        (partial(Trajectories, episodes=9, horizon=50), {"episodes": 9, "horizon": 50}, 800),
        (partial(Truncated, budget=100, horizon=10), {"budget": 100, "horizon": 10}, 104),
    ],
)
def test_environments_that_wait_take_steps_and_rows(made, settings, steps):
    """With nine episodes, seven of eight environments wait for the last one."""
    found = made(spec=ONE, num=8, discount=0.9)
    world = Endless(8, found)
    for tick in range(1, 1000):
        kept = len(found.ticks) + 1
        if world.tick(tick):
            break
    assert (8 * tick, 8 * kept, found.capacity) == (steps, steps, steps)
    most = found.longest(settings, 8)
    assert steps <= most <= steps + 80
    assert [found.planned(settings, total, 8) for total in (most - 1, most, 3 * most)] == [1, 1, 3]


def test_an_environment_that_fails_completes_no_episode():
    """Its row, a truncation without a step, would be the end of a complete episode of two steps."""
    world = World(2, source(2, 3))
    world.tick(0)
    world.tick(1, failed=(1,))
    batch, _ = first(world)
    assert batch.obs[0, :, 0].tolist() == [0, 1100, 100]
    assert batch.valid.sum(0).tolist() == [2, 1, 3]


def test_one_that_fails_in_its_last_step_goes_on_too():
    world = World(1, source(1, 1))
    world.tick(0)
    assert world.tick(1, failed=(0,)) == []
    assert first(world)[0].obs[:, 0, 0].tolist() == [100.0, 101.0, 102.0]


def test_episodes_that_always_fail_keep_no_rows():
    world = World(1, source(1, 1))
    for step in range(0, 20, 2):
        world.tick(step)
        world.tick(step + 1, failed=(0,))
    assert len(world.source.ticks) == 1


def test_rows_of_a_collection_under_way_are_seen():
    world = World(1, source(1, 1))
    world.tick(0)
    reward, obs = world.source.seen()
    assert (reward.tolist(), obs.tolist()) == ([0.0], [[0.0]])


@pytest.mark.parametrize(
    ("steps", "said"), [(8, "will make no update"), (450, "may make no update, because one takes up to 800"), (800, "")]
)
def test_a_run_that_may_end_before_its_first_update_says_so(steps, said, capsys):
    replay = {"_target_": "deeprl.replay.trajectories.Trajectories", "episodes": 9, "horizon": 50}
    tell_if_no_update({"steps": steps, "env": {"num": 8}, "replay": replay})
    told = capsys.readouterr().err
    assert said in told if said else not told
    tell_if_no_update({"steps": 8, "env": {"num": 8}, "replay": replay}, {"budget"})
    assert "budget=tiny" not in capsys.readouterr().err  # which the run has


def test_a_run_that_goes_on_behind_its_last_update_says_so(capsys):
    replay = {"_target_": "deeprl.agents.random_tails.RandomTails", "episodes": 2, "horizon": 4, "epochs": 3, "batch_size": 4}
    for steps in (32, 33):
        tell_if_no_update({"steps": steps, "env": {"num": 1}, "replay": replay})
    said = "this run will learn nothing after its first 32 steps at most: steps=33, replay.episodes=2, replay.horizon=4"
    told = capsys.readouterr().err
    assert told.count("this run") == 1
    assert said in told


COUNTED = [(option, key, least) for option in options("replay") for key, least in option_class("replay", option).counted.items()]


@pytest.mark.parametrize(("option", "key", "least"), COUNTED)
def test_sizes_of_which_the_number_of_updates_is_made_are_checked_before(option, key, least):
    """Each was a TypeError."""
    for value in (None, "abc", least - 1, 2.5, True):
        config = {"replay": {**values("replay", option), key: value}, "agent": {"_target_": "deeprl.agents.sqirl.SQIRL"}}
        with pytest.raises(ConfigError, match=f"replay.{key}={value!r} is out of range: it takes a whole number of at least {least}"):
            check_source(config)
