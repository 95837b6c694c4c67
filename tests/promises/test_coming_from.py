"""docs/coming_from.md: the keys exist, and the commands set what Stable-Baselines3 has by default (where it is installed)."""

from __future__ import annotations

import inspect
import re
import shlex
from pathlib import Path

import pytest

from deeprl.running.config.foreign_keys import ELSEWHERE
from deeprl.running.runs.config_file import flatten
from tests.builders import composed

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "coming_from.md").read_text()
SECTIONS = {text.partition("\n")[0]: text for text in PAGE.split("\n## ")[1:]}
ALGORITHMS = {name: text for name, text in SECTIONS.items() if "```bash" in text}


def command(text: str) -> list[str]:
    """Overrides of the first command of a section: Stable-Baselines3's settings."""
    return shlex.split(re.search(r"^deeprl train (.*)$", text, flags=re.MULTILINE)[1])


def rows(text: str) -> list[list[str]]:
    """The tables of four columns, without their heads."""
    found = [[cell.strip() for cell in line.split("|")[1:-1]] for line in text.splitlines() if line.startswith("|")]
    return [row for row in found if len(row) == 4 and row[0] != "Stable-Baselines3" and not row[0].startswith("--")]


CASES = [
    pytest.param(ALGORITHMS.get(name, ALGORITHMS["DQN"]), key, id=f"{name.split(',')[0]}-{key}")
    for name, text in SECTIONS.items()
    for row in rows(text)
    for key in re.findall(r"`([^`]*)`", row[2])
]


@pytest.mark.parametrize(("section", "key"), CASES)
def test_a_key_of_the_table_exists(section, key):
    """Beside Stable-Baselines3's settings; an override in place of theirs."""
    overrides, own = command(section), key.split() if "=" in key else []
    named = {word.partition("=")[0] for word in own}
    below = tuple(f"{name.replace('/', '.')}." for name in named)  # keys of the option that another one replaces
    kept = [word for word in overrides if word.partition("=")[0] not in named and not word.startswith(below)]
    config, _, _ = composed(*kept, *own)
    assert own or key in dict(flatten(config))


def test_a_key_of_theirs_is_answered_with_ours():
    """What the message of a wrong key proposes: `ELSEWHERE`, or the key with the same last word."""
    cells = [(cell, right) for left, middle, right, _ in rows(PAGE) for cell in (left, middle)]
    pairs = [(re.fullmatch(r"`([a-z_]+)`", cell), re.fullmatch(r"`([\w.]+)`", right)) for cell, right in cells]
    pairs = [(theirs[1], ours[1]) for theirs, ours in pairs if theirs and ours]
    answered = {theirs for theirs, ours in pairs if theirs == ours.rpartition(".")[2] or ours in ELSEWHERE.get(theirs, ())}
    assert answered == {theirs for theirs, _ in pairs}
    assert len(answered) > 30


def test_the_tables_are_read():
    assert set(ALGORITHMS) == {"DQN", "PPO", "SAC", "TD3"}
    assert len(CASES) > 50


NETWORKS = {"DQN": [64, 64], "PPO": [64, 64], "SAC": [256, 256], "TD3": [400, 300]}
"""Hidden layers of Stable-Baselines3's `MlpPolicy`"""


@pytest.mark.parametrize("name", ALGORITHMS)
def test_the_command_has_the_networks_and_one_step_returns_of_stable_baselines3(name):
    """Tuned settings of the task have others."""
    ours = dict(flatten(composed(*command(ALGORITHMS[name]))[0]))
    assert {str(ours[key]) for key in ("agent.torso.hidden", "agent.actor_torso.hidden") if key in ours} == {str(NETWORKS[name])}
    assert ours.get("replay.n_step", 1) == 1


@pytest.mark.parametrize("name", ALGORITHMS)
def test_the_command_has_the_defaults_of_stable_baselines3(name):
    peer = pytest.importorskip("stable_baselines3", reason="an extra: peers")
    theirs = {key: value.default for key, value in inspect.signature(getattr(peer, name).__init__).parameters.items()}
    ours = dict(flatten(composed(*command(ALGORITHMS[name]))[0]))
    every = SECTIONS["Every run"] + ("" if name == "PPO" else SECTIONS["Replay, of every off-policy algorithm"])
    compared = []
    for left, _, right, _ in rows(every + ALGORITHMS[name]):
        for setting in re.findall(r"(?:^|· |, )`([a-z_]+)`", left):
            assert setting in {*theirs, "n_envs", "handle_timeout_termination"}, setting
        pair = re.fullmatch(r"`(\w+)`", left), re.fullmatch(r"`([\w.]+)`", right)
        if all(pair) and pair[0][1] in theirs and pair[0][1] != "seed":
            compared.append((pair[0][1], theirs[pair[0][1]], ours[pair[1][1]]))
    assert all(there == here for _, there, here in compared), compared
    assert len(compared) >= 8
    if name != "PPO":
        assert ours["replay.ratio"] == theirs["gradient_steps"] / theirs["train_freq"]
    else:
        assert ours["replay.minibatches"] == theirs["n_steps"] / theirs["batch_size"]
        assert ours["agent.surrogate.value_weight"] == 2 * theirs["vf_coef"]
