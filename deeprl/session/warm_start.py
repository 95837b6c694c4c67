"""A new run that starts with the weights of another one: `init_from=RUN`."""

from __future__ import annotations

import re
from pathlib import Path

import torch

from deeprl.agent import Agent
from deeprl.errors import CheckpointError, ConfigError, RunFolderError
from deeprl.runs.checkpoints import Checkpoints
from deeprl.runs.folder import RunFolder
from deeprl.system.terminal import say


def warm_start(agent: Agent, source: str) -> None:
    """Copy weights and statistics that have the same name and shape in both agents, and print what was taken. Optimizers, counters and
    the replay start anew.

    Args:
        source: a run folder, with "@best", "@last" or "@STEP" at its end for a checkpoint; the default is the last.

    Raises:
        ConfigError: the folder holds no readable checkpoint, or nothing in it fits.
    """
    path, which = parsed(source)
    try:
        RunFolder(path).read_config()
        step, parts = Checkpoints(path).load(which, only={"agent"})
    except (RunFolderError, CheckpointError) as error:
        raise ConfigError(f"init_from={source}: {error}") from error
    theirs, own = parts["agent"]["module"], agent.state_dict()
    fits = {name: value for name, value in theirs.items() if name in own and own[name].shape == value.shape}
    if not fits:
        raise ConfigError(f"init_from={source}: no weight of it has a name and shape that this agent has. Choose a run of a similar agent.")
    if not all(torch.isfinite(value).all() for value in fits.values() if value.is_floating_point()):
        raise ConfigError(f"init_from={source}: it holds a weight that is not finite. Choose another checkpoint.")
    agent.load_state_dict({**own, **fits})
    say(f"init_from: {len(fits)} of {len(own)} tensors are those of {path}, step {step:,}")
    for name in own:
        if name not in fits:
            there = f"it has the shape {tuple(theirs[name].shape)} there" if name in theirs else "there is none"
            say(f"init_from: {name} {tuple(own[name].shape)} starts anew, because {there}")


def parsed(source: str) -> tuple[Path, str | int]:
    """Folder and checkpoint of a value of `init_from`."""
    found = re.fullmatch(r"(.+)@(best|last|\d+)", source)
    if found is None:
        return Path(source).expanduser(), "last"
    which = found[2]
    return Path(found[1]).expanduser(), int(which) if which.isdecimal() else which
