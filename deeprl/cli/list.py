"""`deeprl list`: the slots. `deeprl list SLOT`: the options of a slot, each with the first comment of its file.
`deeprl list SLOT=OPTION`: its file, with each key, its value and what it means, and the files from which that starts.
`deeprl list combinations`: which backups fit which heads, and the reasons why others do not."""

from __future__ import annotations

import argparse
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deeprl.cli.page import all_slots, table
from deeprl.errors import ConfigError, on_one_line
from deeprl.running.config import folders
from deeprl.running.config.captions import caption
from deeprl.running.config.menu import groups, options
from deeprl.running.config.overrides import placed
from deeprl.running.config.rules import nearest
from deeprl.running.config.tuned import UNREADABLE, lineage
from deeprl.system.files import read_regular
from deeprl.system.machine import extra
from deeprl.system.terminal import columns, print_result

if TYPE_CHECKING:
    from deeprl.running.config.combinations import Refusal

NAMES: dict[str, str | None] = {
    "agents": "agent", "algorithms": "agent", "algos": "agent", "envs": "env", "environments": "env", "experiments": "experiment",
    "papers": "experiment", "slots": None,
}  # fmt: skip
"""What people call a slot"""


def arguments(parser: argparse.ArgumentParser) -> None:
    text = "agent, env, experiment, replay, agent/backup ..., an option, agent/chain=polyak, or combinations; the default lists the slots"
    parser.add_argument("slot", nargs="?", help=text)
    parser.add_argument("--config-dir", type=Path, metavar="FOLDER", help="an additional folder of configurations")


def run(asked: argparse.Namespace) -> int:
    if asked.config_dir:
        folders.add(asked.config_dir)
    if asked.slot and "=" in asked.slot:
        print_result(keys(asked.slot))
        return 0
    slot = NAMES.get(asked.slot, asked.slot)
    if slot and "/" not in slot and not options(slot):  # chain, heads, replays, metaworld
        alone = slot.removesuffix("s")
        slot = next((each for each in (f"agent/{slot}", f"agent/{alone}", alone, f"env/{slot}") if each in groups()), slot)
    slot = placed(slot).partition("@")[0] if slot else slot  # agent/actor/torso has the options of agent/torso
    if slot is None:
        print_result("\n".join(table(all_slots(others=True))))  # `--help` has ours alone, because it is for one screen
    elif slot == "combinations":
        print_result(combinations())
    elif slot and options(slot):
        print_result("\n".join(columns(listed(slot))))
    elif slot and (rows := [row for row in listed(slot.partition("/")[0]) if row[0].startswith(f"{slot.removeprefix('env/')}/")]):
        print_result("\n".join(columns(rows)))  # a family: env/atari
    else:
        raise ConfigError(f"deeprl list {slot}: there is no such slot.{nearest(slot, [*groups(), 'combinations'])}")
    return 0


def keys(word: str) -> str:
    """The files of an option, its own first.

    Raises:
        ConfigError: there is no such option.
    """
    slot, _, name = word.partition("=")
    group = placed(slot).partition("@")[0]
    group = group if group in groups() else f"agent/{group}"
    if name not in options(group):
        raise ConfigError(f"deeprl list {word}: there is no such option.{nearest(name, options(group))}")
    try:
        names = lineage(name, group)
    except UNREADABLE as error:  # a file of the user's
        raise ConfigError(f"deeprl list {word}: {on_one_line(error)}") from error
    files = [folders.file(group, each) or folders.file(group, f"_{each.rpartition('/')[0]}") for each in names]
    return "\n".join(f"{folders.source(path)}\n{read_regular(path, 1 << 20).decode(errors='replace')}" for path in files if path)


def listed(slot: str) -> list[tuple[str, str]]:
    """Name and text of every option. The games of Atari have no files of their own and share one line."""
    rows: dict[str, str] = {}
    for name in options(slot):
        family = name.rpartition("/")[0]
        if path := folders.file(slot, name):
            rows[name] = f"{installable(caption(path))} [{folders.source(path)}]"
        elif path := folders.file(slot, f"_{family}"):
            games = ", ".join(other.rpartition("/")[2] for other in options(slot) if other.startswith(f"{family}/"))
            rows[f"{family}/..."] = f"{installable(caption(path))} {games} [{folders.source(path)}]"
    return list(rows.items())


def installable(text: str) -> str:
    """A caption with commands that install what an option needs where there is no checkout: pip install -e ".[box2d]" names one."""
    return text if folders.in_checkout() else re.sub(r'pip install -e "\.\[([\w-]+)\]"', lambda found: extra(found[1]), text)


def combinations() -> str:
    """Table with a row for each backup and weighting, a column for each head and each mapping of the scalar head, and reasons below."""
    from deeprl.running.config.alternatives import option_class
    from deeprl.running.config.combinations import WORDS, among_parts, words
    from deeprl.running.config.compose import compose
    from deeprl.running.config.instantiate import instantiate

    def part(slot: str, option: str) -> Any:
        return instantiate(compose(["agent=dqn", "env=toy/chain", f"agent/{slot}={option}"])[0]["agent"][slot], f"agent.{slot}", None)

    backups = {option: part("backup", option) for option in options("agent/backup")}
    backups = {option: backup for option, backup in backups.items() if "actor" not in backup.needs}  # those of continuous agents
    weightings = {option: part("weighting", option) for option in options("agent/weighting")}
    rewards = {option: part("rewards", option)() for option in ("raw", "polar")}
    scalar, identity = part("head", "scalar"), part("mapping", "identity")
    columns = {option: (part("head", option), identity, rewards["raw"]) for option in options("agent/head")}
    for option in options("agent/mapping"):
        if option not in ("identity", "per_channel"):
            mapping = part("mapping", option)
            columns[option] = (scalar, mapping, rewards["polar" if "nonnegative" in mapping.needs else "raw"])  # split by sign
    rows = {option: {"backup": backup, "weighting": weightings["one"]} for option, backup in backups.items()}
    rows |= {option: {"backup": backups["max"], "weighting": weighting} for option, weighting in weightings.items()}
    needs: list[str] = []  # words of each

    def cell(refused: list[Refusal]) -> str:
        if not refused:
            return "yes"
        if refused[0].words not in needs:
            needs.append(refused[0].words)
        return f"({needs.index(refused[0].words) + 1})"

    chains = {option: option_class("agent/chain", option) for option in options("agent/chain")}
    copying = [option for option, cls in chains.items() if cls.has_copied_target()]
    of_chains = "".join(
        f"the chain {option} needs {' and '.join(words(cls, need) for need in sorted(cls.needs))}; "
        for option, cls in chains.items()
        if cls.needs
    )
    width = max(map(len, rows)) + 2
    lines = [" " * width + "".join(f"{name}  " for name in columns)]
    for option, row in rows.items():
        cells = {name: cell(among_parts(*column, row)) for name, column in columns.items()}
        lines.append(f"{option:<{width}}" + "".join(f"{text:<{len(name) + 2}}" for name, text in cells.items()))
    return "\n".join(
        [
            *lines,
            "",
            *(f"({number}) this row needs {need}" for number, need in enumerate(needs, 1)),
            "The table is for the default settings of a head. With low=0 or high=0, bounded and categorical heads represent one sign only.",
            "Every row fits every auxiliary loss but cql_sampled and edac, which need continuous actions, every exploration, every n_step "
            "unless its backup needs sequences, and every chain; but "
            f"inverse_variance needs one that copies target networks to start an iteration: {', '.join(copying)}; {of_chains}and "
            "gradient_correction needs max, double or mellowmax, scalar or categorical without a mapping, and iterated_live, "
            "iterated_shared or online_target.",
            "Agents for continuous actions take every head, mapping of one channel, chain, reduction, temperature and rate, but truncate",
            f"needs {WORDS['quantiles']}; a temperature and explore=sampled need {WORDS['density']}.",
            "They take inverse_variance under the same conditions, and every auxiliary loss but gradient_correction and cql; these two,",
            f"the chain iterated_shared and every backup but policy need {WORDS['actions']}.",
        ]
    )
