"""The pages of `--help` and `--version`: what a person reads first. Neither imports torch."""

from __future__ import annotations

import platform
import shutil
import textwrap
from importlib import metadata

import deeprl
from deeprl.config.captions import Entry, keys, slots

EXAMPLES = (
    ("", "i-DQN on CartPole, a few minutes"),
    ("agent=dqn env=minatar/breakout", "another environment"),
    ("agent=idqn agent/backup=double agent.chain.length=4", "parts of two papers"),
    ("-m agent=dqn,idqn seed=0,1", "a sweep: four runs"),
    ("experiment=dqn_atari budget=tiny", "a paper's settings, tried out"),
)
SLOTS = ("train", "env/_atari", "agent/dqn", "agent/td3")
"""Files that say what the slots are. A slot of several files has the default of the first."""
KEYS = (("train", ""), ("env/_base", "env."), ("replay/uniform", "replay."))
"""Files whose keys every run has."""


def menu() -> list[str]:
    """A line for each slot."""
    found = [entry for file in SLOTS for entry in slots(file)]
    first = {entry.name: entry for entry in reversed(found)}
    return table([first[name] for name in dict.fromkeys(entry.name for entry in found)])


def help_page() -> str:
    """Usage, examples, slots, keys, and where the rest is."""
    return "\n".join(
        [
            "usage: python train.py [slot=option | key=value] ...       (deeprl train is the same command)",
            "",
            "examples",
            *columns([(f"python train.py {words}", text) for words, text in EXAMPLES]),
            "",
            "slots and their defaults; `deeprl list SLOT` shows the options of one",
            *menu(),
            "",
            "keys and their defaults, where no tuned file of agent and environment has another one;",
            "periods are in environment steps, a fraction is a share of steps",
            *table([entry for file, prefix in KEYS for entry in keys(file, prefix)]),
            "",
            "more",
            "  hydra.run.dir=FOLDER names the run folder; it is runs/<env>/<agent>/<date>_<time>_seed<seed> else",
            "  agent.SLOT.KEY=value sets a key of a part, as in agent.optimizer.lr=1e-4",
            "  --cfg job --resolve prints the configuration of a command, with every key, and trains nothing",
            "  deeprl --help lists the commands for runs that exist: resume, eval, record, list ...",
            "  README.md and docs/ explain parts, run folder and protocols; --hydra-help lists Hydra's flags",
        ]
    )


def version_page() -> str:
    return f"deeprl {deeprl.__version__}, torch {metadata.version('torch')}, Python {platform.python_version()}"


def table(entries: list[Entry]) -> list[str]:
    rows = [(f"{entry.name}={entry.value}", entry.comment) for entry in entries]
    return columns(rows)


def columns(rows: list[tuple[str, str]]) -> list[str]:
    """Two columns, the second one wrapped to the terminal, and at most to 100 characters because long lines are hard to read."""
    width = min(shutil.get_terminal_size((100, 24)).columns, 100)
    left = max(len(name) for name, _ in rows) + 4
    lines = []
    for name, text in rows:
        first, *rest = textwrap.wrap(text, max(width - left, 20), break_long_words=False, break_on_hyphens=False) or [""]
        lines += [f"  {name:<{left - 2}}{first}".rstrip(), *(" " * left + line for line in rest)]
    return lines
