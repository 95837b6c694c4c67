"""What a person reads before the first run: `--help`, `--version` and `deeprl list`."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from omegaconf import OmegaConf

import deeprl
from deeprl.cli import exits
from deeprl.cli.page import EXAMPLES, all_slots, help_page
from deeprl.running.config.by_hydra import prepare
from deeprl.running.config.captions import caption, keys, slots
from deeprl.running.config.compose import compose
from deeprl.running.config.folders import CONFIGS, file
from deeprl.running.config.menu import groups, options
from deeprl.running.config.overrides import first_of
from deeprl.running.config.rules import FIXED
from deeprl.running.runs.config_file import flatten
from deeprl.system.terminal import columns
from tests.builders import console, front_door

ROOT = Path(__file__).resolve().parents[2]
OTHERS = {entry.name for entry in all_slots(others=True)} - {entry.name for entry in all_slots()}
SLOTS = [group for group in groups() if not group.startswith(("tuned", "env/")) or group == "env/protocol"]


def test_the_page_fits_a_screen_and_names_nothing_internal(monkeypatch):
    monkeypatch.setenv("COLUMNS", "100")
    lines = help_page().splitlines()
    assert max(map(len, lines)) <= 100
    assert len(lines) <= 100
    assert not re.search(r"tuned/|_target_|_partial_|\b_(base|atari)|\$\{", help_page())


@pytest.mark.parametrize(("script", "command"), [("train.py", "python train.py"), ("/usr/bin/deeprl", "deeprl train")])
def test_examples_begin_with_the_command_that_was_called(monkeypatch, script, command):
    """An installed deeprl has no train.py."""
    monkeypatch.setattr("sys.argv", [script])
    lines = help_page().splitlines()
    assert lines[0].startswith(f"usage: {command} [")
    assert next(line for line in lines if "budget=tiny" in line).startswith(f"  {command} experiment=dqn_atari")


def test_the_page_has_every_slot_and_every_key():
    named = {word.split("=")[0].split("@")[0] for word in re.findall(r"^  ([\w/@.]+=)", help_page(), flags=re.MULTILINE)}
    assert set(SLOTS) - OTHERS <= named
    assert set(FIXED) <= named


def test_slots_and_keys_have_the_defaults_that_a_run_has():
    _, _, chosen = compose(["agent=dqn"])
    assert {slot.name: slot.value for slot in slots("agent/dqn")} == {
        name: option for name, option in chosen.items() if name.startswith("agent/")
    }
    written = dict(flatten(OmegaConf.to_container(OmegaConf.load(CONFIGS / "train.yaml"), resolve=False)))
    assert {key.name: yaml.safe_load(key.value) for key in keys("train")} == {key: written[key] for key in FIXED if key in written}


@pytest.mark.parametrize("words", [words for words, _ in EXAMPLES])
def test_examples_compose(words):
    prepare()
    given = shlex.split(words)
    compose([first_of(word) for word in given if word != "-m"] if "-m" in given else given)


@pytest.mark.parametrize("slot", SLOTS)
def test_every_option_has_a_caption(slot):
    prepare()
    bare = [name for name in options(slot) if (path := file(slot, name)) and not caption(path)]
    assert bare == []


def test_a_caption_ends_where_the_comment_is_indented(tmp_path):
    (tmp_path / "a.yaml").write_text("# @package _global_\n# One sentence,\n# continued.\n#   A detail.\nkey: 1  # not this\n")
    assert caption(tmp_path / "a.yaml") == "One sentence, continued."


@pytest.mark.parametrize(
    ("words", "shown"),
    [
        ([], "agent/backup=max"),
        (["agents"], "td3_paper"),
        (["agent/backup"], "[configs/agent/backup/double.yaml]"),
        (["env/protocol"], "[configs/env/protocol/nature.yaml]"),
        (["envs"], "[configs/env/classic/cartpole.yaml]"),
        (["experiments"], "idqn_atari"),
        (["heads"], "[configs/agent/head/scalar.yaml]"),
        (["minatar"], "[configs/env/minatar/breakout.yaml]"),
    ],
)
def test_list(words, shown, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "90")
    assert console("list", *words) == exits.FINISHED
    text = capsys.readouterr().out
    assert shown in text
    assert max(map(len, text.splitlines())) <= 90


def test_games_of_atari_share_a_line(capsys):
    assert console("list", "envs") == exits.FINISHED
    text = capsys.readouterr().out
    assert " pong," in text
    assert [line.split()[0] for line in text.splitlines() if line.startswith("  atari/")] == ["atari/..."]


def test_list_of_an_option_has_its_keys(capsys):
    assert console("list", "agent/chain=polyak") == exits.FINISHED
    assert "tau: 0.005" in capsys.readouterr().out
    assert console("list", "agent=double_dqn") == exits.FINISHED
    assert "override backup: double" in (text := capsys.readouterr().out)
    assert "- chain: single" in text  # of dqn, from which it starts
    assert console("list", "agent/chain=polyack") == exits.WRONG
    assert "Did you mean polyak?" in capsys.readouterr().err


def test_list_of_a_slot_that_does_not_exist(capsys):
    assert console("list", "agent/backups") == exits.WRONG
    assert "Did you mean agent/backup?" in capsys.readouterr().err


def test_long_texts_are_wrapped_below_their_column(monkeypatch):
    monkeypatch.setenv("COLUMNS", "30")
    assert columns([("a", "four " * 8), ("long", "")]) == ["  a     four four four four", "        four four four four", "  long"]
    assert columns([("a", "four"), ("fitting!", "four")]) == ["  a         four", "  fitting!  four"]
    assert columns([("a", "four"), ("a long one", "four")]) == ["  a         four", "  a long one", " " * 12 + "four"]


def test_versions(capsys):
    assert front_door("--version") == exits.FINISHED
    assert console("--version") == exits.FINISHED
    train, command = capsys.readouterr().out.splitlines()
    assert train == command
    assert re.fullmatch(rf"deeprl {re.escape(deeprl.__version__)}, torch [\w.+]+, Python 3\.\d+\.\d+\S*", train)


@pytest.mark.parametrize(
    "words",
    [
        ["train.py", "--help"],
        ["train.py", "--version"],
        ["-m", "deeprl", "train", "--help"],
        ["-m", "deeprl.cli.train", "-h"],
        ["-m", "deeprl", "list"],
        ["-m", "deeprl", "list", "agent/backup"],
    ],
)
def test_pages_wait_for_no_torch(words):
    done = subprocess.run([sys.executable, "-X", "importtime", *words], cwd=ROOT, capture_output=True, text=True, timeout=120, check=True)
    assert done.stdout
    imported = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    assert "deeprl.cli.page" in imported
    assert "torch" not in imported


def test_the_list_has_the_slots_of_extensions_too(capsys):
    assert console("list") == 0
    said = capsys.readouterr().out
    words = "optimism risk uncertainty models planning expectations loss switching dynamics learner"
    named = {f"agent/{word}" for word in words.split()}
    assert named <= OTHERS
    assert all(f"{slot}=" in said for slot in OTHERS)
