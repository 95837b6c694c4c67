"""What a wrong word of the command line is answered with: the word that was meant, where it can be known."""

from __future__ import annotations

import errno
import os
from dataclasses import make_dataclass
from typing import Optional

import pytest

from deeprl.choice import Choice
from deeprl.cli.list import installable
from deeprl.cli.main import parsed
from deeprl.cli.resume import in_yaml
from deeprl.cli.train import require_source, split
from deeprl.errors import ConfigError, MachineError
from deeprl.running.config import folders
from deeprl.running.config.compose import compose
from deeprl.running.config.explain import explain
from deeprl.running.config.instantiate import accepted, instantiate
from deeprl.running.config.overrides import check_words, fault_of_grammar
from deeprl.running.config.rules import check, put
from deeprl.running.config.stored import checked
from deeprl.running.runs import config_file
from tests.builders import composed, console


@pytest.mark.parametrize(
    "word",
    [
        "experiment=../../mine", "experiment='../../mine'", "experiment=/tmp/mine", "experiment=[pong,../../mine]", "agent=str(../mine)",
        "agent/torso@agent.actor_torso=../../mine", "experiment=${oc.env:HOME}", "agent=lab/../../../mine",
    ],
)  # fmt: skip
def test_an_option_is_no_path(word):
    """By which Hydra would read any file, and what it sets of Hydra's own part would be called: a stranger's sweep named one of its own."""
    with pytest.raises(ConfigError, match="not a path|takes one option"):
        check_words([word])


@pytest.mark.parametrize(
    ("word", "says"),
    [
        ("agent=td3_mujoco", "It is one of experiment: experiment=td3_mujoco."),
        ("env=ant", "Did you mean mujoco/ant?"),
        ("env=hopper", "Did you mean mujoco/hopper?"),  # and dmc/hopper_hop, which needs a package
        ("agent=recurrent_ppo", "Did you mean agent=ppo agent/core=lstm?"),
        ("agent=pendulum", "agent=pendulum is not an option of agent. (`deeprl list agents`"),
        ("agent=munchausen", "Did you mean munchausen_dqn? It is one of agent/backup: agent/backup=munchausen."),
        ("env=minatar/brekout", "Did you mean minatar/breakout?"),
        ("logger=tensorboard", "are always written: leave it out."),
        ("agent=foo", "agent=foo is not an option of agent. (`deeprl list agents`"),  # and "Did you mean lab/loop?"
    ],
)
def test_an_option_that_there_is_not_has_the_nearest_one(word, says):
    assert says in explain([word], ConfigError("as Hydra says it"))


def test_a_slot_in_front_of_its_option_lacks_its_sign():
    with pytest.raises(ConfigError, match=r"agent is not of the form key=value \(see --help\)\. Write agent=dqn$"):
        check_words(["agent", "dqn"])


@pytest.mark.parametrize(
    ("word", "says"),
    [
        ("agent/replay=prioritized", "Did you mean replay=prioritized?"),
        ("torso=mlp", "Did you mean agent/torso=mlp?"),
        ("agent/backup.alpha=0.5", "a key has dots: agent.backup.alpha=0.5"),
        ("dqn", "dqn is not of the form key=value (see --help). Did you mean agent=dqn?"),
        ("my/experiment/a.yaml", "are chosen with --config-dir my experiment=a."),
        ("cartpole", "Did you mean env=classic/cartpole?"),
        # words of a first hour that had no answer, or another key's: Adam's eps, agent.torso.init, keys of agents that nobody chose
        pytest.param("epsilon=0.1", "Did you mean agent.explore.schedule.end?", marks=pytest.mark.exhaustive),
        pytest.param("eps=0.1", "Did you mean agent.explore.schedule.end?", marks=pytest.mark.exhaustive),
        pytest.param("agent.epsilon=0.1", "Did you mean agent.explore.schedule.end?", marks=pytest.mark.exhaustive),
        ("tau=0.1", "there is no key tau. agent.chain.tau is a key of agent/chain="),
        pytest.param("agent.network.width=64", "Did you mean agent.torso.hidden?", marks=pytest.mark.exhaustive),
        pytest.param("policy=MlpPolicy", "Did you mean agent/torso=mlp?", marks=pytest.mark.exhaustive),
        ("agent.torso.hidden=(64,64)", "a list is written agent.torso.hidden=[64,64]"),
        ("agent.torso.hidden=[64", r"it has 1 [ and 0 ]"),
    ],
)
def test_a_composition_names_what_was_meant(word, says):
    with pytest.raises(ConfigError) as caught:
        compose([word])
    assert says in str(caught.value)
    assert not {"LexerNoViableAlt", "https:", "mismatched"} & {*str(caught.value).split()}


def test_a_command_is_proposed():
    with pytest.raises(ConfigError, match=r"there is no command 'trian'\. Did you mean train\?"):
        parsed(["trian"])


@pytest.mark.parametrize(
    ("word", "says"),
    [
        ("a=(1,2)", "a=[1,2]"),
        ("a={b: 1", "1 { and 0 }"),
        ("a='b", "a quote ' has no second one"),
        ("a=größe", "\"a='größe'\""),
        ("a=[1]", ""),
    ],
)
def test_a_fault_of_grammar_is_told_without_hydras_words(word, says):
    assert says in fault_of_grammar(word)
    assert bool(fault_of_grammar(word)) == bool(says)


@pytest.mark.parametrize(("words", "says"), [(["seed =3"], "write seed=3"), (["agent", "=", "dqn"], "without spaces beside the =")])
def test_a_space_beside_the_sign(words, says):
    with pytest.raises(ConfigError, match=says):
        check_words(words)


@pytest.mark.parametrize(
    ("key", "value", "says"),
    [
        ("steps", "10k", "Write steps=10000."),
        ("steps", "5 000", "Write steps=5000."),
        ("replay.capacity", "1.5M", "Write replay.capacity=1500000."),
        ("steps", "many", "a whole number between 1 and 999999999999."),
        ("evaluation", False, "evaluation=False: evaluation is no single value, but has the keys evaluation.every, evaluation.episodes"),
        ("env", 3, "env=3: env is no single value"),
        ("device", 0, "Write device=cuda:0."),
        ("device", "gpu 1", "it takes cpu, cuda, or a GPU by its number, cuda:0."),
    ],
)
def test_a_value_names_what_was_meant(key, value, says):
    config = composed("agent=dqn", "env=toy/chain")[0]
    put(config, key, value)
    with pytest.raises(ConfigError) as caught:
        check(config)
    assert says in str(caught.value)
    assert str(caught.value).endswith(".")


def test_the_run_of_init_from_is_asked_for_first(tmp_path):
    require_source(None)
    with pytest.raises(ConfigError, match=f"init_from={tmp_path}@best: .* is no run folder"):
        require_source(f"{tmp_path}@best")


def test_a_source_that_the_disk_does_not_give_now_is_no_wrong_configuration(tmp_path, monkeypatch):
    """A scheduler would not have tried again."""

    def broken(*_):
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(config_file, "read_regular", broken)
    with pytest.raises(MachineError, match=f"init_from={tmp_path}: .* cannot be read: Input/output error"):
        require_source(str(tmp_path))


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--dry-run"], "`deeprl check`"),
        (["--config-name", "mine"], "--config-name=mine: every run is composed from configs/train.yaml"),
        (["--config", "my.v2.yaml"], "--config: there is no such flag. Settings of your own stand in FOLDER/experiment/my.v2.yaml"),
        (["--config=a/experiment/b/c.yaml"], "stand in a/experiment/b/c.yaml, and are chosen with --config-dir a experiment=b/c."),
        (["--config-path=/x"], "--config-path=/x: every run is composed from configs/train.yaml"),
    ],
)
def test_flags_that_training_lacks(words, says):
    with pytest.raises(ConfigError) as caught:
        split(words)
    assert says in str(caught.value)


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["status", "--verbose"], "DEEPRL_DEBUG=1"),
        (["eval", "run", "--n-eval-episodes", "5"], "Did you mean --episodes"),
        (["eval", "run", "episodes=5"], "episodes=5. Did you mean --episodes? (see deeprl eval --help)"),
        (["eval", "run", "--render"], "`deeprl record RUN` films"),
        (["record", "run", "--fps", "60"], "--fps 60 (see"),
        (["sweep", "seed=0,1", "--jobs", "0"], "argument --jobs: it takes a whole number of at least 1, not 0"),
        (["sweep", "seed=0,1", "--jobs", "many"], "argument --jobs: it takes a whole number of at least 1, not many"),
    ],
)
def test_flags_that_a_command_lacks(words, says):
    with pytest.raises(ConfigError) as caught:
        parsed(words)
    assert says in str(caught.value)


@pytest.mark.parametrize(
    ("slot", "shown"),
    [("algos", "munchausen"), ("slots", "agent/backup="), ("env/atari", "space_invaders"), ("environments", "classic/cartpole")],
)
def test_a_slot_by_another_name(slot, shown, capsys):
    assert console("list", slot) == 0
    assert shown in capsys.readouterr().out


def test_help_is_a_command_too(capsys):
    assert console("help", "eval") == 0
    assert "--episodes" in capsys.readouterr().out


def test_a_key_without_a_value_is_explained():
    with pytest.raises(ConfigError, match=r"replay.data has no value: give one, replay.data=\.\.\., a run folder: runs/NAME"):
        compose(["agent=sac", "env=classic/pendulum", "replay=stored"])


def test_values_are_told_as_they_are_typed():
    assert [in_yaml(value) for value in (None, True, False, 1, 0.5)] == ["null", "true", "false", 1, 0.5]


def test_a_word_where_a_number_belongs_is_told_so():
    with pytest.raises(ConfigError, match="^agent.optimizer.lr must be a number of at least 0, not 'fast'"):
        instantiate(composed("agent=dqn", "env=toy/chain", "agent.optimizer.lr=fast")[0]["agent"]["optimizer"], "agent.optimizer")


def test_a_file_that_is_no_configuration_of_a_run_is_told_so():
    with pytest.raises(ConfigError, match="it is no configuration of a run: it has no "):
        checked({"a": 1}, None)


def test_captions_of_an_installed_wheel_name_packages(monkeypatch):
    text = 'numbers; needs pip install -e ".[box2d]".'
    assert installable(text) == text
    monkeypatch.setattr("deeprl.running.config.folders.in_checkout", lambda: False)
    assert "-e" not in installable(text).split()
    assert folders.source(folders.CONFIGS / "agent/dqn.yaml") == "deeprl.configs: agent/dqn.yaml"


def test_types_are_read_in_modules_without_annotations_as_text():
    """Those of a class of the user's were objects there, and `noisy=no` was taken for true."""
    fields = [("noisy", bool), ("count", int), ("most", int | None), ("least", Optional[int]), ("name", str)]  # noqa: UP045
    own = make_dataclass("Own", fields, bases=(Choice,))
    assert accepted(own) == {"noisy": "bool", "count": "int", "most": "int | None", "least": "int | None", "name": "str"}
