"""A new run that starts with the weights of another one: `init_from=RUN`."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path

import torch
from torch import Tensor

from deeprl.errors import CheckpointError, ConfigError, RunFolderError
from deeprl.learning.agent import Agent
from deeprl.learning.networks.weight_norm import measure_gains_
from deeprl.packing import check_kept
from deeprl.running.runs.checkpoints import Checkpoints
from deeprl.running.runs.config_file import folder_of, step_of
from deeprl.running.runs.folder import RunFolder
from deeprl.running.runs.places import unusable
from deeprl.system.terminal import say

SILENT = ("chain.target.", "target_actor.", "normalize.factor")
"""Tensors of a source that carry nothing of their own: copies of others, and what older checkpoints hold of the configuration"""

FLOATS = {torch.float16, torch.bfloat16, torch.float32, torch.float64}


def warm_start(agent: Agent, source: str) -> str:
    """Copy weights and statistics that have the same name and shape in both agents, and print what was taken and what was left. Optimizers,
    counters and the replay start anew. Returns the source as an absolute path with the step of its checkpoint, FOLDER@STEP,
    because a run that is killed before its own first checkpoint begins again, perhaps from another folder, when the source has gone on.

    Args:
        source: a run folder, with "@best", "@last" or "@STEP" at its end for a checkpoint; the default is the last.

    Raises:
        ConfigError: the folder holds no readable checkpoint, or nothing in it fits, or it is of other parts of observations; or the agent
            has no losses, and keeps what it learns together with counts of its own episodes.
        MachineError: the machine could not read it now.
    """
    if not agent.objectives:
        raise ConfigError(f"init_from={source}: this agent keeps what it learns together with counts of its own episodes: leave it out.")
    path, which = parsed(source)
    try:
        RunFolder(path).read_config()
        step, parts = Checkpoints(path).load(which, only={"agent"})
        theirs, own = weights(parts["agent"]), agent.state_dict()
    except (RunFolderError, CheckpointError) as error:
        raise unusable("init_from", source, error) from error
    if "parts" in parts["agent"] and agent.spec.parts:  # a plain array has no parts to compare
        try:
            check_kept(parts["agent"]["parts"], agent.spec.parts)
        except ValueError as error:
            raise ConfigError(f"init_from={source}: {error}: choose a run with the same parts") from error
    anew = starting_anew(agent)
    fits = {name: value for name, value in theirs.items() if name in own and name not in anew and alike(own[name], value)}
    if not fits:
        raise ConfigError(f"init_from={source}: no weight of it has a name, shape and type of this agent. Choose a run of a similar agent.")
    if not all(torch.isfinite(value).all() for value in fits.values() if value.is_floating_point()):
        raise ConfigError(f"init_from={source}: it holds a weight that is not finite. Choose another checkpoint.")
    agent.load_state_dict({**own, **fits})
    gains, copies = agree_(agent, fits)
    copied = {name for name in own if not set(copies).isdisjoint(beginnings(name))}
    say(f"init_from: {len(fits.keys() - copied)} of {len(own)} tensors are those of {path}, step {step:,}")
    for name, value in own.items():
        if name not in fits and name not in gains and name not in copied and name not in anew:
            there = f"it {unlike(value, theirs[name])} there" if name in theirs else "there is none"
            say(f"init_from: {name} {tuple(value.shape)} starts anew, because {there}")
    for remark, names in (
        ("each new gain is the length of its weights", [name for name in gains if name not in copied]),
        ("each copy that is not whole there starts equal to what it copies", copies),
        ("counters, rates, and what belongs to data start anew", [name for name in anew if name not in copied]),
        ("this agent has no place for some of that run, so its outputs may differ", without_place(theirs, own)),
    ):
        if names:
            say(f"init_from: {remark}: {', '.join(names)}")
    return f"{os.path.abspath(path)}@{step}"


def starting_anew(agent: Agent) -> list[str]:
    """Names of its tensors that parts declare as `starts_anew`."""
    places = {f"{place}.{name}".removeprefix(".") for place, part in agent.named_modules() for name in getattr(part, "starts_anew", ())}
    return [name for name in agent.state_dict() if not places.isdisjoint(beginnings(name))]


def weights(state: object) -> dict[str, Tensor]:
    """The tensors of an agent, by name.

    Args:
        state: the part `agent` of a checkpoint, which may be a stranger's.

    Raises:
        CheckpointError: it is not what an agent saves.
    """
    found = state.get("module") if isinstance(state, dict) else None
    if not isinstance(found, dict) or not all(isinstance(name, str) and isinstance(value, Tensor) for name, value in found.items()):
        raise CheckpointError("its agent holds no tensors by name")
    return found


def alike(own: Tensor, value: Tensor) -> bool:
    """Whether a tensor may take the values of another: of the same shape, and of the same type or both of `FLOATS`."""
    return own.shape == value.shape and (own.dtype == value.dtype or {own.dtype, value.dtype} <= FLOATS)


def unlike(own: Tensor, value: Tensor) -> str:
    """Why `alike` is false."""
    return f"has the shape {tuple(value.shape)}" if own.shape != value.shape else f"is {str(value.dtype).removeprefix('torch.')}"


def agree_(agent: Agent, loaded: Collection[str]) -> tuple[list[str], list[str]]:
    """Make what was not loaded agree with what was, because it still belongs to the initial weights. New gains become the lengths of their
    weights, trained weights obey their constraints, buffers that follow weights (`Block.carry`) are found for them, and a copy of which a
    tensor is missing is made anew.

    Returns the names of these gains and copies.
    """
    gains = measure_gains_(agent, kept=loaded)
    projections = [project_ for name in agent.objectives for project_ in agent.projections(name)]
    for place, block in reversed([*agent.named_modules()]):  # parts before their whole
        followers = [f"{place}.{name}".removeprefix(".") for name in getattr(block, "followers", ())]
        if hasattr(block, "restart_") and not all(name in loaded for name in followers):
            block.restart_()
        elif hasattr(block, "project_") and block.project_ in projections and not followers:  # followers that were loaded stay
            block.project_()
    missing = agent.state_dict().keys() - {*loaded, *gains}
    copies = {place: renew for place, renew in agent.copies().items() if any(place in beginnings(name) for name in missing)}
    for renew in copies.values():
        renew()
    return gains, list(copies)


def without_place(theirs: Iterable[str], own: Iterable[str]) -> list[str]:
    """Names that only the source has, each cut to the first part that this agent lacks: `normalize` for all of its statistics."""
    places = {place for name in own for place in beginnings(name)}
    lost = [name for name in theirs if name not in places and not name.startswith(SILENT)]
    return list(dict.fromkeys(next(place for place in beginnings(name) if place not in places) for name in lost))


def beginnings(name: str) -> Iterator[str]:
    """a, a.b and a.b.c of a.b.c."""
    parts = name.split(".")
    return (".".join(parts[: i + 1]) for i in range(len(parts)))


def parsed(source: str) -> tuple[Path, str | int]:
    """Folder and checkpoint of a value of `init_from`."""
    which = step_of(source) or "last"
    return Path(folder_of(source)).expanduser(), int(which) if which.isdecimal() else which
