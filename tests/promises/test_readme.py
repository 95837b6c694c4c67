"""Commands and names in README.md and docs/ are checked against the code: each command composes, nothing is trained."""

from __future__ import annotations

import ast
import inspect
import re
import shlex
import tomllib
from pathlib import Path

import pytest

import deeprl
from deeprl.cli.main import COMMANDS, parsed
from deeprl.running.config.by_hydra import prepare
from deeprl.running.config.compose import compose
from deeprl.running.config.instantiate import instantiate
from deeprl.running.config.menu import groups, options
from deeprl.running.config.overrides import check_words, first_of, for_hydra, key_of
from deeprl.running.config.rules import RULES
from deeprl.running.config.sources import chunk, planned_updates, source_class
from deeprl.running.runs.config_file import flatten
from deeprl.running.session.complete import complete
from deeprl.running.session.given import worded
from deeprl.tools.sweep.grid import expand
from docs.navigation import papers
from tests.presets import covering
from tests.promises.test_guides import GUIDES

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text()
USAGE = (ROOT / "docs" / "usage.md").read_text()
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")), *sorted((ROOT / "docs" / "algorithms").glob("*.md"))]
COMPOSED = [page for page in PAGES if page.stem not in GUIDES]
"""Pages whose commands are not executed"""


def blocks(text: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", text, flags=re.MULTILINE | re.DOTALL)


def commands(start: str) -> list[str]:
    lines = [line for page in COMPOSED for block in blocks(page.read_text(), "bash") for line in block.splitlines()]
    lines = [re.sub(r"^deeprl train\b", "python train.py", line) for line in lines]
    lines = [line for line in lines if line.startswith(start) and "train.py --config-dir" not in line]  # with a file of the reader's
    return list(dict.fromkeys(shlex.join(shlex.split(line, comments=True)) for line in lines))


def compose_and_settle(overrides: list[str]) -> dict:
    config, user, _ = compose(overrides)
    config = complete(config, user)
    for slot in ("agent", "replay"):  # constructs every stateless part, and checks that each key is one its class takes
        instantiate({**config[slot], "_partial_": True}, slot, None)
    instantiate(config["env"], "env", None)
    return config


LINES = [line for paper in papers() if not paper.first for line in paper.lines]
"""Of docs/papers.md; one that goes on from another run needs it"""
TRAININGS = list(dict.fromkeys(commands("python train.py") + [shlex.join(shlex.split(line)) for line in LINES if "train.py" in line]))


def words_of(command: str) -> list[str]:
    """Without flags, and of a sweep the first job."""
    return [first_of(word) for word in shlex.split(command)[2:] if not word.startswith("-")]


SLOTS = groups()
COMPOSED_ELSEWHERE = ("agent", "env", "experiment")
"""Each option of these, in tests/running/config/test_configs.py."""


prepare()  # games of Atari are options
OPTIONS = {slot: options(slot) for slot in COMPOSED_ELSEWHERE}


def named(command: str) -> frozenset[str]:
    """What else a line asks composition for: keys, and options of slots."""
    keys = {word: word.partition("=")[0].split("@")[0] for word in words_of(command)}
    return frozenset(word if key in SLOTS else key_of(word) for word, key in keys.items() if key not in COMPOSED_ELSEWHERE)


FEW = covering({command: named(command) for command in TRAININGS})
"""Lines that have every key and every option of all lines between them. The others differ in values and in what stands beside what."""


def test_words_of_training_commands_are_right():
    for command in TRAININGS:
        assert {word for word in shlex.split(command)[2:] if word.startswith("-")} <= {"-m", "--cfg=job", "--resolve"}
        words = words_of(command)
        check_words([for_hydra(word) for word in words])
        chosen = dict(word.split("=") for word in words if word.partition("=")[0] in COMPOSED_ELSEWHERE)
        assert all(option in OPTIONS[slot] for slot, option in chosen.items()), command


@pytest.mark.parametrize("command", [pytest.param(line, marks=() if line in FEW else pytest.mark.exhaustive) for line in TRAININGS])
def test_training_commands_compose_and_learn_something_within_a_tiny_budget(command):
    """Whatever the line itself says about steps. Tuned settings for many copies have fewer updates than the budget's ratio allows, and of
    copies that the line itself asks for, a rollout may take all steps."""
    config = compose_and_settle([*words_of(command), "budget=tiny"])
    assert config["steps"] == 400
    source, ticks, copies = source_class(config), chunk(config), config["env"]["num"]
    most = 16 if ticks is None or copies <= 8 else source.planned(config["replay"], ticks * copies, copies)
    assert planned_updates(config) >= min(16, most) > 0 or not source.paced_by


@pytest.mark.parametrize("command", commands("deeprl "))
def test_deeprl_commands_parse(command):
    _, options = parsed(shlex.split(command)[1:])
    assert options.command == command.split()[1]


@pytest.mark.parametrize("command", [command for command in commands("deeprl sweep") if not command.startswith("deeprl sweep resume")])
def test_the_first_and_the_last_job_of_a_sweep_compose(command):
    _, options = parsed(shlex.split(command)[1:])
    jobs = expand(options.overrides)
    assert len(jobs) > 1
    for job in (jobs[0], jobs[-1]):
        compose_and_settle(list(job.overrides))


def test_there_are_commands():
    assert len(commands("python train.py")) > 20
    named = {command.split()[1] for command in commands("deeprl ")}
    assert named == {*COMMANDS} - {"train"}


def test_python_examples_parse_and_their_overrides_compose():
    examples = blocks(README, "python") + blocks(USAGE, "python")
    calls = [node for example in examples for node in ast.walk(ast.parse(example)) if isinstance(node, ast.Call)]
    trained = [call for call in calls if ast.unparse(call.func) == "deeprl.train"]
    assert len(trained) >= 3
    for call in trained:
        assert {keyword.arg for keyword in call.keywords} <= set(inspect.signature(deeprl.train).parameters)
        given = ast.literal_eval(call.args[0])
        made = ["env=function", "env.function=m:f"] if any(keyword.arg == "env" for keyword in call.keywords) else []
        compose([*(worded(given) if isinstance(given, dict) else given), *made])


def test_the_readme_opens_with_the_two_commands():
    assert blocks(README, "bash")[0] == 'pip install -e . && python train.py\npip install -e ".[test]" && pytest\n'


ROWS = [line.split("|")[1] for line in (ROOT / "docs" / "slots.md").read_text().splitlines() if line.startswith("| `")]
UNLISTED = {"agent/loss"}  # of self-prediction


def test_the_table_has_every_slot():
    """Those of the lab are in docs/algorithms/lab.md."""
    named = {slot for slots in ROWS for slot in re.findall(r"`([\w/]+)`", slots)}
    recipes = [path.read_text() for path in (ROOT / "configs" / "agent").glob("*.yaml")]
    used = {
        slot
        for slot in groups()
        if slot.startswith("agent/") and any(re.search(rf"^[^#]*\b{slot[6:]}: ", text, re.MULTILINE) for text in recipes)
    }
    assert {slot for slot in named if slot.startswith("agent/")} == used - UNLISTED
    top = {slot for slot in groups() if "/" not in slot}
    assert {slot for slot in named if "/" not in slot} == top - {"env"}


def test_keys_in_the_table_exist_and_none_is_left_out():
    table = USAGE.split("Keys that every run has")[1].split("Periods are in")[0]
    named = set()
    for cell in re.findall(r"^\| (`.*?`) \|", table, flags=re.MULTILINE):
        group = ""
        for key in re.findall(r"`([\w.]+)`", cell):
            group = group if key.startswith(".") else key.rpartition(".")[0]
            named.add(group + key if key.startswith(".") else key)
    config, _, _ = compose([])
    rollouts, _, _ = compose(["agent=ppo"])
    assert named - {"hydra.run.dir"} <= {key for key, _ in (*flatten(config), *flatten(rollouts))}
    assert set(RULES) <= named


# without CONTRIBUTING.md, whose examples write some of the files they name; tests/promises/test_contributing.py knows them
@pytest.mark.parametrize("page", [*PAGES, ROOT / "CHANGELOG.md"], ids=lambda page: page.name)
def test_files_exist(page):
    text = re.sub(r"^ {4}.*$", "", page.read_text(), flags=re.MULTILINE)  # formulas
    for name in re.findall(r"`((?:deeprl|agents|envs|configs|docs|tests|benchmarks)/[\w./]*)`", text):
        assert (ROOT / name).exists(), name


def test_extras_exist():
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    line = README.split("Extras:")[1].split("\n\n")[0]
    assert set(re.findall(r"(?:^| )`(\w+)`|\[(\w+)\]", line)) == {("", "minatar"), *((name, "") for name in extras if name != "minatar")}
