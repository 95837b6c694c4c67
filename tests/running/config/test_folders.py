"""Folders of configurations beside ours: those of a command line, and those that distributions announce."""

from __future__ import annotations

import os
import re
import time
from importlib.machinery import ModuleSpec
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from deeprl.errors import ConfigError
from deeprl.running.config import folders, tuned
from deeprl.running.config.compose import compose
from deeprl.running.config.instantiate import resolve
from deeprl.running.config.menu import groups, options


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
    folders.announced.cache_clear()
    yield points
    folders.announced.cache_clear()


def test_an_extension_adds_options_and_tuned_settings(announced):
    assert "mine" in options("agent")
    assert tuned.option("classic/cartpole", "mine") == "classic/mine"
    config, _, _ = compose(["agent=mine"])
    assert config["steps"] == 123
    assert config["agent"]["backup"]["_target_"] == "deeprl.learning.backups.bellman.Double"
    assert folders.source(folders.file("agent", "mine")) == "extra.configs: agent/mine.yaml"
    assert folders.packages("allowed") == ("deeprl", "extra", "allowed")


def test_an_extension_replaces_no_option_of_ours(announced):
    assert compose(["agent=dqn"])[0]["agent"]["_target_"] == "deeprl.learning.value_agent.ValueAgent"
    assert folders.source(folders.file("agent", "dqn")) == "configs/agent/dqn.yaml"


def test_a_misspelt_option_of_an_extension_is_found(announced):
    with pytest.raises(ConfigError, match="Did you mean mine"):
        compose(["agent=mina"])


BROKEN = {
    "raises": ("raise RuntimeError('my own bug')\n", r"RuntimeError in .*raises/__init__\.py:1: my own bug"),
    "leaves": ("import sys\nsys.exit(3)\n", r"SystemExit in .*leaves/__init__\.py:2: 3"),
    "unreadable": ("def f(:\n", r"SyntaxError in .*unreadable/__init__\.py:1"),
    "needs": ("import no_such_library\n", r"ModuleNotFoundError in .*needs/__init__\.py:1: No module named 'no_such_library'"),
    "moved": ("", "there is no such package"),
    "gone": (None, "there is no such package"),
}
"""Packages: the content of `__init__.py`, None where there is no such package, and why each is left out. None has a folder `configs`."""


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_extension_is_named_and_left_out(name, announced, tmp_path, capsys):
    text, reason = BROKEN[name]
    if text is not None:
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text(text)
    announced.append(EntryPoint(name, f"{name}.configs", folders.ENTRY_POINTS))
    assert set(folders.extensions()) == {"extra.configs"}
    assert compose(["agent=mine"])[0]["steps"] == 123
    told = capsys.readouterr().err
    assert told.count("\n") == 1
    assert re.search(rf"{name} is left out .* {name}\.configs .*{reason}.* pip uninstall {name}", told)


def test_an_extension_whose_folder_is_a_file_is_left_out(announced, tmp_path, monkeypatch, capsys):
    (tmp_path / "file").write_text("")
    spec = ModuleSpec("odd.configs", None, is_package=True)
    spec.submodule_search_locations = [str(tmp_path / "file")]
    monkeypatch.setattr(folders, "find_spec", lambda module: spec)
    assert folders.extensions() == {}
    assert f"{tmp_path / 'file'} is no folder" in capsys.readouterr().err


def test_the_broken_extension_is_the_cause_where_one_of_its_options_is_wanted(announced):
    announced.append(EntryPoint("gone", "gone.configs", folders.ENTRY_POINTS))
    with pytest.raises(ConfigError, match=r"agent=theirs is not an option .* The distribution gone is left out .* pip uninstall gone"):
        compose(["agent=theirs"])
    with pytest.raises(ConfigError, match=r"gone\.Agent is outside of the packages .* The distribution gone is left out"):
        resolve("gone.Agent", "agent", folders.packages())
    with pytest.raises(ConfigError) as told:
        compose(["agent=dqn", "steps=nope", "stepss=3"])
    assert "gone" not in str(told.value)


def test_a_class_whose_module_raises_is_named_with_the_line(tmp_path, monkeypatch):
    (tmp_path / "raising.py").write_text("\nraise RuntimeError('my own bug')\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(ConfigError, match=r"agent\._target_=raising\.Agent .* RuntimeError in .*raising\.py:2: my own bug"):
        resolve("raising.Agent", "agent", None)


def test_a_folder_of_the_command_line_is_searched(tmp_path, monkeypatch):
    monkeypatch.setattr(folders, "_added", [])
    (tmp_path / "agent").mkdir()
    (tmp_path / "agent" / "mine.yaml").write_text("defaults: [dqn, _self_]\n")
    folders.add(tmp_path)
    folders.add(tmp_path)
    assert options("agent").count("mine") == 1
    assert compose(["agent=mine"])[0]["agent"]["_target_"] == "deeprl.learning.value_agent.ValueAgent"
    assert folders.source(folders.file("agent", "mine")) == str(tmp_path / "agent" / "mine.yaml")
    with pytest.raises(ConfigError, match="nowhere: there is no such folder"):
        folders.add(tmp_path / "nowhere")


def test_a_folder_of_a_family_of_agents_is_no_slot():
    assert "agent/chain" in groups()
    assert "agent/lab" not in groups()


def test_a_folder_is_listed_again_when_it_changes_while_it_is_new_and_when_it_holds_links(tmp_path):
    def listed() -> list[str]:
        return sorted(Path(file).stem for file in folders.files(tmp_path))

    def add(name: str, seconds: float) -> None:
        """And the folder says that it has changed at that time."""
        (tmp_path / f"{name}.yaml").touch()
        os.utime(tmp_path, (seconds, seconds))

    add("one", seconds=1.0)
    assert listed() == ["one"]
    add("two", seconds=2.0)
    assert listed() == ["one", "two"]
    now = time.time()
    add("three", seconds=now)
    assert listed() == ["one", "three", "two"]
    add("four", seconds=now)  # too soon after the other for another time
    assert listed() == ["four", "one", "three", "two"]
    (tmp_path / "five.yaml").symlink_to(tmp_path / "one.yaml")
    os.utime(tmp_path, (3.0, 3.0))
    assert "five" in listed()
    (tmp_path / "five.yaml").unlink()
    (tmp_path / "five.yaml").symlink_to(tmp_path / "nowhere.yaml")
    os.utime(tmp_path, (3.0, 3.0))
    assert "five" not in listed()
