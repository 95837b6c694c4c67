"""Batches for a device, from main memory and from a copy of the rows on the device: those of the CPU, bit for bit."""

from __future__ import annotations

import pytest
import torch

from deeprl.replay import mirror
from deeprl.replay.mirror import fits
from deeprl.replay.replay import Replay
from deeprl.replay.samplers import Prioritized, Uniform
from tests.pairwise import crossed
from tests.pretended import Pretended
from tests.replay import test_replay, test_sequences
from tests.replay.test_replay import CONTINUOUS, FLOATS, PARTS, STACKED, VECTOR, Stream, draw

SPECS = {"vector": VECTOR, "continuous": CONTINUOUS, "stacked": STACKED, "parts": PARTS, "floats": FLOATS}
NEEDS = {"plain": frozenset({"successor", "behavior_probability", "terminated"}), "restart": frozenset({"restart"})}
DEVICES = ("cuda", "cpu")


def assert_equal_batches(make, spec, device: str, **options) -> None:
    """45 ticks of two environments, which overwrite a replay of 20 ticks each more than once; two draws after every third one."""
    stream, draws, options = Stream(spec, 2, seed=0), 0, {"num": 2, "capacity": 40, **options}
    with Pretended() as pretended:
        here, there = make(spec, **options), make(spec, **options, device=device, batch_device="cuda")
        assert (there.mirror is not None) == (device == "cuda")
        for t in range(45):
            rows = next(stream)
            here.append(rows)
            there.append(rows)
            for _ in range(2 if t % 3 == 0 and len(here) else 0):
                a, b = draw(here), draw(there)
                assert b.obs.is_cuda
                for x, y in zip([*a[:10], *a.extra.values()], [*b[:10], *b.extra.values()], strict=True):
                    assert torch.equal(x, y.cpu())
                here.priorities(a, a.reward.abs())
                there.priorities(b, b.reward.abs())
                draws += 1
        assert not pretended.faults
    assert draws > 25


@pytest.mark.parametrize(("spec", "needs", "n", "device"), crossed(tuple(SPECS), tuple(NEEDS), (1, 3), DEVICES))
def test_transitions(spec, needs, n, device):
    sampler = Prioritized() if n == 3 else Uniform()
    assert_equal_batches(test_replay.make, SPECS[spec], device, n_step=n, sampler=sampler, needs=NEEDS[needs])


@pytest.mark.parametrize(("spec", "needs", "device"), crossed(tuple(SPECS), tuple(NEEDS), DEVICES))
def test_sequences_of_transitions(spec, needs, device):
    assert_equal_batches(test_sequences.make, SPECS[spec], device, needs=NEEDS[needs] | {"sequences"}, sampler=Prioritized())


@pytest.mark.parametrize("spec", [CONTINUOUS, STACKED], ids=["continuous", "stacked"])
def test_rows_of_a_checkpoint_and_a_cut_reach_the_device(spec, monkeypatch):
    monkeypatch.setattr(mirror, "CHUNK", 1000)  # several blocks
    stream, other = Stream(spec, 2, seed=0), Stream(spec, 2, seed=1)
    with Pretended() as pretended:
        here, there = (test_replay.make(spec, num=2, batch_device=where) for where in ("cpu", "cuda"))
        for replay in (here, there):
            for _ in range(20):
                replay.append(next(other))
        draw(there)
        source = test_replay.make(spec, num=2)
        for _ in range(70):
            source.append(next(stream))
        for replay in (here, there):
            replay.load(source.state_dict(), [source.rows()])
            replay.truncate_episode(0)
        a, b = (test_replay.everything(replay) for replay in (here, there))
        assert all(torch.equal(x, y.cpu()) for x, y in zip(a[:10], b[:10]))
        assert not pretended.faults


def test_a_row_crosses_once(monkeypatch):
    """Of 30 ticks with two draws after each, every row is sent in its tick, and the rows at the cursors again in the next one."""
    sent: list[int] = []
    monkeypatch.setattr(mirror.DeviceMirror, "_send", lambda self, where: sent.append(len(where)))
    stream = Stream(VECTOR, 2, seed=0, longest=1000)
    with Pretended():
        replay = test_replay.make(VECTOR, num=2, batch_device="cuda")
        for _ in range(30):
            replay.append(next(stream))
            draw(replay)
            draw(replay)
    ends = 2  # copies of the rows at slot 0, the first time it is written and when it is complete
    assert sent[0] == 4 + ends
    assert sent[1:] == [4] * 29


@pytest.mark.parametrize("n", [1, 3])
def test_a_draw_is_intact_until_its_rows_are_overwritten(n):
    stream = Stream(VECTOR, 2, seed=0)
    with Pretended():
        replay = test_replay.make(VECTOR, num=2, n_step=n, batch_device="cuda")
        for _ in range(40):
            replay.append(next(stream))
        u = replay.noise(1, torch.Generator().manual_seed(0))["u"][0]
        drawn = replay.draw(u)
        expected, ticks = replay.batch(drawn), 0
        while replay.intact(drawn):
            for name in ("obs", "next_obs", "reward", "discount"):
                assert torch.equal(getattr(replay.batch(drawn), name), getattr(expected, name))
            replay.append(next(stream))
            replay.draw(u)  # sends the new rows
            ticks += 1
        assert 0 < ticks <= 50
        here = test_replay.make(VECTOR, num=2)
        here.append(next(stream))
        assert here.intact(here.draw(u))  # a copy


def test_a_draw_of_the_newest_transition_changes_with_the_rows_that_follow():
    """Its window of three steps holds one row, and three after two more ticks: a crash bundle of it would be of another batch."""
    stream = Stream(VECTOR, 1, seed=0)
    with Pretended():
        replay = test_replay.make(VECTOR, num=1, n_step=3, batch_device="cuda")
        for _ in range(8):
            replay.append(next(stream))
        newest = torch.full((replay.batch_size,), 0.9999, dtype=torch.float64)
        drawn = replay.draw(newest)
        assert replay.intact(drawn)
        oldest = replay.draw(torch.zeros(replay.batch_size, dtype=torch.float64))
        replay.append(next(stream))
        assert not replay.intact(drawn)
        assert replay.intact(oldest)


def test_where_the_rows_go():
    cpu, cuda = torch.device("cpu"), torch.device("cuda")
    with Pretended(memory=3 << 30):
        assert fits("auto", cuda, 2 << 30)
        assert not fits("auto", cuda, (2 << 30) + 1)  # a GiB stays free
        assert not fits("cpu", cuda, 1)
        assert fits("cuda", cuda, 2 << 30)
        with pytest.raises(ValueError, match=r"3,221,225,472 bytes, and 2,147,483,648 are free.*replay.capacity.*replay.device=cpu"):
            fits("cuda", cuda, 3 << 30)
    assert not fits("auto", cpu, 1)
    with pytest.raises(ValueError, match="device=cuda"):
        fits("cuda", cpu, 1)


def test_another_name_is_refused():
    with pytest.raises(ValueError, match="auto, cpu, cuda"):
        Replay(capacity=10, batch_size=2, spec=VECTOR, num=1, discount=0.9, device="gpu")
