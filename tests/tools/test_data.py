"""`deeprl data`: a run becomes a data set and is read back, and what is printed of both."""

from __future__ import annotations

import errno
import json
import os
import resource
import shutil
import signal
from unittest.mock import Mock

import numpy as np
import pytest
import torch
from gymnasium.spaces import Discrete

from deeprl.cli import exits
from deeprl.envs.vector.actions import Actions
from deeprl.errors import ConfigError, MachineError
from deeprl.packing import packed_spec
from deeprl.running.config.dry_run import packed_noise
from deeprl.tools.data import convert
from deeprl.tools.data.episodes import StoredEpisode, episodes, read, told
from deeprl.types import Rows, Spec
from tests.builders import console, train
from tests.learning.test_several_parts import HIDDEN, IMAGE, VECTOR

pytest.importorskip("minari")
RUN = (
    "agent=dqn", "env=classic/cartpole", "env.num=2", "replay.learning_starts=150", "replay.batch_size=8", "steps=160",
    "runtime.threads=1", "evaluation.every=null", "evaluation.final_episodes=1", "agent.torso.hidden=[8]",
)  # fmt: skip


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Two runs of the same steps; the replay of the second has overwritten the first of them."""
    home = tmp_path_factory.mktemp("data")
    small = "replay.capacity=100"
    return {name: (home / name, train(home / name, *RUN, *words)) for name, words in {"all": (), "some": (small,)}.items()}


@pytest.fixture(autouse=True)
def sets(tmp_path, monkeypatch):
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path))
    return tmp_path


def test_there_and_back_is_the_identity(runs, capsys, sets):
    """Of a run without what goes on: its episodes, in their order, whole."""
    folder, trainer = runs["all"]
    assert console("data", "convert", folder, "own/player-v0") == exits.FINISHED
    spec = trainer.agent.spec
    ours, theirs = ([*episodes(read(data, spec))] for data in (str(folder), "minari:own/player-v0"))
    assert len(ours) == len(theirs)
    for one, other in zip(ours, theirs):
        for name in ("obs", "action", "reward", "next_obs", "terminated"):
            assert np.array_equal(getattr(one.rows, name), getattr(other.rows, name))
        assert (other.open, other.terminated) == (False, one.terminated)
    assert console("data", "convert", "minari:own/player-v0", sets / "rows") == exits.FINISHED
    assert console("data", "convert", sets / "rows", "own/again-v0") == exits.FINISHED
    capsys.readouterr()
    shown = []
    for data in ("minari:own/player-v0", sets / "rows", "minari:own/again-v0"):
        assert console("data", "show", data) == exits.FINISHED
        shown.append(capsys.readouterr().out.split("\n", 1)[1])
    assert shown[0] == shown[1] == shown[2]  # with the digest
    assert console("data", "list") == exits.FINISHED
    printed = shown[0] + capsys.readouterr().out
    assert "160 transitions in" in printed
    assert f"minari:own/player-v0  {len(ours)} episodes, 160 steps" in printed


def test_minari_itself_reads_it(runs):
    import minari

    folder, trainer = runs["all"]
    ours = [*episodes(read(str(folder), trainer.agent.spec))]
    game = trainer.envs.backend.game(0)
    convert.write("own/read-v0", ours, trainer.agent.spec, game.actions)
    theirs = [*minari.load_dataset("own/read-v0").iterate_episodes()]
    assert [episode.rewards.sum() for episode in theirs] == [each.rows.reward.sum() for each in ours]
    assert all(episode.truncations[-1] != episode.terminations[-1] for episode in theirs)
    with pytest.raises(ConfigError, match=r"minari:own/read-v0 exists, in .*read-v0: take another name or version, or remove it"):
        convert.write("own/read-v0", ours, trainer.agent.spec, game.actions)
    with pytest.raises(ConfigError, match="Minari refuses a b-v0: Malformed"):
        convert.write("a b-v0", ours, trainer.agent.spec, game.actions)
    with pytest.raises(ConfigError, match="own/read is no name .* own/read-v0$"):  # was a TypeError of Minari's
        convert.write("own/read", ours, trainer.agent.spec, game.actions)


LONG = 5_000
"""Steps of an episode of some hundred KiB"""


def plain(steps: int) -> tuple[list[StoredEpisode], Spec]:
    obs, end = np.random.default_rng(0).normal(size=(steps + 1, 4)).astype(np.float32), np.arange(steps) == steps - 1
    ones = np.ones(steps, np.float32)
    rows = Rows(obs[:-1], np.zeros(steps, np.int64), ones, obs[1:], end, end, ones)
    return [StoredEpisode(rows, True)], Spec((4,), torch.float32, 2, 0)


def test_a_full_disk_is_one_sentence_and_leaves_nothing(sets, monkeypatch):
    """HDF5 wrote eight tracebacks and ended the process with a segmentation fault; what stayed was no data set, and could not be made
    again."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 16, before[1]))
    try:
        with pytest.raises(
            MachineError, match=rf"^{sets}/own/full-v0 cannot be written: File too large. Make space, or name another folder"
        ):
            convert.write("own/full-v0", *plain(LONG), Actions(2))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert not list(sets.iterdir())
    with monkeypatch.context() as patch:
        patch.setattr("deeprl.tools.data.hdf5_writing.replace_file", Mock(side_effect=OSError(errno.ENOSPC, "No space left")))
        with pytest.raises(MachineError, match="No space left. Make space, or name another folder by MINARI_DATASETS_PATH; nothing"):
            convert.write("own/full-v0", *plain(9), Actions(2))
    (sets / "file").write_text("")
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(sets / "file"))
    with pytest.raises(ConfigError, match=r"own/full-v0 cannot be written: .*\. Name another folder by MINARI_DATASETS_PATH"):
        convert.write("own/full-v0", *plain(9), Actions(2))  # was an OSError without a remedy


def test_a_conversion_that_is_stopped_leaves_nothing(sets, monkeypatch):
    """SIGTERM left half a data set, and a whole copy beside the folder of rows."""

    def stop(*_):
        os.kill(os.getpid(), signal.SIGTERM)

    convert.write("own/whole-v0", *plain(9), Actions(2))
    with monkeypatch.context() as patch:
        patch.setattr(convert, "sync_file", stop)
        with pytest.raises(KeyboardInterrupt):
            convert.write("own/half-v0", *plain(9), Actions(2))
        patch.setattr(convert, "create", stop)
        assert console("data", "convert", "minari:own/whole-v0", sets / "rows") == exits.FAILED
    assert sorted(path.name for path in sets.iterdir()) == ["own"]
    assert sorted(path.name for path in (sets / "own").iterdir()) == ["namespace_metadata.json", "whole-v0"]
    convert.write("own/half-v0", *plain(9), Actions(2))


def test_what_an_interrupted_conversion_has_left_is_named(sets, capsys):
    """Of earlier versions, or of another program. A conversion was refused for ever, and the remedy was another name."""
    convert.write("own/half-v0", *plain(9), Actions(2))
    metadata = sets / "own" / "half-v0" / "data" / "metadata.json"
    metadata.write_text(json.dumps({**json.loads(metadata.read_text()), "total_episodes": 0}))
    (sets / ".deeprl-unfinished-1" / "x-v0" / "data").mkdir(parents=True)
    shutil.copy(metadata, sets / ".deeprl-unfinished-1" / "x-v0" / "data")
    with pytest.raises(ConfigError, match=rf"^{sets}/own/half-v0 is in the way, and is no whole data set .*: remove it, or take another"):
        convert.write("own/half-v0", *plain(9), Actions(2))
    assert console("data", "show", "minari:own/half-v0") == exits.WRONG
    assert console("data", "list") == exits.FINISHED
    said = capsys.readouterr()
    for text in (said.err, said.out):
        assert f"{sets}/own/half-v0 holds no finished episode, because its writing was interrupted: remove it, and make it again" in text
    assert "x-v0" not in said.out


def stacked(generator) -> np.ndarray:
    """(T + 1, 3, 40, 36): stacks of three frames."""
    frames = generator.integers(0, 256, (2 + 6, 40, 36), np.uint8)
    frames[:2] = 0
    return np.stack([frames[t : t + 3] for t in range(6)])


SEEN = {
    "images": (Spec((2, 5, 6), torch.uint8, 3, 0), lambda generator: generator.integers(0, 256, (6, 2, 5, 6), np.uint8)),
    "stacks": (Spec((3, 40, 36), torch.uint8, 3, 0, frame_stack=3), stacked),
    "parts": (
        packed_spec((IMAGE, VECTOR, HIDDEN), 3, 0),
        lambda generator: packed_noise(packed_spec((IMAGE, VECTOR, HIDDEN), 3, 0), (6,), torch.Generator().manual_seed(0)).numpy(),
    ),
}


@pytest.mark.parametrize(("spec", "observations"), SEEN.values(), ids=SEEN)
def test_images_there_and_back_are_the_identity(spec, observations):
    ours, generator = [], np.random.default_rng(0)
    for terminates in (True, False):
        obs, end = observations(generator), np.arange(5) == 4
        action, reward = generator.integers(0, 3, 5), generator.normal(size=5).astype(np.float32)
        ours.append(StoredEpisode(Rows(obs[:-1], action, reward, obs[1:], end & terminates, end, np.ones(5, np.float32)), True))
    convert.write("own/images-v0", ours, spec, Actions(3))
    theirs = [*episodes(read("minari:own/images-v0", spec))]
    for one, other in zip(ours, theirs, strict=True):
        for name in ("obs", "action", "reward", "next_obs", "terminated", "ended"):
            assert np.array_equal(getattr(one.rows, name), getattr(other.rows, name))


def test_discrete_actions_are_those_of_the_environment(runs):
    """Its first action may be another one than 0, at which agents begin to count."""
    import minari

    folder, trainer = runs["all"]
    spec, ours = trainer.agent.spec, [*episodes(read(str(folder), trainer.agent.spec))]
    convert.write("own/start-v0", ours, spec, Actions(2, start=5))
    found = minari.load_dataset("own/start-v0")
    assert found.spec.action_space == Discrete(2, start=5)
    assert np.array_equal(next(found.iterate_episodes()).actions, ours[0].rows.action + 5)
    assert np.array_equal(next(episodes(read("minari:own/start-v0", spec))).rows.action, ours[0].rows.action)


def test_an_episode_without_its_start_is_left_out_and_told(runs):
    folder, trainer = runs["some"]
    found = [*episodes(read(str(folder), trainer.agent.spec))]
    assert [each.whole for each in found].count(False) == 2  # the oldest of both environments
    lines = "\n".join(told(found))
    assert "are not whole" in lines
    assert "end with a termination" in lines
