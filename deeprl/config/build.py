"""From a checked configuration to an agent, and checks that agent, environment, replay and device go together."""

from __future__ import annotations

import inspect
from typing import get_args

import torch

from deeprl.agent import Agent
from deeprl.choice import Choice
from deeprl.config.combinations import REPLAY, among_parts, class_of, refusals
from deeprl.config.instantiate import PACKAGES, Allowed, Deferred, instantiate, resolve
from deeprl.config.menu import options
from deeprl.config.tuned import content, lineage
from deeprl.errors import ConfigError
from deeprl.types import Spec
from deeprl.values.mapping import Identity


def agent_actions(config: dict) -> str:
    """ "discrete" or "continuous": the kind of actions that the agent of a configuration takes."""
    return resolve(config.get("_target_"), "agent", None).actions  # type: ignore[attr-defined]


def agents_for(kind: str) -> list[str]:
    """Names of the agents that take "discrete" or "continuous" actions."""
    recipes = {name: [content("agent", each) for each in lineage(name)] for name in options("agent")}
    targets = {name: next((found for found in files if "_target_" in found), None) for name, files in recipes.items()}
    return [name for name, found in targets.items() if found and agent_actions(found) == kind]


def check_actions(config: dict, spec: Spec) -> None:
    """
    Raises:
        ConfigError: naming the space, the agent and the agents that would do.
    """
    has = "discrete" if spec.num_actions else "continuous"
    takes = agent_actions(config["agent"])
    agent, env = (f"{slot}={config['names'][slot]}" for slot in ("agent", "env"))
    if takes != has:
        raise ConfigError(
            f"{agent} takes {takes} actions, and {env} has {spec.num_actions or spec.action_dim} {has} actions: "
            f"choose one of agent={', '.join(agents_for(has))}, or another environment."
        )
    if takes == "continuous" and len(spec.obs_shape) != 1:
        raise ConfigError(f"{agent} takes vectors, and {env} gives images of shape {spec.obs_shape}.")


def build_agent(config: dict, spec: Spec, allowed: Allowed = PACKAGES) -> Agent:
    """The agent alone, because `eval` and `load` need no more."""
    part = instantiate({**config["agent"], "_partial_": True}, "agent", allowed)
    check_parts(part)
    try:
        with torch.device(config["device"]):
            agent = part(spec=spec, seed=config["seed"])
    except (MemoryError, RuntimeError) as error:  # torch has no class of its own for a lack of memory
        raise ConfigError(f"agent: it cannot be built here: {' '.join(str(error).split())}") from error
    if not isinstance(agent, Agent):
        raise ConfigError(f"agent._target_={config['agent']['_target_']} is no agent.")
    return agent


def check_parts(part: Deferred) -> None:
    """
    Raises:
        ConfigError: a part needs what the head, seen through its mapping, does not offer.
    """
    slots = part.kwargs
    for slot, parameter in inspect.signature(part.cls, eval_str=True).parameters.items():
        *_, wanted = get_args(parameter.annotation) or [parameter.annotation]  # of Callable[..., Chain], Chain
        checked = inspect.isclass(wanted) and issubclass(wanted, Choice) and slot in slots  # a protocol has no subclasses
        if checked and not issubclass(class_of(slots[slot]), wanted):
            raise ConfigError(
                f"agent/{slot}={class_of(slots[slot]).__name__} does not fit, because this agent takes {wanted.__name__} there: "
                f"`deeprl list agent/{slot}` shows what each option is for."
            )
    if "head" not in slots:
        return
    rewards = slots["rewards"]()
    try:
        refused = among_parts(slots["head"], slots.get("mapping", Identity()), rewards, slots["backup"], slots.get("weighting"))
    except ValueError as error:
        raise ConfigError(f"agent.{error}.") from error
    if refused:
        raise ConfigError(str(refused[0]))


def check_replay(config: dict, agent: Agent, replay: Deferred) -> None:
    """
    Raises:
        ConfigError: a part of the agent needs what the replay does not offer.
    """
    consumers = {f"agent/{slot}": getattr(agent, slot, None) for slot in ("backup", "auxiliary")}
    refused = refusals(consumers, f"replay={config['names']['replay']}", replay.cls.offers, REPLAY)  # type: ignore[attr-defined]
    if refused:
        remedy = "Choose replay=sequences, or leave replay out." if "sequences" in agent.needs else "Choose another replay."
        raise ConfigError(f"{refused[-1]} {remedy}")


def check_device(config: dict) -> None:
    """
    Raises:
        ConfigError: the device is not there.
    """
    name = str(config["device"])
    try:
        torch.zeros(1, device=name)
    except (RuntimeError, AssertionError) as error:
        count = torch.cuda.device_count()
        have = ["cpu", *(f"cuda:{i}" for i in range(count))] + (["mps"] if torch.backends.mps.is_available() else [])
        raise ConfigError(f"device={name} is not available here: this machine has {', '.join(have)}.") from error
