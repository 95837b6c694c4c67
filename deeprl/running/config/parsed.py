"""YAML files of configurations, each parsed once for the process, and again when it changes."""

from __future__ import annotations

import os
import pickle
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from omegaconf import OmegaConf
from omegaconf._utils import get_yaml_loader  # what OmegaConf makes of numbers, dates and keys that are given twice

from deeprl.running.config.folders import stamp

Content = dict[Any, Any]
"""What a file of keys holds, interpolations unresolved"""

try:
    from yaml.cyaml import CParser
except ImportError:  # PyYAML was built without libyaml
    CParser = None  # type: ignore[assignment, misc]


@dataclass(frozen=True)
class Parsed:
    head: str
    """The first 512 characters, in which Hydra looks for `# @package`"""
    config: bytes
    """OmegaConf's object, pickled: Hydra gets a copy that it may change, in a tenth of the time of building one."""
    content: Any
    """Plain values, interpolations unresolved. To be read only."""


_files: dict[str, tuple[tuple[int, int, int], Parsed]] = {}


def parsed(path: Path | str) -> Parsed:
    """
    Raises:
        OSError: there is no such file.
        UnicodeDecodeError, YAMLError, OmegaConfBaseException: it is not UTF-8, not YAML, or has values of another kind than OmegaConf's.
    """
    name, now = str(path), stamp(os.stat(path))
    known = _files.get(name)
    if known is None or known[0] != now:
        text = Path(path).read_text(encoding="utf-8")
        config = _load(text, name)
        content = OmegaConf.to_container(config, resolve=False)
        known = _files[name] = now, Parsed(text[:512], pickle.dumps(config, pickle.HIGHEST_PROTOCOL), content)
    return known[1]


def _load(text: str, name: str) -> Any:
    try:
        found = yaml.load(text, Loader) if CParser else None
    except yaml.YAMLError:
        found = None
    # what libyaml refuses is told in the words of the other parser
    return OmegaConf.load(name) if found is None else OmegaConf.create(found)


if CParser:

    class Loader(CParser, get_yaml_loader()):  # type: ignore[misc]
        """OmegaConf's loader with libyaml's parser, which takes a tenth of the time."""

        def __init__(self, stream: str):
            CParser.__init__(self, stream)
            yaml.constructor.SafeConstructor.__init__(self)
            yaml.resolver.Resolver.__init__(self)
