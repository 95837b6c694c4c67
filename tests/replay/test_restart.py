"""The need "restart": after a termination a transition leads to the first observation of the next episode, and the bootstrap goes on."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from deeprl.replay.replay import Replay
from deeprl.replay.samplers import Prioritized
from deeprl.replay.sequences import Sequences
from deeprl.types import Rows
from tests.builders import draw
from tests.pairwise import crossed
from tests.replay.test_replay import CHANNELS, COLOURED, CONTINUOUS, PARTS, STACKED, VECTOR, Stream, everything, in_numpy, make, one
from tests.replay.test_sequences import walk
from tests.toy_envs import Counting

RESTART = frozenset({"restart"})
EVERY = (VECTOR, CONTINUOUS, STACKED, COLOURED, PARTS, CHANNELS)


def following(stream: Stream, tick: int, e: int) -> np.ndarray:
    """The observation that the agent saw after a tick: the first of the next episode after a termination, else the true successor."""
    row = stream.ticks[tick]
    return stream.ticks[tick + 1].obs[e] if row.terminated[e] and row.ended[e] else row.next_obs[e]


def check(replay: Replay, stream: Stream) -> None:
    batch, newest = everything(replay), len(stream.ticks) - replay.n_step
    assert sorted(batch.index.tolist()) == list(range(replay.ring.first * stream.num, newest * stream.num))
    if len(batch.index):
        found, expected = in_numpy(batch), [stream.expected(number, replay.n_step, replay.discount) for number in batch.index.tolist()]
        obs, _, reward, _, _, steps, ended, _ = map(np.stack, zip(*expected))
        tick, e = np.divmod(found.index, stream.num)
        last = [*zip((tick + steps - 1).tolist(), e.tolist())]
        np.testing.assert_array_equal(found.obs, obs)
        np.testing.assert_array_equal(found.next_obs, np.stack([following(stream, *place) for place in last]))
        np.testing.assert_allclose(found.reward, reward, rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(found.discount, replay.discount**steps, rtol=1e-6)
        np.testing.assert_array_equal(found.steps, steps)
        np.testing.assert_array_equal(found.ended, ended)
        np.testing.assert_array_equal(found.extra["restart"], [stream.ticks[t].terminated[place] for t, place in last])
    assert batch.obs.dtype == batch.next_obs.dtype == replay.spec.obs_dtype


def test_a_fall_a_lost_life_and_a_time_limit():
    """By hand: an episode 0 1 falls at 2, the next starts at 10; a life is lost at 11; 12 is cut by a time limit at 13; 20 is new."""
    replay = make(VECTOR, needs=RESTART)
    rows = [(0, 1, ""), (1, 2, "terminated ended"), (10, 11, "terminated"), (11, 12, ""), (12, 13, "ended"), (20, 21, "")]
    for obs, next_obs, flags in rows:
        replay.append(one(obs, 0, obs, next_obs, "terminated" in flags, "ended" in flags))
    batch = everything(replay)
    assert batch.obs[:, 0].tolist() == [0, 1, 10, 11, 12]  # the newest transition waits for what follows it
    assert batch.next_obs[:, 0].tolist() == [1, 10, 11, 12, 13]
    assert batch.extra["restart"].tolist() == [False, True, True, False, False]
    assert batch.discount.tolist() == pytest.approx([0.9] * 5)


def test_two_steps_end_at_a_fall():
    replay = make(VECTOR, n_step=2, needs=RESTART | {"terminated"})
    for obs, next_obs, over in [(0, 1, False), (1, 2, True), (10, 11, False), (11, 12, False), (12, 13, False)]:
        replay.append(one(obs, 0, obs + 1, next_obs, over, over))
    batch = everything(replay)
    assert batch.next_obs[:, 0].tolist() == [10, 10, 12]
    assert batch.reward.tolist() == pytest.approx([1 + 0.9 * 2, 2, 11 + 0.9 * 12])
    assert batch.discount.tolist() == pytest.approx([0.81, 0.9, 0.81])
    assert batch.extra["restart"].tolist() == [True, True, False]
    assert batch.extra["terminated"].tolist() == [False, True, False]  # of the first step


@pytest.mark.parametrize(("spec", "n", "num"), crossed(EVERY, (1, 3), (1, 2, 3)))
def test_equals_a_naive_replay_while_the_ring_wraps(spec, n, num):
    stream = Stream(spec, num, seed=10 * n + num, longest=6)
    replay = make(spec, capacity=23 * num, num=num, n_step=n, needs=RESTART | {"successor"})
    for t in range(110):
        assert len(replay) == max(replay.ring.last - replay.ring.first - n, 0) * num
        replay.append(next(stream))
        if len(replay) and (t < 7 or t % 11 == 0 or t > 100):
            check(replay, stream)
        if t % 17 == 0:
            replay.truncate_episode(0)
            stream.truncate_episode(0)
    assert replay.ring.first > 60


@pytest.mark.parametrize("capacity", [4, 5, 7])
def test_tiny_capacities(capacity):
    stream, sampled = Stream(STACKED, 1, seed=capacity, longest=3), 0
    replay = make(STACKED, capacity=capacity, n_step=2, needs=RESTART)
    for _ in range(60):
        replay.append(next(stream))
        if len(replay):
            check(replay, stream)
            sampled += 1
    assert sampled > 10


@pytest.mark.parametrize(("spec", "length", "num"), crossed(EVERY, (1, 4), (1, 3)))
def test_sequences(spec, length, num):
    stream = Stream(spec, num, seed=length + num, longest=6)
    replay = Sequences(capacity=23 * num, batch_size=4, discount=0.9, needs=RESTART, spec=spec, num=num, length=length)
    for t in range(90):
        replay.append(next(stream))
        if not len(replay) or 10 < t < 80:
            continue
        batch = everything(replay)
        starts = batch.index[0].tolist()
        assert sorted(starts) == list(range(replay.ring.first * num, (len(stream.ticks) - length) * num))
        for b, number in enumerate(starts):
            e, rows = walk(stream, number, length)
            for at, (number, row, _) in enumerate(rows):
                assert batch.valid[at, b] == (row is not None)
                assert batch.discount[at, b].item() == pytest.approx(0.0 if row is None else 0.9)
                assert batch.extra["restart"][at, b] == (row is not None and bool(row.terminated[e]))
                if row is not None:
                    np.testing.assert_array_equal(batch.obs[at, b], row.obs[e])
                    np.testing.assert_array_equal(batch.next_obs[at, b], following(stream, number // num, e))


@pytest.mark.parametrize("num", [1, 3])
def test_of_an_environment(num):
    """The reset observation is what the environment returned: episodes of `Counting` start at step 0, and odd ones terminate."""
    envs = Counting(continuous=True, max_length=4).make(0, num=num, vector="sync")
    replay, obs, action = make(envs.spec, capacity=60 * num, num=num, needs=RESTART), envs.reset(), np.zeros((num, 2), np.float32)
    seen = []
    for _ in range(80):
        after = envs.step(action)
        replay.append(Rows(obs, action, after.reward, after.next_obs, after.terminated, after.ended, np.ones(num, np.float32)))
        obs = after.obs.copy()
        seen.append(obs)
    envs.close()
    batch = everything(replay)
    restart = batch.extra["restart"]
    assert restart.any()
    assert batch.next_obs[restart, 1].eq(0).all()
    assert batch.next_obs[~restart, 1].equal(batch.obs[~restart, 1] + 1)
    assert (batch.obs[batch.ended & ~restart, 0] % 2 == 0).all()  # truncated: the true last observation, as in the line above
    for i in restart.nonzero().flatten():
        tick, e = divmod(int(batch.index[i]), num)
        np.testing.assert_array_equal(batch.next_obs[i], seen[tick][e])


@pytest.mark.parametrize("sampler", [Prioritized(), Prioritized(normalization="global")])
@pytest.mark.parametrize("spec", [CONTINUOUS, STACKED], ids=["vector", "stacked"])
def test_a_checkpoint_between_a_fall_and_the_next_step(spec, sampler):
    """The observation after the reset is in no checkpoint; the transition before it is drawn after a resume as without one."""
    options = {"capacity": 60, "num": 2, "n_step": 2, "sampler": sampler, "needs": RESTART}
    stream, replay = Stream(spec, 2, seed=5, longest=4), make(spec, **options)
    while len(stream.ticks) < 40 or not (stream.ticks[-1].terminated & stream.ticks[-1].ended).any():
        replay.append(next(stream))
        if len(replay):
            replay.priorities((batch := draw(replay)), batch.reward)
    again = make(spec, **options)
    again.load(replay.state_dict(), [replay.rows()])
    for _ in range(20):
        a, b = draw(replay), draw(again)
        assert all(torch.equal(x, y) for x, y in zip([*a[:10], *a.extra.values()], [*b[:10], *b.extra.values()]))
        rows = next(stream)
        for each in (replay, again):
            each.append(rows)
            each.priorities(a, a.reward)
    check(make_uniform(again), stream)


def make_uniform(replay: Replay) -> Replay:
    """The same rows, each drawn once by `everything`."""
    replay.draws = make(VECTOR).draws
    return replay


@pytest.mark.parametrize("n", [1, 3])
@pytest.mark.parametrize("spec", [CONTINUOUS, STACKED], ids=["vector", "stacked"])
def test_the_way_to_another_device_changes_nothing(spec, n):
    stream, (here, there) = Stream(spec, 1, seed=0, longest=4), (make(spec, n_step=n, needs=RESTART) for _ in range(2))
    for _ in range(60):
        rows = next(stream)
        here.append(rows)
        there.append(rows)
        if len(here):
            a, b = draw(here), draw(there)
            assert all(torch.equal(x, y) for x, y in zip([*a[:10], *a.extra.values()], [*b[:10], *b.extra.values()]))
            there._gathers[4].away = True  # from here on by way of copies, without a GPU to copy to
