"""`replay=mixed`: stored data beside a run's own transitions, before them, or among them."""

from __future__ import annotations

import json
import os
import signal

import numpy as np
import pytest
import torch

from deeprl.cli import exits
from deeprl.errors import ConfigError
from deeprl.replay.replay import Replay
from deeprl.replay.samplers import Prioritized
from deeprl.replay.sequences import Recurrence, Sequences
from deeprl.replay.source import Pace
from deeprl.running.collect import stored
from deeprl.running.collect.found import Found
from deeprl.running.collect.mixed import Mixed, MixedSequences
from deeprl.running.collect.stored import Stored
from deeprl.running.config.stored import continued
from deeprl.running.runs.checkpoints import Checkpoints
from deeprl.running.runs.folder import RunFolder
from deeprl.running.training.collector import Collector
from deeprl.system.terminal import amount
from tests.builders import begin, console, same, train
from tests.replay.test_replay import PARTS, STACKED, Stream, make

SHORT = ("runtime.threads=1", "agent.torso.hidden=[8]", "evaluation.every=null", "evaluation.final_episodes=1", "log.every=100")
RUN = (
    "agent=dqn",
    "env=classic/cartpole",
    "env.num=2",
    "replay.learning_starts=20",
    "replay.capacity=400",
    "replay.batch_size=8",
    "replay.ratio=1",
    *SHORT,
)


@pytest.fixture(scope="module")
def played(tmp_path_factory):
    folder = tmp_path_factory.mktemp("mixed") / "played"
    return folder, train(folder, *RUN, "steps=120", "seed=7")


def mixed(played, **given):
    """The source beside the data of a run, without a run of its own."""
    folder, trainer = played
    settings = {"share": 0.5, "capacity": 200, "batch_size": 8, "spec": trainer.agent.spec, "num": 2, "discount": 0.99, **given}
    return Mixed(data=str(folder), **settings)


def own_tick(source, reward):
    """A step of all environments, whose rewards say where it comes from."""
    stored = source.data.transitions(np.arange(source.num), images=False)[:-1]
    rows = type(source.data.transitions(np.arange(1), images=False))(*stored)
    source.append(rows._replace(reward=np.full(source.num, reward, np.float32), ended=np.zeros(source.num, bool)))


def test_half_of_each_batch_is_data_and_the_rest_the_runs_own(played):
    """The data's reward is 1 everywhere; an odd half is refused."""
    source = mixed(played)
    for _ in range(5):
        own_tick(source, 5.0)
    u = torch.rand(8, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    drawn = source.draw(u)
    batch = source.batch(drawn)
    assert batch.reward.tolist() == [5.0] * 4 + [1.0] * 4
    assert batch.index.tolist() == [*(u[:4] * 10).long().tolist(), -1, -1, -1, -1]
    data = source.data.batch(source.data.draw(u[4:]))
    assert torch.equal(batch.obs[4:], data.obs)
    assert torch.equal(batch.next_obs[4:], data.next_obs)
    with pytest.raises(ValueError, match=r"share=0.5 of batch_size=7 is 3.5"):
        mixed(played, batch_size=7)


SEQUENCED = {
    "capacity": 200, "batch_size": 8, "num": 2, "discount": 0.99, "length": 3, "n_step": 2, "needs": frozenset({"state"}),
    "sampler": Prioritized(alpha=1.0, epsilon=0.0), "recurrence": Recurrence(burn_in=2, state_size=4), "mix": 1.0,
}  # fmt: skip


def mixed_sequences(played, ticks=9, **given):
    """The source, and beside it the replay of its own rows alone, whose states are the number of the tick."""
    folder, trainer = played
    settings = {**SEQUENCED, "spec": trainer.agent.spec}
    both = MixedSequences(data=str(folder), **{**settings, **given}), Sequences(**settings)
    for tick in range(ticks):
        rows = both[0].data.transitions(np.arange(2))
        ended, state = np.array([tick == 4, False]), np.full((2, 4), tick, np.float32)
        rows = rows._replace(reward=np.full(2, 5.0, np.float32), ended=ended, state=state)
        for each in both:
            each.append(rows)
    return both


def equal_batches(one, other) -> bool:
    pairs = zip([*one[:10], *one.extra.values()], [*other[:10], *other.extra.values()], strict=True)
    return one.extra.keys() == other.extra.keys() and all(torch.equal(a, b) for a, b in pairs)


def test_half_of_the_sequences_are_data_and_have_no_priorities(played):
    """Both halves are those of their replays alone. A share of nothing is the replay itself, bit for bit."""
    source, own = mixed_sequences(played)
    u = torch.rand(8, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    batch, mine, data = source.draw(u), own.draw(u[:4]), source.data.draw(u[4:])
    for name, dim in {**dict.fromkeys(("burn_in", "burn_in_action", "burn_in_ends"), 1), "state": 0}.items():
        assert torch.equal(batch.extra[name], torch.cat([mine.extra[name], data.extra[name]], dim))
    assert torch.equal(batch.obs, torch.cat([mine.obs, data.obs], 1))
    assert torch.equal(batch.reward, torch.cat([mine.reward, data.reward], 1))
    assert torch.equal(batch.index[:, :4], mine.index)
    assert (batch.index[:, 4:] == -1).all()
    assert not batch.extra["state"][4:].any()  # the data are of a run without a core
    source.priorities(batch, torch.full((3, 8), 7.0))
    own.priorities(mine, torch.full((3, 4), 7.0))
    assert source.state_dict()["priorities"].tolist() == own.state_dict()["priorities"].tolist()
    assert (source.draw(u).weight[:, 4:] == 1).all()
    nothing, own = mixed_sequences(played, share=0.0)
    assert equal_batches(nothing.draw(u), own.draw(u))
    assert (mixed_sequences(played, ticks=4)[0].draw(u).index == -1).all()  # no own sequence yet
    filled = mixed_sequences(played, share=None)[0].draw(torch.tensor([0.001, 0.999], dtype=torch.float64))
    assert filled.extra["state"][:, 0].tolist() == [0.0, 4.0]  # of the data, and of the newest start, the tick 4
    with pytest.raises(ValueError, match="not a whole number of sequences"):
        mixed_sequences(played, batch_size=7)


@pytest.mark.parametrize("share", [0.5, None])
def test_the_memory_of_the_data_counts(share, played, monkeypatch):
    """It was that of the own rows alone: in the line of the start, in a check, in the number of jobs side by side."""
    source = mixed(played, share=share)
    assert source.working == source.held == source.data.bytes > source.bytes > 0
    assert f" when full, beside {amount(source.working)} of data" in source.room()
    available = iter([None, None, source.bytes])  # for the own rows, for the data, and for the own rows beside the data
    monkeypatch.setattr("deeprl.replay.memory.too_little", lambda *_: next(available))
    with pytest.raises(ValueError, match=r"capacity=200 needs .* bytes .*, and .* are available: replay.capacity="):
        mixed(played, share=share)


def test_without_own_transitions_a_batch_is_data(played):
    source = mixed(played)
    assert source.batch(source.draw(torch.rand(8, dtype=torch.float64))).index.tolist() == [-1] * 8


def test_updates_are_due_from_the_first_step_offline_then_after_the_warm_up(played):
    """Ten steps offline at two a tick, then four of warm-up: ten updates, none at the steps 12 and 14, two a tick again."""
    source = mixed(played, offline_steps=10, pace=Pace(learning_starts=4))
    found = [source.due(before, before + 2) for before in range(0, 20, 2)]
    assert found == [2, 2, 2, 2, 2, 0, 0, 2, 2, 2]
    assert Mixed.planned({"offline_steps": 10, "learning_starts": 4, "ratio": 1.0}, 20, 2) == sum(found)


def test_a_share_of_nothing_is_the_run_itself(played, tmp_path):
    """Bit for bit, with running statistics, which must not see data that nothing is learned from."""
    folder, _ = played
    words = (*RUN, "steps=80", "agent/normalize=running")
    plain = train(tmp_path / "plain", *words)
    beside = train(tmp_path / "beside", *words, "replay=mixed", f"replay.data={folder}", "replay.share=0")
    assert plain.agent.updates == beside.agent.updates == 60
    assert same(plain.agent.state_dict(), beside.agent.state_dict())


def test_a_prefilled_replay_holds_all_data_in_order(played):
    """Of one environment: its episodes one after the other, the running one truncated; then the run's own rows follow."""
    source, data = mixed(played, share=None, num=1), mixed(played).data  # 1 and 2 environments
    live = np.arange(data.live.first, data.live.last)
    order = np.concatenate([live[live % 2 == 0], live[live % 2 == 1]])
    theirs, mine = (store.transitions(number, images=False) for store, number in ((data, order), (source.data, order)))
    assert len(source) == 2 * len(live)  # its own rows, and the data that they were taken from
    assert same_rows(theirs, mine)
    batch = source.batch(Replay.draw(source, (torch.arange(8, dtype=torch.float64) + 0.5) / len(live)))
    assert np.array_equal(batch.obs.numpy(), theirs.obs[(np.arange(8) + 0.5).astype(int)])
    assert source.ring.rows[:, source.layout.ended].sum() >= 2  # the newest episodes of both environments
    with pytest.raises(ValueError, match="capacity=50 is too little"):
        mixed(played, share=None, capacity=50)


def test_a_prefilled_replay_has_room_for_the_environment_with_the_most_episodes(monkeypatch):
    """Twenty episodes of a step and one of twenty: room was counted for both environments together, and the first twelve were lost."""
    spec = STACKED._replace(obs_shape=(3,), obs_dtype=torch.float32, frame_stack=1)
    stream, played = Stream(spec, 1, seed=0), make(spec)
    for tick in range(40):
        played.append(next(stream)._replace(ended=np.array([tick < 20]), reward=np.array([tick], np.float32)))
    monkeypatch.setattr(stored, "find", lambda *_: Found(1, 1, 100, played.state_dict(), [played.rows()], "x"))
    given = {"data": "x", "share": None, "batch_size": 1, "spec": spec, "discount": 0.99}
    with pytest.raises(ValueError, match="capacity=81 is too little for the data, which take up to 82 rows"):
        Mixed(capacity=81, num=2, **given)
    source = Mixed(capacity=82, num=2, **given)
    assert sorted(Stored.transitions(source, np.arange(40)).reward.tolist()) == list(range(40))  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="gives each of the 50 environments a part of the data, which are 40 transitions"):
        Mixed(capacity=500, num=50, **given)


@pytest.mark.parametrize("spec", [STACKED, PARTS], ids=["stacked", "parts"])
def test_a_prefilled_replay_takes_what_is_left_of_an_episode(spec, monkeypatch):
    """Both environments of the data begin in mid-episode, the second behind the first: zeros are its older frames, as of an episode's
    start. Parts that say of themselves that they are stacks were refused there."""
    stream, played = Stream(spec, 2, seed=4, longest=30), make(spec, capacity=60, num=2)
    for _ in range(70):
        played.append(next(stream))
    data = Found(1, 2, 60, played.state_dict(), [played.rows()], "x")
    monkeypatch.setattr(stored, "find", lambda *_: data)
    source = Mixed(data="x", share=None, capacity=200, batch_size=8, spec=spec, num=1, discount=0.99)
    numbers, layout = source.data.numbers(), source.layout
    order = np.concatenate([numbers[numbers % 2 == each] for each in range(2)])
    theirs, mine = source.data.transitions(order), Stored.transitions(source, np.arange(len(order)))  # type: ignore[arg-type]
    differ = (theirs.obs != mine.obs).reshape(len(order), -1).any(1).nonzero()[0] - len(order) // 2
    assert 0 < len(differ) <= layout.front
    assert set(differ.tolist()) <= set(range(layout.front))
    assert np.array_equal(*(layout.frame(rows.obs.reshape(len(order), -1)) for rows in (theirs, mine)))
    assert "stacked frames" in source.needs_rows  # older frames of a run that went on without its rows were zeros
    other = Stream(spec, 1, seed=1)
    source.append(next(other))
    if spec.parts:  # one's own are compared again
        with pytest.raises(ConfigError, match="is a stack of frames"):
            source.append((rows := next(other))._replace(next_obs=rows.obs[:, ::-1]))


def same_rows(one, other) -> bool:
    return all(np.array_equal(a, b) for a, b in zip(one, other))


KINDS = {
    "share": ("replay=mixed", "replay.share=0.25"), "prefilled": ("replay=mixed", "replay.share=null"),
    "offline_first": ("replay=mixed", "replay.offline_steps=40"),
    "sequences": ("replay=mixed_sequences", "agent/core=lstm", "agent.core.width=4", "replay.length=4", "replay.burn_in=2"),
}  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_a_run_goes_on_exactly(kind, played, tmp_path, monkeypatch):
    """Stopped between two checkpoints, once the environment is stepped; one that is offline first has stepped it less often."""
    words = (*RUN, "steps=100", "checkpoint.every=30", f"replay.data={played[0]}", *KINDS[kind])
    whole = train(tmp_path / "whole", *words)
    with monkeypatch.context() as patch:
        tick = Collector.tick

        def stopping(self, step):
            tick(self, step)
            if step == 70:
                os.kill(os.getpid(), signal.SIGTERM)

        patch.setattr(Collector, "tick", stopping)
        assert begin(tmp_path / "run", *words) == exits.STOPPED
    assert console("resume", tmp_path / "run") == exits.FINISHED
    found = Checkpoints(tmp_path / "run").load("last")[1]
    assert same(found["agent"]["module"], whole.agent.state_dict())
    assert found["replay"]["ticks"] == whole.source.ring.state_dict()["ticks"]
    assert whole.source.ring.last == {"share": 50, "prefilled": 110, "offline_first": 30, "sequences": 50}[kind]
    told = json.loads((tmp_path / "whole" / "summary.json").read_text())["data"]
    assert told == {"name": f"{played[0]}@120", "digest": whole.source.data.digest, "transitions": 120, "env": "classic/cartpole"}
    found = RunFolder(tmp_path / "run").read_config()
    assert found["names"]["data"] == told["digest"]
    command = {**found, "names": {key: value for key, value in found["names"].items() if key != "data"}}
    assert continued(tmp_path / "run", command) == found  # resume=auto, of a command that knows no digest yet
    if kind == "offline_first":
        assert whole.agent.updates == 40 + 40
