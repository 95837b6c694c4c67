"""The check of every job before the first one starts."""

from __future__ import annotations

import contextlib
import io
import json
from collections.abc import Sequence
from typing import Any

from deeprl.config.compose import compose
from deeprl.errors import ConfigError
from deeprl.sweep.grid import Job
from deeprl.system.terminal import say


def check(jobs: Sequence[Job], here: bool) -> list[dict[str, Any]]:
    """Compose every job as training does, and build its environment and its agent. What the jobs say is said once.

    Args:
        here: whether the jobs run on this machine, which must then have their device.

    Returns:
        the settled configuration of each job.

    Raises:
        ConfigError: a job is wrong; the message names the key, and the job.
    """
    from deeprl.config.build import check_device
    from deeprl.session.assemble import fitted, settle

    if len(jobs) > 20:
        say(f"checking {len(jobs)} jobs")
    configs, built, said = [], set(), io.StringIO()
    for job in jobs:
        try:
            with contextlib.redirect_stderr(said):
                config = settle(*compose(job.overrides)[:2])
                if here:
                    check_device(config)
                kind = json.dumps({**config, "seed": 0}, sort_keys=True, default=str)  # seeds differ in most sweeps, and build alike
                if kind not in built:
                    fitted({**config, "device": "cpu"})
                    built.add(kind)
        except ConfigError as error:
            raise ConfigError(f"{error} (job {job.name})" if len(jobs) > 1 else str(error)) from error
        configs.append(config)
    for line in dict.fromkeys(said.getvalue().splitlines()):
        say(line)
    return configs
