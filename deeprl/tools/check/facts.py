"""Facts about the parts of a run that need no measurement, and about the rows that a measurement left in the replay."""

from __future__ import annotations

import multiprocessing
from pathlib import Path
from typing import Any

import numpy as np
import torch

from deeprl.learning.agent import Agent
from deeprl.learning.networks.side_by_side import of_part as spaces_of
from deeprl.learning.networks.torsos import PartsTorso
from deeprl.replay.source import Source
from deeprl.running.config.instantiate import instantiate
from deeprl.running.config.rules import get
from deeprl.running.config.sources import planned_updates
from deeprl.running.runs.config_file import Config
from deeprl.running.session.computation import WORTH_THREADS, automatic_mode, widest
from deeprl.running.session.prospect import disk_available, disk_needed, optimizer_bytes, sequences, size
from deeprl.running.training.episodes import Episodes
from deeprl.running.training.trainer import Trainer
from deeprl.system.machine import gpu_driver, resident_memory, system_entry, usable_cores
from deeprl.system.portable import peak_memory
from deeprl.system.strict_json import JsonObject
from deeprl.system.terminal import counted, one_line
from deeprl.tools.check.record import Decision, Environment, Memory, NetworkSize, Seen
from deeprl.types import ObsPart

ENOUGH = 500
"""Rows from which an entry of observations that never changed counts as constant"""


def system(device: str) -> JsonObject:
    driver = gpu_driver() if device.startswith("cuda") else None
    return {**system_entry(device), "cores": usable_cores(), "driver": driver}


def networks(agent: Agent) -> tuple[NetworkSize, ...]:
    """Parameters by network: parts of the agent, and within a chain or a weighting its networks."""
    trained = {id(parameter) for objective in agent.objectives.values() for parameter in objective.parameters}
    found: dict[str, NetworkSize] = {}
    for path, parameter in agent.named_parameters():
        first, *rest = path.split(".")
        name = f"{first}.{rest[0]}" if first in ("chain", "weighting") else first
        _, total, own = found.get(name, NetworkSize(name, 0, 0))
        size = parameter.numel()
        found[name] = NetworkSize(name, total + size, own + size * (id(parameter) in trained))
    return tuple(found.values())


def environment(config: Config, env: Any) -> Environment:
    """
    Args:
        env: the object that `env` describes. One game is made and closed.
    """
    game = env.build()
    spec = game.spec
    space = ", ".join(map(of_part, spec.parts)) if spec.parts else of_array(spec.obs_shape, spec.obs_dtype)
    actions = f"{spec.num_actions} discrete" if spec.num_actions else f"{spec.action_dim} continuous, each in [-1, 1]"
    actions = f"{spec.action_dim} components of {', '.join(map(str, spec.choices))} choices" if spec.choices else actions
    own = game.actions
    if not spec.num_actions and own.low is not None and not (np.all(own.low == -1) and np.all(own.high == 1)):
        actions += f", rescaled to [{ends(own.low)}, {ends(own.high)}]"
    made = Environment(space, actions, tuple(game.layers()), game.limit, game.reward_range, config["env"]["num"], config["env"]["vector"])
    game.close()
    return made


def of_array(shape: tuple[int, ...], dtype: torch.dtype) -> str:
    return f"{shape} {str(dtype).removeprefix('torch.')}"


def of_part(part: ObsPart) -> str:
    return f"{one_line(part.name)} {of_array(part.shape, part.dtype)}{' for critics alone' if part.privileged else ''}"


def ends(bounds: np.ndarray) -> str:
    """One end of an interval for every component of an action: -2, or -2 ... -1."""
    low, high = np.min(bounds), np.max(bounds)
    return f"{low:g}" if low == high else f"{low:g} ... {high:g}"


def memory(trainer: Trainer, config: Config, available: int | None, device_available: int | None, root: Path) -> Memory:
    """
    Args:
        trainer: after the measurement, which ended with a checkpoint.
        config: of the run.
        available, device_available: free memory before the measurement.
        root: the folder that would hold the run.
    """
    agent, source, checkpoints = trainer.agent, trainer.source, trainer.checkpoints
    state = checkpoints.folder / f"step_{trainer.step:012d}"
    each = sum(path.stat().st_size for path in state.rglob("*") if path.is_file())
    workers = [resident_memory(child.pid) for child in multiprocessing.active_children() if child.pid is not None]
    known = [bytes_ for bytes_ in workers if bytes_ is not None]
    cuda = str(config["device"]).startswith("cuda")
    return Memory(
        weights=size(agent.state_dict().values()),
        optimizer=optimizer_bytes(agent),
        replay=source.bytes + source.working,
        rows=source.capacity,
        collects=source.collects,
        process=peak_memory(),
        workers=sum(known) if known else None,
        device=torch.cuda.max_memory_allocated(config["device"]) if cuda else None,
        available=available,
        device_available=device_available,
        checkpoint=each,
        disk=disk_needed(config, source, each),
        disk_available=disk_available(root),
        replay_device=str(config["device"]) if source.on_device else "cpu",
    )


def support(config: Config) -> tuple[float, float] | None:
    """Range of returns of a bounded head. A mapping changes the units, so that the range says nothing then."""
    if not str(get(config, "agent.mapping._target_", "Identity")).endswith(".Identity"):
        return None
    low, high = instantiate(config["agent"]["head"], "agent.head", None).bounds
    return (float(low), float(high)) if np.isfinite([low, high]).all() else None


def seen(source: Source, played: Episodes, agent: Agent) -> Seen:
    """Statistics of the rows that the measurement collected."""
    raw, vectors = source.seen()
    learned = agent.rewards(raw).abs()
    lengths, returns = [e.length for e in played.recent], [e.reward for e in played.recent]
    entries = constant = 0
    largest = 0.0
    if vectors is not None:
        with torch.no_grad():
            normalize: Any = agent.normalize
            obs = normalize(vectors.to(next(agent.parameters()).device)).flatten(1).cpu()
        entries, largest = obs.shape[1], float(obs.abs().max())
        still = (obs == obs[0]).all(0) & (obs[0] != 0) if len(obs) >= ENOUGH else torch.zeros(entries, dtype=torch.bool)
        constant = int(still.sum())
    return Seen(
        rows=len(raw),
        episodes=played.number,
        length=float(np.mean(lengths)) if lengths else None,
        returned=float(np.mean(returns)) if returns else None,
        reward_low=float(raw.min()),
        reward_high=float(raw.max()),
        reward_size=float(learned.mean()),
        reward_largest=float(learned.max()),
        entries=entries,
        constant=constant,
        largest=largest,
    )


# ---- automatic choices


def decisions(asked: Config, config: Config, chosen: dict[str, str], agent: Agent, on_device: bool) -> tuple[Decision, ...]:
    """What every automatic setting chose, and why.

    Args:
        asked: the configuration before the trainer was built.
        config: afterwards.
        chosen: options by slot.
        on_device: whether rollouts are collected on the device.
    """
    found = []
    if asked["accelerate"]["mode"] == "auto":
        _, why = automatic_mode(config, agent, planned_updates(config), on_device)
        found.append(Decision("accelerate", config["accelerate"]["mode"], why))
    if asked["runtime"]["threads"] is None:
        units = widest(agent)
        rule = f"less than {WORTH_THREADS}" if units < WORTH_THREADS else "so as many as torch chooses on this machine"
        why = f"the widest layer has {counted(units, 'unit')}, {rule}"
        found.append(Decision("runtime.threads", str(config["runtime"]["threads"]), why))
    for slot, option in chosen.items():
        if option == "auto" and slot != "accelerate":
            found.append(Decision(slot, *slot_decision(slot, config, agent)))
    return tuple(found)


def slot_decision(slot: str, config: Config, agent: Agent) -> tuple[str, str]:
    """Choice of a slot with the option `auto`, and its reason."""
    shape = agent.spec.obs_shape
    group, _, place = slot.partition("@")
    if group == "replay":
        if "rollout" in agent.needs:
            return "rollout", "the agent learns from rollouts"
        return ("sequences", "the backup learns from them") if sequences(agent) else ("uniform", "no part asks for sequences")
    if group == "agent/torso":
        if place.endswith("encoder_torso") and getattr(agent, "encoder", None) is None:
            return "none", "there is no encoder"
        choice = instantiate(get(config, place or "agent.torso"), place or "agent.torso", None)
        torso = choice.resolve(agent.spec)
        if isinstance(torso, PartsTorso):
            found = [type(torso.image.resolve(spaces_of(agent.spec, part))).__name__ for part in agent.spec.parts if part.image]
            return " and ".join(dict.fromkeys(found)), "an image is among the parts of observations"
        return type(torso).__name__, f"observations have shape {shape}"
    if group == "agent/encoder":
        built = getattr(agent, "encoder", None) is not None
        return ("ImageEncoder", "observations are images") if built else ("none", "observations are vectors")
    if group == "agent/rewards":
        bound = get(config, "agent.rewards.bound")
        return ("raw", "env.reward_clip is not set") if bound is None else (f"clipped at ±{bound:g}", "env.reward_clip, from the protocol")
    if group == "agent/normalize":
        scaled = get(config, "agent.normalize.by") is not None
        return ("divided by env.obs_scale", "the environment's file has it") if scaled else ("none", "env.obs_scale is not set")
    if (policy := getattr(agent, "policy", None)) is not None and group == "agent/policy":
        kind = "components" if agent.spec.choices else "discrete" if agent.spec.num_actions else "continuous"
        return type(policy).__name__, f"actions are {kind}"
    return "auto", "see the comment of its file"
