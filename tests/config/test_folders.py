"""Folders of configurations beside ours: those of a command line, and those that distributions announce."""

from __future__ import annotations

from importlib.metadata import EntryPoint

import pytest

from deeprl.config import folders, tuned
from deeprl.config.compose import compose
from deeprl.config.menu import options
from deeprl.errors import ConfigError


@pytest.fixture
def announced(tmp_path, monkeypatch):
    """A distribution `extra` whose package extra.configs holds one agent, with tuned settings, and an option with a name of ours."""
    root = tmp_path / "extra" / "configs"
    for name, text in {
        "agent/mine.yaml": "# Mine.\ndefaults: [double_dqn, _self_]\n",
        "agent/dqn.yaml": "_target_: extra.Broken\n",
        "tuned/classic/mine.yaml": "# @package _global_\nsteps: 123\n",
    }.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    monkeypatch.syspath_prepend(str(tmp_path))
    points = [EntryPoint("extra", "extra.configs", folders.ENTRY_POINTS)]
    monkeypatch.setattr(folders, "entry_points", lambda group: [point for point in points if point.group == group])
    folders.extensions.cache_clear()
    yield points
    folders.extensions.cache_clear()


def test_an_extension_adds_options_and_tuned_settings(announced):
    assert "mine" in options("agent")
    assert tuned.option("classic/cartpole", "mine") == "classic/mine"
    config, _, _ = compose(["agent=mine"])
    assert config["steps"] == 123
    assert config["agent"]["backup"]["_target_"] == "deeprl.backups.bellman.Double"
    assert folders.source(folders.file("agent", "mine")) == "extra.configs: agent/mine.yaml"
    assert folders.packages("allowed") == ("deeprl", "extra", "allowed")


def test_an_extension_replaces_no_option_of_ours(announced):
    assert compose(["agent=dqn"])[0]["agent"]["_target_"] == "deeprl.value_agent.ValueAgent"
    assert folders.source(folders.file("agent", "dqn")) == "configs/agent/dqn.yaml"


def test_a_misspelt_option_of_an_extension_is_found(announced):
    with pytest.raises(ConfigError, match="Did you mean mine"):
        compose(["agent=mina"])


def test_an_extension_without_its_package_is_named(announced):
    announced.append(EntryPoint("gone", "gone.configs", folders.ENTRY_POINTS))
    with pytest.raises(ConfigError, match=r"gone announces gone\.configs"):
        folders.extensions()


def test_a_folder_of_the_command_line_is_searched(tmp_path, monkeypatch):
    monkeypatch.setattr(folders, "_added", [])
    (tmp_path / "agent").mkdir()
    (tmp_path / "agent" / "mine.yaml").write_text("defaults: [dqn, _self_]\n")
    folders.add(tmp_path)
    folders.add(tmp_path)
    assert options("agent").count("mine") == 1
    assert compose(["agent=mine"])[0]["agent"]["_target_"] == "deeprl.value_agent.ValueAgent"
    assert folders.source(folders.file("agent", "mine")) == str(tmp_path / "agent" / "mine.yaml")
    with pytest.raises(ConfigError, match="nowhere: there is no such folder"):
        folders.add(tmp_path / "nowhere")
