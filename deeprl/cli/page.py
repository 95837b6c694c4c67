"""The pages of `--help` and `--version`. Neither imports torch, because that takes a second."""

from __future__ import annotations

import platform
from importlib import metadata

import deeprl
from deeprl.running.config.captions import Caption, keys, slots
from deeprl.running.config.menu import options
from deeprl.running.config.overrides import unplaced
from deeprl.running.config.own_files import of_users
from deeprl.system.terminal import columns, front_door

EXAMPLES = (
    ("", "i-DQN solves CartPole"),
    ("agent=dqn env=minatar/breakout", "another environment"),
    ("agent=idqn agent/backup=double agent.chain.length=4", "parts of two papers"),
    ("-m agent=dqn,idqn seed=0,1", "a grid, four runs"),
    ("experiment=dqn_atari budget=tiny", "a paper's settings, tried out"),
)
FIRST = ("train", "env/_atari", "replay/_memory", "agent/dqn", "agent/td3", "agent/ppo")
"""Files that define slots; the order of the page is theirs. If several files define a slot, its default is that of the first file."""
KEYS = (("train", ""), ("env/_base", "env."), ("replay/_memory", "replay."), ("replay/uniform", "replay."))
"""Files with the keys of every run, and the prefix of these keys."""


def all_slots(others: bool = False) -> list[Caption]:
    """Each slot with its default and its comment. `others`: those of extensions' agents too, at the end."""
    ours = [f"agent/{name}" for name in options("agent") if not of_users("agent", name)]
    theirs = [f"agent/{name}" for name in options("agent") if of_users("agent", name)] if others else []
    files = dict.fromkeys((*FIRST, *ours, "logger/default", *theirs))
    found = [entry for file in files for entry in slots(file)]
    first = {entry.name: entry for entry in reversed(found)}
    return [first[name] for name in dict.fromkeys(entry.name for entry in found)]


def help_page() -> str:
    """Usage, examples, slots, keys, and where the rest is."""
    return "\n".join(
        [
            f"usage: {front_door()} [slot=option | key=value] ...  (deeprl train is python train.py of a checkout)",
            "",
            "examples",
            *columns([(f"{front_door()} {words}", text) for words, text in EXAMPLES]),
            "",
            "slots, with the options of dqn and td3; other agents have others: `deeprl list [SLOT]`",
            *table([slot for slot in all_slots() if "@" not in slot.name]),  # a place has the options of another slot
            "",
            "keys and their defaults, which a tuned file of agent and environment may change;",
            "periods are in environment steps, a fraction is a share of steps",
            *table([entry for file, prefix in KEYS for entry in keys(file, prefix)]),
            "",
            "more",
            "  hydra.run.dir=FOLDER names the run folder; default: runs/<env>/<agent>/<date>-<time>_seed<seed>",
            "  agent.SLOT.KEY=value sets a key of a part, as in agent.optimizer.lr=1e-4",
            "  --cfg job --resolve prints the configuration of a command, with every key, and trains nothing",
            "  deeprl check [slot=option | key=value] ... measures the speed of a run, and says what looks wrong",
            "  deeprl --help lists the commands for runs that exist: resume, eval, record, list ...",
            "  README.md and docs/ explain parts, run folder and protocols; --hydra-help lists Hydra's flags",
        ]
    )


def version_page() -> str:
    return f"deeprl {deeprl.__version__}, torch {metadata.version('torch')}, Python {platform.python_version()}"


def table(entries: list[Caption]) -> list[str]:
    rows = [(unplaced(f"{entry.name}={entry.value}"), entry.comment) for entry in entries]
    return columns(rows)
