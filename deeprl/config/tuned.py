"""Tuned settings: which file of `configs/tuned` an agent uses on an environment.

<family>/<task>/<agent>.yaml    one task
<family>/<agent>.yaml           every task of the family
<family>/_base.yaml             settings that agents of the family share; used only if an agent's file lists it in `defaults`
"""

from __future__ import annotations

from typing import Any

from omegaconf import OmegaConf

from deeprl.config.folders import file
from deeprl.runs.config_file import flatten


def family(env: str) -> str:
    """Family of an environment: "mujoco" for "mujoco/hopper", "gym" for "gym"."""
    return str(env).split("/")[0]


def option(env: str, agent: str) -> str:
    """The option of the group `tuned`: the agent's file for the task, else its file for the family, else those of the recipes from which it
    starts, in the same order. For classic/cartpole and double_dqn it is "classic/dqn", because double_dqn starts from dqn.

    If there is no file, it is the name that the agent's file for the family would have.
    """
    names = [f"{place}/{each}" for each in lineage(agent) for place in dict.fromkeys((env, family(env)))]
    return next((name for name in names if file("tuned", name)), f"{family(env)}/{agent}")


def lineage(agent: str) -> list[str]:
    """An agent and the recipes from which it starts, in order: dueling_dqn, double_dqn, dqn."""
    found = [agent]
    while (start := starts("agent", content("agent", found[-1]))) and start[0] not in found:
        found.append(start[0])
    return found


def keys(name: str) -> set[str]:
    """The keys that an option of `tuned` sets, together with those of the options from which it starts; empty if there is no file."""
    own = content("tuned", name)
    return {key for key, _ in flatten(own) if key != "defaults"}.union(*map(keys, starts("tuned", own)))


def recipe(agent: str) -> set[str]:
    """The keys that an agent's recipe and those from which it starts set in their slots, as "agent.head.quantiles"."""
    return {f"agent.{key}" for each in lineage(agent) for key, _ in flatten(content("agent", each)) if "." in key}


def slot(group: str, name: str, slot: str) -> str | None:
    """The option that a file lists for a slot in its `defaults`: "iterated" of `agent`, `idqn` and "agent/chain"; else that of the agent's
    recipes. None if they list no such slot."""
    for each in lineage(name) if group == "agent" else [name]:
        for entry in (entry for entry in content(group, each).get("defaults", []) if isinstance(entry, dict)):
            for key, option in entry.items():
                place = key.removeprefix("override ")
                if slot == (place[1:] if place.startswith("/") else f"{group}/{place}"):
                    return str(option)
    return None


def content(group: str, name: str) -> dict[Any, Any]:
    """Content of one file without interpolations resolved; empty if there is no file."""
    path = file(group, name)
    found = OmegaConf.to_container(OmegaConf.load(path), resolve=False) if path else {}
    return found if isinstance(found, dict) else {}


def starts(group: str, found: dict[Any, Any]) -> list[str]:
    """The options of its own group that a file lists in `defaults`, as `dqn` or as `/tuned/classic/dqn`."""
    return [entry.removeprefix(f"/{group}/") for entry in found.get("defaults", []) if isinstance(entry, str) and entry != "_self_"]
