"""A check from its overrides to its record: compose, build the trainer in a temporary folder, measure it, remove the folder."""

from __future__ import annotations

import copy
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from deeprl.errors import ConfigError, NotFinite
from deeprl.running.config import tuned
from deeprl.running.config.compose import compose_with_folder
from deeprl.running.config.folders import file, source
from deeprl.running.config.instantiate import instantiate
from deeprl.running.config.sources import planned_updates, source_class
from deeprl.running.config.trust import Allowed
from deeprl.running.runs.config_file import Config
from deeprl.running.runs.folder import RunFolder
from deeprl.running.runs.places import holds_run, require_new
from deeprl.running.session.assemble import assemble
from deeprl.running.session.complete import complete
from deeprl.running.session.prospect import discounts, imitates, sequences, targets, torsos
from deeprl.running.training.trainer import Trainer
from deeprl.system.machine import available_memory
from deeprl.system.signals import interrupting
from deeprl.system.terminal import front_door, say
from deeprl.tools.check import facts
from deeprl.tools.check.measure import Laps, measure
from deeprl.tools.check.record import Record, Speed


def build(overrides: Sequence[str], seconds: float) -> Record:
    """The record of the run that `deeprl train overrides` would start.

    Args:
        seconds: duration of the measured training, and at most that of an evaluation.

    Raises:
        ConfigError: as in training.
    """
    overrides = list(overrides)
    composed, user, chosen, folder = compose_with_folder(overrides)
    if folder and not (composed["resume"] == "auto" and holds_run(Path(folder))):
        require_new(Path(folder))
    root = Path(folder or "runs")
    config = complete(composed, user)
    if not source_class(config).paced_by:
        named = f"agent={config['names']['agent']}"
        raise ConfigError(f"{named} makes no updates, whose speed this command measures: train with steps=1000 and see how long it takes.")
    asked, device, available = copy.deepcopy(config), str(config["device"]), available_memory()
    with trial(config) as (trainer, laps, scratch):
        device_available = available_memory(device) if device.startswith("cuda") else None
        run = copy.deepcopy(config)  # before the measurement changes it
        if line := compiling(run):
            say(line)
        say(f"measuring: the first updates, then {seconds:g} s of training, and up to {seconds:g} s of an evaluation")
        speed, evaluating = measure(trainer, laps, seconds, scratch)
        memory = facts.memory(trainer, run, available, device_available, root)
    option = tuned.option(run["names"]["env"], run["names"]["agent"])
    path = file("tuned", option)
    run["accelerate"]["mode"] = config["accelerate"]["mode"]  # "fast" if the update did not compile
    return Record(
        config=run,
        tuned=source(path) if path else None,
        system=facts.system(device),
        decisions=facts.decisions(asked, run, chosen, trainer.agent, trainer.source.on_device),
        environment=facts.environment(run, instantiate(run["env"], "env", None)),
        networks=facts.networks(trainer.agent),
        memory=memory,
        updates=planned_updates(run),
        targets=targets(run, trainer.agent),
        support=facts.support(run),
        without_discount=not discounts(trainer.agent),
        sequences=sequences(trainer.agent),
        imitates=imitates(trainer.agent, trainer.source),
        first_phase=trainer.agent.first_phase,
        torsos=torsos(run, trainer.agent),
        asked=user,
        speed=speed,
        evaluating=evaluating,
        checkpoint_seconds=trainer.saver.cost["time/checkpoint_seconds"],
        seen=facts.seen(trainer.source, trainer.collector.episodes, trainer.agent),
    )


def compiling(config: Config) -> str:
    """A line for a run whose first updates wait for the compiler, or empty."""
    if config["accelerate"]["mode"] != "compiled":
        return ""
    return "accelerate=compiled: compiling comes first, which may take minutes on a busy machine; accelerate=fast does without"


def training_speed(config: Config, seconds: float, allowed: Allowed) -> Speed:
    """Of the training of a complete configuration on this machine.

    Args:
        config: stays as it is.
        seconds: duration of the measured training.
        allowed: packages that the configuration may name; None: all.

    Raises:
        ConfigError: the machine lacks something that the run needs.
    """
    config = copy.deepcopy(config)
    with trial(config, allowed) as (trainer, laps, scratch):
        return measure(trainer, laps, seconds, scratch)[0]


@contextmanager
def trial(config: Config, allowed: Allowed = None) -> Iterator[tuple[Trainer, Laps, Path]]:
    """The trainer of a configuration with its parts watched, in a temporary folder.

    Raises:
        RuntimeError: the training of the block computed NaN or Inf.
    """
    with interrupting(), tempfile.TemporaryDirectory(prefix="deeprl-check-") as name:
        laps, folder = Laps(), Path(name)
        trainer = assemble(config, RunFolder(folder), allowed, watched=laps.watch)
        try:
            yield trainer, laps, folder
        except NotFinite as error:  # its message names a file that is removed
            text = f"the measured training computed NaN or Inf: {front_door()} with these words keeps the batch"
            raise RuntimeError(text) from error
        finally:
            trainer.envs.close()
