"""What is known of a run without a step of it: its updates, its target networks, the memory and the disk that it takes."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from torch import Tensor

from deeprl.learning.agent import Agent
from deeprl.learning.networks.encoders import Encoder, PartsEncoder
from deeprl.learning.networks.torsos import CommonTorso, MLPTorso, TorsoChoice
from deeprl.replay.source import Source
from deeprl.running.config.instantiate import instantiate
from deeprl.running.config.rules import get
from deeprl.running.config.sources import planned_updates
from deeprl.running.runs.config_file import Config
from deeprl.running.training.trainer import Trainer
from deeprl.system.machine import available_memory, usable_cores
from deeprl.types import Spec


class Target(NamedTuple):
    """A period of the target networks."""

    key: str
    value: float
    updates: float
    """Updates of the target networks by this key after `learning_starts`. A soft update with rate τ counts as τ updates"""


@dataclass(frozen=True)
class Prospect:
    """Memory in bytes."""

    config: Config
    updates: int
    """Gradient updates that the whole run makes"""
    targets: tuple[Target, ...]
    without_discount: bool
    """The agent learns the rate of reward, or something else that needs no discount, see `discounts`"""
    sequences: bool
    """The agent learns from sequences of `replay.length`"""
    limit: int | None
    """Steps after which an episode is truncated"""
    replay: int
    """Of a full replay"""
    available: int | None
    """Free memory of the machine"""
    disk: int
    """All checkpoints that are kept, with a full replay if they hold one"""
    disk_available: int
    cores: int
    imitates: bool
    """The agent learns the policy of its data, and has none but its own steps"""
    seen: float | None = None
    """Mean length of episodes; None: none was seen"""
    torsos: Mapping[str, TorsoChoice] = field(default_factory=dict)
    """As they follow from the observations, by the place of their slot"""
    asked: Collection[str] = frozenset()
    """Keys that the user set"""

    @property
    def episode(self) -> float | None:
        """Length of an episode: the time limit, because the policy is untrained; without one the mean of those seen."""
        return self.limit if self.limit is not None else self.seen


def prospect(trainer: Trainer, asked: Collection[str]) -> Prospect:
    """
    Args:
        asked: keys that the user set.
    """
    config, agent, source = trainer.config, trainer.agent, trainer.source
    state, free = size(agent.state_dict().values()), available_memory()
    return Prospect(
        config=config,
        updates=planned_updates(config),
        targets=targets(config, agent),
        without_discount=not discounts(agent),
        sequences=sequences(agent),
        limit=limit(trainer.envs),
        replay=source.bytes + source.working,
        available=None if free is None else free + source.held,
        disk=disk_needed(config, source, state + optimizer_bytes(agent)),
        disk_available=disk_available(trainer.folder.path),
        cores=usable_cores(),
        imitates=imitates(agent, source),
        torsos=torsos(config, agent),
        asked=asked,
    )


def limit(envs: Any) -> int | None:
    """Time limit of the environments that a run steps in its process, or as a function of tensors."""
    part = getattr(envs, "backend", None) or getattr(envs, "world", None)
    return getattr(part, "limit", None)


def imitates(agent: Agent, source: Source) -> bool:
    return agent.imitates and (source.imagines or not source.provenance)  # steps of a model have actions of the agent too


def torsos(config: Config, agent: Agent) -> dict[str, TorsoChoice]:
    """The torsos of an encoder, if there is one, and of critics and actors, which see what it makes of images. Those that follow from no
    observations are left out: an agent of another package may show them something else. So is that of a policy which sees no image, because
    all are privileged: it has the layers of vectors."""
    encoder = getattr(agent, "encoder", None)
    specs = {"torso": agent.spec, "actor_torso": agent.spec}
    if isinstance(encoder, Encoder | PartsEncoder):
        specs = dict.fromkeys(specs, encoder.encoded(agent.spec)) | {"encoder_torso": agent.spec}
    policy = "torso" if get(config, "agent.actor_torso") is None else "actor_torso"
    found: dict[str, TorsoChoice] = {}
    for name, spec in specs.items():
        choice = instantiate(get(config, f"agent.{name}"), f"agent.{name}", None)
        if not isinstance(choice, TorsoChoice) or (name == policy and blind(choice, spec)):
            continue
        with contextlib.suppress(ValueError):
            found[f"agent.{name}"] = choice.resolve(spec)
    return found


def blind(choice: TorsoChoice, spec: Spec) -> bool:
    """Whether all images are privileged, and a policy with this torso sees vectors alone."""
    seen = CommonTorso.of(choice, spec)
    return isinstance(seen, CommonTorso) and isinstance(seen.whole, MLPTorso)


def discounts(agent: Agent) -> bool:
    """Whether what the agent learns can be unbounded without a discount: no rate of reward, no least reward, no utility of undiscounted
    totals."""
    rate = getattr(agent, "rate", None)
    return not getattr(rate, "learned", False) and all(
        getattr(getattr(agent, name, None), "discounts", True) for name in ("backup", "utility")
    )


def size(tensors: Iterable[Tensor]) -> int:
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)


def optimizer_bytes(agent: Agent) -> int:
    return size(tensor for objective in agent.objectives.values() for tensor in objective.optimizer.tensors())


def disk_needed(config: Config, source: Source, each: int) -> int:
    """
    Args:
        each: bytes of a checkpoint beside the rows.
    """
    rows = min(source.capacity, config["steps"])
    own = config["checkpoint"]["replay"] and source.collects and source.capacity  # stored data stay in their own folder
    stored = source.bytes * rows // source.capacity if own else 0
    return each * (config["checkpoint"]["keep"] + 2) + stored  # the best, and a new one before an old one goes


def disk_available(root: Path) -> int:
    place = next(folder for folder in (root.absolute(), *root.absolute().parents) if folder.exists())
    return shutil.disk_usage(place).free


def targets(config: Config, agent: Agent) -> tuple[Target, ...]:
    """How often target networks follow. A period of the chain is named `sync` or `shift`; its key is `sync_period`, or that of DQN."""
    part, steps = get(config, "agent.chain"), max(config["steps"] - get(config, "replay.learning_starts", 0), 0)
    chain = part if isinstance(part, Mapping) else {}  # an agent of another package may have anything by this name
    found = []
    for name, period in agent.clock.periods.items():
        key = next((key for key in (f"{name}_period", "target_update_period") if key in chain), None)
        if key is not None:
            found.append(Target(f"agent.chain.{key}", period, steps // period))
    tau = get(config, "agent.chain.tau")
    if isinstance(tau, (int, float)) and not agent.clock.periods:
        updates = planned_updates(config) // (getattr(agent, "target_period", None) or 1)
        found.append(Target("agent.chain.tau", tau, updates * tau))
    return tuple(found)


def sequences(agent: Agent) -> bool:
    """Whether the agent learns from sequences."""
    return "sequences" in agent.needs
