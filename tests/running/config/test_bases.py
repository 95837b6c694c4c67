"""Compositions whose options are known are what Hydra composes, and see each file as it is now."""

import pytest
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from deeprl.cli import train as door
from deeprl.running.config import bases, folders
from deeprl.running.config.compose import by_hydra, compose, prepare
from tests.builders import front_door


@pytest.fixture
def mine(tmp_path, monkeypatch):
    monkeypatch.setattr(folders, "_added", [])
    folders.add(tmp_path)
    (tmp_path / "experiment").mkdir()
    return tmp_path / "experiment" / "mine.yaml"


def all_of(config) -> dict:
    """With Hydra's own part."""
    return OmegaConf.to_container(config, resolve=False)


WORDS = "env=mujoco/hopper", "agent=td3", "agent/torso@agent.actor_torso=simba"


@pytest.mark.parametrize(
    "values",
    [
        (),
        ("seed=3", "agent.optimizer.lr=1e-3", "++env.kwargs.name='a=b, c'"),
        ("hydra.run.dir=/tmp/mine", "++env.kwargs.size=5", "evaluation={episodes: 3}", "agent.torso.hidden=[8]", "stop.return=null"),
        ("hydra.job.name=mine", "seed=3"),  # Hydra's from start to end
        ("+env.kwargs.size=5", "~evaluation.video"),
    ],
)
def test_values_are_set_as_hydra_sets_them(values):
    prepare()
    words = [*values[:1], *WORDS, *values[1:]]
    assert all_of(bases.composed(words, by_hydra)) == all_of(by_hydra(words))


def test_hydra_composes_options_once():
    prepare()
    asked = []

    def counted(words):
        asked.append(words)
        return by_hydra(words)

    for seed in range(3):
        assert bases.composed(["agent=a2c", f"seed={seed}", "env=toy/chain"], counted).seed == seed
    assert asked in ([["agent=a2c", "env=toy/chain"]], [])  # none where another test has asked


def test_what_fails_is_told_by_hydra():
    prepare()
    with pytest.raises(Exception, match=r"Could not override 'agent\.nope'") as told:
        bases.composed(["agent=dqn", "agent.nope=1"], by_hydra)
    with pytest.raises(type(told.value)) as expected:
        by_hydra(["agent=dqn", "agent.nope=1"])
    assert str(told.value) == str(expected.value)
    assert not isinstance(told.value, OmegaConfBaseException)


def test_a_file_that_changes_is_seen(mine):
    for steps in (5, 6):
        mine.write_text(f"# @package _global_\nsteps: {steps}\n")
        assert compose(["experiment=mine", "seed=1"])[0]["steps"] == steps


def test_a_file_that_comes_and_goes_is_seen(mine):
    """The tuned settings of an agent for a task, in a folder of the user's: no override names them."""
    assert compose(["agent=a2c", "env=toy/chain"])[0]["seed"] == 0
    place = mine.parents[1] / "tuned" / "toy" / "chain"
    place.mkdir(parents=True)
    (place / "a2c.yaml").write_text("# @package _global_\nseed: 8\n")
    assert compose(["agent=a2c", "env=toy/chain"])[0]["seed"] == 8
    (place / "a2c.yaml").unlink()
    assert compose(["agent=a2c", "env=toy/chain"])[0]["seed"] == 0


def test_a_command_is_composed_once(tmp_path, monkeypatch):
    """It is checked before its folder is made, and Hydra runs what was checked."""
    plain, asked, begun = ConfigLoaderImpl.load_configuration, [], []

    def counted(loader, **given):
        asked.append(given["overrides"])
        return plain(loader, **given)

    monkeypatch.setattr(ConfigLoaderImpl, "load_configuration", counted)
    monkeypatch.setattr(bases, "_bases", {})
    monkeypatch.setattr(door, "start", lambda cfg, path: begun.append((cfg.seed, path)))
    assert front_door("agent=a2c", "seed=7", f"hydra.run.dir={tmp_path / 'run'}") == 0
    assert asked == [["agent=a2c"]]
    assert begun == [(7, tmp_path / "run")]
    assert OmegaConf.load(tmp_path / "run" / ".hydra" / "hydra.yaml").hydra.overrides.task == ["agent=a2c", "seed=7"]
