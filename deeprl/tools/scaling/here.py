"""The speed of this machine for the configuration of a grid, as `deeprl check` measures it."""

from __future__ import annotations

import copy
from collections.abc import Sequence

import numpy as np

from deeprl.errors import ConfigError
from deeprl.running.config.build import check_device
from deeprl.running.config.rules import put
from deeprl.running.config.stored import checked, of_its_commit
from deeprl.running.config.trust import Allowed
from deeprl.running.session.assemble import fitted
from deeprl.system.machine import system_entry
from deeprl.system.terminal import say
from deeprl.tools.check.build import training_speed
from deeprl.tools.check.facts import networks
from deeprl.tools.check.record import Speed
from deeprl.tools.report.runs import RunRecord, machine
from deeprl.tools.scaling.cells import BATCH, Note
from deeprl.tools.scaling.speed import StepTime

SECONDS = 3.0
"""Duration of the measured training at each batch size, and at most that of an evaluation behind it"""


BUSY = 0.8
"""Share of the measured time that this process computed, below which it is told"""


def measured(run: RunRecord, batches: Sequence[float], allowed: Allowed, note: Note) -> tuple[StepTime, str]:
    """The speed of training a run's configuration at the smallest and the largest of the batch sizes, and the hardware of this machine.

    Args:
        batches: of the grid. Of a single one its double is the second.
        allowed: packages that the configuration may name.
        note: takes a sentence if other processes had a part of the time.

    Raises:
        ConfigError: the configuration names what is not allowed, or the machine lacks something that it needs; the run has several
            processes.
    """
    if run.ranks > 1:
        raise ConfigError(f"--here measures one process, and {run.name} is a run of {run.ranks}: leave --here out.")
    with of_its_commit(run.path):
        config = checked(copy.deepcopy(run.config), allowed)
    check_device(config)
    config["init_from"] = None  # other weights take the same time
    small = int(min(batches))
    large = int(max(batches)) if max(batches) > small else 2 * small

    def at(batch: int) -> Speed:
        say(f"measuring this machine at {BATCH}={batch}: the first updates, then {SECONDS:g} s of training")
        put(config, BATCH, batch)
        return training_speed(config, SECONDS, allowed)

    first, second = at(small), at(large)
    if (share := (first.busy + second.busy) / (first.seconds + second.seconds)) < BUSY:
        note(
            f"while this machine was measured, this process computed {share:.0%} of the time: "
            "the hours are too long, if it waited for other programs and not for its workers or a GPU"
        )
    return step_time(first, second, small, large), machine(system_entry(str(config["device"]))).hardware


def counted(run: RunRecord, allowed: Allowed) -> int:
    """Parameters that losses of the run's agent train, which is built for it.

    Raises:
        ConfigError: see `measured`.
    """
    with of_its_commit(run.path):
        config = checked(copy.deepcopy(run.config), allowed)
    config["device"] = "cpu"
    _, _, agent, _ = fitted(config, allowed)
    return sum(each.trained for each in networks(agent))


def step_time(first: Speed, second: Speed, small: int, large: int) -> StepTime:
    """Of two speeds, at two batch sizes. Where the larger batch is not slower a sample costs nothing, and an update the mean of both."""
    each = max((second.each_update - first.each_update) / (large - small), 0.0)
    update = (first.each_update - each * small + second.each_update - each * large) / 2
    if update < 0:  # the time grows faster than the batch
        return StepTime((first.step + second.step) / 2, 0.0, second.each_update / large)
    return StepTime(float(np.mean([first.step, second.step])), update, each)
