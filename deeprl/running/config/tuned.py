"""Tuned settings: which file of `configs/tuned` an agent uses on an environment.

<family>/<task>/<agent>.yaml    one task
<family>/<agent>.yaml           every task of the family
<family>/_base.yaml             settings that agents of the family share; used only if an agent's file lists it in `defaults`

An environment whose file, or one from which that starts, has the line `tuned=classic/cartpole:` takes, where it has none, the files of
that one, and before them

tensor/<family>/<agent>.yaml    of its family (tensor), or that of an environment from which it starts, for all that are as one of
                                another family (classic)
"""

from __future__ import annotations

import copy
from typing import Any

from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from deeprl.running.config.folders import file
from deeprl.running.config.parsed import Content, parsed
from deeprl.running.runs.config_file import Config, flatten


def family(env: str) -> str:
    """Family of an environment: "mujoco" for "mujoco/hopper", "gym" for "gym"."""
    return str(env).split("/")[0]


def places(env: str) -> list[str]:
    """Folders with files for an environment, the most particular first."""
    own = family(env)
    starts_from = lineage(env if file("env", env) else own, "env")  # a run is named function/module:make, of the option `function`
    lines = [str(key) for each in starts_from for key in content("env", each)]
    other = next((line.removeprefix("tuned=") for line in lines if line.startswith("tuned=")), "")
    if not other:
        return [*dict.fromkeys((env, own))]
    pace = [f"{family(each)}/{family(other)}" for each in starts_from if not each.startswith("_")]
    return [*dict.fromkeys((env, pace[0], own, *pace[1:], other, family(other)))]


def option(env: str, agent: str) -> str:
    """The option of the group `tuned`: the agent's file in the first of the environment's places, else those of the recipes from which it
    starts, in the same order. For classic/cartpole and double_dqn it is "classic/dqn", because double_dqn starts from dqn.

    If there is no file, it is the name that the agent's file for the family would have.
    """
    folders = places(str(env))
    names = [f"{place}/{each}" for each in lineage(agent) for place in folders]
    return next((name for name in names if file("tuned", name)), f"{family(env)}/{agent}")


def is_tuned(env: str, agent: str) -> bool:
    """Whether an agent has a file of its own for an environment."""
    return any(file("tuned", f"{place}/{agent}") for place in places(env))


def lineage(name: str, group: str = "agent") -> list[str]:
    """An agent and the recipes from which it starts, in order: dueling_dqn, double_dqn, dqn. Or an option of another group."""
    found = [name]
    while (start := starts(group, content(group, found[-1]))) and start[0] not in found:
        found.append(start[0])
    return found


def keys(name: str) -> set[str]:
    """The keys that an option of `tuned` sets, together with those of the options from which it starts; empty if there is no file."""
    return set(values("tuned", name))


def values(group: str, name: str) -> Config:
    """Keys and values that an option sets, together with those of the options from which it starts."""
    own, found = content(group, name), dict[str, Any]()
    for start in starts(group, own):
        found |= values(group, start) if start != name else {}
    return found | {key: value for key, value in flatten(own) if key != "defaults"}


def slots(group: str, name: str) -> dict[str, str]:
    """The slots that a file itself lists in its `defaults`, with their options: {"agent/chain": "iterated"} of `agent` and `idqn`."""
    found = {}
    for entry in content(group, name).get("defaults", []):
        for key, option in entry.items() if isinstance(entry, dict) else ():
            place = key.removeprefix("override ")
            slot, _, package = (place[1:] if place.startswith("/") else f"{group}/{place}").partition("@")
            found[package.removeprefix("_global_.").replace(".", "/") or slot] = str(option)
    return found


UNREADABLE = (UnicodeDecodeError, YAMLError, OmegaConfBaseException)
"""Errors of a file that is no YAML"""


def content(group: str, name: str) -> Content:
    """Content of one file without interpolations resolved; empty if there is no file.

    Raises:
        Exception: one of `UNREADABLE`.
    """
    path = file(group, name)
    found = parsed(path).content if path else {}
    return copy.deepcopy(found) if isinstance(found, dict) else {}


def starts(group: str, found: Content) -> list[str]:
    """The options of its own group that a file lists in `defaults`, as `dqn`, as `/tuned/classic/dqn`, or as `/env/gym@_here_`."""
    listed = [entry for entry in found.get("defaults", []) if isinstance(entry, str) and entry != "_self_"]
    return [entry.partition("@")[0].removeprefix(f"/{group}/") for entry in listed]
