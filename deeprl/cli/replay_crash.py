"""`deeprl replay-crash BUNDLE`: repeat an update that produced NaN or Inf and name the tensor, without environment and replay."""

from __future__ import annotations

import argparse
from pathlib import Path

from deeprl.cli.arguments import allow_package
from deeprl.errors import CheckpointError
from deeprl.runs.folder import holds_run
from deeprl.system.terminal import printable


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("bundle", type=Path, help="a folder in crash/ of a run, or the run folder for its newest one")
    allow_package(parser)


def run(options: argparse.Namespace) -> int:
    """0 if the update fails again, 1 if every number is finite this time."""
    import torch

    from deeprl.accelerate.modes import apply, precision
    from deeprl.config.build import build_agent, check_device
    from deeprl.config.folders import packages
    from deeprl.runs.checkpoint import DAMAGE
    from deeprl.system.machine import flush_denormals
    from deeprl.training import crash

    flush_denormals()  # as in the run, because a division by such a number is one by zero
    bundle = newest(options.bundle)
    config, state, batch, failure = crash.read(bundle)
    check_device(config)
    agent = build_agent(config, crash.spec_of(failure), packages(*options.allow_package))
    apply(agent, config["accelerate"]["mode"])
    torch.set_num_threads(config["runtime"]["threads"])
    try:
        agent.load_state(state)
    except DAMAGE as error:
        raise CheckpointError(f"{bundle} does not fit its configuration: {error}") from error
    objective = failure["objective"]
    print(f"{bundle}: update {failure['update']:,}, step {failure['step']:,}, {'loss ' + objective if objective else 'weights'}")
    print(printable(f"  then: {failure['tensor']}"))
    if objective is None or batch is None:
        found = crash.weights_fault(agent)
    else:
        with precision(failure["product"]):
            found = crash.fault(agent, crash.moved(batch, config["device"]), objective)
    print(f"  now:  {found or 'every number is finite'}")
    return 0 if found else 1


def newest(path: Path) -> Path:
    """A bundle, or the newest one of a run folder."""
    from deeprl.runs.checkpoint import STEP

    if not (path / "crash").is_dir() and not (path / "manifest.json").is_file():
        reason = ", because no update of this run produced NaN or Inf" if holds_run(path) else ", and is no run folder"
        raise CheckpointError(f"{path} is and holds no crash bundle{reason}.")
    bundles = (path / "crash").iterdir() if (path / "crash").is_dir() else ()
    return max((bundle for bundle in bundles if STEP.fullmatch(bundle.name)), default=path)
