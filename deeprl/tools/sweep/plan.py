"""The check of every job before the first one starts."""

from __future__ import annotations

import contextlib
import io
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, NamedTuple

from deeprl.errors import ConfigError, RunFolderError
from deeprl.running.config.compose import compose
from deeprl.running.config.rules import get
from deeprl.running.runs.config_file import Config, parted
from deeprl.running.runs.folder import RunFolder
from deeprl.system.machine import available_memory
from deeprl.system.terminal import amount, say
from deeprl.tools.sweep.grid import Job

if TYPE_CHECKING:  # torch is slow to import, and `--help` needs none of it
    from deeprl.learning.agent import Agent
    from deeprl.running.config.instantiate import Deferred
    from deeprl.running.config.trust import Allowed
    from deeprl.types import Spec


class SweepPlan(NamedTuple):
    configs: list[Config]
    """The settled configuration of each job."""
    bytes: list[int]
    """Memory of each job's replay, once it is full; 0 for jobs of other machines."""


def check(jobs: Sequence[Job], here: bool, begun: Mapping[str, Path] = MappingProxyType({}), allowed: Allowed = None) -> SweepPlan:
    """Compose every job as training does, and build its environment, its agent and its replay. What the jobs say is said once.

    Args:
        here: whether the jobs run on this machine, which must then have their device, the compiler and the packages that they need.
        begun: jobs that have a checkpoint, by name, with their folders: they need neither the runs that they started from nor a compiler.
        allowed: what jobs of a stored file may name, which may be a stranger's.

    Raises:
        ConfigError: a job is wrong; the message names the key, and the job.
    """
    from deeprl.running.config.build import check_device
    from deeprl.running.config.connections import require_allowed
    from deeprl.running.config.stored import require_trusted
    from deeprl.running.session.assemble import fitted
    from deeprl.running.session.complete import complete
    from deeprl.running.session.needs import require
    from deeprl.running.session.prior import keep_prior

    if len(jobs) > 20:
        say(f"checking {len(jobs)} jobs")
    configs, sizes, built, said = [], [], dict[str, int](), io.StringIO()
    for job in jobs:
        try:
            with contextlib.redirect_stderr(said):
                config, user, _ = compose(job.overrides)
                if allowed is not None:
                    require_trusted(config, "", allowed)  # before `complete`, which imports classes
                    require_allowed(config, allowed)
                config = complete(config, user)
                if job.name in begun:
                    keep_prior(config, begun[job.name])
                if here:
                    check_device(config)
                needed = config
                if job.name in begun:  # without a compiler it goes on with accelerate=fast
                    needed = {**config, "init_from": None, "accelerate": {**config["accelerate"], "mode": "auto"}}
                kind = json.dumps({**needed, "seed": 0}, sort_keys=True, default=str)  # seeds differ in most sweeps, and build alike
                if kind not in built:
                    env, spec, agent, memory = fitted({**config, "device": "cpu"})
                    require(needed, env, agent, spec, memory, machine=here)
                    built[kind] = replay_bytes(config, spec, agent, memory) if here else 0  # on a cluster its own machines decide
        except ConfigError as error:
            raise ConfigError(f"{error} (job {job.name})" if len(jobs) > 1 else str(error)) from error
        configs.append(config)
        sizes.append(built[kind])
    for line in dict.fromkeys(said.getvalue().splitlines()):
        say(line)
    for line in unsettled(config for job, config in zip(jobs, configs) if job.name not in begun):
        say(line)
    return SweepPlan(configs, sizes)


def unsettled(configs: Iterable[Config]) -> list[str]:
    """What a reader should know of runs that jobs read, in `init_from` or `replay.data`, and that train on: jobs start one after the other,
    and each takes the newest checkpoint, unless a step is named.

    Args:
        configs: of jobs that have not begun; the others hold the step that they have read.
    """
    found = dict[str, None]()
    for config in configs:
        for key in ("init_from", "replay.data"):
            folder, step = parted(str(get(config, key) or ""))
            with contextlib.suppress(RunFolderError):
                state = (RunFolder(Path(folder).expanduser()).read_status() or {}).get("state") if folder else None
                if state == "running" and not step.isdecimal():
                    found[
                        f"{key}={folder}: that run is running, and a job reads the checkpoint that is there when the job starts, so that "
                        f"jobs may read different ones: name a step, {key}={folder}@STEP"
                    ] = None
    return list(found)


def replay_bytes(config: Config, spec: Spec, agent: Agent, memory: Deferred) -> int:
    """Memory of a full replay. Making it takes none, because nobody writes into its pages."""
    from deeprl.running.config.sources import build_source

    place = {"device": "cpu"} if "device" in memory.kwargs else {}
    source = build_source({**config, "device": "cpu"}, spec, agent, memory, **place)
    return source.bytes + source.working


def side_by_side(plan: SweepPlan, wanted: int | None, usual: int) -> int:
    """Number of jobs that this machine runs at a time.

    Args:
        wanted: by --jobs; None: `usual`, or as many as have room for their replays.

    Raises:
        ConfigError: the replays of so many jobs do not fit in memory together.
    """
    available, largest = available_memory(), sorted(plan.bytes, reverse=True)
    slots = wanted or usual
    if available is None or sum(largest[:slots]) <= available:
        return slots
    fits = max(next(n for n in range(slots, -1, -1) if sum(largest[:n]) <= available), 1)  # of one job alone, training itself decides
    if wanted is None:
        say(f"{fits} jobs side by side, because the full replays of more need more than the {amount(available)} of memory that are free")
        return fits
    smaller = ", or a smaller replay.capacity" if any("capacity" in config["replay"] for config in plan.configs) else ""
    raise ConfigError(
        f"--jobs {wanted}: the full replays of so many jobs need {amount(sum(largest[:wanted]))}, and {amount(available)} are free: "
        f"--jobs {fits} fits{smaller}."
    )
