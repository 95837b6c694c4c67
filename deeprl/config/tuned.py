"""Tuned settings: the file of `configs/tuned` that an agent on an environment takes.

<family>/<task>/<agent>.yaml    one task, and one agent alone
<family>/<agent>.yaml           every task of the family; an agent without such a file takes that of the recipe its own starts from
<family>/_base.yaml             what agents of the family share: it counts only where the file of an agent lists it in `defaults`
"""

from __future__ import annotations

from typing import Any

from omegaconf import OmegaConf

from deeprl.config.folders import file
from deeprl.runs.config_file import flatten


def family(env: str) -> str:
    """ "mujoco" of "mujoco/hopper", "gym" of "gym"."""
    return str(env).split("/")[0]


def option(env: str, agent: str) -> str:
    """The option of the group `tuned`: "classic/dqn" of classic/cartpole and double_dqn, whose recipe starts from that of dqn.

    Without any file it is the name that the agent's file would have.
    """
    names = [f"{env}/{agent}", *(f"{family(env)}/{each}" for each in lineage(agent))]
    return next((name for name in names if file("tuned", name)), names[1])


def lineage(agent: str) -> list[str]:
    """An agent and the recipes it starts from: dueling_dqn, double_dqn, dqn."""
    found = [agent]
    while (start := starts("agent", content("agent", found[-1]))) and start[0] not in found:
        found.append(start[0])
    return found


def keys(name: str) -> set[str]:
    """The keys that an option of `tuned` sets, together with those of the options it starts from; none where there is no file."""
    own = content("tuned", name)
    return {key for key, _ in flatten(own) if key != "defaults"}.union(*map(keys, starts("tuned", own)))


def content(group: str, name: str) -> dict[Any, Any]:
    """One file as it is written, or nothing."""
    path = file(group, name)
    found = OmegaConf.to_container(OmegaConf.load(path), resolve=False) if path else {}
    return found if isinstance(found, dict) else {}


def starts(group: str, found: dict[Any, Any]) -> list[str]:
    """The options of its own group that a file lists in `defaults`, as `dqn` or as `/tuned/classic/dqn`."""
    return [entry.removeprefix(f"/{group}/") for entry in found.get("defaults", []) if isinstance(entry, str) and entry != "_self_"]
