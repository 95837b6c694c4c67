"""`deeprl replay-crash BUNDLE`: repeat an update that produced NaN or Inf and name the tensor, without environment and replay."""

from __future__ import annotations

from pathlib import Path

import torch

from deeprl.accelerate.modes import apply, precision
from deeprl.config.build import build_agent, check_device
from deeprl.config.instantiate import PACKAGES
from deeprl.errors import CheckpointError
from deeprl.runs.checkpoint import DAMAGE, STEP
from deeprl.system.files import printable
from deeprl.system.machine import flush_denormals
from deeprl.training import crash


def newest(path: Path) -> Path:
    """A bundle, or the newest one of a run folder."""
    if (path / "crash").is_dir():
        found = sorted(p for p in (path / "crash").iterdir() if STEP.fullmatch(p.name))
        if found:
            return found[-1]
    return path


def replay(path: Path, allow: tuple[str, ...] = ()) -> int:
    """Returns 0 if the update fails again, 1 if every number is finite this time."""
    flush_denormals()  # as in the run: a division by such a number is one by zero
    bundle = newest(path)
    config, state, batch, failure = crash.read(bundle)
    check_device(config)
    agent = build_agent(config, crash.spec_of(failure), (*PACKAGES, *allow))
    apply(agent, config["accelerate"]["mode"])
    torch.set_num_threads(config["runtime"]["threads"])
    try:
        agent.load_state(state)
    except DAMAGE as error:
        raise CheckpointError(f"{bundle} does not fit its configuration: {error}") from error
    device = config["device"]
    objective = failure["objective"]
    print(f"{bundle}: update {failure['update']:,}, step {failure['step']:,}, {'loss ' + objective if objective else 'weights'}")
    print(printable(f"  then: {failure['tensor']}"))
    if objective is None or batch is None:
        found = crash.weights_fault(agent)
    else:
        with precision(failure["product"]):
            found = crash.fault(agent, crash.moved(batch, device), objective)
    print(f"  now:  {found or 'every number is finite'}")
    return 0 if found else 1
