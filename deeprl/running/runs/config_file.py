"""Configurations of runs, and config.yaml: plain values only, because a run folder may come from a stranger."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shlex
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import yaml
from omegaconf import OmegaConf
from omegaconf._utils import get_omega_conf_dumper  # which text needs quotes

from deeprl.errors import ConfigError, RunFolderError
from deeprl.running.runs.moved import former, of_today
from deeprl.system.files import read_regular, replace_file, said
from deeprl.system.strict_json import plain

Config = dict[str, Any]
"""A configuration, or a part of it: dictionaries, lists, text, numbers, true, false and null, as config.yaml holds them"""
CONFIG_LIMIT, DEPTH_LIMIT = 1 << 16, 50
"""Largest bytes and nesting of config.yaml. A configuration has 3 to 5 KiB; without libyaml the parser takes a second for 64 KiB."""
Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # with libyaml in a tenth of the time
DATA = "data.json"
"""File of a folder that has a replay and no run, see `deeprl.running.collect.data_folder`"""


CHANGEABLE_ONCE = ("collect.address", "collect.timeout", "collect.restarts")
CHANGEABLE = (*CHANGEABLE_ONCE, "env.on_error", "env.timeout", "runtime.watchdog")
"""Keys that say where actors are, when a process counts as dead, and what happens then. A run may go on with other values. The name of a
folder of resume=auto leaves out only `CHANGEABLE_ONCE`, because an update of deeprl should find it again."""
CHANGEABLE_BY_RESUME = (*CHANGEABLE, "replay.data")
"""`deeprl resume` may say where the data are now; their digest has to be the same. Earlier checkpoints were identified by this name too."""


def container(config: Any) -> Config:
    """Plain values of a configuration, OmegaConf's or a dict."""
    return OmegaConf.to_container(config, resolve=True) if OmegaConf.is_config(config) else dict(config)  # type: ignore[return-value]


def flatten(config: Config, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Full key and value of every leaf, such as ("agent.chain.length", 5). Lists and empty dicts are leaves."""
    for key, value in config.items():
        if isinstance(value, dict) and value:
            yield from flatten(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def parted(source: str) -> tuple[str, str]:
    """Folder and checkpoint of a value of `init_from` or `replay.data`: FOLDER, FOLDER@best, FOLDER@last or FOLDER@STEP. The checkpoint is
    empty where none is named, as by the name of a folder that ends so itself, if there is no FOLDER beside it."""
    found = re.fullmatch(r"(.*)@(best|last|\d+)", source, re.DOTALL)
    if found is None or (not there(found[1]) and there(source)):
        return source, ""
    return found[1], found[2]


def there(folder: str) -> bool:
    return os.path.lexists(os.path.expanduser(folder))


def folder_of(source: str) -> str:
    """The folder of `parted`."""
    return parted(source)[0]


def step_of(source: str) -> str:
    """The checkpoint of `parted`."""
    return parted(source)[1]


def without_changeable(config: Config, changeable: tuple[str, ...] = CHANGEABLE) -> Config:
    """A configuration without the keys of `CHANGEABLE`."""
    return {
        key: {name: item for name, item in value.items() if f"{key}.{name}" not in changeable} if isinstance(value, dict) else value
        for key, value in config.items()
    }


def config_hash(config: object, ignore: Iterable[str] = ("resume", "hydra")) -> str:
    """Hash of a resolved configuration: twelve hexadecimal digits. Neither the order of the keys nor a class that moved changes them."""
    resolved = {key: value for key, value in container(config).items() if key not in set(ignore)}
    return hashlib.sha256(json.dumps(plain(former(resolved)), sort_keys=True).encode()).hexdigest()[:12]


def identity(config: Config, keys: Iterable[str], changeable: tuple[str, ...] = CHANGEABLE_BY_RESUME) -> dict[str, str]:
    """For each top-level key, a hash of its value without what is `changeable`. A checkpoint stores it."""
    config = without_changeable(config, changeable)
    return {key: config_hash({key: config.get(key)}) for key in keys}


def check_identity(config: Config, keys: Iterable[str], stored: dict[str, str]) -> None:
    """
    Args:
        stored: `identity` of the configuration that trained a checkpoint.

    Raises:
        ValueError: the value of a key was edited after the checkpoint.
    """
    keys, names = [*keys], config.get("names") or {}
    # the first of several ranks alone knows the digest of data by name, which their sources compare
    known = [config, former(config), {**config, "names": {key: name for key, name in names.items() if key != "data"}}]
    hashes = [identity(each, keys, out) for each in known for out in (CHANGEABLE_BY_RESUME, CHANGEABLE)]
    changed = [key for key in keys if stored.get(key) not in [each[key] for each in hashes]]
    if changed:
        raise ValueError(f"config.yaml was edited since, in {', '.join(changed)}; restore the earlier values, or start another run")


class Dumper(getattr(yaml, "CSafeDumper", yaml.SafeDumper)):  # type: ignore[misc]
    def ignore_aliases(self, data: object) -> bool:
        return True


Dumper.add_representer(str, get_omega_conf_dumper().str_representer)


def written(config: object) -> str:
    """YAML of plain values, as OmegaConf writes it."""
    return yaml.dump(container(config), default_flow_style=False, allow_unicode=True, sort_keys=False, Dumper=Dumper)


def write_config(path: Path, config: object) -> None:
    """
    Raises:
        ConfigError: it has more than `CONFIG_LIMIT` bytes.
        RunFolderError: `read_config` would refuse it for another reason.
    """
    text = written(config)
    if len(text.encode()) > CONFIG_LIMIT:
        key, value = max(flatten(container(config)), key=lambda leaf: len(str(leaf[1])))
        raise ConfigError(
            f"{key}={value!s:.40}… is too long: config.yaml would have more than the {CONFIG_LIMIT:,} bytes that are read back. Put the "
            "value in a file or a function of your own, and name that."
        )
    parse_config(text, path)
    replace_file(path, text)


def read_config(path: Path) -> Config:
    """Plain dicts, lists, strings and numbers.

    Raises:
        RunFolderError: there is no such file, or it has content that no run writes.
    """
    try:
        return of_today(parse_config(read_regular(path, CONFIG_LIMIT).decode(), path))
    except FileNotFoundError:
        raise RunFolderError(f"{path.parent} is no run folder: {instead(path.parent)}") from None
    except NotADirectoryError:
        raise no_folder(path.parent) from None
    except (OSError, ValueError) as error:
        raise RunFolderError(f"{path} cannot be read: {said(error)}") from error


def instead(path: Path) -> str:
    """What a folder without a configuration is, and what is to be named."""
    if not path.exists():
        return "there is no such folder"
    if (path / DATA).exists():
        return f"it holds data alone, and no weights; runs learn from it with replay.data={shlex.quote(str(path))}"
    for file, command in (("sweep.json", "sweep"), ("tune.json", "tune")):
        if (path / file).exists():
            return f"it is one of deeprl {command}, for deeprl {command} resume {shlex.quote(str(path))}; or name a run in it"
    depths = ("[!.]*", "[!.]*/[!.]*", "[!.]*/[!.]*/[!.]*")  # Hydra's record of a command, .hydra, has such a file too
    runs = (each.parent for depth in depths for each in path.glob(f"{depth}/config.yaml"))
    run = next(runs, None)
    return "it has no config.yaml" + (f"; name a run in it, such as {run}" if run else "")


def no_folder(path: Path) -> RunFolderError:
    """The error where a run folder is expected."""
    if path.suffix == ".zip":
        return RunFolderError(f"{path} is an archive: deeprl unpack {shlex.quote(str(path))} FOLDER makes a run folder of it")
    folder = path.absolute().parent  # of a name alone, the parent is "."
    if (folder / "config.yaml").exists():
        return RunFolderError(f"{path} is a file: name the run folder that holds it, {path.parent if path.parent.name else folder}")
    return RunFolderError(f"{path} is a file: name a run folder")


def parse_config(text: str, path: Path) -> Config:
    """A configuration as a run writes it. Aliases, tags and interpolations are refused, because they hide the values that they give.

    Raises:
        RunFolderError: the text has other content; the message names the line.
    """
    try:
        only_named(yaml.parse(text, Loader=Loader))
        loader = Loader(text)
        node = loader.get_single_node()
        if not isinstance(node, yaml.MappingNode):
            raise Refused("no mapping of keys")
        only_keys(node)
        found = loader.construct_document(node)
        only_plain(found, "")
        return found
    except Refused as error:
        where = f"{path}, line {error.line}," if error.line else f"{path}"
        raise RunFolderError(f"{where} is refused, because it has {error}; no run writes such a file") from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise RunFolderError(f"{path} is not the YAML that a run writes: {parser_said(error)}") from None


def parser_said(error: Exception) -> str:
    """The line and the fault, of the four lines that a YAML parser writes."""
    mark = getattr(error, "problem_mark", None)
    if mark is None:
        return str(error) or type(error).__name__
    return f"line {mark.line + 1}, {error.problem}"  # type: ignore[attr-defined]


class Refused(Exception):
    """YAML that no run writes."""

    def __init__(self, what: str, mark: Any = None):
        super().__init__(what)
        self.line = mark.line + 1 if mark is not None else None


def only_named(events: Iterable[yaml.Event]) -> None:
    """While the text is read, because the time of a parser in Python grows with the square of the nesting.

    Raises:
        Refused: there is an alias, a tag or an interpolation, or the nesting is too deep.
    """
    depth = 0
    for event in events:
        if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None) is not None:
            raise Refused("a YAML alias or anchor", event.start_mark)
        if getattr(event, "tag", None) is not None:
            raise Refused(f"the YAML tag {event.tag}", event.start_mark)  # type: ignore[attr-defined]
        if isinstance(event, yaml.ScalarEvent) and "${" in event.value:
            raise Refused(f"an interpolation, {event.value[:80]!r}", event.start_mark)
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth >= DEPTH_LIMIT:
            raise Refused(f"nesting deeper than {DEPTH_LIMIT}", event.start_mark)


def only_keys(node: yaml.Node) -> None:
    """
    Raises:
        Refused: a key is no text, stands twice, or merges.
    """
    if isinstance(node, yaml.MappingNode):
        keys = [key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode)]
        if len(keys) < len(node.value) or len(set(keys)) < len(keys) or "<<" in keys:
            raise Refused("a key that is not a name, is given twice, or merges (<<)", node.start_mark)
        for _, value in node.value:
            only_keys(value)
    elif isinstance(node, yaml.SequenceNode):
        for value in node.value:
            only_keys(value)


def only_plain(value: object, key: str) -> None:
    """
    Raises:
        Refused: a value is a date or bytes.
    """
    if isinstance(value, dict):
        for name, item in value.items():
            only_plain(item, f"{key}.{name}")
    elif isinstance(value, list):
        for item in value:
            only_plain(item, key)
    elif value is not None and not isinstance(value, (str, int, float, bool)):
        raise Refused(f"a {type(value).__name__} at {key.lstrip('.')}")
