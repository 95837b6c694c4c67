"""Configurations of runs, and config.yaml: plain values only, because a run folder may come from a stranger."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import yaml
from omegaconf import OmegaConf

from deeprl.errors import RunFolderError
from deeprl.system.files import plain, read_regular, replace_file

CONFIG_LIMIT, DEPTH_LIMIT = 1 << 20, 50


def container(config: Any) -> dict[str, Any]:
    """Plain values of a configuration, OmegaConf's or a dict."""
    return OmegaConf.to_container(config, resolve=True) if OmegaConf.is_config(config) else dict(config)  # type: ignore[return-value]


def flatten(config: dict, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """("agent.chain.length", 5) and so on, for every leaf. Lists and empty dicts are leaves."""
    for key, value in config.items():
        if isinstance(value, dict) and value:
            yield from flatten(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def config_hash(config: Any, ignore: Iterable[str] = ("resume", "hydra")) -> str:
    """Twelve characters that differ between resolved configurations, whatever the order of their keys."""
    resolved = {key: value for key, value in container(config).items() if key not in set(ignore)}
    return hashlib.sha256(json.dumps(plain(resolved), sort_keys=True).encode()).hexdigest()[:12]


def identity(config: dict[str, Any], keys: Iterable[str]) -> dict[str, str]:
    """A hash of the values below each of some keys, for a checkpoint."""
    return {key: config_hash({key: config.get(key)}) for key in keys}


def write_config(path: Path, config: Any) -> None:
    """
    Raises:
        RunFolderError: `read_config` would refuse it.
    """
    text = OmegaConf.to_yaml(OmegaConf.create(container(config)))
    parse_config(text, path)
    replace_file(path, text)


def read_config(path: Path) -> dict[str, Any]:
    """Plain dicts, lists, strings and numbers.

    Raises:
        RunFolderError: there is no such file, or it has content that no run writes.
    """
    try:
        return parse_config(read_regular(path, CONFIG_LIMIT).decode(), path)
    except FileNotFoundError:
        raise RunFolderError(f"{path.parent} is no run folder: it has no {path.name}") from None
    except (OSError, ValueError) as error:
        raise RunFolderError(f"{path} cannot be read: {error}") from None


def parse_config(text: str, path: Path) -> dict[str, Any]:
    """A configuration as a run writes it. Aliases, tags and interpolations are refused, because with them text does more than it shows.

    Raises:
        RunFolderError: with the line.
    """

    def refuse(what: str, mark: Any = None) -> None:
        where = f"{path}, line {mark.line + 1}," if mark is not None else f"{path}"
        raise RunFolderError(f"{where} is refused: {what}; a run's own config.yaml has none")

    def check(node: yaml.Node) -> None:
        if isinstance(node, yaml.ScalarNode):
            if "${" in node.value:
                refuse(f"an interpolation, {node.value[:80]!r}", node.start_mark)
        elif isinstance(node, yaml.SequenceNode):
            for item in node.value:
                check(item)
        elif isinstance(node, yaml.MappingNode):
            keys = [key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode)]
            if len(keys) < len(node.value) or len(set(keys)) < len(keys) or "<<" in keys:
                refuse("a key that is no name, is given twice or merges", node.start_mark)
            for key, item in node.value:
                check(key)
                check(item)

    def only_plain(value: Any, key: str) -> None:
        if isinstance(value, dict):
            for name, item in value.items():
                only_plain(item, f"{key}.{name}")
        elif isinstance(value, list):
            for item in value:
                only_plain(item, key)
        elif value is not None and not isinstance(value, (str, int, float, bool)):
            refuse(f"a {type(value).__name__} at {key.lstrip('.')}")

    try:
        depth = 0
        for event in yaml.parse(text, Loader=yaml.SafeLoader):
            depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
            if depth > DEPTH_LIMIT:  # the parser's time grows with the square of the depth
                refuse(f"nesting deeper than {DEPTH_LIMIT}", event.start_mark)
            if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None) is not None:
                refuse("a YAML alias or anchor", event.start_mark)
            if getattr(event, "tag", None) is not None:
                refuse(f"the YAML tag {event.tag}", event.start_mark)
        node = yaml.compose(text, Loader=yaml.SafeLoader)
        if not isinstance(node, yaml.MappingNode):
            refuse("anything but a mapping of keys")
        check(node)
        found = yaml.safe_load(text)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise RunFolderError(f"{path} is not the YAML that a run writes: {str(error) or type(error).__name__}") from None
    only_plain(found, "")
    return found
