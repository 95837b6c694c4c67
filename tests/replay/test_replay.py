"""The replay against tables from the literature and against a slow one that keeps every transition as it came."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.utils._pytree import tree_leaves

from deeprl.errors import ConfigError
from deeprl.noise import torch_generator
from deeprl.packing import pack, packed_spec, unpacked
from deeprl.replay.fold import fold, span
from deeprl.replay.layout import layout
from deeprl.replay.replay import Replay
from deeprl.replay.samplers import Prioritized, Uniform, UniformDraws
from deeprl.running.accelerate.graph import traced
from deeprl.running.config.compose import compose
from deeprl.running.config.instantiate import instantiate
from deeprl.types import Batch, ObsPart, Rows, Spec
from tests.builders import draw
from tests.pairwise import crossed

VECTOR = Spec((2,), torch.float32, 3, 0)
CONTINUOUS = Spec((3,), torch.float32, 0, 2)
STACKED = Spec((4, 3, 2), torch.uint8, 3, 0, frame_stack=4)
COLOURED = Spec((6, 3, 2), torch.uint8, 0, 2, frame_stack=2)
"""Two pictures of three channels"""
CAMERA = ObsPart("camera", (4, 3, 2), torch.uint8, image=True, frame_stack=2)
LIDAR = ObsPart("lidar", (3, 4, 3), torch.uint8, image=True, privileged=True, frame_stack=3)
OTHERS = ObsPart("speed", (3,), torch.float32), ObsPart("map", (1, 3, 3), torch.uint8, image=True)
PARTS = packed_spec((CAMERA, LIDAR, *OTHERS), 3, 0, masked=True)
"""Stacks of two and of three frames beside what is stored whole"""
CHANNELS = Spec((5, 2, 2), torch.uint8, 3, 0)
FLOATS = Spec((3, 2, 4), torch.float32, 3, 0)


def make(spec: Spec, capacity: int = 100, num: int = 1, **options) -> Replay:
    return Replay(**{"batch_size": 4, "discount": 0.9, **options}, spec=spec, num=num, capacity=capacity)


def everything(replay: Replay):
    """A batch of each live transition once."""
    count = len(replay)
    return draw(replay, (torch.arange(count, dtype=torch.float64) + 0.5) / count)


def in_numpy(batch: Batch) -> Batch:
    """For NumPy, which compares whole arrays: an assertion for each entry would take most of the time of a test."""
    arrays = {name: value.numpy() for name, value in batch._asdict().items() if isinstance(value, torch.Tensor)}
    return batch._replace(**arrays, extra={name: value.numpy() for name, value in batch.extra.items()})


def one(obs, action, reward, next_obs, terminated=False, ended=False) -> Rows:
    def vector(value):
        return np.full((1, 2), value, np.float32)

    flags = np.array([terminated]), np.array([ended])
    return Rows(vector(obs), np.array([action]), np.array([reward], np.float32), vector(next_obs), *flags, np.ones(1, np.float32))


class Stream:
    """Random episodes of M environments, all of it remembered: `ticks[t]` are the rows with full stacks."""

    def __init__(self, spec: Spec, num: int, seed: int, longest: int = 10):
        self.spec, self.num, self.random, self.longest = spec, num, np.random.default_rng(seed), longest
        self.ticks: list[Rows] = []
        self.left = self.random.integers(1, longest + 1, num)
        self.obs = np.stack([self.start() for _ in range(num)])

    def frame(self) -> np.ndarray:
        shape = self.spec.obs_shape
        if self.spec.obs_dtype != torch.uint8:
            return self.random.normal(size=shape).astype(np.float32)
        return self.random.integers(1, 256, (shape[0] // self.spec.frame_stack, *shape[1:]), dtype=np.uint8)

    def packed(self, before: np.ndarray | None) -> np.ndarray:
        """An observation of several parts, behind another one or at the start of an episode."""
        values, old = [], None if before is None else unpacked(self.spec, before)[0]
        for i, (part, (channels, *sides)) in enumerate((part, part.shape) for part in self.spec.parts):
            if part.dtype == torch.float32:
                values.append(self.random.normal(size=part.shape).astype(np.float32))
                continue
            new = channels // part.frame_stack
            older = np.zeros((channels - new, *sides), np.uint8) if old is None else old[i][new:]
            values.append(np.concatenate([older, self.random.integers(1, 256, (new, *sides), dtype=np.uint8)]))
        return pack(self.spec, values, self.random.integers(0, 2, self.spec.mask_size))

    def start(self) -> np.ndarray:
        if self.spec.parts:
            return self.packed(None)
        frame, before = self.frame(), self.spec.frame_stack - 1
        return np.concatenate([np.zeros_like(frame)] * before + [frame])

    def follow(self, obs: np.ndarray) -> np.ndarray:
        if self.spec.parts:
            return self.packed(obs)
        stack = self.spec.frame_stack
        return self.frame() if stack == 1 else np.concatenate([obs[len(obs) // stack :], self.frame()])

    def __next__(self) -> Rows:
        num, random = self.num, self.random
        next_obs = np.stack([self.follow(obs) for obs in self.obs])
        self.left -= 1
        ended = self.left == 0
        terminated = np.where(ended, random.random(num) < 0.6, random.random(num) < 0.15)  # the latter are lost lives
        dim = self.spec.action_dim
        action = random.normal(size=(num, dim)).astype(np.float32) if dim else random.integers(0, 3, num)
        reward, probability = random.normal(size=num).astype(np.float32), random.random(num).astype(np.float32)
        rows = Rows(self.obs, action, reward, next_obs, terminated, ended, probability)
        self.ticks.append(rows)
        self.obs = next_obs.copy()
        for e in np.flatnonzero(ended):
            self.obs[e] = self.start()
            self.left[e] = random.integers(1, self.longest + 1)
        return rows

    def truncate_episode(self, e: int) -> None:
        self.ticks[-1].ended[e], self.obs[e], self.left[e] = True, self.start(), 5

    def expected(self, number: int, n: int, gamma: float, transform=lambda reward: reward):
        """obs, action, reward, discount, next_obs, steps, ended, successor: by the definition, one step at a time."""
        tick, e = divmod(number, self.num)
        total, m = 0.0, 0
        while True:
            row = self.ticks[tick + m]
            total += gamma**m * transform(float(row.reward[e]))
            m += 1
            if row.terminated[e] or row.ended[e] or m == n or tick + m == len(self.ticks):
                break
        first = self.ticks[tick]
        return first.obs[e], first.action[e], total, gamma**m * (1 - row.terminated[e]), row.next_obs[e], m, row.ended[e], first.next_obs[e]


def check(replay: Replay, stream: Stream, transform=lambda reward: reward):
    batch = everything(replay)
    numbers = batch.index.tolist()
    newest = len(stream.ticks) * stream.num
    if isinstance(replay.draws, UniformDraws):
        assert sorted(numbers) == list(range(newest - len(replay), newest))
    found, expected = in_numpy(batch), [stream.expected(number, replay.n_step, replay.discount, transform) for number in numbers]
    obs, action, reward, discount, next_obs, steps, ended, successor = map(np.stack, zip(*expected))
    for name, values in {"obs": obs, "next_obs": next_obs, "action": action, "steps": steps, "ended": ended}.items():
        np.testing.assert_array_equal(getattr(found, name), values, err_msg=name)
    np.testing.assert_allclose(found.reward, reward, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(found.discount, discount, rtol=1e-6)
    if "successor" in found.extra:
        np.testing.assert_array_equal(found.extra["successor"], successor)
    if "behavior_probability" in found.extra:
        acted = [stream.ticks[number // stream.num].probability[number % stream.num] for number in numbers]
        np.testing.assert_array_equal(found.extra["behavior_probability"], acted)
    assert batch.obs.dtype == replay.spec.obs_dtype
    assert batch.obs.shape == batch.next_obs.shape == (len(numbers), *replay.spec.obs_shape)
    assert batch.valid.all()


# Tables


@pytest.mark.parametrize(
    ("n", "table"),
    [
        (1, [(1, 0, 10, 2, 0), (2, 1, 20, 3, 0), (3, 2, 30, 4, 0), (4, 3, 40, 5, 0), (5, 4, 50, None, 1)]),
        (3, [(1, 0, 52.3, 4, 0), (2, 1, 79.4, 5, 0), (3, 2, 106.5, None, 1), (4, 3, 85, None, 1), (5, 4, 50, None, 1)]),
    ],
)
def test_the_transitions_of_a_short_episode(n, table):
    replay = make(VECTOR, n_step=n)
    for i in range(5):
        replay.append(one(i + 1, i, 10 * (i + 1), i + 2 if i < 4 else -1, i == 4, i == 4))
    batch = everything(replay)
    for i, (obs, action, reward, next_obs, terminal) in enumerate(table):
        assert batch.obs[i, 0] == obs
        assert batch.action[i] == action
        assert batch.reward[i].item() == pytest.approx(reward)
        assert (batch.discount[i] == 0) == bool(terminal)
        if next_obs is not None:
            assert batch.next_obs[i, 0] == next_obs
            assert batch.discount[i].item() == pytest.approx(0.9 ** batch.steps[i].item())
    if n == 1:
        assert batch.reward.tolist() == [10, 20, 30, 40, 50]


@pytest.mark.parametrize(
    ("terminated", "ended", "reward", "discount"), [(False, True, 1.99, 0.9801), (True, True, 1.99, 0.0), (False, False, 2.9701, 0.970299)]
)
def test_n_step_with_truncation(terminated, ended, reward, discount):
    replay = make(VECTOR, n_step=3, discount=0.99)
    replay.append(one(0, 0, 1, 1))
    replay.append(one(1, 0, 1, 2, terminated, ended))
    replay.append(one(7 if ended else 2, 0, 1, 8))
    batch = everything(replay)
    assert batch.reward[0].item() == pytest.approx(reward, rel=1e-6)
    assert batch.discount[0].item() == pytest.approx(discount, rel=1e-6)
    assert batch.next_obs[0, 0] == (2 if ended else 8)
    assert batch.steps.tolist() == ([2, 1, 1] if ended else [3, 2, 1])


def test_a_lost_life_stops_the_sum_but_is_no_boundary():
    replay = make(VECTOR, n_step=3)
    replay.append(one(0, 0, 1, 1))
    replay.append(one(1, 0, 1, 2, terminated=True))
    replay.append(one(2, 0, 100, 3))
    batch = everything(replay)
    assert batch.discount.tolist()[:2] == [0, 0]
    assert batch.reward[0].item() == pytest.approx(1.9)
    assert not batch.ended.any()
    assert len(replay) == 3


def test_fold_by_channels():
    reward = torch.tensor([[[1.0, 2.0, 4.0]], [[10.0, 20.0, float("inf")]]])  # (C, B, n)
    continues, real = torch.ones(1, 3), torch.tensor([[1.0, 1.0, 0.0]])
    earned, discount, steps = fold(reward, continues, span(continues, real), torch.tensor([1.0, 0.5, 0.25, 0.125]))
    assert earned.tolist() == [[2.0], [20.0]]
    assert discount.tolist() == [0.25]
    assert steps.tolist() == [2]


# Against the slow replay


@pytest.mark.parametrize(("spec", "n", "num"), crossed((VECTOR, CONTINUOUS, STACKED, COLOURED, PARTS, CHANNELS, FLOATS), (1, 3), (1, 2, 3)))
def test_equals_a_naive_replay(spec, n, num):
    stream = Stream(spec, num, seed=10 * n + num)
    replay = make(spec, capacity=23 * num, num=num, n_step=n, needs=frozenset({"successor", "behavior_probability"}))
    for t in range(110):
        replay.append(next(stream))
        if t in (0, 1, 5, 17) or t % 11 == 0 or t > 104:
            check(replay, stream)
    assert 23 * num / 2 < len(replay) < 23 * num  # an episode's extra row takes a place


@pytest.mark.parametrize("spec", [VECTOR, CONTINUOUS, STACKED, PARTS, CHANNELS, FLOATS])
def test_a_single_environment_is_stored_as_the_first_of_many(spec):
    """What lies in memory is the same bit for bit, also after many laps and an episode that is cut off, as on resuming."""
    one, many = (make(spec, capacity=23 * num, num=num, n_step=2).ring for num in (1, 3))
    stream = Stream(spec, 3, seed=3, longest=7)
    for t in range(150):
        rows = next(stream)
        many.append(rows)
        one.append(Rows(*(array[:1] for array in rows)))
        if t == 80:
            many.truncate_episode(0)
            one.truncate_episode(0)
            stream.truncate_episode(0)
    places = [(ring.last - 1 - np.arange(5)) % ring.layout.ticks for ring in (one, many)]
    np.testing.assert_array_equal(one.slots[places[0], 0], many.slots[places[1], 0])
    np.testing.assert_array_equal(one.rows, many.rows[: len(one.rows)])
    if one.frames is not None:
        np.testing.assert_array_equal(one.frames, many.frames[: len(one.frames)])
    state, expected = one.state_dict(), many.state_dict()
    for name in state.keys() - {"ticks", "oldest"}:  # how much is kept depends on all environments
        np.testing.assert_array_equal(state[name][0], expected[name][0], err_msg=name)


@pytest.mark.parametrize("spec", [VECTOR, CONTINUOUS, STACKED, PARTS, CHANNELS, FLOATS])
@pytest.mark.parametrize("n", [1, 3])
def test_what_follows_drawing_is_a_pure_function_of_tensors(spec, n):
    """Hence it may be a part of a compiled step: traced over one draw, its graph makes the right batch of another."""
    replay, stream = make(spec, capacity=60, n_step=n, batch_size=5, needs={"successor", "behavior_probability"}), Stream(spec, 1, seed=2)
    for _ in range(50):
        replay.append(next(stream))
    paths = []

    def listed(drawn):
        found = [(f"{i}", value) for i, value in enumerate(replay.batch(drawn)) if isinstance(value, torch.Tensor)]
        found += list(replay.batch(drawn).extra.items())
        paths[:] = [name for name, _ in found]
        return [value.clone() for _, value in found]

    uniforms = replay.noise(6, torch.Generator().manual_seed(0))["u"]
    graph, wanted = traced(listed, (replay.draw(uniforms[0]),))
    assert not [node for node in graph.graph.nodes if node.op == "get_attr"]  # nothing of the first draw is left in it
    for u in uniforms[1:]:
        drawn = replay.draw(u)
        found = graph(*[leaf for leaf, keep in zip(tree_leaves(drawn), wanted) if keep])
        for name, one, other in zip(paths, found, listed(drawn)):
            assert torch.equal(one, other), name


WHOLE = PARTS._replace(parts=tuple(part._replace(frame_stack=1) for part in PARTS.parts))


@pytest.mark.parametrize("n", [1, 3])
def test_parts_whose_frames_are_stored_once_are_those_that_are_stored_whole(n):
    """Bit for bit."""
    stream = Stream(PARTS, 2, seed=4)
    once, whole = (make(spec, num=2, n_step=n, needs={"successor"}) for spec in (PARTS, WHOLE))
    for _ in range(70):
        rows = next(stream)
        for each in (once, whole):
            each.append(rows)
    found, expected = everything(once), everything(whole)
    for name in ("obs", "next_obs", "action", "reward", "discount", "steps"):
        assert torch.equal(getattr(found, name), getattr(expected, name))
    assert torch.equal(found.extra["successor"], expected.extra["successor"])
    assert (once.ring.frames.shape[1], whole.ring.frames.shape[1]) == (12 + 9 + 12 + 12 + 3, 12 + 9 + 24 + 36 + 3)


def test_a_part_that_is_no_stack_of_its_frames_is_refused():
    stream = Stream(PARTS, 2, seed=4, longest=50)
    first, second = next(stream), next(stream)
    replay, ended = make(PARTS, num=2), make(PARTS, num=2)
    replay.append(first)
    with pytest.raises(ConfigError, match="part 'camera' of the observations says that it is a stack of frames"):
        replay.append(second._replace(next_obs=second.obs))
    ended.append(first._replace(ended=np.ones(2, bool)))
    with pytest.raises(ConfigError, match="not zeros where an episode starts"):
        ended.append(second)
    restarted = make(PARTS, num=2)  # env.on_error=restart ends an episode at its last observation, which is no step
    restarted.append(first)
    restarted.append(second._replace(next_obs=second.obs, ended=np.ones(2, bool)))
    alone = packed_spec((CAMERA,), 3, 0)
    stream, only = Stream(alone, 1, seed=4, longest=50), make(alone)
    only.append(next(stream))
    with pytest.raises(ConfigError, match="part 'camera'"):
        only.append((rows := next(stream))._replace(next_obs=rows.obs))


def test_long_episodes_fill_the_capacity():
    stream = Stream(STACKED, 2, seed=0, longest=10_000)
    replay = make(STACKED, capacity=40, num=2, n_step=2)
    for t in range(100):
        replay.append(next(stream))
        assert len(replay) == min(2 * (t + 1), 40)
    check(replay, stream)


@pytest.mark.parametrize("num", [1, 2])
def test_one_transition_of_each_environment_is_a_stream(num):
    """An update sees the newest transitions alone, at the end of an episode too: terminated at 3, a time limit at 2 and 5."""
    replay = make(Spec((1,), torch.float32, 2, 0), capacity=num, num=num, batch_size=num)
    for t in range(8):
        now, after = (np.full((num, 1), x, np.float32) for x in (t, t + 0.5))
        terminated, ended = np.full(num, t == 3), np.full(num, t in (2, 3, 5))
        replay.append(Rows(now, np.zeros(num, np.int64), now[:, 0], after, terminated, ended, np.ones(num, np.float32)))
        batch = draw(replay)
        assert len(replay) == num
        assert batch.obs.flatten().tolist() == batch.reward.tolist() == [t] * num
        assert batch.next_obs.flatten().tolist() == [t + 0.5] * num
        assert batch.discount.tolist() == pytest.approx([0.0 if t == 3 else 0.9] * num)


@pytest.mark.parametrize("capacity", [3, 4, 5, 7])
def test_tiny_capacities(capacity):
    stream = Stream(STACKED, 1, seed=capacity, longest=3)
    replay = make(STACKED, capacity=capacity, n_step=3)
    for _ in range(60):
        replay.append(next(stream))
        check(replay, stream)


@pytest.mark.parametrize("seed", range(8))
def test_n_step_property(seed):
    random = np.random.default_rng(seed)
    num, n, gamma = int(random.integers(1, 5)), int(random.integers(1, 8)), float(random.choice([0.0, 0.5, 0.99, 1.0]))
    stream = Stream(CONTINUOUS, num, seed, longest=int(random.integers(1, 13)))
    replay = make(CONTINUOUS, num * int(random.integers(n, 40)), num, n_step=n, discount=gamma, rewards=lambda raw: raw.clamp(-0.5, 0.5))
    for t in range(120):
        replay.append(next(stream))
        if t % 13 == 0:
            check(replay, stream, lambda reward: min(max(reward, -0.5), 0.5))


def test_rewards_may_have_channels():
    def polar(raw):
        return torch.stack((raw.clamp(min=0), (-raw).clamp(min=0)))

    for n in (1, 2):
        replay = make(VECTOR, n_step=n, rewards=polar)
        for reward in (1.0, -2.0, 3.0):
            replay.append(one(0, 0, reward, 0))
        expected = [[1, 0, 3], [0, 2, 0]] if n == 1 else [[1, 2.7, 3], [1.8, 2, 0]]
        np.testing.assert_allclose(everything(replay).reward, expected, rtol=1e-6)


def test_a_batch_is_a_copy():
    for spec in (VECTOR, STACKED):
        stream = Stream(spec, 1, seed=0, longest=1000)
        replay = make(spec, capacity=6)
        for _ in range(6):
            replay.append(next(stream))
        batch = everything(replay)
        before = [tensor.clone() for tensor in batch[:10]]
        for _ in range(9):
            replay.append(next(stream))
        assert all(torch.equal(a, b) for a, b in zip(before, batch[:10]))


def test_an_empty_replay_draws_nothing():
    replay = make(VECTOR, capacity=3)
    with pytest.raises(ValueError, match="empty"):
        draw(replay)
    for i in range(5):
        replay.append(one(i, 0, 0, i + 1, ended=True))
    assert 0 < len(replay) < 3


def test_uniforms_for_a_block_of_batches():
    noise = make(VECTOR).noise(5, torch_generator(0, "replay"))["u"]
    assert noise.shape == (5, 4)
    assert noise.dtype == torch.float64


# Checkpoints


@pytest.mark.parametrize(
    ("spec", "sampler", "steps"),
    crossed(
        (CONTINUOUS, STACKED, CHANNELS),
        (Uniform(), Prioritized(), Prioritized(normalization="global")),
        ((3, 4), (50, 17), (20, 9, 60, 1, 0)),
    ),
)
def test_round_trip(spec, sampler, steps):
    stream, random = Stream(spec, 2, seed=5), np.random.default_rng(1)
    replay = make(spec, capacity=60, num=2, n_step=3, sampler=sampler)
    marks, segments = None, []
    for ticks in steps:
        for _ in range(ticks):
            replay.append(next(stream))
            batch = draw(replay)
            replay.priorities(batch, torch.from_numpy(random.random(4)))
        segment = replay.rows(marks)
        if not ticks:
            assert segment is None
            continue
        assert len(segment["rows"]) == int((segment["stop"] - segment["start"]).sum())
        segments.append(segment)
        marks = replay.marks()
    state = {name: value.copy() if isinstance(value, np.ndarray) else value for name, value in replay.state_dict().items()}
    assert all(isinstance(value, (int, float, list, np.ndarray)) for value in state.values())
    again = make(spec, capacity=60, num=2, n_step=3, sampler=sampler)
    again.load({name: torch.from_numpy(value) if isinstance(value, np.ndarray) else value for name, value in state.items()}, iter(segments))
    check(again, stream)
    for _ in range(80):
        ours, theirs = draw(replay), draw(again)
        assert all(torch.equal(a, b) for a, b in zip(ours[:10], theirs[:10]))
        error = torch.from_numpy(random.random(4))
        rows = next(stream)
        for one_of_both, batch in ((replay, ours), (again, theirs)):
            one_of_both.append(rows)
            one_of_both.priorities(batch, error)
    assert all(torch.equal(a, b) for a, b in zip(replay.rows(marks).values(), again.rows(marks).values()))
    for name, value in replay.state_dict().items():
        assert np.array_equal(value, again.state_dict()[name]), name


@pytest.mark.parametrize("capacity", [24, 200])
@pytest.mark.parametrize("ticks", [1, 60])
@pytest.mark.parametrize("spec", [STACKED, PARTS], ids=["stacked", "parts"])
def test_an_empty_replay_begins_in_mid_episode(spec, capacity, ticks):
    """As after a checkpoint without it: the frames before its first row are in no row, and belong to the observations."""
    stream = Stream(spec, 2, seed=3, longest=50)
    for _ in range(5):
        next(stream)
    stream.ticks.clear()
    replay = make(spec, capacity=capacity, num=2, n_step=1)
    older = replay.layout.frame(stream.obs.reshape(2, -1), 1)
    assert older[0].any()
    assert not older[1].any()  # a new episode
    for _ in range(ticks):
        replay.append(next(stream))
    check(replay, stream)
    again = make(spec, capacity=capacity, num=2, n_step=1)
    again.load(replay.state_dict(), [replay.rows()])
    check(again, stream)
    for _ in range(30):
        rows = next(stream)
        for each in (replay, again):
            each.append(rows)
    check(replay, stream)
    check(again, stream)


@pytest.mark.parametrize("capacity", [10, 200])
@pytest.mark.parametrize("spec", [CONTINUOUS, STACKED, PARTS], ids=["vector", "stacked", "parts"])
def test_an_episode_cut_after_a_checkpoint_stays_cut(spec, capacity):
    stream = Stream(spec, 2, seed=2)
    replay = make(spec, capacity=capacity, num=2, n_step=3)
    segments, marks = [], None
    for _ in range(6):
        for _ in range(7):
            replay.append(next(stream))
        segments.append(replay.rows(marks))
        marks = replay.marks()
        replay.truncate_episode(1)  # as after a resume whose environment did not come back as it was
        replay.truncate_episode(1)  # nothing more to cut
        stream.truncate_episode(1)
        check(replay, stream)
    for _ in range(3):
        replay.append(next(stream))
    segments.append(replay.rows(marks))
    again = make(spec, capacity=capacity, num=2, n_step=3)
    needed = [segment for segment in segments if (segment["stop"] > torch.tensor(replay.live_from())).any()]
    assert (len(needed) < len(segments)) == (capacity == 10)
    again.load(replay.state_dict(), needed)
    for tick in range(30):
        if tick < 3 or tick % 9 == 0:
            check(replay, stream)
            check(again, stream)
        rows = next(stream)
        replay.append(rows)
        again.append(rows)


def test_a_segment_missing_is_named():
    stream, replay = Stream(VECTOR, 1, seed=0), make(VECTOR, capacity=50)
    for _ in range(10):
        replay.append(next(stream))
    marks, first = replay.marks(), replay.rows()
    for _ in range(10):
        replay.append(next(stream))
    second, state = replay.rows(marks), replay.state_dict()
    for segments in ([first], [second]):
        with pytest.raises(ValueError, match="a segment is missing"):
            make(VECTOR, capacity=50).load(state, segments)
    with pytest.raises(ValueError, match="not the same environment"):
        make(CONTINUOUS, capacity=50).load(state, [first, second])
    make(VECTOR, capacity=50).load(state, [first, second])


@pytest.mark.parametrize("action", [VECTOR.num_actions, -1, np.nan])
def test_a_stored_action_that_the_environment_has_not_is_named(action):
    """It was an IndexError of the first update."""
    stream, replay = Stream(VECTOR, 1, seed=0), make(VECTOR, capacity=50)
    for _ in range(10):
        replay.append(next(stream))
    segment = replay.rows()
    segment["rows"][4, replay.layout.action] = action
    with pytest.raises(ValueError, match=f"actions outside of 0 to {VECTOR.num_actions - 1}"):
        make(VECTOR, capacity=50).load(replay.state_dict(), [segment])


def test_a_stored_flag_that_none_can_have_is_named():
    """It was an IndexError of the first update that met it, in a segment of which bits were changed."""
    stream, replay = Stream(VECTOR, 1, seed=0), make(VECTOR, capacity=50)
    for _ in range(10):
        replay.append(next(stream))
    segment = replay.rows()
    segment["rows"][4, replay.layout.real] = 300.0
    with pytest.raises(ValueError, match="a flag that is neither 0 nor 1"):
        make(VECTOR, capacity=50).load(replay.state_dict(), [segment])


# Memory


def test_memory_of_a_million_atari_transitions():
    atari = Spec((4, 84, 84), torch.uint8, 18, 0, frame_stack=4)
    assert 7056e6 < layout(atari, 1_000_000, 1, 1).memory < 7.2e9
    assert layout(atari, 1_000_000, 8, 3).memory + Prioritized().memory(1_000_000) < 7.2e9
    plan = layout(atari, 1000, 4, 3)
    replay = make(atari, 1000, 4, n_step=3)
    camera, numbers = ObsPart("camera", (4, 84, 84), torch.uint8, image=True, frame_stack=4), ObsPart("numbers", (10,), torch.float32)
    assert layout(packed_spec((camera, numbers), 18, 0), 1000, 1, 1).size == 7056 + 40
    assert plan.memory == replay.ring.rows.nbytes + replay.ring.frames.nbytes + replay.ring.slots.nbytes


def test_more_than_the_machine_has_is_refused_before_allocation(monkeypatch):
    monkeypatch.setattr("deeprl.replay.memory.available_memory", lambda *_: 1 << 30)
    atari = Spec((4, 84, 84), torch.uint8, 18, 0, frame_stack=4)
    with pytest.raises(ValueError, match=r"needs 7,\d+,\d+,\d+ bytes .* 1,073,741,824 are available: replay.capacity=") as error:
        make(atari, 1_000_000)
    make(atari, int(str(error.value).split("replay.capacity=")[1].split()[0]))
    monkeypatch.setattr("deeprl.replay.memory.available_memory", lambda *_: None)
    make(VECTOR)


def test_wrong_values_are_refused():
    wrong = {"n_step": 0, "batch_size": 0, "discount": 1.1, "capacity": 0}
    for name, value in wrong.items():
        with pytest.raises(ValueError, match=name):
            make(VECTOR, **{name: value})
    with pytest.raises(ValueError, match="capacity"):
        make(VECTOR, capacity=2, n_step=3)


# Elsewhere


@pytest.mark.parametrize("name", ["uniform", "prioritized"])
def test_the_configs_compose_and_build(name):
    config, _, _ = compose(["agent=dqn", f"replay={name}", "replay.capacity=50", "replay.batch_size=32"])
    replay = instantiate(config["replay"], "replay", None)(spec=VECTOR, num=1, discount=0.9)
    stream = Stream(VECTOR, 1, seed=0)
    for _ in range(20):
        replay.append(next(stream))
    batch = draw(replay)
    replay.priorities(batch, torch.rand(32))
    assert batch.reward.shape == (32,)


@pytest.mark.gpu
@pytest.mark.parametrize("device", ["cpu", "cuda"])
@pytest.mark.parametrize("sampler", [Uniform(), Prioritized()], ids=["uniform", "prioritized"])
@pytest.mark.parametrize("n", [1, 3])
@pytest.mark.parametrize("spec", [VECTOR, CONTINUOUS, STACKED, CHANNELS], ids=["vector", "continuous", "stacked", "channels"])
def test_batches_on_a_gpu_are_those_of_the_cpu(spec, n, sampler, device):
    stream = Stream(spec, 2, seed=0)
    options = {"num": 2, "n_step": n, "sampler": sampler, "needs": {"successor", "behavior_probability"}}
    here, there = make(spec, **options), make(spec, **options, device=device, batch_device="cuda")
    for _ in range(90):
        rows = next(stream)
        here.append(rows)
        there.append(rows)
        a, b = draw(here), draw(there)
        for x, y in zip([*a[:10], *a.extra.values()], [*b[:10], *b.extra.values()]):
            assert y.device.type == "cuda"
            torch.testing.assert_close(x, y.cpu(), rtol=1e-6, atol=1e-6)
        here.priorities(a, a.reward)
        there.priorities(b, a.reward.to("cuda"))
