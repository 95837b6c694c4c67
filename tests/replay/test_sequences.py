"""Replay of sequences against a slow reference that walks through the remembered episodes."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from deeprl.cli import exits
from deeprl.replay.replay import Replay
from deeprl.replay.samplers import Prioritized, Uniform
from deeprl.replay.sequences import Auto, Recurrence, Sequences, folded, mixed
from tests.builders import draw, front_door
from tests.pairwise import crossed
from tests.replay.test_replay import CHANNELS, COLOURED, CONTINUOUS, FLOATS, PARTS, STACKED, VECTOR, Stream, everything, in_numpy, one

EVERY = (VECTOR, CONTINUOUS, STACKED, COLOURED, PARTS, CHANNELS, FLOATS)
SPECS = pytest.mark.parametrize("spec", EVERY, ids=["vector", "continuous", "stacked", "coloured", "parts", "channels", "floats"])
STORED = ("obs", "next_obs", "action", "reward", "terminated", "ended", "probability")
NEEDS = frozenset({"successor", "behavior_probability", "sequences"})


def make(spec, capacity=100, num=1, length=4, **options) -> Sequences:
    defaults = {"batch_size": 4, "discount": 0.9, "needs": NEEDS}
    return Sequences(**{**defaults, **options}, spec=spec, num=num, capacity=capacity, length=length)


def walk(stream: Stream, number: int, length: int):
    """`length` rows from a transition on: (number, its tick's rows, environment), or None and the last observation of an episode."""
    tick, e = divmod(number, stream.num)
    rows = []
    while len(rows) < length:
        row = stream.ticks[tick]
        rows.append((tick * stream.num + e, row, None))
        if row.ended[e]:
            rows.append((-1, None, row.next_obs[e]))
        tick += 1
    return e, rows[:length]


def check(replay: Sequences, stream: Stream) -> None:
    """All starts, all rows."""
    batch, length = everything(replay), replay.length
    starts, newest = batch.index[0].tolist(), len(stream.ticks)
    assert sorted(starts) == list(range(replay.ring.first * stream.num, (newest - length + 1) * stream.num))
    assert batch.obs.shape == batch.next_obs.shape == (length, len(starts), *replay.spec.obs_shape)
    assert batch.obs.dtype == replay.spec.obs_dtype
    found, rows, ends = in_numpy(batch), [], []
    for b, number in enumerate(starts):
        e, walked = walk(stream, number, length)
        for t, (at, row, last) in enumerate(walked):
            assert (found.index[t, b], found.valid[t, b]) == (at, row is not None)
            (ends if row is None else rows).append((t, b, last if row is None else [getattr(row, name)[e] for name in STORED]))
    *at, true = zip(*rows)
    expected = dict(zip(STORED, map(np.stack, zip(*true))))
    for name in ("obs", "next_obs", "action", "reward", "ended"):
        np.testing.assert_array_equal(getattr(found, name)[*at], expected[name], err_msg=name)
    np.testing.assert_array_equal(found.extra["successor"][*at], expected["next_obs"])
    np.testing.assert_array_equal(found.extra["behavior_probability"][*at], expected["probability"])
    np.testing.assert_allclose(found.discount[*at], 0.9 * (1 - expected["terminated"]), rtol=1e-6)
    assert (found.steps[*at] == 1).all()
    if ends:
        *at, last = zip(*ends)
        np.testing.assert_array_equal(found.obs[*at], np.stack(last))
        assert not found.discount[*at].any()
        assert not found.ended[*at].any()


@pytest.mark.parametrize(("spec", "length", "num"), crossed(EVERY, (1, 2, 7), (1, 2, 3)))
def test_every_window_is_what_happened(spec, length, num):
    stream = Stream(spec, num, seed=10 * length + num, longest=6)
    replay = make(spec, capacity=23 * num, num=num, length=length)
    for t in range(90):
        assert len(replay) == max(replay.ring.last - replay.ring.first - length + 1, 0) * num
        replay.append(next(stream))
        if len(replay) and (t < 10 or t % 11 == 0 or t > 86):
            check(replay, stream)
    assert replay.ring.first > 60  # old rows were overwritten


@pytest.mark.parametrize("capacity", [5, 6, 9])
def test_tiny_capacities(capacity):
    stream, replay = Stream(STACKED, 1, seed=capacity, longest=12), make(STACKED, capacity=capacity, length=5)
    sampled = 0
    for _ in range(60):
        replay.append(next(stream))
        if len(replay):  # short episodes leave room for fewer transitions than a window is long
            check(replay, stream)
            sampled += 1
    assert sampled > 10


def test_a_window_over_a_truncation_a_lost_life_and_a_termination():
    """By hand: episodes 0 1 2 (truncated), 10 11 (terminated), 20. Row 3 of the first window is the true last observation."""
    replay = make(VECTOR, length=5, batch_size=1)
    flags = {0: "", 1: "terminated", 2: "ended", 10: "", 11: "terminated ended", 20: ""}
    for obs, flag in flags.items():
        replay.append(one(obs, 0, obs + 0.5, obs + 1, "terminated" in flag, "ended" in flag))
    batch = everything(replay)
    first, second = batch.index[0].tolist().index(0), batch.index[0].tolist().index(1)
    assert batch.obs[:, first, 0].tolist() == [0, 1, 2, 3, 10]
    assert batch.next_obs[[0, 1, 2, 4], first, 0].tolist() == [1, 2, 3, 11]
    assert batch.valid[:, first].tolist() == [True, True, True, False, True]
    assert batch.ended[:, first].tolist() == [False, False, True, False, False]
    assert batch.discount[:, first].tolist() == pytest.approx([0.9, 0, 0.9, 0, 0.9])
    assert batch.index[:, first].tolist() == [0, 1, 2, -1, 3]
    assert batch.obs[:, second, 0].tolist() == [1, 2, 3, 10, 11]
    assert len(replay) == 2


@pytest.mark.parametrize("num", [1, 3])
@SPECS
def test_sequences_of_one_are_transitions_bit_for_bit(spec, num):
    stream = Stream(spec, num, seed=3)
    sequences = make(spec, capacity=40 * num, num=num, length=1)
    single = Replay(capacity=40 * num, batch_size=4, discount=0.9, needs=NEEDS, spec=spec, num=num)
    for _ in range(100):
        rows = next(stream)
        sequences.append(rows)
        single.append(rows)
        ours, theirs = draw(sequences), draw(single)
        for one_of_ours, one_of_theirs in zip([*ours[:10], *ours.extra.values()], [*theirs[:10], *theirs.extra.values()]):
            assert one_of_ours.dtype == one_of_theirs.dtype
            assert torch.equal(one_of_ours[0], one_of_theirs)


def test_every_transition_is_about_as_likely():
    """Had windows stopped at the end of an episode, its first transition would be sampled once where others are T times."""
    stream, replay = Stream(VECTOR, 1, seed=0, longest=9), make(VECTOR, capacity=1000, length=4)
    for _ in range(400):
        replay.append(next(stream))
    index = everything(replay).index
    counts = np.bincount(index[index >= 0].numpy(), minlength=400)[3:397]
    first = [t - 3 for t in range(3, 397) if stream.ticks[t - 1].ended[0]]
    assert counts.min() >= 2
    assert counts.max() == 4
    assert counts[first].mean() > 2.5


def test_rewards_may_have_channels():
    replay = make(VECTOR, length=2, rewards=lambda raw: torch.stack((raw.clamp(min=0), (-raw).clamp(min=0))))
    for reward in (1.0, -2.0, 3.0):
        replay.append(one(0, 0, reward, 0))
    reward = everything(replay).reward
    assert reward.shape == (2, 2, 2)  # C, T, B
    assert reward.tolist() == [[[1, 0], [0, 3]], [[0, 2], [2, 0]]]


# ---- sampling: reproducible, prioritised, resumable


@pytest.mark.parametrize("sampler", [Uniform(), Prioritized()], ids=["uniform", "prioritized"])
@pytest.mark.parametrize("spec", [CONTINUOUS, STACKED], ids=["vector", "stacked"])
def test_a_replay_restored_from_segments_goes_on_bit_for_bit(spec, sampler):
    stream, random = Stream(spec, 2, seed=7), np.random.default_rng(0)
    replay, again = (make(spec, capacity=30, num=2, length=3, sampler=sampler) for _ in range(2))
    segments, marks = [], None
    for _ in range(6):
        for _ in range(9):
            replay.append(next(stream))
            if len(replay):
                replay.priorities(draw(replay), torch.from_numpy(random.random((3, 4))))
        segments.append(replay.rows(marks))
        marks = replay.marks()
    again.load(replay.state_dict(), [s for s in segments if (s["stop"] > torch.tensor(replay.live_from())).any()])
    for _ in range(60):
        ours, theirs = draw(replay), draw(again)
        pairs = zip([*ours[:10], *ours.extra.values()], [*theirs[:10], *theirs.extra.values()])
        assert all(torch.equal(a, b) for a, b in pairs)
        error, rows = torch.from_numpy(random.random((3, 4))), next(stream)
        for each, batch in ((replay, ours), (again, theirs)):
            each.append(rows)
            each.priorities(batch, error)
    for name, value in replay.state_dict().items():
        assert np.array_equal(value, again.state_dict()[name]), name


def test_an_episode_cut_where_it_stood_ends_there():
    stream, replay = Stream(STACKED, 2, seed=2, longest=20), make(STACKED, capacity=60, num=2, length=4)
    for _ in range(4):
        for _ in range(6):
            replay.append(next(stream))
        replay.truncate_episode(1)
        stream.truncate_episode(1)
        if stream.ticks[-1].ended[1]:
            check(replay, stream)
    again = make(STACKED, capacity=60, num=2, length=4)
    again.load(replay.state_dict(), [replay.rows()])
    check(again, stream)


def test_the_priority_of_a_sequence_is_the_mean_error_of_its_transitions():
    replay = make(VECTOR, length=3, sampler=Prioritized(alpha=1.0, epsilon=0.0))
    for i in range(7):
        replay.append(one(i, 0, 0, i + 1, ended=i == 1))
    assert replay.prioritized
    batch = everything(replay)  # starts 0 … 4
    start = torch.tensor([[0, 2], [1, 3], [-1, 4]])
    assert {0, 2} <= set(batch.index[0].tolist())
    replay.priorities(
        batch._replace(index=start), torch.tensor([[1.0, 3.0], [2.0, 6.0], [1e9, 9.0]])
    )  # what an invalid row says does not count
    assert replay.state_dict()["priorities"].tolist() == [1.5, 1.0, 6.0, 1.0, 1.0]
    assert replay.state_dict()["largest_priority"] == 6.0
    weighted = draw(replay, torch.tensor([0.05, 0.6], dtype=torch.float64))
    assert weighted.index[0].tolist() == [0, 2]
    assert weighted.weight.shape == (3, 2)
    torch.testing.assert_close(weighted.weight, torch.tensor([1.0, 0.5]).expand(3, 2))  # (6 / 1.5) ** −0.5


def test_priorities_without_power_sample_uniformly():
    stream = Stream(VECTOR, 2, seed=0)
    uniform, prioritized = (make(VECTOR, capacity=40, num=2, sampler=sampler) for sampler in (Uniform(), Prioritized(alpha=0.0)))
    for _ in range(90):
        rows = next(stream)
        uniform.append(rows)
        prioritized.append(rows)
        if len(uniform):
            a, b = draw(uniform), draw(prioritized)
            assert all(torch.equal(x, y) for x, y in zip(a[:10], b[:10]))
            prioritized.priorities(b, torch.rand(4, 4))


def test_an_empty_replay_is_one_without_a_whole_window():
    replay = make(VECTOR, length=3)
    for i in range(4):
        if i < 3:
            with pytest.raises(ValueError, match="empty"):
                draw(replay)
        replay.append(one(i, 0, 0, i + 1))
    assert len(replay) == 2


def test_a_batch_is_a_copy():
    for spec in (VECTOR, STACKED):
        stream, replay = Stream(spec, 1, seed=0, longest=1000), make(spec, capacity=8)
        for _ in range(8):
            replay.append(next(stream))
        batch = everything(replay)
        before = [tensor.clone() for tensor in batch[:10]]
        for _ in range(9):
            replay.append(next(stream))
        assert all(torch.equal(a, b) for a, b in zip(before, batch[:10]))


def test_random_numbers_of_an_update_are_one_for_each_row():
    assert make(VECTOR, length=5, batch_size=3).batch_shape == (5, 3)
    assert Replay(capacity=10, batch_size=3, spec=VECTOR, num=1, discount=0.9).batch_shape == (3,)
    assert make(VECTOR, length=5, batch_size=3).noise(2, torch.Generator())["u"].shape == (2, 3)


# ---- refusals, memory, configuration


def test_n_step_sums_are_refused():
    with pytest.raises(ValueError, match=r"^n_step must be 1 with sequences, not 3: the backup's trace takes the place"):
        make(VECTOR, n_step=3, needs=frozenset({"sequences"}))


def test_a_burn_in_without_a_core_names_the_control():
    """`agent=r2d2 agent/core=none` was refused with the value of a key that nobody had typed, and no word of `keep`."""
    with pytest.raises(ValueError, match=r"^burn_in must be 0 without agent/core, not 2: .* agent/core=keep"):
        make(VECTOR, recurrence=Recurrence(burn_in=2))


def test_wrong_values_are_refused():
    for name, value in {"length": 0, "batch_size": 0, "discount": 1.1}.items():
        with pytest.raises(ValueError, match=f"^{name} must be"):
            make(VECTOR, **{name: value})
    with pytest.raises(ValueError, match=r"^capacity must be at least length rows for each environment \(5 \* 3\), not 14"):
        make(VECTOR, capacity=14, num=3, length=5)
    make(VECTOR, capacity=15, num=3, length=5)


def test_the_memory_is_that_of_the_arrays_and_is_checked(monkeypatch):
    replay = make(STACKED, capacity=1000, num=4, length=16)
    assert replay.bytes == replay.ring.rows.nbytes + replay.ring.frames.nbytes + replay.ring.slots.nbytes
    monkeypatch.setattr("deeprl.replay.memory.available_memory", lambda *_: 1 << 20)
    with pytest.raises(ValueError, match=r"capacity=1000000 needs .* would fit$"):
        make(VECTOR, capacity=1_000_000)
    # elstm_exact on an image wants 3 MB for each row, and 32 GB were asked for without a word of the state
    with pytest.raises(ValueError, match=r"capacity=1000 needs .* would fit\. 3,200,000 bytes of each row are .* replay\.start=zero"):
        make(VECTOR, capacity=1000, recurrence=Recurrence(state_size=800_000), needs=frozenset({"state"}))


def test_auto_follows_from_what_is_needed():
    options = {"capacity": 50, "batch_size": 2, "length": 6, "spec": VECTOR, "num": 1, "discount": 0.9}
    assert type(Auto(**options)) is Replay
    assert type(Auto(**options, n_step=3, needs=frozenset({"successor"}))) is Replay
    found = Auto(**options, needs=frozenset({"sequences"}))
    assert type(found) is Sequences
    assert found.length == 6
    with pytest.raises(ValueError, match="^n_step must be 1"):
        Auto(**options, n_step=3, needs=frozenset({"sequences"}))


@pytest.mark.gpu
@pytest.mark.parametrize("device", ["cpu", "cuda"])
@SPECS
def test_batches_on_a_gpu_are_those_of_the_cpu(spec, device):
    stream, here, there = Stream(spec, 2, seed=0), make(spec, num=2), make(spec, num=2, device=device, batch_device="cuda")
    for _ in range(60):
        rows = next(stream)
        here.append(rows)
        there.append(rows)
        if len(here):
            a, b = draw(here), draw(there)
            for x, y in zip([*a[:10], *a.extra.values()], [*b[:10], *b.extra.values()]):
                assert y.device.type == "cuda"
                assert torch.equal(x, y.cpu())


def test_a_capacity_that_short_episodes_leave_without_a_draw_is_refused_at_start(tmp_path, capsys):
    """Of episodes of one step each, half of the rows are their ends: 15 rows an environment never hold a sequence of eight."""
    words = ("agent=retrace_dqn", "env=classic/cartpole", "env.num=2", "replay.length=8", "replay.batch_size=4", "steps=20")
    assert front_door(*words, "replay.capacity=30", f"hydra.run.dir={tmp_path / 'run'}") == exits.WRONG
    assert "replay.capacity must be at least 32, twice the 8 rows" in capsys.readouterr().err
    assert front_door(*words, "replay.capacity=32", f"hydra.run.dir={tmp_path / 'run'}") == exits.FINISHED


def test_sums_over_three_steps_within_a_sequence():
    """r = (1, 0, 2, 1, 0, 3), γ = 0.9, a termination after row 3, and values 1 … 6 of the rows' successors."""
    reward = torch.tensor([1.0, 0.0, 2.0, 1.0, 0.0, 3.0])[:, None]
    continues, valid = torch.tensor([1.0, 1.0, 1.0, 0.0, 1.0, 1.0])[:, None], torch.ones(6, 1, dtype=torch.bool)
    powers = torch.tensor([0.9**m for m in range(4)])
    sums, discount, steps = folded(reward, continues, valid, powers)
    assert steps.flatten().tolist() == [3, 3, 2, 1, 2, 1]
    y = sums + discount * (torch.arange(6)[:, None] + steps)
    assert y.flatten().tolist() == pytest.approx([4.807, 2.61, 2.9, 1.0, 7.56, 8.4], abs=1e-6)
    channels = folded(torch.stack([reward, 2 * reward]), continues, valid, powers)[0]
    assert torch.equal(channels, torch.stack([sums, 2 * sums]))


def test_sums_end_with_an_episode_whose_extra_row_follows():
    """A time limit after row 1: its target bootstraps from the extra row, row 2."""
    valid = torch.tensor([True, True, False, True, True])[:, None]
    continues = torch.tensor([1.0, 1.0, 0.0, 1.0, 1.0])[:, None]
    sums, discount, steps = folded(torch.ones(5, 1), continues, valid, torch.tensor([1.0, 0.5, 0.25]))
    assert steps.flatten().tolist() == [2, 1, 0, 2, 1]
    assert sums.flatten().tolist()[:2] == [1.5, 1.0]
    assert discount.flatten().tolist() == [0.25, 0.5, 0.0, 0.25, 0.5]


def test_a_priority_mixes_the_largest_error_and_the_mean():
    error, valid = torch.tensor([[9.0, 9.0], [0.5, 1.0], [2.0, 1.0], [0.1, 1.0], [0.4, 1.0]]), torch.ones(5, 2, dtype=torch.bool)
    valid[0] = False
    assert mixed(error, valid, 0.9).tolist() == pytest.approx([0.9 * 2 + 0.1 * 0.75, 1.0])
    assert torch.equal(mixed(error, valid, 0.0), error[1:].mean(0))
