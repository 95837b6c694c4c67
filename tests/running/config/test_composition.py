"""Compositions are what Hydra composes, to the order of keys, and see each file as it is now."""

import json
from unittest import mock

import pytest
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra.errors import HydraException
from omegaconf import OmegaConf
from omegaconf.errors import ConfigAttributeError, ConfigKeyError

from deeprl.cli import train as door
from deeprl.errors import ConfigError
from deeprl.running.config import composition, folders
from deeprl.running.config.by_hydra import by_hydra, prepare
from deeprl.running.config.compose import compose
from deeprl.running.config.composition import composed
from deeprl.running.config.menu import options
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


def both(words: list[str]) -> bool:
    """Whether Hydra was not asked for the files of a composition, which is equal to its own, to the order of keys."""
    prepare()
    asked = []

    def noted(name, overrides):
        asked.append(name)
        return by_hydra(name, overrides)

    with mock.patch.object(composition, "by_hydra", noted):
        found = composed(words)
    expected = by_hydra("train", words)
    assert json.dumps(all_of(found), default=str) == json.dumps(all_of(expected), default=str)
    return "train" not in asked


TD3 = "env=mujoco/hopper", "agent=td3", "agent/torso@agent.actor_torso=simba"


@pytest.mark.parametrize(
    ("words", "ours"),
    [
        ((), True),
        (("experiment=iiqn_atari", "budget=tiny", "agent/chain=polyak"), True),
        (("seed=3", *TD3, "agent.optimizer.lr=1e-3", "++env.kwargs.name='a=b, c'", "agent.torso.hidden=[8]"), True),
        ((*TD3, "hydra.run.dir=/tmp/mine", "evaluation={episodes: 3}", "stop.return=null", "agent.backup=null"), True),
        ((*TD3, "hydra.job.name=mine", "seed=3"), False),
        ((*TD3, "+env.kwargs.size=5", "~evaluation.video"), False),
    ],
)
def test_words_make_what_hydra_composes(words, ours):
    assert both([*words]) == ours


@pytest.mark.parametrize(
    ("text", "ours"),
    [
        ("# @package _global_\ndefaults: [override /agent: sac, override /env: mujoco/hopper]\nsteps: 5\n", True),
        ("# @package _global_\ndefaults: [dqn_atari, _self_]\nagent: {torso: null, backup: 1, chain: {more: {deep: 1}}}\n", True),
        ("# @package _global_\ndefaults: [_self_, dqn_atari]\nsteps: ???\nagent: ???\nenv: {id: '???'}\n", True),
        ("# @package agent\nchain: {}\nhead: ${agent.chain}\n2: [{a: '???'}, null]\n", True),
        ("defaults: [{/agent/backup@more: double}, {/agent/head@_global_.agent.other: scalar}]\nmine: 1\n", True),
        ("# @package _global_\ndefaults: [override /hydra/launcher: basic]\nhydra: {job: {name: mine}, sweep: {dir: there}}\n", True),
        ("# @package _global_\ndefaults: [{optional nothing: here}, {optional /agent/head@agent.other: '${experiment}'}]\n", True),
        ("# @package _global_\nagent: {rewards: {bound: {a: 1}}}\n", False),  # an interpolation gets keys
        ("# @package _global_\ndefaults: [{/agent/backup: [max, double]}]\n", False),
    ],
)
def test_a_file_of_a_user_makes_what_hydra_composes(mine, text, ours):
    mine.write_text(text)
    assert both(["experiment=mine", "seed=1"]) == ours


@pytest.mark.parametrize("start", ["tensor/cartpole", "atari/pong", "/env/tensor/cartpole@_here_"])
def test_an_environment_of_a_user_starts_from_any_other(mine, start):
    file = mine.parent.parent / "env" / "mine" / "first.yaml"
    file.parent.mkdir(parents=True)
    file.write_text(f"defaults: [{start}, _self_]\nnum: 3\n")
    (file.parent.parent / "second.yaml").write_text("defaults: [mine/first, _self_]\n")
    assert both(["env=second"])
    known, found = (all_of(composed([f"env={env}", "env.num=3"]))["env"] for env in (start.removeprefix("/env/").split("@")[0], "second"))
    assert found == known


def test_an_agent_of_a_user_starts_from_any_other(mine):
    """Hydra looked for `agent/lab/optimism/forced_pulls`."""
    (family := mine.parent.parent / "agent" / "family").mkdir(parents=True)
    (family / "first.yaml").write_text("defaults: [dqn, override chain: iterated, {override torso@torso: mlp}, _self_]\n")
    for name, start in {"mine": "lab/dtr", "second": "family/first"}.items():
        (family.parent / f"{name}.yaml").write_text(f"defaults: [{start}, _self_]\n")
    for known, word, env in (("lab/dtr", "agent=mine", "lab/dtr"), ("idqn", "agent=second", "toy/chain")):
        assert both([word, f"env={env}"])
        torso = ["agent/torso=mlp"] * (known == "idqn")
        one, other = (all_of(composed([*words, f"env={env}"])) for words in ([word], [f"agent={known}", *torso]))
        assert (one["agent"], one["replay"]) == (other["agent"], other["replay"])


def test_the_nearest_environment_is_named_where_a_file_starts_from_none(mine):
    (mine.parent.parent / "env").mkdir()
    (mine.parent.parent / "env" / "mine.yaml").write_text("defaults: [tensor/cartpol, _self_]\n")
    with pytest.raises(ConfigError, match="Could not load 'env/tensor/cartpol'. Did you mean tensor/cartpole?"):
        compose(["env=mine"])


@pytest.mark.parametrize(
    "text",
    [
        "defaults: [{override /agent/nothing: here}]\n",
        "defaults: [{override /agent: sac}, dqn_atari]\n",
        "defaults: [{nothing: here}]\n",
        "# @package _global_\nagent: [1]\n",
    ],
)
def test_defaults_that_are_wrong_are_told_by_hydra(mine, text):
    prepare()
    mine.write_text(text)
    with pytest.raises(HydraException) as expected:
        by_hydra("train", ["experiment=mine"])
    with pytest.raises(type(expected.value)) as told:
        composed(["experiment=mine"])
    assert str(told.value) == str(expected.value)


@pytest.mark.exhaustive
@pytest.mark.parametrize("agent", options("agent"))
def test_every_agent_is_composed_as_by_hydra(agent):
    assert all(both([f"agent={agent}", f"env={env}"]) for env in ("classic/cartpole", "mujoco/hopper", "minatar/asterix", "atari/pong"))


@pytest.mark.exhaustive
@pytest.mark.parametrize("experiment", options("experiment"))
def test_every_experiment_is_composed_as_by_hydra(experiment):
    assert both([f"experiment={experiment}"])


@pytest.mark.parametrize("word", ["agent.nope=1", "nope=1", "agent.optimizer={lr: 0.1, nope: 1}"])
def test_a_key_that_is_not_there_is_found_without_hydra(word, monkeypatch):
    prepare()
    monkeypatch.setattr(composition, "by_hydra", lambda name, words: 1 / 0 if name else by_hydra(name, words))
    with pytest.raises((ConfigAttributeError, ConfigKeyError)):
        composed(["agent=dqn", word])
    with pytest.raises(HydraException, match="Could not override"):
        by_hydra("train", ["agent=dqn", word])


def test_what_fails_otherwise_is_told_by_hydra():
    prepare()
    with pytest.raises(HydraException, match="agent/chain/nope") as told:
        composed(["agent=dqn", "agent/chain=nope"])
    with pytest.raises(type(told.value)) as expected:
        by_hydra("train", ["agent=dqn", "agent/chain=nope"])
    assert str(told.value) == str(expected.value)


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
    monkeypatch.setattr(composition, "_parts", {})
    monkeypatch.setattr(door, "start", lambda cfg, path: begun.append((cfg.seed, path)))
    assert front_door("agent=a2c", "seed=7", f"hydra.run.dir={tmp_path / 'run'}") == 0
    assert asked == [["hydra/job_logging=none", "hydra/hydra_logging=none"]]  # for its own part
    assert begun == [(7, tmp_path / "run")]
    assert OmegaConf.load(tmp_path / "run" / ".hydra" / "hydra.yaml").hydra.overrides.task == ["agent=a2c", "seed=7"]
