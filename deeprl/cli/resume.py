"""`deeprl resume RUN [key=value ...]`: continue a run exactly from its last checkpoint, in the same folder."""

from __future__ import annotations

import argparse
import copy
import json
import math
import re
import shlex
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from deeprl.cli.arguments import allow_package
from deeprl.cli.exits import FINISHED, ended, guarded, trusted
from deeprl.errors import CheckpointError, ConfigError, RunFolderError, on_one_line
from deeprl.running.config.connections import connections, unasked
from deeprl.running.config.rules import IDENTITY, RESUMABLE, finalise, get, nearest, put
from deeprl.running.runs.config_file import CHANGEABLE_BY_RESUME, Config, flatten
from deeprl.running.runs.folder import RunFolder
from deeprl.running.runs.moved import renamed
from deeprl.system.terminal import print_end

OTHER_BASE = re.compile(r"\s*[-+]?(0[0-9_]+|0[xb][0-9a-fA-F_]+|[0-9_.]+:[0-9_:.]*)\s*$")
"""Numbers of YAML 1.1 that mean others than they say: 23:30 is 1,410, and 0100 is 64; 0x10 is 16"""


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run", type=Path)
    allow_package(parser)
    text = "new values of steps, evaluation, checkpoint, log, stop, logger, env.on_error, env.timeout, runtime.watchdog, "
    text += "or collect's address, timeout and restarts"
    parser.add_argument("overrides", nargs="*", default=[], metavar="key=value", help=text)  # without a default it counts as required


def run(options: argparse.Namespace) -> int:
    return resume(options.run, options.overrides, tuple(options.allow_package))


def resume(
    path: Path, overrides: list[str], allow: tuple[str, ...] | None = (), sources: Mapping[str, str | None] = MappingProxyType({})
) -> int:
    """Continue a run.

    Args:
        allow: packages and files besides deeprl that the run's configuration may name. It may come from a stranger, so all others are
            refused. None allows all, where it has been compared with the user's own (`continued`).
        sources: `init_from` and `replay.data` of a run without checkpoints, in place of the stored ones; None: the stored one.

    Returns:
        the exit code.
    """
    folder = RunFolder(path)
    written = folder.read_config()  # before torch is imported, which takes seconds
    from deeprl.running.config.by_hydra import prepare
    from deeprl.running.config.folders import packages
    from deeprl.running.config.stored import checked, keep_step, of_its_commit, require_ahead, require_sources
    from deeprl.running.session.session import train

    allowed = None if allow is None else packages(*allow)
    with of_its_commit(path):
        stored = checked(written, allowed)
    stored.setdefault("init_from", None)
    for key in [key for key, source in sources.items() if source]:
        put(stored, key, sources[key])
    config = changed(stored, overrides)
    keep_step(path, stored, config)
    prepare()
    status = folder.read_status() or {}
    if said := nothing_to_train(path, status, stored, config, overrides):
        print_end(said)
        return FINISHED
    if status.get("state") == "finished" and holds_weights_alone(path):  # of other runs the checkpoint says so, which is read later
        alone = f"{path} holds weights alone, as a packed policy does"
        raise RunFolderError(f"{alone}: start another run with init_from={shlex.quote(str(path))}")
    require_ahead(path, stored, config)
    require_sources(path, stored)
    require_connections(config, overrides)
    changes = [f"{key}: {in_yaml(value)} -> {in_yaml(get(config, key))}" for key, value in flatten(stored) if get(config, key) != value]
    if changes:
        print_end("\n".join(changes))
    home = path.absolute()  # because an environment may change the current folder

    def trained() -> int:
        with of_its_commit(path):
            return ended(*train(config, home, resume=True, allowed=allowed), home)

    return guarded(trained, home)


def in_yaml(value: object) -> object:
    """A value as a command line has it."""
    return json.dumps(value) if value is None or isinstance(value, bool) else value


def nothing_to_train(path: Path, status: dict, stored: Config, config: Config, overrides: list[str]) -> str:
    """Sentences about a finished run that the overrides make no longer; empty if there is something to train."""
    if status.get("state") != "finished":
        return ""
    reached, named = int(status["step"]), shlex.quote(str(path))
    unused = f", so that {' and '.join(overrides)} would change nothing" if overrides else ""
    if (why := status.get("stopped_early")) and config["steps"] == stored["steps"] and config["stop"] == stored["stop"]:
        # what a listener of Python asked for is over with another number of steps alone
        word = next((f"{key}=null" for key in ("stop.return", "stop.hours") if key in why), f"steps={2 * config['steps']}")
        return f"{path} finished early at step {reached:,}, because {why}{unused}. To train on: deeprl resume {named} {word}{trusted(path)}"
    if config["steps"] > reached:
        return ""
    longer = f"To train longer: deeprl resume {named} steps={2 * reached}{trusted(path)}"
    if holds_weights_alone(path):
        longer = f"It holds weights alone, as a packed policy does: to train longer, start another run with init_from={named}"
    elif rates_are_zero(config, reached):
        longer = f"Its learning rate is 0 from here on: to train longer, start another run with more steps, or with init_from={named}"
    return f"{path} is finished at step {reached:,}{unused}. {longer}"


def holds_weights_alone(path: Path) -> bool:
    """Whether the newest checkpoint of a run is that of a packed policy, from which no training goes on. A damaged one is told later."""
    from deeprl.running.runs.checkpoints import Checkpoints  # imports torch

    checkpoints = Checkpoints(path)
    try:
        also = frozenset({"trainer"})
        return bool(checkpoints.steps()) and also.isdisjoint(checkpoints.load("last", set(), replaced=False, also=also)[1])
    except CheckpointError:
        return False


def rates_are_zero(config: Config, step: int) -> bool:
    """Whether the schedules of all learning rates have come to an end at 0."""
    schedules = [value.get("schedule") or {} for key, value in config["agent"].items() if key.endswith("optimizer")]
    ends = [
        each["begin"] + each["duration"] if {"begin", "duration"} <= {*each} and each.get("end") == 0 else math.inf for each in schedules
    ]
    return max(ends, default=math.inf) <= step


def changed(stored: Config, overrides: list[str]) -> Config:
    """The stored configuration with overrides applied.

    Raises:
        ConfigError: a key is unknown, or belongs to `IDENTITY`.
    """
    config = copy.deepcopy(stored)
    leaves = dict(flatten(stored))
    for override in overrides:
        key, equals, text = override.partition("=")
        if not equals:
            raise ConfigError(f"{override} is not of the form key=value.")
        if key.split(".")[0] in IDENTITY and key not in CHANGEABLE_BY_RESUME:
            raise ConfigError(
                f"{override}: {key.split('.')[0]} cannot be changed, because it identifies the run. Start another run for it, "
                "which begins with these weights if it has init_from=RUN."
            )
        if key in leaves and not {key, key.split(".")[0]} & set(RESUMABLE):
            raise ConfigError(f"{override}: {key} counts only where a run starts. Leave it out, or start another run with it.")
        if key not in leaves:
            raise ConfigError(f"{override}: there is no key {key}.{renamed(key) or nearest(key, leaves)}")
        put(config, key, text if text == leaves[key] else value_of(override, text))
    return finalise(config)


def value_of(override: str, text: str) -> Any:
    """What YAML makes of the text of an override, but for a number to another base, which the grammar of `deeprl train` lacks. Numbers
    within a list are YAML's.

    Raises:
        ConfigError: it is no YAML.
    """
    try:
        value = OmegaConf.to_container(OmegaConf.create(f"value: {text}"))["value"]  # type: ignore[index,call-overload]
    except (OmegaConfBaseException, YAMLError, ValueError) as error:
        raise ConfigError(f"{override}: {on_one_line(error)}") from error
    return text if isinstance(value, int | float) and OTHER_BASE.match(text) else value


def require_connections(config: Config, overrides: list[str]) -> None:
    """
    Raises:
        ConfigError: the run connects to what the user has not named.
    """
    named = [override.partition("=")[0] for override in overrides]
    leading = connections(config)
    missing = [word for word in leading if word.partition("=")[0] not in named]
    if missing:
        word = missing[0]
        key, _, value = word.partition("=")
        instead = f"{key}={'false' if value == 'true' else 'null'}"
        raise unasked(word, leading[word], f"repeat {shlex.join(missing)}, or say {instead}")
