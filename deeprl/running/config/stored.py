"""Checks of a configuration from a run folder. It may be edited by hand or come from a stranger. It is therefore checked like a command
line, and packages or files outside of deeprl need the user's permission."""

from __future__ import annotations

import contextlib
import copy
import json
import os
import re
import shlex
from collections.abc import Collection, Iterator
from pathlib import Path

from deeprl.errors import ConfigError, RunFolderError, UnknownNameError
from deeprl.running.config.connections import words_of_resume
from deeprl.running.config.instantiate import resolve
from deeprl.running.config.rules import RESUMABLE, finalise, get, put, with_fractions
from deeprl.running.config.trust import Allowed, require_environment
from deeprl.running.runs.checkpoints import Checkpoints
from deeprl.running.runs.config_file import CHANGEABLE, Config, flatten, folder_of, parted, step_of, without_changeable
from deeprl.running.runs.folder import RunFolder
from deeprl.running.runs.moved import automatic
from deeprl.running.runs.places import holds_run
from deeprl.system.functions import GIVEN, found
from deeprl.system.machine import own_commit
from deeprl.system.terminal import say, some

SECTIONS = (
    "collect",
    "learner",
    "agent",
    "env",
    "replay",
    "logger",
    "accelerate",
    "runtime",
    "evaluation",
    "checkpoint",
    "log",
    "stop",
    "names",
)
WORDS = {
    **dict.fromkeys(
        ("names.env", "names.agent", "names.replay", "device", "agent._target_", "env._target_", "replay._target_", "logger._target_"), None
    ),
    "accelerate.mode": ("auto", "reference", "fast", "compiled"),
    "accelerate.matmul_precision": ("auto", "highest", "high", "medium", "bfloat16"),  # auto: of a run that failed before it was decided
}
"""Keys that hold one word, and the words that they take; None is any word."""

SAME = {"runtime.lag": None, "accelerate.matmul_precision": "auto"}
"""Keys among those of speed that change the numbers, and the word that leaves the value to deeprl"""


def checked(config: Config, allowed: Allowed, unused: Collection[str] = ()) -> Config:
    """The configuration, after a check that every key of a run exists, has the right type and is in range.

    Args:
        unused: sections of which the caller builds nothing, so that they may name what is not allowed.

    Raises:
        ConfigError: a key fails the check, or names what is not allowed.
    """
    for key in SECTIONS:
        if not isinstance(config.get(key), dict):
            got = f"{key}={config[key]!r:.100}, where a mapping of keys belongs" if key in config else f"no {key}"
            raise UnknownNameError(f"it is no configuration of a run: it has {got}.")
    config.setdefault("resume", False)
    for key, words in WORDS.items():
        value = get(config, key)
        if not isinstance(value, str) or (words and value not in words):
            raise UnknownNameError(f"{key}={value!r:.100} is out of range: it takes {', '.join(words) if words else 'a word'}.")
    if allowed is not None:
        require_trusted({key: part for key, part in config.items() if key not in unused}, "", allowed)
    return finalise(config)


@contextlib.contextmanager
def of_its_commit(path: Path) -> Iterator[None]:
    """Say in an `UnknownNameError` of the block that the run in `path` is one of another commit of deeprl, if it is."""
    try:
        yield
    except UnknownNameError as error:
        made, own = made_by(path), own_commit()
        if made is None or (own is not None and own["commit"] == made):
            raise
        other = f"{path} is a run of another commit of deeprl, {made[:7]}, where keys and classes may have had other names"
        raise ConfigError(f"{error} {other}: go on with it there (git checkout {made[:7]}).") from error


def made_by(path: Path) -> str | None:
    """The commit of deeprl that the run in `path` was trained with last; None if it is not known."""
    with contextlib.suppress(RunFolderError):
        for start in RunFolder(path).read_system()[-1:]:
            made = get(start, "git.commit")
            return made if isinstance(made, str) and re.fullmatch("[0-9a-f]{7,64}", made) else None
    return None


def is_gone(source: str) -> bool:
    """Whether the run of `init_from` or `replay.data` has removed the checkpoint that a number names."""
    return step_of(source).isdecimal() and int(step_of(source)) not in Checkpoints(Path(folder_of(source)).expanduser()).steps()


def require_sources(path: Path, stored: Config) -> None:
    """
    Raises:
        ConfigError: the run in `path` has no checkpoint yet, and the one that it begins from is gone.
    """
    for key in ("init_from", "replay.data"):
        source = get(stored, key)
        if isinstance(source, str) and is_gone(source) and not Checkpoints(path).steps():
            now = folder_of(source)
            if steps := Checkpoints(Path(now).expanduser()).steps():  # it says in other words that there is no such folder
                raise ConfigError(
                    f"{key}={source}: {now} has no checkpoint at step {step_of(source)} any more, and {path} has none of its own. Give the "
                    f"command that began it again, with resume=auto hydra.run.dir={shlex.quote(str(path))} "
                    f"{key}={shlex.quote(now)}: its last one is that of step {max(steps):,}."
                )


def begins_anew(path: Path, stored: str, given: str) -> bool:
    """Whether the run in `path` takes the source that a command names, because it has nothing of its own yet, and the command names a
    checkpoint, or the one that it has read is gone."""
    return not Checkpoints(path).steps() and (step_of(given).isdecimal() or is_gone(stored))


def continued(path: Path, config: Config) -> Config:
    """The stored configuration of the run in `path`, which a run of `config` is to go on with. Where and how fast it computes may differ,
    but not what it computes (`SAME`); `CHANGEABLE` is that of `config`.

    Raises:
        ConfigError: it is a run of another configuration.
    """
    stored = RunFolder(path).read_config()
    before, now = (unnumbered(without_changeable(automatic(each))) for each in (stored, config))
    embedded = get(before, "agent.baseline.network")
    if embedded is not None and get(now, "agent.baseline.network", embedded) is None:
        put(now, "agent.baseline.network", embedded)  # its folder is gone, and this run has its weights
    for each in (before, now):
        each["names"].pop("data", None)  # a started run holds the digest of its data, which are compared with those of its checkpoint
    mine, theirs = get(before, "replay.data"), get(now, "replay.data")
    if theirs and begins_anew(path, str(mine), str(theirs)):
        for each in (stored, before):
            put(each, "replay.data", theirs)
    elif same_data(path, mine, theirs):
        put(now, "replay.data", mine)
        if step_of(theirs) and theirs != mine:
            say(f"the run goes on with replay.data={mine}, which it has learned from, and not with {theirs}")
    elif isinstance(mine, str) and isinstance(theirs, str) and step_of(mine).isdecimal() and place(mine)[0] == place(theirs)[0]:
        raise ConfigError(f"{path} has learned from replay.data={mine}, and not from {theirs}: choose another folder for this run.")
    if before.get("init_from") and now.get("init_from"):
        numbered = step_of(now["init_from"]).isdecimal()  # a started run holds the number of the checkpoint that it took
        if begins_anew(path, before["init_from"], now["init_from"]):
            stored["init_from"] = before["init_from"] = now["init_from"]
        for each in (before, now):
            folder, step = place(each["init_from"])
            each["init_from"] = f"{folder}@{step}" if numbered else folder
    different = [key for key in now if key not in ("resume", "accelerate", "runtime") and before.get(key) != now[key]]
    different += [key for key, undecided in SAME.items() if get(config, key) not in (get(stored, key), undecided)]
    if different:
        words = changes(before, now) if {*different} <= {*now} else ""
        if words:
            require_ahead(path, stored, config, ", or choose another folder")
        if words:
            command = f"deeprl resume {shlex.quote(str(path))} {words}{words_of_resume(stored)}"
            raise ConfigError(f"{path} holds this run, but not with {words}: go on with {command}, or choose another folder.")
        told = some(differences(before, now, different), 3)
        raise ConfigError(f"{path} holds a run of another configuration ({told}): choose another folder.")
    function, given = get(stored, "env.function"), get(config, "env.function")
    if function != given:
        say(f"the function given for the environment is taken for that of the run, {function}")
        GIVEN[function] = found(given)
    for key in CHANGEABLE:
        if get(config, key, stored) is not stored:
            put(stored, key, get(config, key))
    for key, value in flatten({part: stored[part] for part in ("accelerate", "runtime")}):
        if (given := get(config, key)) not in (value, None, "auto"):
            say(f"the run goes on with {key}={value}, with which it started, and not with {given}")
    return stored


def require_ahead(path: Path, stored: Config, config: Config, otherwise: str = "") -> None:
    """A run that goes on with fewer steps than it has made would be finished at once, as if it had been trained to its end.

    Args:
        stored, config: of the run in `path`, before and now. `steps` that stay are those of a run that has reached them.
        otherwise: end of the message, another remedy.

    Raises:
        ConfigError: `steps` of `config` are below the checkpoint from which the run goes on.
    """
    at = max(Checkpoints(path).steps(), default=0)
    if stored["steps"] != config["steps"] < at:
        again = f"deeprl resume {shlex.quote(str(path))} steps={at}{words_of_resume(stored)}"
        below = f"steps={config['steps']} is below step {at:,}, where {path} is"
        raise ConfigError(f"{below}: `{again}` ends it there, more train on{otherwise}.")


def differences(before: Config, now: Config, names: list[str]) -> list[str]:
    """In words, the leaves that differ in the parts `names` of two configurations, what was chosen first; of a part whose keys differ, its
    name, and the first such key."""

    def leaves(config: Config) -> dict[str, object]:
        return {key: value for key, value in flatten(config) if any(key == name or key.startswith(f"{name}.") for name in names)}

    one, other = leaves(before), leaves(now)
    shared = sorted((key for key in one if key in other and one[key] != other[key]), key=lambda key: not key.startswith("names."))
    alone = {key.partition(".")[0]: key for key in sorted({*one} ^ {*other}, reverse=True)}
    told = [f"{name} has other keys, such as {key}" for name, key in sorted(alone.items())]
    return [f"{key} is {one[key]} there and {other[key]} here" for key in shared] + told


def same_data(path: Path, stored: object, given: object) -> bool:
    """Whether a command names the data of the run in `path`, which holds the step of what it has read. It may have been told of another
    place since, `CHANGEABLE_BY_RESUME`."""
    if not isinstance(stored, str) or not isinstance(given, str):
        return False
    try:
        starts = [start.get("data") for start in RunFolder(path).read_system() if isinstance(start, dict)]
    except RunFolderError:
        starts = []
    names = [stored, *(name for name in starts if isinstance(name, str))]
    folder, step = place(given)
    return any(place(name) == (folder, step) or (not step.isdecimal() and place(name)[0] == folder) for name in names)


def place(source: str) -> tuple[str, str]:
    """The absolute folder and the checkpoint of a name."""
    folder, step = parted(source)
    return os.path.abspath(os.path.expanduser(folder)), step


def keep_step(path: Path, stored: Config, config: Config) -> None:
    """Give `replay.data`, of which `config` names another place that is a run too, the step of the stored name, which the run in `path` has
    learned from."""
    before, now = get(stored, "replay.data"), get(config, "replay.data")
    if before == now or not isinstance(before, str) or not isinstance(now, str) or not Checkpoints(path).steps():
        return
    step = step_of(before)
    if step.isdecimal() and not step_of(now) and holds_run(Path(now).expanduser()):
        put(config, "replay.data", f"{now}@{step}")


def changes(before: Config, now: Config) -> str:
    """Overrides with which `deeprl resume` makes the configuration `before` to `now`; empty if it refuses some of them. Periods that were
    shares of `steps` stay as they are."""
    old, new = ({key: value for key, value in flatten(each) if key != "resume"} for each in (before, now))
    changed = [key for key in {**old, **new} if old.get(key, old) != new.get(key, new)]
    fractions = with_fractions(now) if "steps" in changed else []
    words = [key for key in changed if {key, key.split(".")[0]} & {*RESUMABLE}]
    if any(key not in words and key not in fractions and key.split(".")[0] not in ("accelerate", "runtime") for key in changed):
        return ""
    return " ".join(shlex.quote(f"{key}={new[key] if isinstance(new[key], str) else json.dumps(new[key])}") for key in words if key in new)


def unnumbered(config: Config) -> Config:
    """A configuration without the number of a lambda or a local function, see `name_of`, which has another one when a cell of a notebook
    runs again."""
    config = copy.deepcopy(config)
    if get(config, "env.function") is not None:
        for key in ("env.function", "names.env"):
            put(config, key, str(get(config, key)).partition("#")[0])
    return config


def require_trusted(node: object, path: str, allowed: tuple[str, ...]) -> None:
    """Look at every name in a configuration before any part is built: those of classes, and those that the classes call.

    Raises:
        ConfigError: a name is not allowed, see `deeprl.running.config.trust`.
    """
    if isinstance(node, list):
        for index, item in enumerate(node):
            require_trusted(item, f"{path}[{index}]", allowed)
    if not isinstance(node, dict):
        return
    if "_target_" in node and resolve(node["_target_"], path, allowed).calls_names:
        require_environment(node, path, allowed)
    for key, item in node.items():
        require_trusted(item, f"{path}.{key}" if path else str(key), allowed)
