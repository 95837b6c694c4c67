"""Configurations that a user wrote: a file without keys, text of another encoding, defaults in a circle, misspelt keys."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from deeprl.cli.list import keys
from deeprl.errors import ConfigError
from deeprl.running.config import folders, own_files, own_keys
from deeprl.running.config.build import agents_for
from deeprl.running.config.captions import caption
from deeprl.running.config.compose import compose
from deeprl.running.config.explain import explain
from deeprl.running.config.menu import option_files
from deeprl.running.config.own_files import check_choices, line_of
from deeprl.running.config.resolve import require_own_id
from deeprl.running.session.complete import complete
from tests.builders import settled


@pytest.fixture
def mine(tmp_path, monkeypatch):
    """Writes a file into a folder of the user's, which compositions search."""
    monkeypatch.setattr(folders, "_added", [])
    folders.add(tmp_path)

    def write(name, content):
        path = tmp_path / f"{name}.yaml"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return write


@pytest.mark.parametrize(
    ("name", "content", "words", "told"),
    [
        ("agent/backup/mine", "temperature: 0.2\n", "agent=dqn agent/backup=mine", r"mine\.yaml: agent/backup=mine names no class"),
        ("agent/backup/mine", "", "agent=dqn agent/backup=mine", r"mine\.yaml: agent/backup=mine names no class"),
        ("agent/mine", "# nothing\n", "agent=mine", r"mine\.yaml: agent=mine names no class\. Add a line _target_: "),
        ("env/mine", "", "env=mine", r"mine\.yaml: env=mine names no class"),
        ("agent/backup/mine", "# a\n- b\n", "agent=dqn agent/backup=mine", r"mine\.yaml, line 2: a list stands where keys belong"),
        ("agent/mine", "- b\n", "agent=mine", r"mine\.yaml, line 1: a list stands where keys belong"),
        ("experiment/mine", "- steps: 3\n", "experiment=mine", r"mine\.yaml, line 1: a list stands"),
        ("experiment/mine", "steps: 3\n", "experiment=mine", r"mine\.yaml: its keys go below `experiment`.*begin it with # @package"),
        ("agent/mine", "defaults: [dqn, override chain: none, _self_]\n", "agent=mine", "Its name is agent/chain=online_target now"),
        ("tuned/classic/dqn", "", "agent=dqn", r"tuned/classic/dqn\.yaml has the name of an option that comes before it, configs/tuned/"),
        ("agent/backup/mine", b"# a\n# gr\xf6\xdfer\n", "agent=dqn agent/backup=mine", r"mine\.yaml, line 2: byte 0xf6 is no UTF-8"),
        ("env/mine", "defaults: [gym, _self_]\nid: CartPole-v1\n", "env=mine", None),  # the class stands in the file that it starts from
    ],
)  # fmt: skip
def test_a_file_that_is_no_option_is_named_when_it_is_chosen(mine, name, content, words, told):
    mine(name, content)
    if told is None:
        compose(words.split())
        return
    with pytest.raises(ConfigError, match=told):
        compose(words.split())


@pytest.mark.parametrize(
    ("name", "content", "words", "told"),
    [
        ("experiment/mine", "agent: dqn\n", "experiment=mine", r"line 2: agent: dqn sets a key.*of defaults: - override /agent: dqn$"),
        ("experiment/mine", "agent: DQN\n", "experiment='mine'", r"Did you mean dqn\? .*- override /agent: dqn$"),
        ("experiment/mine", "\nenv: acrobot\n", "experiment=mine", r"line 3: .* Did you mean classic/acrobot\? .*/env: classic/acrobot$"),
        ("experiment/mine", "agent: {head: quantile}\n", "experiment=mine", r"agent\.head: .* - override /agent/head: quantile$"),
        ("experiment/mine", "agent/head: quantile\n", "experiment=mine", r"agent/head: .* - override /agent/head: quantile$"),
        ("experiment/mine", "budget: tiny\n", "experiment=mine", r"A file chooses no budget: give budget=tiny on the command line\.$"),
        ("tuned/classic/cartpole/double_dqn", "agent: null\n", "agent=double_dqn", r"line 2: agent: null, and every run needs agent"),
        ("experiment/mine", "collect: actors\n", "experiment=mine", r"collect takes here, ray\. .* - override /collect: OPTION$"),
        ("agent/mine", "defaults: [dqn, _self_]\nhead: quantile\n", "agent=mine", r" - override head: quantile$"),
        ("agent/mine", "defaults: [dqn, _self_]\nagent/head: quantile\n", "agent=mine", r" - override head: quantile$"),
        ("tuned/classic/cartpole/double_dqn", "agent: {head: quantile}\n", "agent=double_dqn", r"give agent/head=quantile on the command"),
        ("experiment/mine", "defaults: [/agent: dqn]\n", "experiment=mine", r"values for agent\. .*- override /agent: dqn$"),
    ],
)  # fmt: skip
def test_a_file_that_chooses_an_option_as_it_sets_a_key_is_told_how_to(mine, name, content, words, told):
    """The messages were about agent._target_, about an AttributeError, or that there is no key agent/head."""
    mine(name, f"# @package _global_\n{content}" if not name.startswith("agent/") else content)
    with pytest.raises(ConfigError, match=told):
        compose(words.split())


def test_a_number_in_the_place_of_a_class_is_told(mine):
    """It was an AttributeError."""
    mine("experiment/mine", "# @package _global_\nagent: 5\n")
    with pytest.raises(ConfigError, match=r"mine\.yaml, line 2: agent: 5, where the keys of agent belong\. Leave it out\.$"):
        check_choices("experiment", "mine")


def test_a_key_that_the_class_takes_and_the_file_does_not_list_is_told(mine):
    mine("agent/torso/mine", "_target_: deeprl.learning.networks.torsos.MLPTorso\nhidden: [8]\n")
    said = explain(["agent=dqn", "agent/torso=mine", "agent.torso.activation=tanh"], ConfigError())
    assert "mine.yaml does not list agent.torso.activation, which its class takes: write +agent.torso.activation=tanh, or" in said


def test_the_experiment_of_the_page_sets_what_it_says(mine):
    page = (Path(__file__).parents[3] / "docs" / "usage.md").read_text()
    mine("experiment/small", page.partition("`mine/experiment/small.yaml`:\n\n```yaml\n")[2].partition("```")[0])
    config, _, chosen = compose(["experiment=small"])
    assert (chosen["agent"], chosen["env"], chosen["agent/head"]) == ("dqn", "classic/acrobot", "quantile")
    assert (config["steps"], config["evaluation"]["episodes"], config["agent"]["optimizer"]["lr"]) == (50_000, 20, 5e-4)
    assert (config["replay"]["capacity"], config["replay"]["learning_starts"]) == (20_000, 500)


def test_defaults_in_a_circle_are_told(mine):
    mine("agent/one", "defaults: [two, _self_]\n")
    mine("agent/two", "defaults: [dqn, one, _self_]\n")
    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(500)  # to which Hydra follows the circle
    try:
        with pytest.raises(ConfigError, match=r"agent/one\.yaml: its defaults lead back to it, one > two > one\."):
            compose(["agent=one"])
    finally:
        sys.setrecursionlimit(limit)


def test_a_file_that_nobody_chose_stops_nothing(mine):
    path = mine("agent/broken", b"# gr\xf6\xdfer\n- a\n")
    assert compose(["agent=dqn"])[2]["agent"] == "dqn"
    assert "ppo" in agents_for("continuous")
    assert caption(path) == "gr\ufffd\ufffder"


TYPO = r"tuned/classic/mine\.yaml, line 3: there is no key agent\.optimzer\.lr\. Did you mean agent\.optimizer\?"
LOOSE = r"line 2: agent\.chain\.tau stands under no option of agent/chain\. Write it under the one that it is for, agent/chain=OPTION: "


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ("agent:\n  optimzer: {lr: 1.0e-3}\n", TYPO),
        ("learning_starts: 5\n", r"line 2: there is no key learning_starts\. Its name is replay\.learning_starts now\."),
        ("5: 3\n", r"line 2: there is no key 5\."),
        ("evaluation: {evry: 5}\n", r"line 2: there is no key evaluation\.evry\. Did you mean evaluation\.every\?"),
        ("replay=uniform: {batchsize: 5}\n", r"line 2: there is no key replay\.batchsize\. Did you mean replay\.batch_size\?"),
        ("agent/explore=epsilon_greedy: {schedule: {durations: 5}}\n", r"line 2: there is no key agent\.explore\.schedule\.durations\."),
        ("agent/chain=polyac: {tau: 0.1}\n", r"line 2: agent/chain has no option polyac\. Did you mean polyak\?"),
        ("agent/chain=none: {x: 1}\n", r"agent/chain has no option none\. Its name is agent/chain=online_target now\."),
        ("agent: {chain: {tau: 0.1}}\n", LOOSE),
        ("replay: {batch_size: 5}\n", r"line 2: replay\.batch_size stands under no option of replay\."),
        ("replay=uniform: {budget=tiny: {capacity: 5}}\n", r"there is no key replay\.budget=tiny\.capacity\."),
        ("evaluation.every: 5\n", r"line 2: a key with dots sets nothing in a file\. Write evaluation: \{every: \.\.\.\}\."),
        ("env: {kwargs.size: 5}\n", r"Write env: \{kwargs: \{size: \.\.\.\}\}\."),
        ("env.kwargs.size: 5\n", r"line 2: .* sets nothing in a file\. Write env: \{kwargs: \{size: \.\.\.\}\}\."),
        ("agent/explore=epsilon_greedy: {schedule.end: 0}\n", r"line 2: .* sets nothing in a file\. Write schedule: \{end: \.\.\.\}\."),
        ("budget=tiny: {steps: 5}\n", r"line 2: budget=tiny is no setting: it stands in files of options\."),
    ],
)
def test_a_key_that_no_option_has_is_a_typo(mine, settings, told):
    mine("tuned/classic/mine", f"# @package _global_\n{settings}")
    with pytest.raises(ConfigError, match=told):
        own_keys.check_keys([("tuned", "classic/mine", "")], settled("agent=dqn", "env=classic/cartpole"))


OTHERS = """agent/chain=polyak: {tau: 0.1}
agent/chain=iterated: {shift_period: 9}
agent/actor_torso=simba: {width: 9}
env: {kwargs: {size: 5, a.b: 1}}
"""


def test_settings_of_other_chains_and_agents_are_no_typos(mine):
    mine("agent/mine", "defaults: [dqn, _self_]\n")
    path = mine("tuned/classic/mine", f"# @package _global_\n{OTHERS}")
    complete(*compose(["agent=mine"])[:2])
    path.write_text(f"# @package _global_\nsteps: 50\n{OTHERS}stepss: 60\n")
    with pytest.raises(ConfigError, match=r"line 7: there is no key stepss\. Did you mean steps\?"):
        complete(*compose(["agent=mine"])[:2])


def test_every_key_of_our_own_files_exists(monkeypatch):
    """The rule for files of users, asked of ours."""
    monkeypatch.setattr(own_files, "of_users", folders.file)
    places = {("tuned", ""), ("experiment", ""), ("agent", "agent.")}
    sources = [(group, name, prefix) for group, prefix in places for name in option_files(group)]
    assert len(sources) > 100
    own_keys.check_keys(sources, {})


def test_the_line_of_a_key(mine):
    path = mine("a", "# comment\na:\n  b: 1\n  c:\n    d: {e: 2}\n")
    assert [line_of(path, key) for key in ("a", "a.b", "a.c.d.e", "a.x")] == [2, 3, 5, 2]
    path = mine("b", "c: 1\na.b: {c.d: 1,\n  e: 2}\n")  # keys with dots, for which it named line 1
    assert [line_of(path, key) for key in ("a.b", "a.b.c.d", "a.b.e")] == [2, 2, 3]


@pytest.mark.parametrize("words", ["experiment=dqn_atari env=classic/cartpole", "experiment=sac_mujoco env=classic/pendulum agent=td3"])
def test_an_experiment_that_sets_nothing_is_refused(words):
    with pytest.raises(
        ConfigError, match=r"experiment=\w+ sets nothing on env=classic/\w+\. .* write agent=\w+ env=classic/\w+ without it"
    ):
        compose(words.split())


def test_an_option_trains_no_other_task_under_its_name():
    """InvertedPendulum counted as Pendulum, and ids without env=gym met the settings of CartPole."""
    with pytest.raises(ConfigError, match=r"^env\.id=A-v1: env=classic/pendulum is Pendulum-v1, .* Write env=gym env\.id=A-v1\.$"):
        compose(["agent=sac", "env=classic/pendulum", "env.id=A-v1"])
    with pytest.raises(ConfigError, match="Write env=gym env.id=FetchPush-v4"):
        require_own_id("robotics/fetch_reach", "FetchPush-v4")
    require_own_id("robotics/fetch_reach", None)  # ~env.id, which the environment refuses in words of its own, was a KeyError
    for env, id in (
        ("mujoco/hopper", "Hopper-v4"),  # the version of published results
        ("classic/cartpole", "gymnasium:CartPole-v0"), ("robotics/ant_maze_umaze", "AntMaze_UMaze-v4"), ("gym", "A-v1"),
        ("vector/A-v1", "A-v1"), ("vector", "A-v1"), ("gym/last_action/A-v1", "A-v1"), ("gym/stock", "A-v1"), ("mine", "A-v1"),
    ):  # fmt: skip
        require_own_id(env, id)


@pytest.mark.parametrize(
    "words",
    [
        "experiment=dqn_atari",
        "experiment=dqn_atari env=atari/breakout",
        "experiment=sac_mujoco env=mujoco/hopper agent=redq",
        "experiment=strong_mujoco env=classic/pendulum",  # which sets critics of another size
    ],
)
def test_an_experiment_that_sets_something_is_taken(words):
    compose(words.split())


def test_an_empty_experiment_sets_nothing(mine):
    mine("experiment/mine", "# @package _global_\n")
    with pytest.raises(ConfigError, match="experiment=mine sets nothing"):
        compose(["experiment=mine"])
    mine("experiment/mine", "# @package _global_\ndefaults: [override /agent: dqn, override /agent/torso: mlp, _self_]\n")
    compose(["experiment=mine"])


@pytest.mark.parametrize(
    ("text", "headed"),
    [("#\t@package _global_\nsteps: 3\n", True), ("\n # mine\n  # @package _global_\n", True), ("steps: 3\n# @package _global_\n", False)],
)
def test_a_header_stands_before_the_first_key(tmp_path, text, headed):
    """As Hydra reads it: one below the keys was taken, and they had no effect; one behind a tab was not."""
    (tmp_path / "mine.yaml").write_text(text)
    assert own_files.is_global(tmp_path / "mine.yaml") == headed


def test_a_copy_of_our_options_is_no_file_that_nothing_reads(mine):
    ours = folders.CONFIGS / "agent" / "backup" / "double.yaml"
    copied = mine("agent/backup/double", ours.read_bytes())
    own_files.check_chosen({"agent/backup": "double"}, {})
    copied.write_bytes(ours.read_bytes() + b"# mine\n")
    with pytest.raises(ConfigError, match="is not read: give it another name"):
        own_files.check_chosen({"agent/backup": "double"}, {})


def test_a_broken_file_of_the_user_is_named_where_its_keys_are_listed(mine):
    """Exit code 1, with a word about a traceback."""
    mine("agent/broken", "a: [\n")
    with pytest.raises(ConfigError, match=r"deeprl list agent=broken: .*agent/broken\.yaml"):
        keys("agent=broken")
