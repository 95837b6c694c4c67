"""The composition root: from a configuration to the parts of a run. The only file that knows every part."""

from __future__ import annotations

import importlib
import inspect
from dataclasses import dataclass
from typing import Any

import torch

from deeprl.agent import Agent
from deeprl.choice import Choice
from deeprl.combinations import among_parts, with_replay
from deeprl.config import ConfigError, nearest
from deeprl.mappings import Identity
from deeprl.types import Batch, Spec

PACKAGES = ("deeprl", "agents", "envs")


Allowed = tuple[str, ...] | None
"""Packages whose classes a configuration may name; None: any, because the user wrote it on this command line."""


def resolve(target: str, path: str, allowed: Allowed = PACKAGES) -> type[Choice]:
    """The class that a `_target_` names.

    The test is on the resolved object, not on its name: it must be a class, derive from `Choice`, and be *defined* in an allowed
    package. `deeprl.build.importlib` has the right prefix and is refused all the same.

    Raises:
        ConfigError
    """
    module, _, name = str(target).rpartition(".")
    if allowed is not None and module.split(".")[0] not in allowed:
        raise ConfigError(
            f"{path}._target_={target} is outside of the packages {', '.join(allowed)}: allow its package with --allow-package."
        )
    try:
        found = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise ConfigError(f"{path}._target_={target} cannot be found: {error}.") from error
    ours = allowed is None or getattr(found, "__module__", "").split(".")[0] in allowed
    if not (inspect.isclass(found) and issubclass(found, Choice) and ours):
        raise ConfigError(f"{path}._target_={target} is no choice: a configuration may name subclasses of deeprl.choice.Choice only.")
    return found


@dataclass(frozen=True)
class Deferred:
    """A part that its owner completes: `deferred(make)`; errors still carry the key's path."""

    cls: type
    kwargs: dict[str, Any]
    path: str

    def __call__(self, *args, **kwargs):
        return construct(self.cls, args, {**self.kwargs, **kwargs}, self.path)


def construct(cls: type, args: tuple, kwargs: dict[str, Any], path: str) -> Any:
    try:
        return cls(*args, **kwargs)
    except ConfigError:
        raise
    except ValueError as error:
        text = str(error).rstrip(".")
        field = text.split()[0] if text else ""
        raise ConfigError(f"{path}.{text}." if field in accepted(cls) else f"{path} ({cls.__name__}): {text}.") from error
    except TypeError as error:
        raise ConfigError(f"{path} ({cls.__name__}): {error}.") from error


def accepted(cls: type) -> set[str]:
    """Keyword arguments a choice takes."""
    parameters = inspect.signature(cls).parameters.values()
    return {p.name for p in parameters if p.kind in (p.KEYWORD_ONLY, p.POSITIONAL_OR_KEYWORD)}


def instantiate(node: Any, path: str, allowed: Allowed = PACKAGES) -> Any:
    """Build what a configuration node describes: `_target_` is the class, `_partial_: true` leaves it to be completed.

    Raises:
        ConfigError: naming the full key.
    """
    if isinstance(node, list):
        return tuple(instantiate(item, f"{path}[{i}]", allowed) for i, item in enumerate(node))
    if not isinstance(node, dict):
        return node
    items = {key: instantiate(value, f"{path}.{key}", allowed) for key, value in node.items() if key not in ("_target_", "_partial_")}
    if "_target_" not in node:
        return items
    cls = resolve(node["_target_"], path, allowed)
    names = accepted(cls)
    for key in items:
        if key not in names:
            raise ConfigError(f"{path}.{key}={node[key]!r}: {cls.__name__} takes no {key}.{nearest(key, names)}")
    if node.get("_partial_"):
        return Deferred(cls, items, path)
    return construct(cls, (), items, path)


def drop_foreign(config: dict, tuned: set[str], user: set[str], path: str = "", allowed: Allowed = None) -> list[str]:
    """Remove tuned keys that the chosen class does not take: `agent/chain=single` would otherwise inherit `length`. Returns them.

    Raises:
        ConfigError: the user asked for such a key.
    """
    dropped: list[str] = []
    names = accepted(resolve(config["_target_"], path, allowed)) if isinstance(config.get("_target_"), str) else None
    for key in list(config):
        full = f"{path}.{key}" if path else key
        belongs = names is None or key in names or key in ("_target_", "_partial_")
        if not belongs and any(name == full or name.startswith(full + ".") for name in tuned):
            if any(name == full or name.startswith(full + ".") for name in user):
                assert names is not None
                raise ConfigError(f"{full}: {config['_target_'].rpartition('.')[2]} takes no {key}.{nearest(key, names)}")
            dropped.append(full)
            del config[key]
        elif isinstance(config[key], dict):
            dropped += drop_foreign(config[key], tuned, user, full, allowed)
    return dropped


def agent_actions(config: dict) -> str:
    """ "discrete" or "continuous": what the agent of a configuration can take."""
    return resolve(config["_target_"], "agent", None).actions  # type: ignore[attr-defined]


def agents_for(kind: str) -> list[str]:
    """Names of the agents that take "discrete" or "continuous" actions."""
    from deeprl.compose import compose, options  # only to say what would do

    found = []
    for name in options("agent"):
        try:
            if agent_actions(compose([f"agent={name}"])[0]["agent"]) == kind:
                found.append(name)
        except ConfigError:
            continue
    return found


def check_actions(config: dict, spec: Spec) -> None:
    """
    Raises:
        ConfigError: naming the space, the agent and the agents that would do.
    """
    has = "discrete" if spec.num_actions else "continuous"
    takes = agent_actions(config["agent"])
    if takes != has:
        names, space = (
            config["names"],
            f"{spec.num_actions} discrete actions" if spec.num_actions else f"{spec.action_dim} continuous actions",
        )
        raise ConfigError(
            f"agent={names['agent']} takes {takes} actions, and env={names['env']} has {space}: "
            f"choose one of agent={', '.join(agents_for(has))}, or another environment."
        )
    if takes == "continuous" and len(spec.obs_shape) != 1:
        raise ConfigError(
            f"agent={config['names']['agent']} takes vectors, and env={config['names']['env']} gives images of shape {spec.obs_shape}."
        )


def build_agent(config: dict, spec: Spec, allowed: Allowed = PACKAGES) -> Agent:
    """The agent alone, as `eval` and `load` need it."""
    part = instantiate({**config["agent"], "_partial_": True}, "agent", allowed)
    check_parts(part)
    with torch.device(config["device"]):
        agent = part(spec=spec, seed=config["seed"])
    if not isinstance(agent, Agent):
        raise ConfigError(f"agent._target_={config['agent']['_target_']} is no agent.")
    return agent


def check_parts(part: Deferred) -> None:
    """Section 11 of the architecture: what a part needs, the head must offer, through its mapping.

    Raises:
        ConfigError: a sentence that names both sides.
    """
    slots = part.kwargs
    if "head" not in slots:
        return
    refused = among_parts(slots["head"], slots.get("mapping", Identity()), slots["rewards"](), slots["backup"], slots.get("weighting"))
    if refused:
        raise ConfigError(refused[0])


def check_replay(config: dict, agent: Agent, replay: Deferred) -> None:
    """
    Raises:
        ConfigError: a part of the agent needs what the replay does not offer.
    """
    refused = with_replay(getattr(agent, "backup", None), getattr(agent, "auxiliary", None), replay, config["names"]["replay"])
    if refused:
        way_out = "Choose replay=sequences, or leave replay out." if "sequences" in agent.needs else "Choose another replay."
        raise ConfigError(f"{refused[-1]} {way_out}")


MISFITS = (RuntimeError, ValueError, AssertionError, AttributeError, TypeError, KeyError, IndexError)
"""What parts that were not made for each other raise."""
LATE = 10**12
"""A step after every warm-up and schedule, where the policy itself acts."""


def made_up_batch(agent: Agent, spec: Spec, size: tuple[int, ...], device: str = "cpu", seed: int = 0) -> Batch:
    """Random rows of the environment's shapes and types, with the noise and the extras that the agent asks for; no row ends.

    Args:
        size: *B, (B,) or, of sequences, (T, B).
    """
    generator = torch.Generator().manual_seed(seed)
    noise = {name: value[0] for name, value in agent.noise((1, *size), generator).items()}

    def observations() -> torch.Tensor:
        shape = (*size, *spec.obs_shape)
        if spec.obs_dtype == torch.uint8:
            return torch.randint(0, 256, shape, generator=generator, dtype=torch.uint8)
        return torch.randn(shape, generator=generator)

    obs, after = observations(), observations()
    if spec.num_actions:
        action = torch.randint(spec.num_actions, size, generator=generator)
    else:
        action = torch.rand((*size, spec.action_dim), generator=generator) * 2 - 1
    raw = 5 * torch.randn(size, generator=generator)
    ones, true = torch.ones(size), torch.ones(size, dtype=torch.bool)
    offered = {"successor": after, "behavior_probability": 0.3 * ones}
    extra = {name: value for name, value in offered.items() if name in agent.needs}
    reward = agent.rewards(raw.to(device))
    made = Batch(obs, action, raw, 0.99 * ones, after, ones.long(), ~true, true, ones, ones.long(), noise, extra)
    moved = [{n: v.to(device) for n, v in each.items()} if isinstance(each, dict) else each.to(device) for each in made]
    return Batch(*moved)._replace(reward=reward)  # type: ignore[arg-type]


def dry_run(agent: Agent, spec: Spec, device: str, sequences: bool = False) -> None:
    """Send one made-up batch through every loss, and act once, before any environment step.

    Args:
        sequences: the replay gives some, whether or not the agent asks for them.

    Raises:
        ConfigError: a loss fails, or is not one finite number.
    """
    size = (2, 3) if sequences or "sequences" in agent.needs else (3,)
    for name, objective in agent.objectives.items():
        try:
            batch = made_up_batch(agent, spec, size, device)
            with torch.no_grad():
                loss, _ = objective.loss(batch)
        except MISFITS as error:
            raise ConfigError(f"agent: its {name} loss fails on a made-up batch, so these parts do not fit together: {error}") from error
        if loss.shape != () or not bool(torch.isfinite(loss)):
            raise ConfigError(f"agent: its {name} loss is {loss} on a made-up batch, not one finite number.")
    try:
        noise = {name: value[0] for name, value in agent.act_noise((1, 1), torch.Generator().manual_seed(0)).items()}
        obs, first = torch.zeros((1, *spec.obs_shape), dtype=spec.obs_dtype, device=device), torch.ones(1, dtype=torch.bool)
        for explore in (True, False):
            agent.act(obs, first, {}, LATE, noise, explore)
    except MISFITS as error:
        raise ConfigError(f"agent: it cannot act with these parts, so they do not fit together: {error}") from error


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
