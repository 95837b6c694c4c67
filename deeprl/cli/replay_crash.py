"""`deeprl replay-crash BUNDLE`: repeat an update that produced NaN or Inf and name the tensor, without environment and replay."""

from __future__ import annotations

import argparse
import re
from pathlib import Path

from deeprl.cli.arguments import allow_package
from deeprl.errors import CheckpointError
from deeprl.running.runs.places import holds_run
from deeprl.system.terminal import print_result

BUNDLE = re.compile(r"step_\d{12}(_rank\d+)?")


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("bundle", type=Path, help="a bundle in crash/ of a run, or a run folder, of which the newest bundle is used")
    allow_package(parser)


def run(options: argparse.Namespace) -> int:
    """Exit code 0 if the update fails again, 1 if every number is finite this time."""
    import torch

    from deeprl.running.accelerate.modes import compute_as, precision, set_products
    from deeprl.running.config.build import build_agent, check_device
    from deeprl.running.config.folders import packages
    from deeprl.running.config.stored import checked
    from deeprl.running.runs.checkpoint import DAMAGE
    from deeprl.running.training import crash
    from deeprl.system.files import regular_size
    from deeprl.system.machine import flush_denormals

    flush_denormals()  # as in the run, because it makes a division by a denormal number one by zero
    bundle = newest(options.bundle)
    config, state, batch, failure, spec = crash.read(bundle)
    allowed = packages(*options.allow_package)
    config = checked(config, allowed, unused=("logger",))
    check_device(config)
    agent = build_agent(config, spec, allowed, regular_size(bundle / "agent.safetensors"))
    compute_as(agent, config)
    set_products(agent, failure["product"])
    torch.set_num_threads(config["runtime"]["threads"] or 1)
    objective = failure["objective"]
    try:
        agent.load_state(state)
        print_result(f"{bundle}: update {failure['update']:,}, step {failure['step']:,}, {f'loss {objective}' if objective else 'weights'}")
        print_result(f"  then: {failure['tensor']}")
        if objective is None or batch is None:
            found = crash.weights_fault(agent)
        else:
            with precision(failure["product"]):
                found = crash.fault(agent, crash.to_device(batch, config["device"]), objective)
    except DAMAGE as error:
        raise CheckpointError(f"{bundle} does not fit its configuration: {type(error).__name__}: {error}") from error
    print_result(f"  now:  {found or 'every number is finite'}")
    return 0 if found else 1


def newest(path: Path) -> Path:
    """`path` if it is a bundle, or the newest bundle of a run folder.

    Raises:
        CheckpointError: `path` is neither, or the run has no bundle.
    """
    crash = path / "crash"
    bundles = crash.iterdir() if crash.is_dir() else ()
    found = max((bundle for bundle in bundles if BUNDLE.fullmatch(bundle.name)), default=None)
    if link := next((place for place in (crash, found) if place and place.is_symlink()), None):
        raise CheckpointError(f"{link} is a link, which is refused.")
    if found is None and not (path / "manifest.json").exists():
        reason = ", because no update of this run produced NaN or Inf" if holds_run(path) else ", and is no run folder"
        raise CheckpointError(f"{path} holds no crash bundle{reason}.")
    return found or path
