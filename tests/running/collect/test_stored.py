"""`replay=stored`: the transitions of another run, and no others."""

from __future__ import annotations

import json
import os
import shutil
import signal
from functools import partial
from unittest.mock import Mock

import numpy as np
import pytest
import torch

from deeprl.agents.random_rewards import RandomRewards
from deeprl.cli import exits
from deeprl.errors import ConfigError, DataError, RunFolderError, UnreadableError
from deeprl.learning.transforms.rewards import Scaled
from deeprl.packing import kept, packed_spec
from deeprl.replay.samplers import Prioritized, Uniform
from deeprl.replay.sequences import Recurrence
from deeprl.running.collect.found import Found, find
from deeprl.running.collect.stored import Stored, StoredSequences
from deeprl.running.config.stored import continued
from deeprl.running.runs.checkpoint import _digest, step_folder
from deeprl.running.runs.checkpoints import Checkpoints
from deeprl.running.runs.config_file import CHANGEABLE, check_identity, identity, parted
from deeprl.running.runs.folder import RunFolder
from deeprl.running.session import session
from deeprl.running.session.session import played_elsewhere
from deeprl.running.training.idle import Idle
from deeprl.system.ranks import ALONE
from deeprl.types import ObsPart, Spec
from tests.builders import begin, console, same, train, value_agent
from tests.replay.test_replay import Stream, make

SHORT = ("runtime.threads=1", "agent.torso.hidden=[8]", "evaluation.every=null", "evaluation.final_episodes=1", "log.every=100")
PLAYED = (
    "agent=dqn",
    "env=classic/cartpole",
    "replay.batch_size=32",
    "steps=200",
    "env.num=2",
    "replay.learning_starts=100",
    "replay.capacity=160",
    *SHORT,
)
OFFLINE = (
    "agent=dqn", "env=classic/cartpole", "replay=stored", "agent/normalize=running", "steps=60", "checkpoint.every=20",
    "replay.batch_size=8", *SHORT,
)  # fmt: skip


@pytest.fixture(scope="module")
def played(tmp_path_factory):
    """A run of two environments, whose replay has overwritten some of its 200 transitions."""
    folder = tmp_path_factory.mktemp("stored") / "played"
    return folder, train(folder, *PLAYED)


def offline(trainer, **given):
    """The source over the data of a run, without a run of its own."""
    settings = {"batch_size": 8, "spec": trainer.agent.spec, "num": 1, "discount": 0.99, **given}
    return Stored(data=str(trainer.folder.path), **settings)


def test_rows_of_a_run_that_saves_meanwhile_are_those_of_its_next_checkpoint(played, tmp_path, monkeypatch):
    """The checkpoint that was found was gone when its rows were read, and a right command was called wrong."""
    shutil.copytree(played[0], tmp_path / "run")
    checkpoints, whole = tmp_path / "run" / "checkpoints", Checkpoints.segments

    def segments(self, step):
        if step == 200:  # the run goes on: its next checkpoint, with keep=1
            manifest = json.loads((checkpoints / step_folder(200) / "manifest.json").read_text())
            (checkpoints / step_folder(200)).rename(checkpoints / step_folder(201))
            manifest = {**{name: value for name, value in manifest.items() if name != "sha256"}, "step": 201}
            text = json.dumps({**manifest, "sha256": _digest(manifest)})
            (checkpoints / step_folder(201) / "manifest.json").write_text(text)
            (checkpoints / "last").write_text(f"{step_folder(201)}\n")
        return whole(self, step)

    monkeypatch.setattr(Checkpoints, "segments", segments)
    settings = {"batch_size": 8, "spec": played[1].agent.spec, "num": 1, "discount": 0.99}
    assert Stored(data=str(tmp_path / "run"), **settings).provenance["name"].endswith("run@201")


@pytest.mark.parametrize(("n_step", "sampler"), [(1, Uniform()), (3, Uniform()), (1, Prioritized(alpha=0.0))], ids=str)
def test_a_draw_is_that_of_the_replay_itself(played, n_step, sampler):
    """The same transitions by the same numbers, n-step sums and ends of episodes included, without n of the run that played."""
    _, trainer = played
    u = torch.rand(8, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    found = offline(trainer, n_step=n_step, sampler=sampler)
    mine = found.batch(found.draw(u))
    assert len(found) == len(trainer.source) < 200
    if n_step == 1:
        theirs = trainer.source
        theirs.batch_size, theirs.rule = 8, found.rule
        other = theirs.batch(theirs.draw(u))
        for name in ("obs", "action", "reward", "discount", "next_obs", "steps"):
            assert torch.equal(getattr(mine, name), getattr(other, name))
    assert set(mine.steps.tolist()) <= set(range(1, n_step + 1))


@pytest.fixture(scope="module")
def remembered(tmp_path_factory):
    """The same run with a core, whose states have 12 numbers."""
    folder = tmp_path_factory.mktemp("stored") / "remembered"
    return train(folder, *PLAYED, "agent/core=lstm", "agent.core.width=6", "replay.burn_in=2", "replay.length=4", "replay.n_step=3")


def sequences(trainer, **given):
    recurrence = Recurrence(burn_in=2, start=given.pop("start", "stored"), state_size=given.pop("state_size", 12))
    return StoredSequences(
        data=str(trainer.folder.path), recurrence=recurrence, needs=frozenset({"state"}),
        **{"batch_size": 8, "length": 4, "n_step": 3, "spec": trainer.agent.spec, "num": 1, "discount": 0.99, **given},
    )  # fmt: skip


@pytest.mark.parametrize("sampler", [Uniform(), Prioritized()], ids=str)
def test_sequences_are_those_of_the_replay_itself(remembered, sampler):
    """With the states, sums over three steps and rows of burn-in of the run that played; zeros where they are not asked for."""
    u = torch.rand(8, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    found, theirs = sequences(remembered, sampler=sampler), remembered.source
    theirs.rule = found.rule
    mine, other = found.draw(u), theirs.draw(u)
    assert all(torch.equal(a, b) for a, b in zip([*mine[:10], *mine.extra.values()], [*other[:10], *other.extra.values()]))
    assert mine.extra.keys() == other.extra.keys()
    assert mine.extra["state"].any(1).sum() > 4  # not zeros, as at the start of an episode
    zero = sequences(remembered, start="zero").draw(u)
    assert torch.equal(zero.obs, mine.obs)
    assert not zero.extra["state"].any()
    found.priorities(mine, torch.rand(4, 8))
    again = sequences(remembered, sampler=sampler)
    again.load(found.state_dict(), ())
    assert torch.equal(again.draw(u).index, found.draw(u).index)


def test_a_state_of_another_core_is_left_out(remembered, played):
    """By an agent without a core too, for which the rows were of another environment before."""
    one = torch.full((8,), 0.3, dtype=torch.float64)
    own, other, plain = sequences(remembered), sequences(remembered, state_size=5), offline(remembered)
    assert len(plain) == 2 * (remembered.source.ring.last - remembered.source.ring.first) == own.provenance["transitions"]
    assert torch.equal(own.draw(one).obs, other.draw(one).obs)
    assert (other.draw(one).extra["state"].shape, other.draw(one).extra["state"].any().item()) == ((8, 5), False)
    assert np.array_equal(plain.transitions(plain.numbers()).obs, own.transitions(own.numbers()).obs)
    assert not sequences(played[1]).draw(one).extra["state"].any()  # a run without a core


def test_statistics_are_those_of_all_transitions_once(played):
    _, trainer = played
    found, seen = offline(trainer), []
    found.connect(0, "x", seen.append, lambda batch: {})
    rows, (one, *others) = [np.concatenate(parts) for parts in zip(*seen)], seen
    assert len(others) == found.num - 1 == 1
    assert one.ended[-1]  # the next one is of another environment
    assert not found.transitions(np.array([found.live.last - found.num])).ended
    everything = found.batch(found.draw((torch.arange(len(found), dtype=torch.float64) + 0.5) / len(found)))
    order = (everything.index % found.num * len(found) + everything.index).argsort()  # one environment after the other
    for mine, name in zip(rows, ("obs", "action", "reward", "next_obs")):
        assert np.array_equal(mine, getattr(everything, name)[order].numpy())


def test_a_run_learns_from_it_without_steps_and_goes_on_exactly(played, tmp_path, monkeypatch, capsys):
    """With the step that it has read, although its data are of a run that trains on and removes that checkpoint: the run was lost."""
    folder = shutil.copytree(played[0], tmp_path / "player")
    RunFolder(folder).write_status("running", 200, 100)
    words = (*OFFLINE, f"replay.data={folder}")
    whole = train(tmp_path / "whole", *words)
    assert (whole.agent.updates, whole.collector.episodes.number) == (60, 0)
    with monkeypatch.context() as patch:
        patch.setattr(Idle, "tick", lambda self, step: os.kill(os.getpid(), signal.SIGTERM) if step == 30 else None)
        assert begin(tmp_path / "run", *words) == exits.STOPPED
    assert f"replay.data={folder}@200: that run is not finished (running), and may remove this checkpoint" in capsys.readouterr().err
    started = RunFolder(tmp_path / "run")
    assert started.read_config()["replay"]["data"] == f"{folder}@200"
    named = shutil.copytree(folder, tmp_path / "moved")  # the remedy for data that moved, or a player that went on, was refused
    os.rename(folder / "checkpoints" / step_folder(200), folder / "checkpoints" / step_folder(400))
    assert console("resume", tmp_path / "run") == exits.FAILED  # 2 would say that the configuration is wrong
    said = capsys.readouterr().err
    assert f"{folder}@200: {folder / 'checkpoints'} has no checkpoint of step 200; it has 180, 400. A run that has learned" in said
    assert "deeprl resume RUN replay.data=COPY; without a copy, start another run" in said
    assert started.read_status()["state"] == "failed"
    assert console("resume", tmp_path / "run", f"replay.data={named}") == exits.FINISHED
    assert started.read_config()["replay"]["data"] == f"{named}@200"
    command = put_data(started.read_config(), str(folder))  # that of the script was refused, with itself as the remedy
    assert continued(started.path, command) == started.read_config()
    for other in (f"{folder}@400", str(tmp_path / "other")):
        with pytest.raises(ConfigError, match="holds this run, but not with replay.data="):
            continued(started.path, put_data(command, other))
    with pytest.raises(ConfigError, match=f"has learned from replay.data={named}@200, and not from {named}@400: choose another folder"):
        continued(started.path, put_data(command, f"{named}@400"))  # the remedy was a resume that must fail
    before = started.read_config()  # a run of before it kept the step is told the resume that compares the digests
    started.write_config(put_data(before, str(folder.parent / "older")))
    with pytest.raises(ConfigError, match="go on with deeprl resume .* replay.data=.*older@200"):
        continued(started.path, put_data(command, f"{folder.parent / 'older'}@200"))
    started.write_config(before)
    assert same(Checkpoints(tmp_path / "run").load("last")[1]["agent"]["module"], whole.agent.state_dict())
    shutil.rmtree(started.path / "checkpoints")  # as of a run that was killed before its first
    shutil.rmtree(named)
    for other in ("other", str(named)):
        assert continued(started.path, put_data(command, other))["replay"]["data"] == other


def put_data(config, name):
    return {**config, "replay": {**config["replay"], "data": name}}


@pytest.mark.parametrize("kind", ["gone", "unreadable", "another"])
def test_data_that_cannot_be_read_again_are_a_failure_of_the_run(kind, tmp_path, monkeypatch):
    """A requeue before the file system was there said that the configuration was wrong, and status.json went on saying `stopped`."""
    error = UnreadableError("it may be whole") if kind == "unreadable" else ConfigError("replay.data=src: there is no folder")
    error.__cause__ = DataError() if kind == "gone" else None
    monkeypatch.setattr(session, "assemble", Mock(side_effect=error))
    folder, before = RunFolder(tmp_path), {"state": "stopped", "step": 30, "updates": 20, "saved": 30}
    with pytest.raises(ConfigError if kind == "another" else (RunFolderError, UnreadableError)):
        session.built({}, folder, None, ALONE, before)
    status = folder.read_status()
    assert (status and (status["state"], status["step"], status["saved"])) == (None if kind == "another" else ("failed", 30, 30))
    if kind == "gone":
        with pytest.raises(ConfigError):  # of a run that begins
            session.built({}, folder, None, ALONE, None)


def test_a_folder_may_be_named_as_a_checkpoint_is(played, tmp_path, monkeypatch):
    """`her @400` was read as the checkpoint 400 of `her `, and could not be named."""
    monkeypatch.chdir(tmp_path)
    named = shutil.copytree(played[0], tmp_path / "her @400")
    spec = played[1].agent.spec
    assert find("her @400", spec).step == find("./her @400@200", spec).step == find("her @400@last", spec).step == 200
    assert (parted("her @400"), parted("her @400@200"), parted("his@3")) == (("her @400", ""), ("her @400", "200"), ("his", "3"))
    with pytest.raises(ValueError, match=f"no folder {tmp_path}/his, whose checkpoint 3 is meant, nor {tmp_path}/his@3"):
        find("his@3", spec)
    named.rename(tmp_path / "her ")
    assert parted("her @400") == ("her ", "400")


def test_a_file_of_arrays_is_told_how_it_becomes_data(played, tmp_path):
    """The message asked for a run folder in its place."""
    (tmp_path / "d.npz").touch()
    with pytest.raises(DataError, match=r"d\.npz: it is a file of arrays\. A data set of Minari .*create_dataset_from_buffers"):
        find(str(tmp_path / "d.npz"), played[1].agent.spec)


def test_no_checkpoint_is_taken_in_place_of_a_damaged_one(played, tmp_path):
    """A run learned from fewer transitions than the other seeds of its group, with a warning alone."""
    folder, trainer = shutil.copytree(played[0], tmp_path / "player"), played[1]
    assert find(f"{folder}@180", trainer.agent.spec).step == 180
    (folder / "checkpoints" / step_folder(200) / "manifest.json").write_text("{")
    with pytest.raises(DataError, match=f"manifest.json.* An earlier one can be named: replay.data={folder}@180$"):
        find(str(folder), trainer.agent.spec)


def test_the_data_of_one_process_of_several_are_refused(played, tmp_path):
    """A run learned from a half of the transitions, or was told that they are damaged."""
    checkpoints = Checkpoints(shutil.copytree(played[0], tmp_path / "player"))
    parts = checkpoints.load()[1]
    checkpoints.save(220, {**parts, "trainer": {**parts["trainer"], "ranks": 2}})
    with pytest.raises(ValueError, match=r"is a run of 2 processes \(learner=distributed\).* Take a run of one process"):
        find(str(tmp_path / "player"), played[1].agent.spec)
    (checkpoints.at(220) / "trainer.safetensors").write_bytes(b"damaged")  # what it cannot be asked is not taken for one process
    with pytest.raises(DataError, match=r"trainer\.safetensors"):
        find(str(tmp_path / "player"), played[1].agent.spec)


def test_the_name_of_data_identifies_no_run_and_did_so_in_earlier_checkpoints():
    one, other = ({"replay": {"data": name, "ratio": 1.0}} for name in ("a", "b@5"))
    check_identity(other, ["replay"], identity(one, ["replay"]))
    check_identity(one, ["replay"], identity(one, ["replay"], CHANGEABLE))
    with pytest.raises(ValueError, match="edited since, in replay"):
        check_identity(other, ["replay"], identity(one, ["replay"], CHANGEABLE))


def test_data_of_another_environment_are_told():
    assert played_elsewhere("mujoco/half_cheetah", "mujoco/walker2d").startswith("replay.data has transitions of mujoco/half_cheetah")
    assert played_elsewhere("x", "x") == played_elsewhere(None, "x") == ""


def test_data_that_have_changed_are_refused(played):
    _, trainer = played
    found = offline(trainer)
    with pytest.raises(ValueError, match=r"name the checkpoint: deeprl resume RUN replay.data=FOLDER@STEP"):
        found.load({**found.state_dict(), "data": "0" * 32}, ())


def test_data_that_have_changed_are_refused_without_a_replay_in_the_checkpoint(played, tmp_path):
    trainer = train(tmp_path / "run", *OFFLINE, f"replay.data={played[0]}", "steps=20", "checkpoint.replay=false")
    step, parts = trainer.checkpoints.load("last")
    assert "replay" not in parts
    trainer.snapshot.give(step, parts)
    trainer.source.provenance = {**trainer.source.provenance, "digest": "0" * 32}
    with pytest.raises(ValueError, match="the run learned from data with the digest"):
        trainer.snapshot.give(step, parts)
    del parts["trainer"]["data"]  # as in checkpoints from before
    trainer.snapshot.give(step, parts)
    with pytest.raises(ValueError, match="take one with checkpoint.replay=true"):
        find(str(tmp_path / "run"), trainer.agent.spec)


@pytest.mark.parametrize("data", [None, 5, ["a"], True, " "])
def test_what_is_no_name_is_refused(data):
    """`'NoneType' object has no attribute 'startswith'` was all that was said."""
    with pytest.raises(ValueError, match=r"^data=.* is no name: take a run folder"):
        find(data, Spec((1,), torch.float32, 2, 0))


def test_what_holds_no_transitions_is_refused(played, tmp_path):
    folder, trainer = played
    with pytest.raises(ValueError, match=r"data=.*nowhere"):
        Stored(data=str(tmp_path / "nowhere"), batch_size=8, spec=trainer.agent.spec, num=1, discount=0.99)
    with pytest.raises(ValueError, match="of classic/cartpole, observations of 4 numbers, and actions of 2 choices, and .* 5 numbers"):
        Stored(data=str(folder), batch_size=8, spec=trainer.agent.spec._replace(obs_shape=(5,)), num=1, discount=0.99)
    with pytest.raises(ValueError, match=r"and those of this run have observations of 4 numbers, and actions of 1 number\b"):
        # rows of one continuous action are as wide, and its 0 and 1 lie within its bounds: they were learned from
        Stored(data=str(folder), batch_size=8, spec=trainer.agent.spec._replace(num_actions=0, action_dim=1), num=1, discount=0.99)
    strange = shutil.copytree(folder, tmp_path / "strange")
    (strange / "config.yaml").write_text("replay: 5\nenv: [1]\nagent: {}\n")
    with pytest.raises(ValueError, match=r"data=.*strange"):
        Stored(data=str(strange), batch_size=8, spec=trainer.agent.spec, num=1, discount=0.99)
    bare = shutil.copytree(folder, tmp_path / "bare")
    for segment in (bare / "replay").iterdir():
        segment.write_bytes(segment.read_bytes()[:-8])
    with pytest.raises(ValueError, match=r"data=.*bare"):
        Stored(data=str(bare), batch_size=8, spec=trainer.agent.spec, num=1, discount=0.99)
    # a run of data that had moved could not be resumed, because replay.data told runs apart
    with pytest.raises(ConfigError, match=rf"no folder {tmp_path / 'nowhere'}\. .* deeprl resume RUN replay.data=PLACE"):
        train(tmp_path / "run", *OFFLINE, f"replay.data={tmp_path / 'nowhere'}")


def test_stacks_of_more_frames_than_those_of_the_data_are_refused(monkeypatch):
    """Frames are as large in both, and the older ones were zeros."""
    few, many = (Spec((count, 3, 2), torch.uint8, 3, 0, frame_stack=count) for count in (2, 4))
    for one, other in ((few, many), (many, few)):
        stream, played = Stream(one, 1, seed=0), make(one)
        for _ in range(20):
            played.append(next(stream))
        data = Found(1, 1, 100, played.state_dict(), [played.rows()], "x")
        monkeypatch.setattr("deeprl.running.collect.stored.find", lambda *_, data=data: data)
        if other is few:
            found = Stored(data="x", batch_size=8, spec=other, num=1, discount=0.99)
            assert np.array_equal(found.transitions(found.numbers()).obs, np.concatenate([rows.obs for rows in stream.ticks])[:, 2:])
        else:
            with pytest.raises(ValueError, match=r"observations of 2 frames of 6 numbers, .* have observations of 4 frames of 6 numbers"):
                Stored(data="x", batch_size=8, spec=other, num=1, discount=0.99)


@pytest.mark.parametrize("num", [1, 3])
def test_memory_is_that_of_the_rows_that_there_are(monkeypatch, tmp_path, num):
    """That of all rows for which the run had room was announced: 7 GB for 300 transitions, of which two sweeps did not fit side by side."""
    spec = Spec((3,), torch.float32, 3, 0)
    stream, played = Stream(spec, num, seed=0), make(spec, capacity=150_000_000, num=num)
    for _ in range(1500):
        played.append(next(stream))
    monkeypatch.setattr(RunFolder, "read_config", lambda self: {"replay": {"capacity": 150_000_000}, "env": {"num": num}})
    monkeypatch.setattr(Checkpoints, "load", lambda self, which, **more: (1, {"replay": played.state_dict()}))
    monkeypatch.setattr(Checkpoints, "segments", lambda self, step: [played.rows()])
    found = Stored(data=f"{tmp_path}@1", batch_size=8, spec=spec, num=1, discount=0.9)
    assert found.bytes < 200_000 * num
    assert np.array_equal(found.transitions(found.numbers()).obs, np.concatenate([rows.obs for rows in stream.ticks]))
    monkeypatch.setattr("deeprl.replay.memory.available_memory", lambda device: 50_000)
    with pytest.raises(ValueError, match=r"50,000 are available: take data of at most [\d,]+ rows, not [\d,]+"):
        Stored(data=f"{tmp_path}@1", batch_size=8, spec=spec, num=1, discount=0.9)


def test_rows_of_other_parts_are_refused(monkeypatch, tmp_path):
    a, b = ObsPart("a", (2,), torch.float32), ObsPart("b", (3,), torch.float32)
    stored = kept((a._replace(shape=(3,)), b._replace(shape=(2,))))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "run").mkdir()
    monkeypatch.setattr(RunFolder, "read_config", lambda self: {"replay": {"capacity": 9}, "env": {"num": 1}})
    monkeypatch.setattr(Checkpoints, "load", lambda self, which, **more: (1, {"replay": {"ticks": 1, "parts": stored}}))
    with pytest.raises(ValueError, match=r"data=run: .* 'a' float32 \(3,\), .* the same env.parts and env.privileged"):
        find("run", packed_spec((a, b), 3, 0))


def test_data_without_the_probabilities_that_a_trace_divides_by_are_refused(played):
    """A run stores 0 where its agent calculates none, and every ratio was π / 1e-6: no trace was cut, or the loss was 1e25."""
    with pytest.raises(ValueError, match=r"does not say with which probability.*agent=retrace_dqn.*tree_backup"):
        offline(played[1], needs=frozenset({"behavior_probability"}))
    source, rows = offline(played[1]), played[1].source.ring.written([0, 0])["rows"]
    at = source.layout
    assert not source.knows_probabilities(rows)
    for each, known in ((1.0, False), (0.5, True)):  # a policy stores 1
        rows[:, at.probability] = torch.where(rows[:, at.real] > 0, each, 0.0)
        assert source.knows_probabilities(rows) is known


class Looking:
    """What the source knows of an agent."""

    def __init__(self, observes_images):
        self.observes_images, self.seen = observes_images, []

    def observe(self, rows):
        self.seen.append(rows.obs.shape)


def test_images_are_shown_to_an_agent_that_looks_at_them(monkeypatch):
    """Statistics of a part over images were those of empty ones, and random rewards failed at the start."""
    spec = Spec((2, 8, 8), torch.uint8, 3, 0)
    stream, played = Stream(spec, 1, seed=0), make(spec)
    for _ in range(20):
        played.append(next(stream))
    monkeypatch.setattr("deeprl.running.collect.stored.find", lambda *_: Found(20, 1, 100, played.state_dict(), [played.rows()], "x"))
    for agent, shape in ((Looking(True), (20, 2, 8, 8)), (Looking(False), (20, 0))):
        Stored(data="x", batch_size=8, spec=spec, num=1, discount=0.99).connect(0, "x", agent.observe, lambda batch: {})
        assert agent.seen == [shape]
    assert not value_agent(rewards=partial(Scaled, discount=0.9)).observes_images
    assert value_agent(auxiliary=partial(RandomRewards, discount=0.9, heads=4)).observes_images


def test_a_replay_that_began_anew_at_a_resume_does_not_begin_with_an_episode(monkeypatch):
    """Its first row is number 0, and was told as the first step of an episode."""
    spec = Spec((3,), torch.float32, 3, 0)
    stream, played = Stream(spec, 1, seed=0), make(spec)
    for _ in range(20):
        played.append(next(stream))
    for whole in (True, False):
        data = Found(20, 1, 100, played.state_dict(), [played.rows()], "x")
        monkeypatch.setattr("deeprl.running.collect.stored.find", lambda *_, data=data: data)
        assert Stored(data="x", batch_size=8, spec=spec, num=1, discount=0.99).from_start is whole
        played.restart(20)
