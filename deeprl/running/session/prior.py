"""The value of another run in the baseline of this one: `agent.baseline.run=RUN`.

The configuration of that run's agent becomes a part of this run's, so that the folder of the one is needed at the first start of the other
alone; then the weights are in its checkpoints.
"""

from __future__ import annotations

import os
from pathlib import Path

from deeprl.errors import CheckpointError, RunFolderError
from deeprl.learning.agent import Agent
from deeprl.running.config import folders
from deeprl.running.config.rules import get, put
from deeprl.running.config.stored import checked
from deeprl.running.runs.checkpoint import DAMAGE
from deeprl.running.runs.checkpoints import Checkpoints
from deeprl.running.runs.config_file import Config
from deeprl.running.runs.folder import RunFolder
from deeprl.running.runs.places import unusable
from deeprl.running.session.warm_start import parsed
from deeprl.system.terminal import say

KEY, NETWORK = "agent.baseline.run", "agent.baseline.network"


def embed_prior(config: Config) -> None:
    """Write the agent of the named run into a configuration that has none yet. Without the folder it stays without: a run that goes on has
    it already (`continued`), and one that begins is refused where its agent is built.

    Raises:
        ConfigError: the folder holds no run, or one that names what is not allowed.
        MachineError: the machine could not read it now.
    """
    given = get(config, KEY, None)
    if given is None or get(config, NETWORK, None) is not None:
        return
    path, _ = parsed(str(given))
    if not path.exists():
        return
    try:
        theirs = checked(RunFolder(path).read_config(), folders.packages())
    except RunFolderError as error:
        raise unusable(KEY, given, error) from error
    put(config, NETWORK, {**theirs["agent"], "_partial_": True})


def keep_prior(config: Config, run: Path) -> None:
    """As `embed_prior`, of a run that goes on, where the folder of the named one is gone.

    Raises:
        ConfigError: what the run has stored names what is not allowed.
    """
    if get(config, KEY) is not None and get(config, NETWORK) is None:
        stored = checked(RunFolder(run).read_config(), folders.packages())
        put(config, NETWORK, get(stored, NETWORK))


def load_prior(agent: Agent, config: Config) -> None:
    """Copy the weights of the named run at the first start.

    Raises:
        ConfigError: it has no readable checkpoint, or one of other spaces.
        MachineError: the machine could not read it now.
    """
    given = get(config, KEY, None)
    if given is None:
        return
    path, which = parsed(str(given))
    prior: Agent = agent.baseline.prior  # type: ignore[union-attr, assignment]
    try:
        step, parts = Checkpoints(path).load(which, only={"agent"}, most={"agent": prior.state_bytes()})
        prior.load_state(parts["agent"], optimizers=False)
    except (RunFolderError, CheckpointError, *DAMAGE) as error:
        raise unusable(KEY, given, error) from error
    say(f"{KEY}: the value of {os.path.abspath(path)}, step {step:,}")
